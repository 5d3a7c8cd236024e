"""Which of a socket's peers has gone."""

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t

from prime_server._ext.libzmq cimport Message

cdef class Watch:
    cdef object kept           # the monitor's socket
    cdef void* monitor
    cdef int descriptor        # readable when `listen` may have something to read
    cdef Message* peers        # owned, by descriptor: the routing id, empty where none is known
    cdef size_t room
    cdef Message* ended        # owned: those that have gone and were not taken
    cdef size_t gone
    cdef size_t gone_room
    cdef bint any_tied         # ever
    cdef size_t tied           # peers that are tied now
    cdef int connects          # connections of our own that have come about, so far

    # Reads what the monitor has. -1: the context was terminated.
    cdef int listen(self) noexcept nogil
    # The sender of the message that this frame has come with, its routing id, is new.
    cdef void tie(self, Message* peer) noexcept nogil
    # Somebody who has gone, owned by the caller, in an uninitialised `into`; to be asked when the socket had nothing more. False: nobody.
    cdef bint take(self, Message* into) noexcept nogil
    cdef void opened(self, uint32_t descriptor) noexcept nogil
    cdef void closed(self, uint32_t descriptor) noexcept nogil

cdef class Ends(Watch):
    cdef int* descriptors      # owned: of connections that have ended, -1 where that can't be told any more
    cdef size_t size
    cdef size_t capacity

    # How many of them have been read to their end, to be asked when the socket had nothing more.
    cdef size_t known(self) noexcept nogil
    # The first so many.
    cdef void forget(self, size_t count) noexcept nogil
