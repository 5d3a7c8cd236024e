"""Asking a function of the user's which idle worker a job goes to."""

from libc.stdint cimport int64_t, uint64_t

from prime_server._ext.jobs cimport Job
from prime_server._ext.workers cimport Worker, Workers

cdef class Choice:
    cdef readonly object function
    cdef readonly bint asking  # the function is being called
    cdef int64_t logged_at
    cdef uint64_t unlogged
    # The idle worker that it picks, of at least one; NULL: none of them.
    cdef Worker* ask(self, const Workers* workers, Job* job, int64_t now) noexcept with gil
