"""What a server's clients are answered, and when."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t

from prime_server._ext.access_log cimport AccessLog
from prime_server._ext.admission cimport Admission
from prime_server._ext.answer cimport Manner
from prime_server._ext.connections cimport Connection, Pending
from prime_server._ext.policy cimport Policy
from prime_server._ext.user_protocol cimport UserProtocol

cdef class Answering(Admission):
    cdef readonly uint64_t life
    cdef uint32_t next_id
    cdef UserProtocol user_protocol  # None for those of ours
    cdef AccessLog log
    cdef Policy policy
    cdef bint draining
    cdef uint64_t answered, refused, bytes_out

    # So much of its output has been taken by the socket.
    cdef void wrote(self, Connection* connection, size_t size, int64_t now) noexcept nogil
    # A connection that can't be served: says why and ends it.
    cdef void turn_away(self, Connection* connection, int status, const char* reason, int64_t now) noexcept nogil
    # Answers a request, whose worker's result is not waited for any more, with an error.
    cdef void refuse(self, Connection* connection, Pending* pending, int status, const char* reason, int retry_after, int64_t now) noexcept nogil
    # What has come is no request: answers in its turn, and ends the connection behind it.
    cdef void refuse_input(self, Connection* connection, int status, const char* reason, int64_t now) noexcept nogil
    # Answers a request that no worker is asked, with a text or, where it is NULL, without.
    cdef void answer(self, Pending* pending, int code, const char* text, const Manner* manner, int64_t now) noexcept nogil
    # Its answer is all there.
    cdef void complete(self, Pending* pending, int64_t now) noexcept nogil
    # How an answer is to be written, and whether its connection goes on behind it, to be asked once it is written.
    cdef Manner manner_of(self, Pending* pending) noexcept nogil
    cdef bint keep_alive_of(self, Pending* pending) noexcept nogil

    cdef void advance(self, Connection* connection, int64_t now) noexcept nogil
    cdef void ask_now(self, Pending* pending, int64_t now) noexcept nogil
