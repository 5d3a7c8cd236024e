"""What a server asks of the first stage: the jobs that wait to be sent, and those that are asked for again.

A proxy that was killed takes along what it held. When the server learns that it is replaced, by a new connection to the first one or from a worker
that has met another life, it sends again what is idempotent and still unanswered, from the first stage, a few times at most. Much of it may be with
workers, or through with the stage already: then it is done twice, and the first answer is taken. Requests are kept for it, at no cost in memory
but the frames' own, as messages are counted references.

What must not be repeated may be with a worker still, so its result is waited for. Workers of ours, when they meet the new proxy, name what they have
and what has gone through their hands; what nobody has named after two seconds was in the proxy and is lost. Of the other stages, and where workers
are the original's, nobody can tell: then it is waited for until its deadline, or for a minute where there is none.
"""

from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from prime_server._ext.info cimport FLAG_BEHIND, KEY_SIZE, Info, get_key, read_info, write_info
from prime_server._ext.libzmq cimport Message, close_all, data_of, frame, share, size_of, start, zmq

cdef enum:
    JOBS = 64                  # at first
    MOST_JOBS = 4096           # that room is kept for while there are none
    MOST_AGAIN = 3             # times that a request is sent again
    DOUBT_US = 60_000_000
    LOST_US = 2_000_000        # an idle worker speaks every second, a busy one four times
    CONNECTED_US = 50_000      # a connection comes back after 100 ms at the least, and we learn of it much sooner than in the other half


