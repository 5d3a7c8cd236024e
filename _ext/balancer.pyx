"""One proxy's decisions: which worker gets which job, and what becomes of those whose worker is gone.

A core without I/O: the hub tells it of jobs (`submit`), of what workers say (`heard`), of their end (`lost`, `unsent`), of clients that left
(`cancel`) and of time (`tick`), and takes what is to be sent (`take`, until it has nothing more). Nothing is decided before it is taken, so
each decision knows of everything that came in the same round. No call does work that grows with the number of workers or the length of the backlog.

**Order.** Jobs wait in one backlog, first in, first out; what comes back from a worker goes to its front. Only its head is considered: when that
job needs an idle worker and there is none, those behind it wait too, or a stream of short jobs could keep every worker busy and starve it for ever.

**Whom.** The idle worker that has been idle longest; without one, a worker of ours whose window has room, while the stage's service time says that the
job would wait less than `window_us` behind what that worker holds. It gets nothing more once what it runs takes long. A job that may not be
repeated, and one that has killed a worker, is given to an idle worker only, the latter alone: nothing is put behind it.

**Two kinds of workers.** A plain one, of the original, says `[heartbeat]`: whatever it held is finished, and it holds one job at most. Ours adds a report
that names what is finished and what is handed back, and from then on only names count: an idle flag may have crossed with a job on its way.
For a plain worker this crossing can't be told from a finished job: it repeats its heartbeat every second while it is idle, and one may have been sent
just before a job reached it. So a heartbeat that comes about a second after the last one and right after a job was given finishes
that job, as nearly always it is, but leaves it doubtful: its copy is kept until the worker's next heartbeat, and goes to another if the worker
dies before. (A request that was answered nevertheless is then answered twice, which servers drop.) Its next job inherits the doubt, until a heartbeat
finds nothing with the worker.

**Death.** Of a lost worker's jobs, the running one takes a strike: the one that it last reported as running, else the oldest it holds. The rest has not begun
and goes to others. What may not be repeated is refused with 502, what has two strikes with 500, and given to nobody.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from prime_server._ext.clock cimport now_us
from prime_server._ext.info cimport (
    FLAG_FROM_PROXY,
    FLAG_REFUSAL,
    WORKER_IDLE,
    WORKER_LEAVING,
    Info,
    read_info,
    read_report,
    report_key,
    set_code,
    write_hello,
    write_info,
)
from prime_server._ext.jobs cimport (
    DECLINED,
    HELD,
    NOWHERE,
    QUEUED,
    REFUSED,
    append,
    drop_payload,
    earliest,
    job_enter,
    job_free,
    job_held,
    job_known,
    job_leave,
    job_named,
    job_new,
    job_settle,
    job_unsettle,
    jobs_end,
    jobs_start,
    prepend,
    unlink,
)
from prime_server._ext.libzmq cimport (
    MAX_FRAMES,
    Frame,
    add,
    close_all,
    copy_in,
    data_of,
    frame,
    size_of,
    start,
    zmq,
)
from prime_server._ext.workers cimport (
    MAX_ID,
    MOST_HELD,
    lowest,
    peer_is_new,
    peers_end,
    peers_start,
    worker_find,
    worker_free,
    worker_gone,
    worker_new,
    worker_rank,
    workers_end,
    workers_start,
)

import logging
import operator
import secrets

logger = logging.getLogger("prime_server.balancer")

cdef extern from "Python.h":
    void PyErr_SetInterrupt()

cdef enum:
    MOST_WORKERS = 65536
    MOST_PEERS = 1024          # upstream peers remembered as greeted; one that is forgotten is greeted again
    MOST_HELLOS = 65536        # waiting to be taken
    MOST_REFUSALS = 65536      # waiting to be taken, over the backlog's bound
    MOST_HEARTBEAT = 4096      # bytes of what a worker favours
    LOOK_AHEAD = 128           # jobs that `choose` may decline before those behind them must wait
    INLINE_SIZE = 33           # libzmq keeps frames up to this size inside of the message
    TOO_MANY_STRIKES = 2
    STALLED_WINDOWS = 4        # a job that runs for so many times window_us takes long
    ASK_AGAIN_US = 100_000     # `choose` may depend on more than what we see
    GONE_US = 50_000           # what a lost worker had sent before is read long before that; a connection comes back after 100 ms at the least
    BEAT_US = 900_000          # the original's workers repeat their heartbeat every second
    CROSSING_US = 20_000       # a job is with its worker by then
    LOG_US = 1_000_000

cdef int64_t FAR = <int64_t>1 << 52  # us: 142 years
cdef int64_t MOST_32 = 0xffffffff


cdef inline int bounded8(int value) noexcept nogil:
    return value if value < 0xff else 0xff


cdef inline uint32_t bounded32(int64_t value) noexcept nogil:
    return <uint32_t>value if value < MOST_32 else <uint32_t>MOST_32


cdef inline int64_t sooner(int64_t one, int64_t other) noexcept nogil:
    return other if one < 0 or other < one else one


cdef int fill(Multipart* parts, object frames) except -1:
    """A message with copies of the frames."""
    cdef Py_buffer view
    cdef Message* slot
    cdef int status
    start(parts)
    try:
        for source in frames:
            PyObject_GetBuffer(source, &view, PyBUF_SIMPLE)
            slot = add(parts)
            status = copy_in(slot, view.buf, view.len) if slot != NULL else 0
            PyBuffer_Release(&view)
            if status != 0:
                raise MemoryError()
            if slot == NULL:
                parts.surplus = True
    except:
        close_all(parts)
        raise
    return 0


cdef class Balancer:
    def __cinit__(
        self,
        *,
        max_backlog=16384,
        max_queued_bytes=256 << 20,
        max_attempts=3,
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
        if choose is not None and not callable(choose):
            raise TypeError(f"choose is a function of the idle workers' heartbeats and the job, not {choose!r}")
        self.life = life if life is not None else secrets.randbits(64) or 1
        self.choose = choose
        self.max_backlog = max_backlog
        self.max_queued_bytes = max_queued_bytes
        self.max_attempts = max_attempts
        self.max_window = max_window
        self.window_us = window_us
        self.limit = 1
        self.service = -1
        self.turnaround = -1
        self.logged_at = -LOG_US
        if jobs_start(&self.jobs, seed) != 0 or workers_start(&self.workers, seed) != 0 or peers_start(&self.peers, MOST_PEERS, seed) != 0:
            raise MemoryError()

    def __dealloc__(self):
        cdef size_t index
        cdef Worker* worker
        cdef Hello* hello
        if self.workers.table.entries != NULL:
            for index in range(self.workers.table.mask + 1):
                worker = <Worker*>self.workers.table.entries[index].item
                if worker != NULL:
                    self.free_all(&worker.held)
                    if worker.doubtful != NULL:
                        job_free(&self.jobs, worker.doubtful)
        self.free_all(&self.backlog)
        self.free_all(&self.declined)
        self.free_all(&self.refusals)
        while self.first_hello != NULL:
            hello = self.first_hello
            self.first_hello = hello.next
            zmq.msg_close(&hello.id)
            free(hello)
        workers_end(&self.workers)
        peers_end(&self.peers)
        jobs_end(&self.jobs)

    cdef void free_all(self, JobList* jobs) noexcept nogil:
        cdef Job* job
        while jobs.first != NULL:
            job = jobs.first
            unlink(jobs, job)
            job_free(&self.jobs, job)

    # --- jobs come ----------------------------------------------------------------------------------------------------------------------

    cdef int submit(self, Multipart* frames, const char* sender, size_t sender_size, int64_t now) noexcept nogil:
        cdef Info info
        cdef Job* job
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
        if sender_size and info.extended and not info.flags & FLAG_FROM_PROXY and peer_is_new(&self.peers, sender, sender_size):
            self.greet(TO_UPSTREAM, sender, sender_size)
        job = job_new(&self.jobs, frames, &info)
        if job == NULL or (sender_size and copy_in(&job.sender, sender, sender_size) != 0):
            # Without memory for so little there is none to answer with.
            self.count.overflowed += 1
            self.count.untold += 1
            if job != NULL:
                job_free(&self.jobs, job)
            else:
                close_all(frames)
            return 0
        if job_known(&self.jobs, job):
            self.count.duplicates += 1
            job_free(&self.jobs, job)
            return 0
        self.count.received += 1
        job.arrived = now
        if info.time_left:
            job.deadline = now + (info.time_left if info.time_left < FAR else FAR)
        if job.strikes >= TOO_MANY_STRIKES:
            self.refuse(job, 500)
        elif info.time_left < 0:
            self.refuse(job, 504)
        elif (
            # Those for whom an idle worker is there will not wait. A single job is taken however big it is.
            self.backlog.count + self.declined.count >= self.max_backlog + self.workers.ranks[0].count
            or (self.jobs.size + job.size > self.max_queued_bytes and self.jobs.table.count)
            or job_enter(&self.jobs, job) != 0
        ):
            self.refuse(job, 503)
        else:
            append(&self.backlog, job, QUEUED)
        return 0

    cdef void dequeue(self, Job* job) noexcept nogil:
        unlink(&self.backlog if job.place == QUEUED else &self.declined, job)
        job_unsettle(&self.jobs, job)

    cdef void requeue(self, Job* job) noexcept nogil:
        """To the front of the backlog."""
        job_settle(&self.jobs, job)
        prepend(&self.backlog, job, QUEUED)

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
            self.refusals.count >= MOST_REFUSALS + self.max_backlog
        ):
            self.count.untold += 1
            job_free(&self.jobs, job)
            return
        drop_payload(&self.jobs, job)
        job.status = status
        append(&self.refusals, job, REFUSED)

    cdef void greet(self, int kind, const char* id, size_t size) noexcept nogil:
        cdef Hello* hello
        if self.hellos >= MOST_HELLOS:
            return
        hello = <Hello*>malloc(sizeof(Hello))
        if hello == NULL:
            return
        if copy_in(&hello.id, id, size) != 0:
            free(hello)
            return
        hello.kind = kind
        hello.next = NULL
        if self.last_hello != NULL:
            self.last_hello.next = hello
        else:
            self.first_hello = hello
        self.last_hello = hello
        self.hellos += 1

    # --- workers speak ------------------------------------------------------------------------------------------------------------------

    cdef int heard(self, Multipart* message, int64_t now) noexcept nogil:
        cdef Report report
        cdef Worker* worker
        cdef Message* heartbeat
        cdef const char* id
        cdef size_t size
        cdef bint reports = message.size == 3
        if not 2 <= message.size <= 3 or size_of(frame(message, 0)) > MAX_ID or size_of(frame(message, 1)) > MOST_HEARTBEAT or (
            reports and read_report(data_of(frame(message, 2)), size_of(frame(message, 2)), &report) != 0
        ):
            self.count.malformed += 1
            close_all(message)
            return -1
        id = data_of(frame(message, 0))
        size = size_of(frame(message, 0))
        heartbeat = frame(message, 1)
        worker = worker_find(&self.workers, id, size)
        if worker != NULL and worker.gone:
            if now - worker.heard < GONE_US:
                self.count.late += 1
                if reports:
                    self.heard_late(worker, &report)
                close_all(message)
                return 0
            worker_free(&self.workers, worker)
            worker = NULL
        if worker == NULL:
            if not reports or not report.flags & WORKER_LEAVING:
                worker = worker_new(&self.workers, id, size, now) if self.known < MOST_WORKERS else NULL
                if worker != NULL:
                    self.known += 1
            if worker == NULL:
                self.count.late += 1
                close_all(message)
                return 0
        if reports:
            if not worker.ours:
                worker.ours = True
                self.greet(TO_WORKER, id, size)
            self.heard_report(worker, &report, now)
        elif not worker.ours:
            self.heard_plain(worker, now)
        worker.heard = now
        if size_of(heartbeat) != size_of(&worker.heartbeat) or memcmp(
            data_of(heartbeat), data_of(&worker.heartbeat), size_of(heartbeat)
        ) != 0:
            zmq.msg_close(&worker.heartbeat)
            if copy_in(&worker.heartbeat, data_of(heartbeat), size_of(heartbeat)) == 0 and worker.rank == 0:
                self.ask_again()
        close_all(message)
        if worker.leaving and worker.held.count == 0:
            self.forget(worker)
        else:
            self.rank(worker)
        return 0

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
            else:
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
                job_leave(&self.jobs, job)
                job_free(&self.jobs, job)
                continue
            self.count.returned += 1
            job.gives -= 1
            self.requeue(job)
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
        if report.finished:
            self.learn(report)

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
                self.count.finished += 1
                self.dequeue(job)
                job_leave(&self.jobs, job)
                job_free(&self.jobs, job)

    cdef void learn(self, const Report* report) noexcept nogil:
        cdef double limit
        self.service = report.service if self.service < 0 else self.service + (report.service - self.service) / 8
        limit = self.window_us / self.service if self.service * MOST_HELD > self.window_us else MOST_HELD
        self.limit = <int>limit if limit >= 1 else 1

    cdef void let_go(self, Job* job, Worker* worker) noexcept nogil:
        """The worker holds the job no more, which stays in the table."""
        unlink(&worker.held, job)
        job.holder = NULL
        worker.alone = False
        self.held -= 1

    cdef void finish(self, Job* job, Worker* worker, int64_t now) noexcept nogil:
        if not job.cancelled:
            self.count.finished += 1
        self.turnaround = now - job.given if self.turnaround < 0 else self.turnaround + (now - job.given - self.turnaround) / 8
        worker.progress = now
        self.let_go(job, worker)
        job_leave(&self.jobs, job)
        job_free(&self.jobs, job)

    cdef void rank(self, Worker* worker) noexcept nogil:
        if worker_rank(&self.workers, worker):
            self.ask_again()

    cdef void forget(self, Worker* worker) noexcept nogil:
        """A worker that holds nothing."""
        if worker.doubtful != NULL:
            job_free(&self.jobs, worker.doubtful)
        worker_free(&self.workers, worker)
        self.known -= 1

    # --- workers die, clients leave, time passes ----------------------------------------------------------------------------------------

    cdef void lost(self, const char* id, size_t size, int64_t now) noexcept nogil:
        cdef Worker* worker = worker_find(&self.workers, id, size)
        cdef Job* running
        cdef Job* job
        if worker == NULL or worker.gone:
            return
        self.count.lost += 1
        running = worker.held.first
        while running != NULL and (running.info.life != worker.running_life or running.key != worker.running_key):
            running = running.next
        if running == NULL:
            running = worker.held.first
        while worker.held.last != NULL:
            job = worker.held.last
            self.let_go(job, worker)
            if job.cancelled:
                job_leave(&self.jobs, job)
                job_free(&self.jobs, job)
            elif job == running:
                self.strike(job, now)
            else:
                self.count.redelivered += 1
                self.requeue(job)
        job = worker.doubtful
        worker.doubtful = NULL
        if job != NULL:
            if job.repeatable and not job_known(&self.jobs, job) and job_enter(&self.jobs, job) == 0:
                self.count.finished -= 1
                self.strike(job, now)
            else:
                job_free(&self.jobs, job)
        self.known -= 1
        worker_gone(&self.workers, worker, now)

    cdef void strike(self, Job* job, int64_t now) noexcept nogil:
        """Its worker died of it, perhaps: again, or never again."""
        self.count.strikes += 1
        job.strikes += 1
        if job.repeatable and job.strikes < TOO_MANY_STRIKES and job.gives < self.max_attempts:
            self.count.redelivered += 1
            self.requeue(job)
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
                    job_leave(&self.jobs, job)
                    job_free(&self.jobs, job)
                else:
                    job.gives -= 1
                    self.requeue(job)
            self.lost(data_of(frame(message, 0)), size_of(frame(message, 0)), now)
        close_all(message)

    cdef void cancel(self, uint64_t life, uint64_t key, int64_t now) noexcept nogil:
        cdef Job* job
        while True:
            job = job_named(&self.jobs, life, key)
            if job == NULL:
                return
            self.count.cancelled += 1
            if job.place == HELD:
                # The worker is told by the server's interrupt, and says when it has let go of it.
                job.cancelled = True
                self.jobs.size -= job.size
                drop_payload(&self.jobs, job)
                self.jobs.size += job.size
            else:
                self.dequeue(job)
                job_leave(&self.jobs, job)
                job_free(&self.jobs, job)

    cdef int64_t tick(self, int64_t now) noexcept nogil:
        cdef int64_t next = -1
        cdef Job* job
        self.settle()
        while True:
            job = earliest(&self.jobs)
            if job == NULL or job.deadline > now:
                break
            self.dequeue(job)
            job_leave(&self.jobs, job)
            self.refuse(job, 504)
        while self.workers.gone.first != NULL and now - self.workers.gone.first.heard >= GONE_US:
            worker_free(&self.workers, self.workers.gone.first)
        if self.declined.count and now - self.declined_at >= ASK_AGAIN_US:
            self.ask_again()
        if self.refusals.count:
            return now
        if job != NULL:
            next = job.deadline
        if self.workers.gone.first != NULL:
            next = sooner(next, self.workers.gone.first.heard + GONE_US)
        if self.declined.count:
            next = sooner(next, self.declined_at + ASK_AGAIN_US)
        return next

    cdef size_t pending(self) noexcept nogil:
        return self.backlog.count + self.declined.count + self.held

    # --- decisions ----------------------------------------------------------------------------------------------------------------------

    cdef int take(self, Multipart* into, int64_t now) noexcept nogil:
        cdef Worker* worker
        cdef Job* job
        cdef int kind
        if self.first_hello != NULL:
            return self.take_hello(into)
        while True:
            while self.refusals.first != NULL:
                kind = self.take_refusal(into, now)
                if kind:
                    return kind
            job = self.backlog.first
            if job == NULL:
                break
            if job.deadline and job.deadline <= now:
                self.dequeue(job)
                job_leave(&self.jobs, job)
                self.refuse(job, 504)
                continue
            worker = self.pick(job, now)
            if worker != NULL:
                if self.give(job, worker, into, now) != 0:
                    break
                return TO_WORKER
            if job.place == QUEUED:
                break
        self.settle()
        return 0

    cdef Worker* pick(self, Job* job, int64_t now) noexcept nogil:
        """The worker for it, or NULL; `choose` may have moved the job to the declined ones then."""
        cdef Worker* worker
        cdef int rank
        while True:
            rank = lowest(&self.workers)
            if rank < 0:
                return NULL
            worker = self.workers.ranks[rank].first
            if self.choose is not None:
                return self.chosen(job, now) if rank == 0 else NULL
            if rank == 0:
                return worker
            if rank >= self.limit or not job.repeatable or job.strikes:
                return NULL
            if now - worker.progress <= STALLED_WINDOWS * self.window_us:
                return worker
            worker.stalled = True
            worker_rank(&self.workers, worker)

    cdef Worker* chosen(self, Job* job, int64_t now) noexcept nogil:
        cdef Worker* worker
        cdef int index
        if self.declined.count >= LOOK_AHEAD:
            return NULL
        index = self.ask(job, now)
        if index < 0:
            if self.declined.count == 0:
                self.declined_at = now
            unlink(&self.backlog, job)
            append(&self.declined, job, DECLINED)
            job_settle(&self.jobs, job)
            return NULL
        worker = self.workers.ranks[0].first
        while index:
            worker = worker.next
            index -= 1
        return worker

    cdef void ask_again(self) noexcept nogil:
        """The declined jobs take their place before the backlog again."""
        cdef Job* job
        while self.declined.last != NULL:
            job = self.declined.last
            unlink(&self.declined, job)
            prepend(&self.backlog, job, QUEUED)

    cdef int give(self, Job* job, Worker* worker, Multipart* into, int64_t now) noexcept nogil:
        """0, or -1 without memory, with nothing changed."""
        cdef int64_t waited = now - job.arrived if now > job.arrived else 0
        cdef Message* original = frame(&job.frames, 0)
        cdef Message* slot
        cdef Info info
        cdef int index
        start(into)
        slot = add(into)
        zmq.msg_init(slot)
        zmq.msg_copy(slot, &worker.id)
        slot = add(into)
        if job.info.extended:
            info = job.info
            info.flags |= FLAG_FROM_PROXY
            info.attempt = bounded8(info.attempt + job.gives + 1)
            info.strikes = bounded8(job.strikes)
            if info.hops < 0xffff:
                info.hops += 1
            info.queued = bounded32(info.queued + waited)
            if info.time_left:
                info.time_left -= waited
            if write_info(slot, &info, original) != 0:
                close_all(into)
                return -1
        else:
            zmq.msg_init(slot)
            zmq.msg_copy(slot, original)
        for index in range(1, job.frames.size):
            slot = add(into)
            if slot == NULL:
                close_all(into)
                return -1
            zmq.msg_init(slot)
            zmq.msg_copy(slot, frame(&job.frames, index))
        self.count.dispatched += 1
        self.dequeue(job)
        if worker.held.count == 0:
            worker.progress = now
            worker.stalled = False
        append(&worker.held, job, HELD)
        job.holder = worker
        job.holder_serial = worker.serial
        job.given = now
        job.gives += 1
        worker.alone = job.strikes > 0
        self.held += 1
        worker_rank(&self.workers, worker)
        return 0

    cdef int take_hello(self, Multipart* into) noexcept nogil:
        cdef Hello* hello = self.first_hello
        cdef int kind = hello.kind
        self.first_hello = hello.next
        if hello.next == NULL:
            self.last_hello = NULL
        self.hellos -= 1
        start(into)
        memcpy(add(into), &hello.id, sizeof(Message))
        free(hello)
        # Without memory an empty frame goes out, which is no hello.
        write_hello(add(into), self.life)
        return kind

    cdef int take_refusal(self, Multipart* into, int64_t now) noexcept nogil:
        """Its kind, or 0 without memory."""
        cdef Job* job = self.refusals.first
        cdef int kind = TO_UPSTREAM if size_of(&job.sender) else TO_SESSIONS
        cdef Info info = job.info
        cdef int64_t waited = now - job.arrived if now > job.arrived else 0
        cdef int status
        unlink(&self.refusals, job)
        start(into)
        if kind == TO_UPSTREAM:
            memcpy(add(into), &job.sender, sizeof(Message))
            zmq.msg_init(&job.sender)
        set_code(&info, job.status)
        if info.extended:
            info.flags = (info.flags & ~FLAG_FROM_PROXY) | FLAG_REFUSAL
            info.attempt = bounded8(info.attempt + job.gives)
            info.strikes = bounded8(job.strikes)
            info.queued = bounded32(info.queued + waited)
            if info.time_left:
                info.time_left = info.time_left - waited if info.time_left > waited else -1
        status = write_info(add(into), &info, frame(&job.frames, 0))
        job_free(&self.jobs, job)
        if status != 0:
            self.count.untold += 1
            close_all(into)
            return 0
        return kind

    cdef void settle(self) noexcept nogil:
        """What is still queued when a round is over waits."""
        cdef Job* job = self.backlog.last
        while job != NULL and not job.settled:
            job_settle(&self.jobs, job)
            job = job.previous

    # --- Python's part ------------------------------------------------------------------------------------------------------------------

    cdef int ask(self, Job* job, int64_t now) noexcept with gil:
        """The index of the idle worker that `choose` picks, or -1."""
        cdef Worker* worker = self.workers.ranks[0].first
        cdef Message message
        cdef int index
        try:
            self.asking = True
            heartbeats = []
            while worker != NULL:
                heartbeats.append(PyBytes_FromStringAndSize(data_of(&worker.heartbeat), size_of(&worker.heartbeat)))
                worker = worker.next
            frames = []
            for index in range(1, job.frames.size):
                zmq.msg_init(&message)
                zmq.msg_copy(&message, frame(&job.frames, index))
                frames.append(Frame.take(&message))
            choice = self.choose(heartbeats, frames)
            if choice is None:
                return -1
            index = operator.index(choice)
            if 0 <= index < len(heartbeats):
                return index
            raise ValueError(f"choose returns the index of one of {len(heartbeats)} heartbeats or None, not {choice!r}")
        except KeyboardInterrupt:
            PyErr_SetInterrupt()  # for whoever waits for it
            return 0
        except BaseException:
            if now - self.logged_at >= LOG_US:
                logger.exception("choose failed, the first idle worker is taken; %d such failures were not logged", self.unlogged)
                self.logged_at = now
                self.unlogged = 0
            else:
                self.unlogged += 1
            return 0
        finally:
            self.asking = False

    cdef void log_poison(self, uint64_t life, uint64_t key) noexcept with gil:
        logger.error(
            "job id %d time_stamp %d life %016x: %d workers died while it ran, it is given to nobody",
            key & 0xffffffff, key >> 32, life, TOO_MANY_STRIKES,
        )

    cdef int64_t clock(self, object now) except? -1:
        if self.asking:
            raise RuntimeError("a balancer can't be used from within its own choose function")
        return now_us() if now is None else now

    def submit_frames(self, frames, sender=b"", *, now=None):
        cdef Multipart parts
        cdef bytes name = bytes(sender)
        cdef int64_t at = self.clock(now)
        fill(&parts, frames)
        return self.submit(&parts, name, len(name), at) == 0

    def heard_frames(self, frames, *, now=None):
        cdef Multipart parts
        cdef int64_t at = self.clock(now)
        fill(&parts, frames)
        return self.heard(&parts, at) == 0

    def lost_worker(self, worker, *, now=None):
        cdef bytes name = bytes(worker)
        self.lost(name, len(name), self.clock(now))

    def unsent_frames(self, frames, *, now=None):
        cdef Multipart parts
        cdef int64_t at = self.clock(now)
        fill(&parts, frames)
        self.unsent(&parts, at)

    def cancel_request(self, life, key, *, now=None):
        self.cancel(life, key, self.clock(now))

    def tick_at(self, now=None):
        cdef int64_t next = self.tick(self.clock(now))
        return next if next >= 0 else None

    def take_frames(self, now=None):
        cdef Multipart parts
        cdef int kind = self.take(&parts, self.clock(now))
        cdef int index
        if kind == 0:
            return None
        try:
            frames = [PyBytes_FromStringAndSize(data_of(frame(&parts, index)), size_of(frame(&parts, index))) for index in range(parts.size)]
        finally:
            close_all(&parts)
        return {TO_WORKER: "worker", TO_UPSTREAM: "upstream", TO_SESSIONS: "sessions"}[kind], frames

    def __len__(self):
        return self.pending()

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
            "refused": {500: count.failed, 502: count.unrepeatable, 503: count.overflowed, 504: count.expired},
            "untold": count.untold,
            "duplicates": count.duplicates,
            "malformed": count.malformed,
            "unknown": count.unknown,
            "late": count.late,
            "lost": count.lost,
            "backlog": self.backlog.count + self.declined.count,
            "held": self.held,
            "queued_bytes": self.jobs.size,
            "workers": self.known,
            "idle": self.workers.ranks[0].count,
            "busy": self.known - self.workers.ranks[0].count,
            "service_us": round(self.service if self.service >= 0 else self.turnaround if self.turnaround >= 0 else 0, 1),
            "window": self.limit if self.limit < self.max_window else self.max_window,
        }
