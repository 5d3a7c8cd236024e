"""Workers that are lost, and what becomes of their jobs.

Of a lost worker's jobs, the running one takes a strike: the one that it last reported as running, else the oldest it holds. The rest has
not begun and goes to others. What may not be repeated is refused with 502, what has two strikes with 500, and given to nobody. Where the worker
had said nothing of what it runs, that is a guess, as it tells of finished jobs in batches: so all others are suspected, and each goes to an idle
worker alone. If that one dies too, it is known what of, and nobody else is to die of it.

A worker that is gone is remembered for a moment: what it had sent before may be read later, and its jobs need not be done again where that says so.
"""

from prime_server._ext.info cimport Info, key_of, read_info
from prime_server._ext.jobs cimport job_end, job_enter, job_free, job_held, job_known, job_leave, requeue
from prime_server._ext.libzmq cimport close_all, data_of, frame, size_of
from prime_server._ext.workers cimport Worker, worker_find, worker_gone

from prime_server.errors import logger


cdef class Losses(Hearing):
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

    cdef void give_back(self, Multipart* message) noexcept nogil:
        cdef Worker* worker = worker_find(&self.workers, data_of(frame(message, 0)), size_of(frame(message, 0)))
        cdef Job* job = NULL
        cdef Info info
        if worker != NULL and not worker.gone and message.size > 2:
            if read_info(data_of(frame(message, 1)), size_of(frame(message, 1)), &info) == 0:
                job = job_held(&self.jobs, info.life, key_of(&info), worker)
        if job == NULL:
            return
        self.let_go(job, worker)
        if job.cancelled:
            job_end(&self.jobs, job)
        else:
            job.gives -= 1
            requeue(&self.jobs, job)

    cdef void unsent(self, Multipart* message, int64_t now) noexcept nogil:
        if message.size:
            self.give_back(message)
            self.lost(data_of(frame(message, 0)), size_of(frame(message, 0)), now)
        close_all(message)

    cdef void log_poison(self, uint64_t life, uint64_t key) noexcept with gil:
        logger.error(
            "job id %d time_stamp %d life %016x: %d workers died while it ran, it is given to nobody",
            key & 0xffffffff, key >> 32, life, TOO_MANY_STRIKES,
        )
