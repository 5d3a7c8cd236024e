"""One proxy's decisions: which worker gets which job, and what becomes of those whose worker is gone."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t

from prime_server._ext.choice cimport Choice
from prime_server._ext.departures cimport Departures
from prime_server._ext.greetings cimport Greetings
from prime_server._ext.info cimport Info, Report
from prime_server._ext.jobs cimport Job, Jobs
from prime_server._ext.libzmq cimport Multipart
from prime_server._ext.workers cimport Worker, Workers

cdef enum:
    TO_WORKER = 1      # [routing id][info][payload…], or [routing id][hello]: for the downstream ROUTER
    TO_UPSTREAM = 2    # [routing id][info: refusal], or [routing id][hello]: for the upstream ROUTER
    TO_SESSIONS = 3    # [info: refusal]: the job had come from the sessions hosted beside it

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

cdef class Balancer:
    cdef readonly uint64_t life
    cdef Choice choice     # None without a `choose` function
    cdef size_t max_backlog
    cdef size_t max_queued_bytes
    cdef int max_attempts
    cdef bint retryable    # every job may be repeated
    cdef uint64_t over     # the last server's life that was over
    cdef int max_window
    cdef int64_t window_us
    cdef Jobs jobs
    cdef Workers workers
    cdef Greetings greetings
    cdef Departures departures
    cdef size_t held
    cdef size_t known      # workers that aren't gone
    cdef double service     # us, recent mean of what workers report; -1: none has yet
    cdef double turnaround  # us, recent mean from giving a job to hearing that it is finished; -1: none is yet
    cdef int limit         # jobs that a worker may hold at this service time
    cdef int pack          # jobs that one worker may hold before the next idle one is woken
    cdef int64_t declined_at
    cdef int64_t long_at    # when a worker last told of a long job
    cdef Counters count

    # The job [info][payload…] of an upstream peer (routing id), or of the sessions hosted beside it (no id), or a peer's [info: cancel].
    # Consumed. 0; -1: malformed, dropped; 1: the peer is a server that wasn't known: tell us by `left` when it is gone.
    cdef int submit(self, Multipart* job, const char* sender, size_t sender_size, int64_t now) noexcept nogil
    # [routing id][heartbeat], [routing id][heartbeat][report]: from the downstream ROUTER. Not consumed. 0; -1: malformed; 1: the worker
    # wasn't known: tell us by `lost` when it is gone.
    cdef int heard(self, Multipart* message, int64_t now) noexcept nogil
    # A result or a job for a next stage has come that says that it ends a job, perhaps one of ours: its info. True: it was ours.
    cdef bint done(self, const Info* info, int64_t now) noexcept nogil
    # The worker's connection is closed: call it when all that has come from it has been `heard`.
    cdef void lost(self, const char* worker, size_t size, int64_t now) noexcept nogil
    # The same of an upstream peer.
    cdef void left(self, const char* peer, size_t size, int64_t now) noexcept nogil
    # A message that was taken TO_WORKER could not be sent (EHOSTUNREACH): its job never left, and the worker is lost. Consumed.
    cdef void unsent(self, Multipart* message, int64_t now) noexcept nogil
    # Nobody waits for the request any more.
    cdef void cancel(self, uint64_t life, uint64_t key, int64_t now) noexcept nogil
    # Time has passed; `take` may have something after it. Returns when it wants to be called next (monotonic us), -1 for never.
    cdef int64_t tick(self, int64_t now) noexcept nogil
    # The next thing to send: its kind and, in an uninitialised `into`, the message, owned by the caller. 0: nothing.
    cdef int take(self, Multipart* into, int64_t now) noexcept nogil
    # The proxy is to end, and has ended: what it has to say then is to be taken.
    cdef void close(self) noexcept nogil
    cdef void say_over(self) noexcept nogil
    # Jobs that are queued here or with workers.
    cdef size_t pending(self) noexcept nogil
    # How long a job that came now would wait for a worker, as far as can be told: us.
    cdef int64_t expected_wait(self, bint behind) noexcept nogil
    # And until all that is here now is done.
    cdef int64_t drained_in(self) noexcept nogil

    # --- its own
    cdef void refuse(self, Job* job, int status) noexcept nogil
    cdef double mean(self) noexcept nogil  # what a job takes a worker, us; 0: not known yet
    cdef void abandon(self, Job* job) noexcept nogil
    cdef void end_life(self, uint64_t life) noexcept nogil
    cdef void let_go(self, Job* job, Worker* worker) noexcept nogil
    cdef void finish(self, Job* job, Worker* worker, int64_t now) noexcept nogil
    cdef void finish_queued(self, Job* job) noexcept nogil
    cdef void strike(self, Job* job) noexcept nogil
    cdef void forget(self, Worker* worker) noexcept nogil
    cdef void rank(self, Worker* worker) noexcept nogil
    cdef void heard_plain(self, Worker* worker, int64_t now) noexcept nogil
    cdef void heard_report(self, Worker* worker, const Report* report, int64_t now) noexcept nogil
    cdef void heard_late(self, Worker* worker, const Report* report) noexcept nogil
    cdef void learn(self, double service) noexcept nogil
    cdef Worker* pick(self, Job* job, int64_t now) noexcept nogil
    cdef Worker* chosen(self, Job* job, int64_t now) noexcept nogil
    cdef int give(self, Job* job, Worker* worker, Multipart* into, int64_t now) noexcept nogil
    cdef int take_refusal(self, Multipart* into, int64_t now) noexcept nogil
    cdef void log_poison(self, uint64_t life, uint64_t key) noexcept with gil
