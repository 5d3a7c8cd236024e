"""One proxy's decisions: which worker gets which job, and what becomes of those whose worker is gone."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t

from prime_server._ext.libzmq cimport Multipart

cdef enum:
    TO_WORKER = 1      # [routing id][info][payload…], or [routing id][hello]: for the downstream ROUTER
    TO_UPSTREAM = 2    # [routing id][info: refusal], or [routing id][hello]: for the upstream ROUTER
    TO_SESSIONS = 3    # [info: refusal]: the job had come from the sessions hosted beside it

cdef class Balancer:
    # The job [info][payload…] of an upstream peer (routing id), or of the sessions hosted beside it (no id). Consumed. 0, -1: malformed, dropped.
    cdef int submit(self, Multipart* job, const char* sender, size_t sender_size, int64_t now) noexcept nogil
    # [routing id][heartbeat], [routing id][heartbeat][report]: from the downstream ROUTER. Consumed. 0, -1: malformed, dropped.
    cdef int heard(self, Multipart* message, int64_t now) noexcept nogil
    # The worker's connection is closed, or a send to it was refused (EHOSTUNREACH).
    cdef void lost(self, const char* worker, size_t size, int64_t now) noexcept nogil
    # Nobody waits for the request any more.
    cdef void cancel(self, uint64_t life, uint64_t key, int64_t now) noexcept nogil
    # Time has passed. Returns when it wants to be called next (monotonic us), -1 for never.
    cdef int64_t tick(self, int64_t now) noexcept nogil
    # The next thing to send: its kind and, in an uninitialised `into`, the message, owned by the caller. 0: nothing.
    cdef int take(self, Multipart* into, int64_t now) noexcept nogil
    # Jobs that are queued here or with workers.
    cdef size_t pending(self) noexcept nogil
