"""One proxy's decisions: which worker gets which job, and what becomes of those whose worker is gone.

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

**Two kinds of workers.** A plain one, of the original, says `[heartbeat]`: whatever it held is finished, and it holds one job at most. Ours adds a
report that names what is finished and what is handed back, and only names count: an idle flag may have crossed with a job on its way. For a plain
worker this crossing can't be told from a finished job: it repeats its heartbeat every second while it is idle, and one may have been sent just
before a job reached it. So a heartbeat that comes about a second after the last one and right after a job was given finishes that job, as nearly
always it is, but leaves it doubtful: its copy is kept until the worker's next heartbeat, and goes to another if the worker dies before. (A request
that was answered nevertheless is then answered twice, which servers drop.) Its next job inherits the doubt, until a heartbeat finds none with it.

Where the server is hosted beside us, the hub sees results and what goes to a next stage hosted here, and tells us what is `done` by it: our workers
then report nothing. Only the attempt that the worker was given counts, as a late result may be of one before. If such a message is lost its worker
says that it is idle while it seems to be busy, and after five seconds of that it is believed.

**Death.** Of a lost worker's jobs, the running one takes a strike: the one that it last reported as running, else the oldest it holds. The rest has
not begun and goes to others. What may not be repeated is refused with 502, what has two strikes with 500, and given to nobody. Where the worker
had said nothing of what it runs, that is a guess, as it tells of finished jobs in batches: so all others are suspected, and each goes to an idle
worker alone. If that one dies too, it is known what of, and nobody else is to die of it.

**Servers** come back with another life. What the old one had asked for is dropped then, here and in all stages behind, as its clients are gone.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memcmp

from prime_server._ext.departures cimport departures_look, departures_over
from prime_server._ext.greetings cimport greet, greet_once, greetings_end, greetings_start, life_over, peer_gone, take_greeting, tell, tell_over
from prime_server._ext.info cimport FLAG_BEHIND, FLAG_CANCEL, FLAG_FROM_PROXY, WORD_STAY, WORKER_IDLE, WORKER_LEAVING, WORKER_STREAMS
from prime_server._ext.info cimport WORKER_WISHES, Info, key_of, read_info, read_report, report_key
from prime_server._ext.jobs cimport DECLINED, HELD, JobList, REFUSED, ahead_of, append, decline, dequeue, drop_payload, earliest, enqueue, free_all
from prime_server._ext.jobs cimport job_done, job_end, job_enter, job_free, job_held, job_known, job_leave, job_named, job_new, jobs_end, jobs_start
from prime_server._ext.jobs cimport next_in_line, next_turn, over_bound, queued, reconsider, requeue, settle, take_last, unlink
from prime_server._ext.libzmq cimport MAX_FRAMES, Message, close_all, copy_in, data_of, frame, size_of, zmq
from prime_server._ext.outgoing cimport write_job, write_refusal
from prime_server._ext.scheduling cimport LONG_US
from prime_server._ext.workers cimport MAX_ID, MOST_HELD, lowest, worker_find, worker_free, worker_gone, worker_new, worker_rank
from prime_server._ext.workers cimport workers_end, workers_start

import secrets

from prime_server.errors import logger

cdef enum:
    MOST_WORKERS = 65536
    MOST_REFUSALS = 65536      # waiting to be taken, over the backlog's bound
    MOST_HEARTBEAT = 4096      # bytes of what a worker favours
    LOOK_AHEAD = 128           # jobs that `choose` may decline before those behind them must wait
    TOO_MANY_STRIKES = 2
    WAKE_US = 150              # what it takes to wake a worker, about
    STALLED_WINDOWS = 4        # a job that runs for so many times window_us takes long
    ASK_AGAIN_US = 100_000     # `choose` may depend on more than what we see
    LOOK_US = 20_000           # for workers that wish to leave
    GONE_US = 50_000           # what a lost worker had sent before is read long before that; a connection comes back after 100 ms at the least
    BEAT_US = 900_000          # the original's workers repeat their heartbeat every second
    CROSSING_US = 20_000       # a job is with its worker by then
    OVERDUE_US = 5_000_000     # a worker that is idle has done a job that it was given so long ago: what told us so was lost

cdef int64_t FAR = <int64_t>1 << 52  # us: 142 years


cdef inline int64_t sooner(int64_t one, int64_t other) noexcept nogil:
    return other if one < 0 or other < one else one


cdef class Balancer:
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
        cdef uint64_t seed = secrets.randbits(64)
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
        self.service = -1
        self.departures.kind = TO_WORKER
        self.turnaround = -1
        if jobs_start(&self.jobs, seed) != 0 or workers_start(&self.workers, seed) != 0 or greetings_start(&self.greetings, seed) != 0:
            raise MemoryError()

    def __dealloc__(self):
        cdef size_t index
        cdef Worker* worker
        if self.workers.table.entries != NULL:
            for index in range(self.workers.table.mask + 1):
                worker = <Worker*>self.workers.table.entries[index].item
                if worker != NULL:
                    free_all(&self.jobs, &worker.held)
                    if worker.doubtful != NULL:
                        job_free(&self.jobs, worker.doubtful)
        workers_end(&self.workers)
        greetings_end(&self.greetings)
        jobs_end(&self.jobs)

    # --- jobs come ----------------------------------------------------------------------------------------------------------------------

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
        wait = self.expected_wait(info.flags & FLAG_BEHIND != 0)
        most = self.max_backlog + self.workers.ranks[0].count
        if not info.flags & FLAG_BEHIND and self.jobs.behind.last != NULL and over_bound(&self.jobs, job, most, self.max_queued_bytes):
            self.refuse(take_last(&self.jobs), 503)
        if job.strikes >= TOO_MANY_STRIKES:
            self.refuse(job, 500)
        elif info.time_left < 0:
            self.refuse(job, 504)
        elif (
            (job.deadline and wait and wait + self.mean() > info.time_left)
            or over_bound(&self.jobs, job, most, self.max_queued_bytes)
            or job_enter(&self.jobs, job) != 0
        ):
            self.refuse(job, 503)
        else:
            enqueue(&self.jobs, job)
        return fresh

    cdef void refuse(self, Job* job, int status) noexcept nogil:
        """The job stands in no list and not in the table."""
        if status == 500:
            self.count.failed += 1
        elif status == 502:
            self.count.unrepeatable += 1
        elif status == 503:
            self.count.overflowed += 1
        else:
            self.count.expired += 1
        # Only those may be told who speak our extension. A foreign worker passes a proxy's info on as it came.
        if (size_of(&job.sender) and (not job.info.extended or job.info.flags & FLAG_FROM_PROXY)) or (
            self.jobs.refusals.count >= MOST_REFUSALS + self.max_backlog
        ):
            self.count.untold += 1
            job_free(&self.jobs, job)
            return
        drop_payload(&self.jobs, job)
        job.status = status
        append(&self.jobs.refusals, job, REFUSED)

    # --- workers speak ------------------------------------------------------------------------------------------------------------------

    cdef int heard(self, Multipart* message, int64_t now) noexcept nogil:
        cdef Report report
        cdef Worker* worker
        cdef Message* heartbeat
        cdef const char* id
        cdef size_t size
        cdef bint reports = message.size == 3
        cdef int fresh = 0
        if not 2 <= message.size <= 3 or size_of(frame(message, 0)) > MAX_ID or size_of(frame(message, 1)) > MOST_HEARTBEAT or (
            reports and read_report(data_of(frame(message, 2)), size_of(frame(message, 2)), &report) != 0
        ):
            self.count.malformed += 1
            return -1
        id = data_of(frame(message, 0))
        size, heartbeat = size_of(frame(message, 0)), frame(message, 1)
        worker = worker_find(&self.workers, id, size)
        if worker != NULL and worker.gone:
            if now - worker.heard < GONE_US:
                self.count.late += 1
                if reports:
                    self.heard_late(worker, &report)
                return 0
            worker_free(&self.workers, worker)
            worker = NULL
        if worker == NULL:
            if reports and report.flags & WORKER_LEAVING:
                greet(&self.greetings, TO_WORKER, id, size)
            elif self.known < MOST_WORKERS:
                worker = worker_new(&self.workers, id, size, now)
            if worker == NULL:
                self.count.late += 1
                return 0
            self.known += 1
            fresh = 1
        if reports:
            # The second greeting tells a worker that leaves that nothing more is on its way to it.
            if not worker.ours or (report.flags & WORKER_LEAVING and not worker.leaving):
                greet(&self.greetings, TO_WORKER, id, size)
            worker.ours = True
            if report.flags & WORKER_WISHES and not worker.wishes:
                worker.wishes = True
                worker.wished = now
                self.departures.wishing += 1
                tell(&self.greetings, TO_WORKER, id, size, WORD_STAY)
            self.heard_report(worker, &report, now)
        elif not worker.ours:
            self.heard_plain(worker, now)
        worker.heard = now
        if size_of(heartbeat) != size_of(&worker.heartbeat) or memcmp(
            data_of(heartbeat), data_of(&worker.heartbeat), size_of(heartbeat)
        ) != 0:
            zmq.msg_close(&worker.heartbeat)
            if copy_in(&worker.heartbeat, data_of(heartbeat), size_of(heartbeat)) == 0 and worker.rank == 0:
                reconsider(&self.jobs)
        if worker.leaving and worker.held.count == 0:
            self.forget(worker)
        else:
            self.rank(worker)
        return fresh

    cdef void heard_plain(self, Worker* worker, int64_t now) noexcept nogil:
        cdef Job* job = worker.held.first
        cdef bint doubt = worker.doubtful != NULL
        if doubt:
            job_free(&self.jobs, worker.doubtful)
            worker.doubtful = NULL
        if job == NULL:
            return
        doubt = doubt or (now - worker.heard >= BEAT_US and now - job.given <= CROSSING_US)
        if doubt and not job.cancelled:
            self.count.finished += 1
            self.let_go(job, worker)
            job_leave(&self.jobs, job)
            worker.doubtful = job
        else:
            self.finish(job, worker, now)

    cdef void heard_report(self, Worker* worker, const Report* report, int64_t now) noexcept nogil:
        cdef uint64_t life
        cdef uint64_t key
        cdef Job* job
        cdef int index
        for index in range(report.finished):
            report_key(report, index, &life, &key)
            job = job_held(&self.jobs, life, key, worker)
            if job != NULL:
                self.finish(job, worker, now)
            elif not report.flags & WORKER_LEAVING:  # then it names again what has been seen to be done
                self.count.unknown += 1
        # In their order to the front: the last one first.
        for index in range(report.finished + report.returned - 1, report.finished - 1, -1):
            report_key(report, index, &life, &key)
            job = job_held(&self.jobs, life, key, worker)
            if job == NULL:
                self.count.unknown += 1
                continue
            self.let_go(job, worker)
            if job.cancelled:
                job_end(&self.jobs, job)
                continue
            self.count.returned += 1
            job.gives -= 1
            requeue(&self.jobs, job)
        worker.window = 1 if report.window < 1 else self.max_window if report.window > self.max_window else report.window
        worker.leaving = report.flags & WORKER_LEAVING != 0
        worker.stalled = report.returned > 0 or report.busy > STALLED_WINDOWS * self.window_us
        worker.running_life = report.running_life
        worker.running_key = report.running_key
        # A job of an earlier life of this proxy: the worker isn't idle although it holds nothing of ours.
        worker.occupied = (
            report.busy > 0
            and not report.flags & WORKER_IDLE
            and job_held(&self.jobs, report.running_life, report.running_key, worker) == NULL
        )
        if report.flags & WORKER_STREAMS:
            job = job_held(&self.jobs, report.running_life, report.running_key, worker)
            if job != NULL:
                job.begun = True
                job.repeatable = False  # the client has got a part of it
        if report.busy >= LONG_US or report.service >= LONG_US:
            self.long_at = now
        if report.finished:
            worker.service = report.service
            self.learn(worker.service)
        while report.flags & WORKER_IDLE and worker.held.first != NULL and now - worker.held.first.given >= OVERDUE_US:
            self.finish(worker.held.first, worker, now)

    cdef void heard_late(self, Worker* worker, const Report* report) noexcept nogil:
        """What a lost worker had still finished need not be done again, as long as nobody else has it."""
        cdef uint64_t life
        cdef uint64_t key
        cdef Job* job
        cdef int index
        for index in range(report.finished):
            report_key(report, index, &life, &key)
            job = job_held(&self.jobs, life, key, NULL)
            if job != NULL and job.holder_serial == worker.serial:
                self.finish_queued(job)

    cdef bint done(self, const Info* info, int64_t now) noexcept nogil:
        cdef Job* job = job_done(&self.jobs, info)
        cdef Worker* worker
        cdef double took
        if job == NULL:
            return False
        worker = <Worker*>job.holder
        if worker == NULL:
            self.finish_queued(job)
            return True
        if not worker.ours:
            return False  # it says so itself
        took = <uint32_t>(info.served - job.info.served)
        if took >= LONG_US:
            self.long_at = now
        worker.service = took if worker.service < 0 else worker.service + (took - worker.service) / 8
        self.learn(worker.service)
        self.finish(job, worker, now)
        worker.stalled = False
        if worker.leaving and worker.held.count == 0:
            self.forget(worker)
        else:
            self.rank(worker)
        return True

    cdef void learn(self, double service) noexcept nogil:
        cdef double limit
        self.service = service if self.service < 0 else self.service + (service - self.service) / 8
        limit = self.window_us / self.service if self.service > 0 else self.window_us
        self.limit = 1 if limit < 1 else <int>limit if limit < MOST_HELD else MOST_HELD
        limit = limit * WAKE_US / self.window_us if self.window_us > WAKE_US else 0
        self.pack = <int>limit if limit < self.limit else self.limit

    cdef void let_go(self, Job* job, Worker* worker) noexcept nogil:
        """The worker holds the job no more, which stays in the table."""
        unlink(&worker.held, job)
        job.holder = NULL
        worker.alone = False
        self.held -= 1

    cdef void finish(self, Job* job, Worker* worker, int64_t now) noexcept nogil:
        cdef int64_t took
        if not job.cancelled:
            self.count.finished += 1
        if not job.begun:          # how long it took was up to its reader
            took = now - job.given
            self.turnaround = took if self.turnaround < 0 else self.turnaround + (took - self.turnaround) / 8
        worker.progress = now
        self.departures.worked = now
        self.let_go(job, worker)
        job_end(&self.jobs, job)

    cdef void finish_queued(self, Job* job) noexcept nogil:
        """Its worker was lost after it had said so."""
        self.count.finished += 1
        dequeue(&self.jobs, job)
        job_end(&self.jobs, job)

    cdef void rank(self, Worker* worker) noexcept nogil:
        if worker_rank(&self.workers, worker):
            reconsider(&self.jobs)

    cdef void forget(self, Worker* worker) noexcept nogil:
        """A worker that holds nothing."""
        if worker.doubtful != NULL:
            job_free(&self.jobs, worker.doubtful)
        self.departures.wishing -= worker.wishes
        worker_free(&self.workers, worker)
        self.known -= 1

    # --- workers die, clients leave, time passes ----------------------------------------------------------------------------------------

    cdef void lost(self, const char* id, size_t size, int64_t now) noexcept nogil:
        cdef Worker* worker = worker_find(&self.workers, id, size)
        cdef Job* running
        cdef Job* job
        cdef bint guess
        if worker == NULL or worker.gone:
            return
        self.count.lost += 1
        running = worker.held.first
        while running != NULL and (running.info.life != worker.running_life or running.key != worker.running_key):
            running = running.next
        # What was on its way to one that had finished all it had, and was leaving, has not begun.
        guess = running == NULL and not worker.leaving
        if guess:
            running = worker.held.first
        while worker.held.last != NULL:
            job = worker.held.last
            self.let_go(job, worker)
            if job.cancelled:
                job_end(&self.jobs, job)
            elif job == running:
                self.strike(job)
            else:
                self.count.redelivered += 1
                job.suspected |= guess
                requeue(&self.jobs, job)
        job = worker.doubtful
        worker.doubtful = NULL
        if job != NULL:
            if job.repeatable and not job_known(&self.jobs, job) and job_enter(&self.jobs, job) == 0:
                self.count.finished -= 1
                self.strike(job)
            else:
                job_free(&self.jobs, job)
        self.known -= 1
        self.departures.wishing -= worker.wishes
        worker_gone(&self.workers, worker, now)

    cdef void strike(self, Job* job) noexcept nogil:
        """Its worker died of it, perhaps: again, or never again."""
        self.count.strikes += 1
        job.strikes += TOO_MANY_STRIKES if job.suspected else 1
        if job.repeatable and job.strikes < TOO_MANY_STRIKES and job.gives < self.max_attempts:
            self.count.redelivered += 1
            requeue(&self.jobs, job)
            return
        job_leave(&self.jobs, job)
        if job.strikes >= TOO_MANY_STRIKES:
            self.log_poison(job.info.life, job.key)
        self.refuse(job, 500 if job.repeatable and job.strikes >= TOO_MANY_STRIKES else 502)

    cdef void unsent(self, Multipart* message, int64_t now) noexcept nogil:
        cdef Worker* worker
        cdef Job* job
        if message.size:
            worker = worker_find(&self.workers, data_of(frame(message, 0)), size_of(frame(message, 0)))
            if worker != NULL and not worker.gone and message.size > 2 and worker.held.last != NULL:
                job = worker.held.last
                self.let_go(job, worker)
                if job.cancelled:
                    job_end(&self.jobs, job)
                else:
                    job.gives -= 1
                    requeue(&self.jobs, job)
            self.lost(data_of(frame(message, 0)), size_of(frame(message, 0)), now)
        close_all(message)

    cdef void left(self, const char* peer, size_t size, int64_t now) noexcept nogil:
        peer_gone(&self.greetings, peer, size)

    cdef void end_life(self, uint64_t life) noexcept nogil:
        """Its clients are gone with the server. Rare, so the queues are searched; the workers, and by them the stages behind, are told."""
        cdef JobList* queues[3]
        cdef Worker* worker
        cdef Job* next
        cdef Job* job
        cdef size_t index
        if life == 0 or life == self.over:
            return
        self.over = life
        queues[0] = &self.jobs.backlog
        queues[1] = &self.jobs.declined
        queues[2] = &self.jobs.behind
        for index in range(3):
            next = queues[index].first
            while next != NULL:
                job = next
                next = job.next
                if job.info.life == life:
                    self.abandon(job)
        for index in range(self.workers.table.mask + 1):
            worker = <Worker*>self.workers.table.entries[index].item
            if worker == NULL or worker.gone:
                continue
            next = worker.held.first
            while next != NULL:
                job = next
                next = job.next
                if job.info.life == life and not job.cancelled:
                    self.abandon(job)
            if worker.ours:
                tell_over(&self.greetings, TO_WORKER, data_of(&worker.id), size_of(&worker.id), life)

    cdef void cancel(self, uint64_t life, uint64_t key, int64_t now) noexcept nogil:
        cdef Job* job
        while True:
            job = job_named(&self.jobs, life, key)
            if job == NULL:
                return
            self.abandon(job)

    cdef void abandon(self, Job* job) noexcept nogil:
        self.count.cancelled += 1
        if job.place == HELD:
            # The worker is told by the server's interrupt, and says when it has let go of it.
            job.cancelled = True
            self.jobs.size -= job.size
            drop_payload(&self.jobs, job)
            self.jobs.size += job.size
        else:
            dequeue(&self.jobs, job)
            job_end(&self.jobs, job)

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

    cdef size_t pending(self) noexcept nogil:
        return queued(&self.jobs) + self.held

    cdef double mean(self) noexcept nogil:
        return self.service if self.service >= 0 else max(self.turnaround, 0)

    cdef int64_t expected_wait(self, bint behind) noexcept nogil:
        cdef size_t ahead = ahead_of(&self.jobs, behind)
        if self.workers.ranks[0].count > ahead or self.known == 0:
            return 0
        return <int64_t>(self.mean() * (ahead + self.held) / self.known)

    cdef int64_t drained_in(self) noexcept nogil:
        return <int64_t>(self.mean() * self.pending() / self.known) if self.known else 0

    # --- decisions ----------------------------------------------------------------------------------------------------------------------

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
        job.holder = worker
        job.holder_serial = worker.serial
        job.given = now
        worker.alone = job.strikes > 0 or job.suspected
        self.held += 1
        worker_rank(&self.workers, worker)
        return 0

    cdef int take_refusal(self, Multipart* into, int64_t now) noexcept nogil:
        """Its kind, or 0 without memory."""
        cdef Job* job = self.jobs.refusals.first
        cdef int kind = TO_UPSTREAM if size_of(&job.sender) else TO_SESSIONS
        unlink(&self.jobs.refusals, job)
        if write_refusal(into, job, self.drained_in(), now) != 0:
            self.count.untold += 1
            kind = 0
        job_free(&self.jobs, job)
        return kind

    # --- Python's part ------------------------------------------------------------------------------------------------------------------

    cdef void log_poison(self, uint64_t life, uint64_t key) noexcept with gil:
        logger.error(
            "job id %d time_stamp %d life %016x: %d workers died while it ran, it is given to nobody",
            key & 0xffffffff, key >> 32, life, TOO_MANY_STRIKES,
        )

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
            "service_us": round(self.service if self.service >= 0 else self.turnaround if self.turnaround >= 0 else 0, 1),
            "wait_us": self.expected_wait(False),
            "window": self.limit if self.limit < self.max_window else self.max_window,
        }
