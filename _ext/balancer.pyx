"""One proxy's decisions: which worker gets which job.

A core without I/O: the hub tells it of jobs (`submit`), of what workers say (`heard`), of their end (`lost`, `unsent`), of clients that left
(`cancel`) and of time (`tick`), and takes what is to be sent (`take`, until it has nothing more). Nothing is decided before it is taken, so each
decision knows of everything that came in the same round. No call does work that grows with the number of workers or the length of the backlog.

**Order.** Jobs wait in one backlog, first in, first out; what comes back from a worker goes to its front. Only its head is considered: when that job
needs an idle worker and there is none, those behind it wait too, or a stream of short jobs could keep every worker busy and starve it for ever.
What a client asks while it is owed an answer already, pipelining, waits in a second line, which has its turn after every seventh of the first: so
a flood over few connections doesn't hold up those that ask one thing at a time. Over the bound its last one gives way to a newcomer of the first.

**Whom.** The idle worker that has been idle longest; but where jobs are far shorter than it takes to wake a worker, the one that was given the last
job gets more until it has some `WAKE_US` of work: it will be done with them before another would have begun (measured with 8 workers a stage: a
million numbers in a third of the time). Without an idle one, a worker of ours whose window has room, while the stage's service time says that the
job would wait less than `window_us` behind what that worker holds. It gets nothing more once what it runs takes long. A job that may not be
repeated, and one that has killed a worker, is given to an idle worker only, the latter alone: nothing is put behind it.

How jobs end is in holding.pyx, what workers say of them in hearing.pyx, and what becomes of them when workers are lost in losses.pyx.
"""

from libc.stdint cimport uint64_t

from prime_server._ext.clock cimport sooner
from prime_server._ext.departures cimport departures_look, departures_over
from prime_server._ext.estimate cimport estimate_least
from prime_server._ext.greetings cimport greet_once, life_over, peer_gone, take_greeting
from prime_server._ext.hearing cimport STALLED_WINDOWS, WAKE_US
from prime_server._ext.info cimport FLAG_BEHIND, FLAG_CANCEL, FLAG_FROM_PROXY, Info, key_of, read_info
from prime_server._ext.jobs cimport DECLINED, HELD, append, decline, dequeue, earliest, enqueue, job_enter, job_free, job_known, job_leave, job_new
from prime_server._ext.jobs cimport next_in_line, next_turn, over_bound, queued, reconsider, settle, take_last
from prime_server._ext.libzmq cimport MAX_FRAMES, close_all, copy_in, data_of, frame, size_of
from prime_server._ext.losses cimport TOO_MANY_STRIKES
from prime_server._ext.outgoing cimport TO_UPSTREAM, TO_WORKER, write_job
from prime_server._ext.workers cimport GONE_US, MAX_ID, MOST_HELD, lowest, worker_free, worker_rank

import secrets

cdef enum:
    LOOK_AHEAD = 128           # jobs that `choose` may decline before those behind them must wait
    ASK_AGAIN_US = 100_000     # `choose` may depend on more than what we see
    LOOK_US = 20_000           # for workers that wish to leave

cdef int64_t FAR = <int64_t>1 << 52  # us: 142 years