cdef class Asking(Connections):
    def __cinit__(self):
        self.jobs_room = JOBS
        self.jobs = <Multipart*>malloc(self.jobs_room * sizeof(Multipart))
        if self.jobs == NULL:
            raise MemoryError()

    def __dealloc__(self):
        cdef Multipart job
        while self.take_job(&job):
            close_all(&job)
        free(self.jobs)

    cdef Multipart* new_job(self) noexcept nogil:
        cdef Multipart* grown
        if self.jobs_end == self.jobs_room:
            grown = <Multipart*>realloc(self.jobs, 2 * self.jobs_room * sizeof(Multipart))
            if grown == NULL:
                return NULL
            self.jobs = grown
            self.jobs_room *= 2
        self.jobs_end += 1
        start(&self.jobs[self.jobs_end - 1])
        return &self.jobs[self.jobs_end - 1]

    cdef void shrink_jobs(self) noexcept nogil:
        cdef Multipart* less = <Multipart*>realloc(self.jobs, JOBS * sizeof(Multipart))
        if less != NULL:
            self.jobs = less
            self.jobs_room = JOBS

    cdef bint take_job(self, Multipart* into) noexcept nogil:
        if self.jobs_begin == self.jobs_end:
            self.jobs_begin = 0
            self.jobs_end = 0
            if self.jobs_room > MOST_JOBS:
                self.shrink_jobs()
            return False
        memcpy(into, &self.jobs[self.jobs_begin], sizeof(Multipart))
        self.jobs_begin += 1
        return True

    cdef Pending* wanted(self, Multipart* job) noexcept nogil:
        cdef Info info
        read_info(data_of(frame(job, 0)), size_of(frame(job, 0)), &info)
        return self.find(info.id, info.time_stamp)

    # --- again -------------------------------------------------------------------------------------------------------------------------

    cdef void met_proxy(self, uint64_t life, int64_t now) noexcept nogil:
        if self.proxy_life and life != self.proxy_life:
            self.doubt(life, now)
            if not self.sent_again:
                self.send_again(now)
        self.sent_again = False
        self.proxy_life = life

    cdef void met_anew(self, uint64_t former, uint64_t life, const char* keys, size_t size, int64_t now) noexcept nogil:
        cdef Pending* pending
        cdef uint64_t server, key
        cdef size_t at
        cdef int index
        if former == self.proxy_life:
            self.doubt(life, now)
        for at in range(size // KEY_SIZE):
            get_key(keys + at * KEY_SIZE, &server, &key)
            pending = self.find(<uint32_t>key, <uint32_t>(key >> 32))
            if pending != NULL and pending.safe != self.lost_life:
                pending.safe = life
        if former == self.proxy_life or life == self.proxy_life:
            return  # of the first one we know by ourselves
        for index in range(LIVES):
            if self.lives[index] == life:
                return
        self.lives[self.next_life] = life
        self.next_life = (self.next_life + 1) % LIVES
        self.send_again(now)

    cdef void reconnected(self, int64_t now) noexcept nogil:
        self.sent_again = True
        self.reconnected_at = now
        self.send_again(now)

    cdef void doubt(self, uint64_t life, int64_t now) noexcept nogil:
        if life == self.lost_life or self.plain_workers:
            return
        self.lost_life = life
        self.lost_at = now + LOST_US
        self.lost_before = (self.reconnected_at if self.sent_again else now) - CONNECTED_US

    cdef bint is_lost(self, const Pending* pending) noexcept nogil:
        return (
            0 < pending.sent < self.lost_before
            and pending.safe != self.lost_life
            and pending.sequence == 0
            and not 0 < pending.again < MOST_AGAIN
        )

    cdef void send_again(self, int64_t now) noexcept nogil:
        cdef Pending* pending = self.oldest
        while pending != NULL:
            if pending.sent and pending.sequence == 0 and pending.asked.size and pending.again < MOST_AGAIN and self.ask_again(pending, now) == 0:
                pending.again += 1
                self.repeated += 1
            pending = pending.newer
        if self.timeout <= 0:
            self.doubt_until = now + DOUBT_US
            self.doubted = now

    cdef int ask_again(self, Pending* pending, int64_t now) noexcept nogil:
        cdef Multipart* job
        cdef Message head
        cdef Info info
        read_info(data_of(frame(&pending.asked, 0)), size_of(frame(&pending.asked, 0)), &info)
        info.attempt = <unsigned char>(pending.again + 1)
        if pending.deadline:
            info.time_left = pending.deadline - now if pending.deadline > now else -1
        if write_info(&head, &info, NULL) != 0:
            return -1
        job = self.new_job()
        if job == NULL or share(job, &pending.asked) != 0:
            if job != NULL:
                self.jobs_end -= 1
            zmq.msg_close(&head)
            return -1
        zmq.msg_close(frame(job, 0))
        memcpy(frame(job, 0), &head, sizeof(Message))
        if not self.at_once:
            pending.sent = 0
        return 0

    cdef Pending* given_up(self, int64_t now) noexcept nogil:
        cdef Pending* pending = self.oldest
        if self.lost_at and now >= self.lost_at:
            while pending != NULL and not self.is_lost(pending):
                pending = pending.newer
            if pending != NULL:
                return pending
            self.lost_at = 0
        if self.doubt_until == 0 or now < self.doubt_until:
            return NULL
        pending = self.oldest
        while pending != NULL and (pending.sent == 0 or pending.sent > self.doubted or pending.sequence or 0 < pending.again < MOST_AGAIN):
            pending = pending.newer
        if pending == NULL:
            self.doubt_until = 0
        return pending

    # --- at its turn --------------------------------------------------------------------------------------------------------------------

    cdef void postpone(self, Pending* pending) noexcept nogil:
        cdef Multipart asked = pending.asked
        start(&pending.asked)
        self.forget(pending)
        pending.asked = asked
        pending.postponed = True

    cdef int ask_at_its_turn(self, Pending* pending, uint32_t id, uint32_t time_stamp, int64_t now) noexcept nogil:
        """As another request, since nobody waits for the former any more."""
        cdef Multipart* job
        cdef Message head
        cdef Info info
        pending.postponed = False
        if self.in_flight >= self.table_size and self.grow_table() != 0:
            return -1
        read_info(data_of(frame(&pending.asked, 0)), size_of(frame(&pending.asked, 0)), &info)
        info.id = id
        info.time_stamp = time_stamp
        info.flags &= ~<unsigned int>FLAG_BEHIND
        if write_info(&head, &info, NULL) != 0:
            return -1
        zmq.msg_close(frame(&pending.asked, 0))
        memcpy(frame(&pending.asked, 0), &head, sizeof(Message))
        job = self.new_job()
        if job == NULL or share(job, &pending.asked) != 0:
            if job != NULL:
                self.jobs_end -= 1
            return -1
        pending.id = id
        pending.time_stamp = time_stamp
        pending.sent = now if self.at_once else 0
        pending.deadline = now + self.timeout if self.timeout > 0 else 0
        self.enter(pending)
        return 0
