"""The jobs of one proxy, in line or with a worker, and how each ends."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t

from prime_server._ext.departures cimport Departures
from prime_server._ext.estimate cimport Estimate
from prime_server._ext.greetings cimport Greetings
from prime_server._ext.jobs cimport Job, Jobs
from prime_server._ext.libzmq cimport Multipart
from prime_server._ext.workers cimport Worker, Workers

cdef struct Counters:  # see Balancer.stats
    uint64_t received
    uint64_t dispatched
    uint64_t finished
    uint64_t returned
    uint64_t redelivered
    uint64_t strikes
    uint64_t cancelled
    uint64_t failed        # refused with 500
    uint64_t unrepeatable  # 502
    uint64_t overflowed    # 503
    uint64_t expired       # 504
    uint64_t untold
    uint64_t duplicates
    uint64_t malformed
    uint64_t unknown
    uint64_t late
    uint64_t lost

cdef class Holding:
    cdef readonly uint64_t life
    cdef size_t max_backlog
    cdef uint64_t over     # the last server's life that was over
    cdef Jobs jobs
    cdef Workers workers
    cdef Greetings greetings
    cdef Departures departures
    cdef size_t held
    cdef size_t known      # workers that aren't gone
    cdef double service     # us, recent mean of what workers report; -1: none has yet
    cdef Estimate taken    # from when a job is its worker's oldest to when we hear that it is finished
    cdef Counters count

    # Nobody waits for the request any more.
    cdef void cancel(self, uint64_t life, uint64_t key, int64_t now) noexcept nogil
    # Nor for any of this server's, as its clients are gone with it: the workers, and by them the stages behind, are told.
    cdef void end_life(self, uint64_t life) noexcept nogil
    # Jobs that are queued here or with workers.
    cdef size_t pending(self) noexcept nogil
    # What a job takes, us; 0: not known yet.
    cdef double mean(self) noexcept nogil
    # Jobs wait, and no worker is idle.
    cdef bint starved(self) noexcept nogil
    # How long a job that came now would wait for a worker, as far as can be told, and with some certainty at the least: us.
    cdef int64_t expected_wait(self, bint behind) noexcept nogil
    cdef int64_t least_wait(self, bint behind) noexcept nogil
    # And until all that is here now is done.
    cdef int64_t drained_in(self) noexcept nogil

    # The worker holds the job no more, which stays in the table.
    cdef void let_go(self, Job* job, Worker* worker) noexcept nogil
    # It is done: by the worker that holds it, or by a lost one that had said so, while it waits to be given again.
    cdef void finish(self, Job* job, Worker* worker, int64_t now) noexcept nogil
    cdef void finish_queued(self, Job* job) noexcept nogil
    # Of a job that stands in no list and not in the table.
    cdef void refuse(self, Job* job, int status) noexcept nogil
    # The refusal that has waited longest, into an uninitialised `into`: its kind, or 0 without memory.
    cdef int take_refusal(self, Multipart* into, int64_t now) noexcept nogil

    cdef size_t ahead(self, bint behind) noexcept nogil
    cdef void abandon(self, Job* job) noexcept nogil