cdef class Balancer(Losses):
    def __cinit__(
        self,
        *,
        max_backlog=16384,
        max_queued_bytes=256 << 20,
        max_attempts=3,
        bint retryable=False,
        max_window=MOST_HELD,
        window_us=250,
        choose=None,
        life=None,
    ):
        if not 0 <= max_backlog < 1 << 31:
            raise ValueError(f"max_backlog is a number of jobs from 0 to 2^31 - 1, not {max_backlog!r}")
        if not 0 <= max_queued_bytes < 1 << 62:
            raise ValueError(f"max_queued_bytes is a number of bytes from 0 to 2^62 - 1, not {max_queued_bytes!r}")
        if not 1 <= max_attempts <= 255:
            raise ValueError(f"max_attempts is a number from 1 to 255, not {max_attempts!r}")
        if not 1 <= max_window <= MOST_HELD:
            raise ValueError(f"max_window is a number of jobs from 1 to {MOST_HELD}, not {max_window!r}")
        if not 0 <= window_us <= 1_000_000_000:
            raise ValueError(f"window_us is a time in microseconds from 0 to 10^9, not {window_us!r}")
        if life is not None and not 0 <= life < 1 << 64:
            raise ValueError(f"life is a number of 64 bits, not {life!r}")
        self.life = life if life is not None else secrets.randbits(64) or 1
        self.choice = None if choose is None else Choice(choose)
        self.max_backlog = max_backlog
        self.max_queued_bytes = max_queued_bytes
        self.max_attempts = max_attempts
        self.retryable = retryable
        self.max_window = max_window
        self.window_us = window_us
        self.limit = 1

    # --- jobs come -----------------------------------------------------------------------------------------------------------------------

    cdef int submit(self, Multipart* frames, const char* sender, size_t sender_size, int64_t now) noexcept nogil:
        cdef Info info
        cdef Job* job
        cdef uint64_t over
        cdef int64_t wait
        cdef size_t most
        cdef int fresh = 0
        if frames.size == 1 and read_info(data_of(frame(frames, 0)), size_of(frame(frames, 0)), &info) == 0 and info.flags & FLAG_CANCEL:
            if key_of(&info):
                self.cancel(info.life, key_of(&info), now)
            else:
                self.end_life(info.life)
            close_all(frames)
            return 0
        # Room for the worker's routing id must be left.
        if (
            frames.size < 2
            or frames.size >= MAX_FRAMES
            or frames.surplus
            or sender_size > MAX_ID
            or read_info(data_of(frame(frames, 0)), size_of(frame(frames, 0)), &info) != 0
            or key_of(&info) == 0
        ):
            self.count.malformed += 1
            close_all(frames)
            return -1
        if sender_size and info.extended and not info.flags & FLAG_FROM_PROXY:
            # The first stage's peers are servers, those behind it workers of the stage before.
            if greet_once(&self.greetings, TO_UPSTREAM, sender, sender_size, 0 if info.hops else info.life) and info.hops == 0:
                fresh = 1
                over = life_over(&self.greetings, info.life)
                while over:
                    self.end_life(over)
                    over = life_over(&self.greetings, info.life)
        job = job_new(&self.jobs, frames, &info)
        if job == NULL or (sender_size and copy_in(&job.sender, sender, sender_size) != 0):
            # Without memory for so little there is none to answer with.
            self.count.overflowed += 1
            self.count.untold += 1
            if job != NULL:
                job_free(&self.jobs, job)
            else:
                close_all(frames)
            return fresh
        if job_known(&self.jobs, job):
            self.count.duplicates += 1
            job_free(&self.jobs, job)
            return fresh
        job.repeatable |= self.retryable
        self.count.received += 1
        self.departures.worked = now
        job.arrived = now
        if info.time_left:
            job.deadline = now + (info.time_left if info.time_left < FAR else FAR)
        # Those for whom an idle worker is there will not wait.
        wait = self.least_wait(info.flags & FLAG_BEHIND != 0)
        most = self.max_backlog + self.workers.ranks[0].count
        if not info.flags & FLAG_BEHIND and self.jobs.behind.last != NULL and over_bound(&self.jobs, job, most, self.max_queued_bytes):
            self.refuse(take_last(&self.jobs), 503)
        if job.strikes >= TOO_MANY_STRIKES:
            self.refuse(job, 500)
        elif info.time_left < 0:
            self.refuse(job, 504)
        elif (
            (job.deadline and wait and wait + estimate_least(&self.taken, 1) > info.time_left)
            or over_bound(&self.jobs, job, most, self.max_queued_bytes)
            or job_enter(&self.jobs, job) != 0
        ):
            self.refuse(job, 503)
        else:
            enqueue(&self.jobs, job)
        return fresh

    cdef void left(self, const char* peer, size_t size, int64_t now) noexcept nogil:
        peer_gone(&self.greetings, peer, size)

    # --- time ----------------------------------------------------------------------------------------------------------------------------

    cdef int64_t tick(self, int64_t now) noexcept nogil:
        cdef int64_t next
        cdef Job* job
        settle(&self.jobs)
        while True:
            job = earliest(&self.jobs)
            if job == NULL or job.deadline > now:
                break
            dequeue(&self.jobs, job)
            job_leave(&self.jobs, job)
            self.refuse(job, 504)
        while self.workers.gone.first != NULL and now - self.workers.gone.first.heard >= GONE_US:
            worker_free(&self.workers, self.workers.gone.first)
        if self.jobs.declined.count and now - self.declined_at >= ASK_AGAIN_US:
            reconsider(&self.jobs)
        if self.jobs.refusals.count:
            return now
        next = job.deadline if job != NULL else -1
        if self.departures.wishing and departures_look(
            &self.departures, &self.workers, &self.greetings, self.known - self.departures.wishing, queued(&self.jobs), self.pending(), now
        ):
            next = sooner(next, now + LOOK_US)
        if self.greetings.due != NULL:
            return now
        if self.workers.gone.first != NULL:
            next = sooner(next, self.workers.gone.first.heard + GONE_US)
        if self.jobs.declined.count:
            next = sooner(next, self.declined_at + ASK_AGAIN_US)
        return next

    cdef void close(self) noexcept nogil:
        self.departures.closing = True

    cdef void say_over(self) noexcept nogil:
        departures_over(&self.departures, &self.workers, &self.greetings)

    # --- decisions -----------------------------------------------------------------------------------------------------------------------

    cdef int take(self, Multipart* into, int64_t now) noexcept nogil:
        cdef Worker* worker
        cdef Job* job
        cdef int kind
        while True:
            if self.greetings.due != NULL:
                kind = take_greeting(&self.greetings, into, self.life)
                if kind:
                    return kind
            while self.jobs.refusals.first != NULL:
                kind = self.take_refusal(into, now)
                if kind:
                    return kind
            job = next_in_line(&self.jobs)
            if job == NULL:
                break
            if job.deadline and job.deadline <= now:
                dequeue(&self.jobs, job)
                job_leave(&self.jobs, job)
                self.refuse(job, 504)
                continue
            worker = self.pick(job, now)
            if worker != NULL:
                if self.give(job, worker, into, now) != 0:
                    break
                return TO_WORKER
            if job.place != DECLINED:
                break
        settle(&self.jobs)
        return 0

    cdef Worker* pick(self, Job* job, int64_t now) noexcept nogil:
        """The worker for it, or NULL; the job may have moved to the declined ones then."""
        cdef int rank = lowest(&self.workers)
        cdef Worker* worker
        if rank == 0 and self.choice is not None:
            return self.chosen(job, now)
        if rank == 0:
            worker = self.workers.filling
            if (
                worker != NULL
                and 0 < worker.rank < self.pack
                and job.repeatable
                and job.holder_serial == 0  # what was handed back has waited behind others once
                and not job.strikes
                and not job.suspected
                and now - worker.progress <= WAKE_US
            ):
                return worker
            return self.workers.ranks[0].first
        if self.choice is not None or not job.repeatable or job.strikes or job.suspected:
            return NULL
        while rank < self.limit:
            worker = self.workers.ranks[rank].first
            if now - worker.progress <= STALLED_WINDOWS * self.window_us:
                return worker
            worker.stalled = True
            worker_rank(&self.workers, worker)
            rank = lowest(&self.workers)
        return NULL

    cdef Worker* chosen(self, Job* job, int64_t now) noexcept nogil:
        cdef Worker* worker
        if self.jobs.declined.count >= LOOK_AHEAD:
            return NULL
        worker = self.choice.ask(&self.workers, job, now)
        if worker == NULL:
            if self.jobs.declined.count == 0:
                self.declined_at = now
            decline(&self.jobs, job)
        return worker

    cdef int give(self, Job* job, Worker* worker, Multipart* into, int64_t now) noexcept nogil:
        """0, or -1 without memory, with nothing changed."""
        job.gives += 1
        if write_job(into, &worker.id, job, now) != 0:
            job.gives -= 1
            return -1
        self.count.dispatched += 1
        next_turn(&self.jobs, job)
        dequeue(&self.jobs, job)
        if worker.held.count == 0:
            worker.progress = now
            worker.stalled = False
        append(&worker.held, job, HELD)
        self.workers.filling = worker
        self.direct = worker.direct
        job.holder = worker
        job.holder_serial = worker.serial
        job.given = now
        worker.alone = job.strikes > 0 or job.suspected
        self.held += 1
        worker_rank(&self.workers, worker)
        return 0

    # --- Python's part -------------------------------------------------------------------------------------------------------------------

    @property
    def choose(self):
        return None if self.choice is None else self.choice.function

    def stats(self):
        count = self.count
        return {
            "received": count.received,
            "dispatched": count.dispatched,
            "finished": count.finished,
            "returned": count.returned,
            "redelivered": count.redelivered,
            "strikes": count.strikes,
            "cancelled": count.cancelled,
            "refused_500": count.failed,
            "refused_502": count.unrepeatable,
            "refused_503": count.overflowed,
            "refused_504": count.expired,
            "untold": count.untold,
            "duplicates": count.duplicates,
            "malformed": count.malformed,
            "unknown": count.unknown,
            "late": count.late,
            "lost": count.lost,
            "backlog": queued(&self.jobs),
            "held": self.held,
            "queued_bytes": self.jobs.size,
            "workers": self.known,
            "idle": self.workers.ranks[0].count,
            "busy": self.known - self.workers.ranks[0].count,
            "service_us": round(self.service if self.service >= 0 else self.taken.mean, 1),
            "wait_us": self.expected_wait(False),
            "window": self.limit if self.limit < self.max_window else self.max_window,
        }
