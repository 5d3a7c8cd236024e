"""One proxy's decisions: which worker gets which job."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t

from prime_server._ext.choice cimport Choice
from prime_server._ext.jobs cimport Job
from prime_server._ext.libzmq cimport Multipart
from prime_server._ext.losses cimport Losses
from prime_server._ext.workers cimport Worker

cdef class Balancer(Losses):
    cdef Choice choice     # None without a `choose` function
    cdef size_t max_queued_bytes
    cdef bint retryable    # every job may be repeated
    cdef int64_t declined_at
    cdef uint64_t direct   # of the worker that the job was given to which was taken last: the number of its direct way, 0: none

    # The job [info][payload…] of an upstream peer (routing id), or of the sessions hosted beside it (no id), or a peer's [info: cancel].
    # Consumed. 0; -1: malformed, dropped; 1: the peer is a server that wasn't known: tell us by `left` when it is gone.
    cdef int submit(self, Multipart* job, const char* sender, size_t sender_size, int64_t now) noexcept nogil
    # The connection of an upstream peer is closed.
    cdef void left(self, const char* peer, size_t size, int64_t now) noexcept nogil
    # Time has passed; `take` may have something after it. Returns when it wants to be called next (monotonic us), -1 for never.
    cdef int64_t tick(self, int64_t now) noexcept nogil
    # The next thing to send: its kind (outgoing.pxd) and, in an uninitialised `into`, the message, owned by the caller. 0: nothing.
    cdef int take(self, Multipart* into, int64_t now) noexcept nogil
    # The proxy is to end, and has ended: what it has to say then is to be taken.
    cdef void close(self) noexcept nogil
    cdef void say_over(self) noexcept nogil

    cdef Worker* pick(self, Job* job, int64_t now) noexcept nogil
    cdef Worker* chosen(self, Job* job, int64_t now) noexcept nogil
    cdef int give(self, Job* job, Worker* worker, Multipart* into, int64_t now) noexcept nogil
