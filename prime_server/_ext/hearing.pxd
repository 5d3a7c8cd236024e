"""What workers say of their jobs to their proxy, and what it sees of them."""

from libc.stdint cimport int64_t

from prime_server._ext.holding cimport Holding
from prime_server._ext.info cimport Info, Report
from prime_server._ext.libzmq cimport Multipart
from prime_server._ext.workers cimport Worker

cdef enum:
    WAKE_US = 150              # what it takes to wake a worker, about
    STALLED_WINDOWS = 4        # a job that runs for so many times window_us takes long

cdef class Hearing(Holding):
    cdef int max_window
    cdef int64_t window_us
    cdef int limit         # jobs that a worker may hold at this service time
    cdef int pack          # jobs that one worker may hold before the next idle one is woken
    cdef int64_t long_at    # when a worker last told of a long job

    # [routing id][heartbeat], [routing id][heartbeat][report]: from the downstream ROUTER. Not consumed. 0; -1: malformed; 1: the worker
    # wasn't known: tell us by `lost` when it is gone.
    cdef int heard(self, Multipart* message, int64_t now) noexcept nogil
    # A result or a job for a next stage has come that says that it ends a job, perhaps one of ours: its info. True: it was ours.
    cdef bint done(self, const Info* info, int64_t now) noexcept nogil

    cdef void heard_plain(self, Worker* worker, int64_t now) noexcept nogil
    cdef void heard_report(self, Worker* worker, const Report* report, int64_t now) noexcept nogil
    cdef void heard_late(self, Worker* worker, const Report* report) noexcept nogil
    cdef void learn(self, double service) noexcept nogil
    cdef void rank(self, Worker* worker) noexcept nogil
    cdef void forget(self, Worker* worker) noexcept nogil
