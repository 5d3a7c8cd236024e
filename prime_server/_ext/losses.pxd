"""Workers that are lost, and what becomes of their jobs."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t

from prime_server._ext.hearing cimport Hearing
from prime_server._ext.jobs cimport Job
from prime_server._ext.libzmq cimport Multipart

cdef enum:
    TOO_MANY_STRIKES = 2

cdef class Losses(Hearing):
    cdef int max_attempts

    # The worker's connection is closed: call it when all that has come from it has been `heard`.
    cdef void lost(self, const char* worker, size_t size, int64_t now) noexcept nogil
    # A message that was taken TO_WORKER could not be sent (EHOSTUNREACH): its job never left. Of several jobs of a worker the last one comes first.
    # It has a frame.
    cdef void give_back(self, Multipart* message) noexcept nogil
    # The same, and the worker is lost. Consumed.
    cdef void unsent(self, Multipart* message, int64_t now) noexcept nogil

    cdef void strike(self, Job* job) noexcept nogil
    cdef void log_poison(self, uint64_t life, uint64_t key) noexcept with gil
