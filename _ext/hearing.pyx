"""What workers say of their jobs to their proxy, and what it sees of them.

A plain worker, of the original, says `[heartbeat]`: whatever it held is finished, and it holds one job at most. Ours adds a
report that names what is finished and what is handed back, and only names count: an idle flag may have crossed with a job on its way. For a plain
worker this crossing can't be told from a finished job: it repeats its heartbeat every second while it is idle, and one may have been sent just
before a job reached it. So a heartbeat that comes about a second after the last one and right after a job was given finishes that job, as nearly
always it is, but leaves it doubtful: its copy is kept until the worker's next heartbeat, and goes to another if the worker dies before. (A request
that was answered nevertheless is then answered twice, which servers drop.) Its next job inherits the doubt, until a heartbeat finds none with it.

Where the server is hosted beside us, the hub sees results and what goes to a next stage hosted here, and tells us what is `done` by it: our workers
then report nothing. Only the attempt that the worker was given counts, as a late result may be of one before. If such a message is lost its worker
says that it is idle while it seems to be busy, and after five seconds of that it is believed.

A worker that leaves is greeted once more when it says so; one that wishes to leave is told when it may (departures.pyx).
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp

from prime_server._ext.greetings cimport greet, tell
from prime_server._ext.info cimport WORD_STAY, WORKER_IDLE, WORKER_LEAVING, WORKER_STREAMS, WORKER_WISHES, read_report, report_key
from prime_server._ext.jobs cimport Job, job_done, job_end, job_free, job_held, job_leave, reconsider, requeue
from prime_server._ext.libzmq cimport Message, copy_in, data_of, frame, size_of, zmq
from prime_server._ext.outgoing cimport TO_WORKER
from prime_server._ext.scheduling cimport LONG_US
from prime_server._ext.workers cimport GONE_US, MAX_ID, MOST_HELD, worker_find, worker_free, worker_new, worker_rank

cdef enum:
    MOST_WORKERS = 65536
    MOST_HEARTBEAT = 4096      # bytes of what a worker favours
    BEAT_US = 900_000          # the original's workers repeat their heartbeat every second
    CROSSING_US = 20_000       # a job is with its worker by then
    OVERDUE_US = 5_000_000     # a worker that is idle has done a job that it was given so long ago: what told us so was lost


cdef class Hearing(Holding):
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
        worker.direct = report.direct
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
