"""The jobs of one proxy, in line or with a worker, and how each ends: finished, refused, or dropped.

A worker holds a job from when it is given until it says, or we see, that it is done or handed back. A refused one waits until its refusal is taken:
only those may be told who speak our extension, the rest are counted. What nobody waits for any more is dropped from the line; with a worker it
stays, without its payload, until the worker lets go of it.

Servers come back with another life. What the old one had asked for is dropped then, here and in all stages behind, as its clients are gone.

What jobs take, of late, tells how long one that comes now would wait, and when who is refused may come again. None is refused for what a few long
ones took: then it waits, at worst until its deadline (estimate.pxd).
"""

from prime_server._ext.estimate cimport estimate_least, estimate_take
from prime_server._ext.greetings cimport greetings_end, greetings_start, tell_over
from prime_server._ext.info cimport FLAG_FROM_PROXY
from prime_server._ext.jobs cimport HELD, JobList, REFUSED, ahead_of, append, dequeue, drop_payload, free_all, job_end, job_free, job_named, jobs_end
from prime_server._ext.jobs cimport jobs_start, queued, unlink
from prime_server._ext.libzmq cimport data_of, size_of
from prime_server._ext.outgoing cimport TO_SESSIONS, TO_UPSTREAM, TO_WORKER, write_refusal
from prime_server._ext.workers cimport workers_end, workers_start

import secrets

cdef enum:
    MOST_REFUSALS = 65536      # waiting to be taken, over the backlog's bound


cdef class Holding:
    def __cinit__(self):
        cdef uint64_t seed = secrets.randbits(64)
        self.service = -1
        self.departures.kind = TO_WORKER
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

    cdef void let_go(self, Job* job, Worker* worker) noexcept nogil:
        """The worker holds the job no more, which stays in the table."""
        unlink(&worker.held, job)
        job.holder = NULL
        worker.alone = False
        self.held -= 1

    cdef void finish(self, Job* job, Worker* worker, int64_t now) noexcept nogil:
        if not job.cancelled:
            self.count.finished += 1
            if not job.begun:      # how long it took was up to its reader
                estimate_take(&self.taken, now - max(job.given, worker.progress))
        worker.progress = now
        self.departures.worked = now
        self.let_go(job, worker)
        job_end(&self.jobs, job)

    cdef void finish_queued(self, Job* job) noexcept nogil:
        """Its worker was lost after it had said so."""
        self.count.finished += 1
        dequeue(&self.jobs, job)
        job_end(&self.jobs, job)

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

    cdef size_t pending(self) noexcept nogil:
        return queued(&self.jobs) + self.held

    cdef double mean(self) noexcept nogil:
        return self.taken.mean if self.taken.samples else max(self.service, 0)

    cdef bint starved(self) noexcept nogil:
        return self.known > 0 and self.workers.ranks[0].count == 0 and queued(&self.jobs) > 0

    cdef size_t ahead(self, bint behind) noexcept nogil:
        """Jobs before one that comes now; 0 where it needn't wait for them, as far as is known."""
        cdef size_t ahead = ahead_of(&self.jobs, behind)
        return 0 if self.workers.ranks[0].count > ahead or self.known == 0 else ahead + self.held

    cdef int64_t expected_wait(self, bint behind) noexcept nogil:
        cdef size_t ahead = self.ahead(behind)
        return <int64_t>(self.mean() * ahead / self.known) if ahead else 0

    cdef int64_t least_wait(self, bint behind) noexcept nogil:
        cdef size_t ahead = self.ahead(behind)
        return <int64_t>(estimate_least(&self.taken, ahead) / self.known) if ahead else 0

    cdef int64_t drained_in(self) noexcept nogil:
        return <int64_t>(self.mean() * self.pending() / self.known) if self.known else 0
