"""What a worker holds, and what it tells the others: everything that its work thread and its guardian share, under one lock.

The work thread holds the lock whenever it isn't in the user's code; the guardian takes it only then. So each function here runs on one thread
at a time, never waits, and touches nothing of Python's.

From our proxy come jobs and hellos. A proxy that hasn't said hello may be one of the original's, which reads every message as "I am idle" and
sends exactly one job for it: until then that is all that is said, and one job at a time is taken. To one of ours we report what has been
finished and what is handed back, key by key, whenever it helps it: after a batch, and from the guardian when a job turns out long.

Where the server, the proxy and the next stage's are hosted in one hub, as their common life shows, the hub sees what we send anyway. So a job is
reported only if there is more to say than that it is done: that is half of the messages saved, and half of the wake-ups on both sides. What
the proxy must know besides, how much may wait here, is reported when it has changed by much. If that hub has started our process, small jobs come
and small results go by a direct way (direct.pyx).

From the server come interrupts; they are remembered, and jobs are looked up when they arrive, when they are taken and before they are handed
back, so the queue is never searched. Proxies hear no interrupts: where the job has lately gone through our hands to a next stage,
that stage's proxy is told by us. From the proxies of the next stages come hellos, and refusals, which are the server's to know.

What can go wrong: a malformed message is dropped and counted, and the work thread complains of it; a next stage whose proxy isn't there keeps
its messages here, where they count against the window, until it is.
"""

from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memchr, memcmp, memcpy, memset

from prime_server._ext.clock cimport now_us
from prime_server._ext.csocket cimport SHUT_RDWR, shutdown
from prime_server._ext.cthreads cimport atomic_load, atomic_store, mutex_destroy, mutex_init
from prime_server._ext.direct cimport FOR_NEXT_STAGE, FOR_SESSIONS, MALFORMED, DirectKind, direct_receive, pack_add, pack_send
from prime_server._ext.info cimport (
    BARE_INFO_SIZE,
    FLAG_CANCEL,
    FLAG_HEAD,
    FLAG_REFUSAL,
    WORKER_IDLE,
    WORKER_LEAVING,
    WORKER_STREAMS,
    WORKER_WISHES,
    Report,
    get_key,
    hello_word,
    key_of,
    put_key,
    read_hello,
    read_info,
    read_interrupt,
    write_cancel,
    write_report,
    write_restart,
)
from prime_server._ext.interrupts cimport interrupts_any, interrupts_end, interrupts_know, interrupts_remember, interrupts_start
from prime_server._ext.libzmq cimport Message, add, close_all, copy_in, data_of, frame, receive, send, size_of, start
from prime_server._ext.lifecycle cimport STOPPING, process_state

cdef enum:
    RELAYS = 64                # messages of others that may wait for the loopback beside our own
    CLOSE_TO_DEADLINE = 20000  # us
    EARS = 4096                # messages heard at once, so that a flood doesn't keep the worker from its work

cdef uint64_t NAMING = 0x9E3779B97F4A7C15
cdef uint64_t UNNAMING = 0xF1DE83E19937733D  # its inverse modulo 2^64


cdef int intake_start(Intake* self, void* upstream, void* loopback, void* interrupt, int limit, int stage_count) noexcept nogil:
    memset(self, 0, sizeof(Intake))
    self.upstream.socket = upstream
    self.loopback = loopback
    self.interrupt = interrupt
    self.direct = -1
    self.limit = limit
    self.capacity = 1
    while self.capacity < limit:
        self.capacity *= 2
    self.unsent_room = limit + RELAYS
    self.stage_count = stage_count
    mutex_init(&self.lock, NULL)
    interrupts_start(&self.interrupts)
    self.jobs = <WaitingJob*>malloc(self.capacity * sizeof(WaitingJob))
    self.unsent = <Unsent*>malloc(self.unsent_room * sizeof(Unsent))
    self.stages = <Peer*>calloc(stage_count + 1, sizeof(Peer))
    return -1 if self.jobs == NULL or self.unsent == NULL or self.stages == NULL else 0


cdef void intake_end(Intake* self) noexcept nogil:
    cdef int index
    for index in range(self.waiting):
        close_all(&self.jobs[(self.head + index) & (self.capacity - 1)].parts)
    for index in range(self.unsent_count):
        close_all(&self.unsent[index].parts)
    for index in range(self.pack.count):
        close_all(&self.pack.messages[index].parts)
    free(self.jobs)
    free(self.unsent)
    free(self.stages)
    free(self.heartbeat)
    interrupts_end(&self.interrupts)
    mutex_destroy(&self.lock)
    memset(self, 0, sizeof(Intake))


cdef inline void complain(Intake* self, const char* why) noexcept nogil:
    self.complaint = why
    self.counters.malformed += 1


# --- jobs ------------------------------------------------------------------------------------------------------------------------------


cdef int tell_restart(Intake* self, Multipart* into, uint64_t former, uint64_t life) noexcept nogil:
    """To the server. What is here is not lost with the proxy, nor what has gone on to a next stage."""
    cdef size_t keys = self.waiting + intake_busy(self)
    cdef Info* info
    cdef char* at
    cdef int index
    for index in range(RECENT):
        keys += self.forwarded[index] != 0
    start(into)
    at = write_restart(add(into), former, life, keys)
    if at == NULL:
        return -1
    if intake_busy(self):
        put_key(at, self.running.life, self.running.key)
        at += KEY_SIZE
    for index in range(self.waiting):
        info = &self.jobs[(self.head + index) & (self.capacity - 1)].info
        put_key(at, info.life, key_of(info))
        at += KEY_SIZE
    for index in range(RECENT):
        if self.forwarded[index]:
            put_key(at, self.server, self.forwarded[index] * UNNAMING ^ self.server)
            at += KEY_SIZE
    return 0


cdef void greet(Intake* self, Peer* peer, uint64_t life, int64_t now) noexcept nogil:
    cdef Multipart parts
    # With another life the proxy has been restarted, and what was queued in it is gone: a server of ours has to know.
    if peer.greeted and peer.life != life:
        self.counters.proxy_restarts += 1
        if self.server:
            if tell_restart(self, &parts, peer.life, life) == 0:
                intake_send(self, self.loopback, &parts, 0, 0, 0, False, now)
            else:
                close_all(&parts)
    peer.greeted = True
    peer.life = life


cdef bint still_wanted(Intake* self, uint64_t life, uint64_t key, int64_t deadline, int64_t now) noexcept nogil:
    """Whether somebody waits for the job; where nobody does, it is counted and done with."""
    if (life and life == self.over) or (interrupts_any(&self.interrupts) and interrupts_know(&self.interrupts, life, key)):
        self.counters.interrupted += 1
    elif deadline and now >= deadline:
        self.counters.expired += 1
    else:
        return True
    return False


cdef bint is_head(Message* payload) noexcept nogil:
    """Whether the payload is the text of a HEAD request."""
    cdef const char* text = data_of(payload)
    cdef size_t size = size_of(payload)
    cdef const char* end
    if size < 16 or memcmp(text, b"HEAD ", 5) != 0:
        return False
    end = <const char*>memchr(text, c"\n", size)
    return end != NULL and end - text >= 15 and memcmp(end - 10, b" HTTP/1.", 8) == 0


cdef bint admit(Intake* self, WaitingJob* job, int64_t now) noexcept nogil:
    """Whether what has come into `job.parts` is a job that somebody waits for. If it isn't, it is dealt with and closed."""
    cdef uint64_t life = 0
    cdef Message* head = frame(&job.parts, 0)
    cdef int frames = job.parts.size
    cdef bint wanted = False
    if frames == 1 and read_hello(data_of(head), size_of(head), &life):
        self.hellos += 1
        self.word = hello_word(data_of(head))
        greet(self, &self.upstream, life, now)
    elif read_info(data_of(head), size_of(head), &job.info) != 0:
        complain(self, b"its first frame is no info")
    elif frames == 1 and job.info.flags & FLAG_CANCEL:
        server_over(self, job.info.life)
    elif frames < 2 or job.parts.surplus or key_of(&job.info) == 0:
        complain(self, b"it has no payload" if frames < 2 else b"it has too many frames" if job.parts.surplus else b"it has no key")
        intake_finish(self, job.info.life, key_of(&job.info), now)
    else:
        job.since = now
        if job.info.extended:
            self.server = job.info.life
        # The original's server doesn't say it.
        if not job.info.extended and job.info.size == BARE_INFO_SIZE and is_head(frame(&job.parts, 1)):
            job.info.flags |= FLAG_HEAD
        job.deadline = 0
        if job.info.time_left:
            job.deadline = now + job.info.time_left if job.info.time_left > 0 else now
        wanted = still_wanted(self, job.info.life, key_of(&job.info), job.deadline, now)
        if not wanted:
            intake_finish(self, job.info.life, key_of(&job.info), now)
    if not wanted:
        close_all(&job.parts)
    return wanted


cdef inline int receive_job(Intake* self, Multipart* parts) noexcept nogil:
    cdef DirectKind kind
    cdef int status
    if self.direct >= 0:
        status = direct_receive(self.direct, &self.packet, parts, &kind)
        while status == MALFORMED:
            complain(self, b"it came by the direct way")
            status = direct_receive(self.direct, &self.packet, parts, &kind)
        if status > 0:
            return status
        if status < 0:
            shutdown(self.direct, SHUT_RDWR)
            self.direct = -1
        elif self.drained:
            return 0           # looked at again when it is listened, where its descriptor isn't waited for
    status = receive(self.upstream.socket, parts)
    self.drained = status == 0
    return status


cdef int intake_fill(Intake* self, int64_t now) noexcept nogil:
    cdef int left = EARS
    cdef int status
    cdef WaitingJob* slot
    while left > 0 and self.waiting + self.unsent_count < (self.limit if self.upstream.greeted else 1) and self.waiting < self.capacity:
        slot = &self.jobs[(self.head + self.waiting) & (self.capacity - 1)]
        status = receive_job(self, &slot.parts)
        if status <= 0:
            return status
        if admit(self, slot, now):
            self.waiting += 1
        elif not self.upstream.greeted and self.finished_count:
            return 0           # the original's proxy is told of each job by itself
        left -= 1
    return 0


cdef bint intake_take(Intake* self, WaitingJob* into, int64_t now) noexcept nogil:
    while self.waiting:
        memcpy(into, &self.jobs[self.head], sizeof(WaitingJob))
        self.head = (self.head + 1) & (self.capacity - 1)
        self.waiting -= 1
        if still_wanted(self, into.info.life, key_of(&into.info), into.deadline, now):
            return True
        intake_finish(self, into.info.life, key_of(&into.info), now)
        close_all(&into.parts)
    return False


cdef void intake_return_waiting(Intake* self, int64_t now) noexcept nogil:
    cdef WaitingJob job
    while intake_take(self, &job, now):
        intake_return(self, job.info.life, key_of(&job.info), now)
        close_all(&job.parts)


cdef int intake_return_arrivals(Intake* self, int64_t now) noexcept nogil:
    cdef WaitingJob job
    cdef int left = EARS
    cdef int status
    while left > 0:
        status = receive_job(self, &job.parts)
        if status <= 0:
            return status
        if admit(self, &job, now):
            intake_return(self, job.info.life, key_of(&job.info), now)
            close_all(&job.parts)
        left -= 1
    return 0


# --- what our proxy is told ---------------------------------------------------------------------------------------------------------------


cdef int intake_window(const Intake* self) noexcept nogil:
    cdef int64_t window
    if self.service <= 0:
        return 1               # nothing is known yet
    window = BATCH_WORTH * 1000 // self.service
    return 1 if window < 1 else self.limit if window > self.limit else <int>window


cdef inline void make_room_for_a_key(Intake* self, int64_t now) noexcept nogil:
    if self.finished_count + self.returned_count >= MAX_KEYS:
        intake_report(self, now)
        if self.finished_count + self.returned_count >= MAX_KEYS:
            self.finished_count = self.returned_count = 0


cdef void intake_finish(Intake* self, uint64_t life, uint64_t key, int64_t now) noexcept nogil:
    make_room_for_a_key(self, now)
    put_key(self.finished + self.finished_count * KEY_SIZE, life, key)
    self.finished_count += 1


cdef void intake_return(Intake* self, uint64_t life, uint64_t key, int64_t now) noexcept nogil:
    make_room_for_a_key(self, now)
    put_key(self.returned + self.returned_count * KEY_SIZE, life, key)
    self.returned_count += 1
    self.counters.returned += 1


cdef void intake_finish_latest(Intake* self, int64_t now) noexcept nogil:
    cdef uint64_t index = self.latest_count - LATEST if self.latest_count > LATEST else 0
    cdef uint64_t life
    cdef uint64_t key
    while index < self.latest_count:
        get_key(self.latest + index % LATEST * KEY_SIZE, &life, &key)
        intake_finish(self, life, key, now)
        index += 1
    self.latest_count = 0


cdef bint intake_owes(const Intake* self) noexcept nogil:
    cdef int window
    if self.finished_count or self.returned_count or self.reported_busy or self.heartbeat_due:
        return True
    window = intake_window(self)
    return window >= 2 * self.reported_window or 2 * window <= self.reported_window


cdef bint intake_seen(const Intake* self, uint64_t life, const Peer* stage) noexcept nogil:
    # What the proxy has been told of a job is taken back by the next report, so such a job is reported.
    if life == 0 or self.upstream.life != life or not self.upstream.greeted or self.reported_busy or self.heartbeat_due:
        return False
    return stage == NULL or (stage.greeted and stage.life == life)


cdef int intake_report(Intake* self, int64_t now) noexcept nogil:
    cdef bint busy = intake_busy(self)
    cdef bint idle = not busy and self.waiting == 0 and self.unsent_count == 0 and not self.leaving
    cdef Report report
    cdef Multipart parts
    cdef char keys[MAX_KEYS * KEY_SIZE]
    cdef int status
    intake_post(self, now)     # what is named here as finished
    if not idle and not self.upstream.greeted:
        return 0
    memset(&report, 0, sizeof(Report))
    report.flags = (WORKER_IDLE if idle else 0) | (WORKER_LEAVING if self.leaving else WORKER_WISHES if self.wishing else 0)
    report.window = <unsigned short>intake_window(self)
    report.finished = <unsigned short>self.finished_count
    report.returned = <unsigned short>self.returned_count
    report.service = <unsigned int>((self.service + 500) // 1000)
    report.direct = self.direct_number if self.direct >= 0 else 0
    if busy:
        report.busy = now - self.running.since
        if report.busy < 1:
            report.busy = 1
        report.running_life = self.running.life
        report.running_key = self.running.key
        if self.running.streams:
            report.flags |= WORKER_STREAMS
        if report.busy >= LONG:
            report.window = 1
    memcpy(keys, self.finished, self.finished_count * KEY_SIZE)
    memcpy(keys + self.finished_count * KEY_SIZE, self.returned, self.returned_count * KEY_SIZE)
    report.keys = keys
    # Where the proxy isn't there, it has lost us too, and what we held with us: there is nothing to tell it later but that we are here.
    self.finished_count = self.returned_count = 0
    self.reported_window = report.window
    self.reported_busy = busy
    self.heartbeat_due = False
    start(&parts)
    if copy_in(add(&parts), self.heartbeat, self.heartbeat_size) != 0 or write_report(add(&parts), &report) != 0:
        close_all(&parts)
        self.owed = True
        return 0
    self.reported = now
    status = send(self.upstream.socket, &parts)
    self.drained = False
    self.owed = status == 0
    if status <= 0:
        close_all(&parts)
        return status
    self.counters.reports += 1
    return 0


cdef int intake_set_heartbeat(Intake* self, const char* data, size_t size) noexcept nogil:
    cdef char* copy = <char*>malloc(size + 1)
    if copy == NULL:
        return -1
    memcpy(copy, data, size)
    free(self.heartbeat)
    self.heartbeat = copy
    self.heartbeat_size = size
    self.heartbeat_due = True
    return 0


# --- the others -------------------------------------------------------------------------------------------------------------------------


cdef void intake_send(
    Intake* self, void* socket, Multipart* parts, uint64_t life, uint64_t key, int64_t deadline, bint seen, int64_t now
) noexcept nogil:
    cdef Unsent* kept
    cdef int status
    if key and socket != self.loopback:
        self.forwarded[name_of(life, key) >> 52] = name_of(life, key)
    status = pack(self, socket, parts, now) if seen and self.direct >= 0 else 0
    if status == 0:
        status = send(socket, parts)
    if status == 0 and self.unsent_count < self.unsent_room:
        kept = &self.unsent[self.unsent_count]
        memcpy(&kept.parts, parts, sizeof(Multipart))
        kept.socket = socket
        kept.life = life
        kept.key = key
        kept.deadline = deadline
        kept.seen = seen
        self.unsent_count += 1
        return
    if status != 1:
        self.counters.lost += 1
        close_all(parts)
    if key:
        finish_sent(self, life, key, seen and status == 1, now)


cdef inline int pack(Intake* self, void* socket, Multipart* parts, int64_t now) noexcept nogil:
    """For the direct way, which leads to the hub that will see it."""
    cdef DirectKind kind = FOR_SESSIONS if socket == self.loopback else FOR_NEXT_STAGE
    if pack_add(&self.pack, parts, 0, kind) == 0:
        intake_post(self, now)
        if pack_add(&self.pack, parts, 0, kind) == 0:
            return 0
    if self.pack.count == 1:
        self.packed = now
    return 1


cdef void intake_post(Intake* self, int64_t now) noexcept nogil:
    cdef Multipart parts
    cdef int count = self.pack.count
    cdef int index
    if count == 0 or pack_send(&self.pack, self.direct):
        return
    self.pack.count = 0
    self.pack.size = 0
    for index in range(count):
        parts = self.pack.messages[index].parts
        intake_send(
            self, self.loopback if self.pack.messages[index].kind == FOR_SESSIONS else self.stages[0].socket, &parts, 0, 0, 0, False, now
        )


cdef inline void finish_sent(Intake* self, uint64_t life, uint64_t key, bint seen, int64_t now) noexcept nogil:
    if not seen:
        intake_finish(self, life, key, now)
        return
    put_key(self.latest + self.latest_count % LATEST * KEY_SIZE, life, key)
    self.latest_count += 1


cdef void intake_flush(Intake* self, int64_t now) noexcept nogil:
    cdef int index
    cdef int kept = 0
    cdef int status
    cdef Unsent* entry
    for index in range(self.unsent_count):
        entry = &self.unsent[index]
        status = -1
        if still_wanted(self, entry.life, entry.key, entry.deadline, now):
            status = send(entry.socket, &entry.parts)
            if status < 0:
                self.counters.lost += 1
        if status == 0:
            if kept != index:
                memcpy(&self.unsent[kept], entry, sizeof(Unsent))
            kept += 1
            continue
        if status < 0:
            close_all(&entry.parts)
        if entry.key:
            finish_sent(self, entry.life, entry.key, entry.seen and status == 1, now)
    self.unsent_count = kept


cdef inline uint64_t name_of(uint64_t life, uint64_t key) noexcept nogil:
    return (life ^ key) * NAMING


cdef void cancel_forwarded(Intake* self, uint64_t life, uint64_t key) noexcept nogil:
    """What waits in the proxy of a next stage is dropped there because we say so."""
    cdef uint64_t name = name_of(life, key)
    cdef Multipart parts
    cdef int index
    if self.forwarded[name >> 52] != name:
        return
    self.forwarded[name >> 52] = 0
    for index in range(self.stage_count):
        if self.stages[index].greeted:
            start(&parts)
            if write_cancel(add(&parts), life, key) != 0 or send(self.stages[index].socket, &parts) != 1:
                close_all(&parts)


cdef void server_over(Intake* self, uint64_t life) noexcept nogil:
    """Nobody waits for anything that a server has asked for which is gone: not here, and not in the stages behind."""
    cdef Multipart parts
    cdef int index
    if life == 0 or life == self.over:
        return
    self.over = life
    if intake_busy(self) and self.running.flag != NULL and self.running.life == life:
        atomic_store(self.running.flag, CLIENT_LEFT)
    for index in range(self.stage_count):
        if self.stages[index].greeted:
            start(&parts)
            if write_cancel(add(&parts), life, 0) != 0 or send(self.stages[index].socket, &parts) != 1:
                close_all(&parts)


cdef int intake_hear(Intake* self) noexcept nogil:
    cdef Multipart parts
    cdef uint64_t life
    cdef uint64_t key
    cdef uint64_t credit
    cdef int left = EARS
    cdef int status
    cdef bint late
    while left > 0:
        status = receive(self.interrupt, &parts)
        if status <= 0:
            return status
        if read_interrupt(data_of(frame(&parts, 0)), size_of(frame(&parts, 0)), &life, &key, &credit) != 0:
            complain(self, b"it is no interrupt")
        elif credit:
            if intake_busy(self) and self.running.key == key and self.running.life == life and credit > self.running.credit:
                self.running.credit = credit
        elif key:
            interrupts_remember(&self.interrupts, life, key)
            cancel_forwarded(self, life, key)
            if intake_busy(self) and self.running.flag != NULL and self.running.key == key and (life == 0 or self.running.life == life):
                # The server, which knows the deadline too, may have been quicker than we.
                late = self.running.deadline and now_us() >= self.running.deadline - CLOSE_TO_DEADLINE
                atomic_store(self.running.flag, DEADLINE_PASSED if late else CLIENT_LEFT)
        close_all(&parts)
        left -= 1
    self.unheard = True
    return 0


cdef int hear_stage(Intake* self, Peer* stage, int64_t now) noexcept nogil:
    cdef Multipart parts
    cdef Message* head
    cdef Info info
    cdef uint64_t life
    cdef int left = EARS
    cdef int status
    while left > 0:
        status = receive(stage.socket, &parts)
        if status <= 0:
            return status
        left -= 1
        head = frame(&parts, 0)
        if parts.size == 1 and read_hello(data_of(head), size_of(head), &life):
            greet(self, stage, life, now)
        elif read_info(data_of(head), size_of(head), &info) == 0 and info.flags & FLAG_REFUSAL:
            self.counters.refused += 1
            intake_send(self, self.loopback, &parts, 0, 0, 0, False, now)
            continue
        else:
            complain(self, b"it is not what a proxy tells the stage before it")
        close_all(&parts)
    self.unheard = True
    return 0


cdef int intake_listen(Intake* self, int64_t now) noexcept nogil:
    cdef int index
    self.unheard = False
    self.drained = False
    if intake_hear(self) < 0:
        return -1
    for index in range(self.stage_count):
        if hear_stage(self, &self.stages[index], now) < 0:
            return -1
    if self.unsent_count:
        intake_flush(self, now)
    return 0


cdef void intake_guard(Intake* self, int64_t now) noexcept nogil:
    cdef int* flag = self.running.flag
    intake_post(self, now)
    intake_listen(self, now)
    if flag != NULL and atomic_load(flag) == 0:
        if self.running.deadline and now >= self.running.deadline:
            atomic_store(flag, DEADLINE_PASSED)
        elif atomic_load(&self.stop_now) or process_state() == STOPPING:
            atomic_store(flag, SHUTTING_DOWN)
    if self.grace and self.running.deadline and now - self.running.deadline >= self.grace:
        self.overdue = True
    if not self.upstream.greeted or now - self.running.since < (LONG if flag != NULL else LONG_WITHOUT_A_JOB):
        return
    if flag != NULL or self.limit > 1:  # a window of 1 and nothing running: what has come is to be done here
        intake_return_arrivals(self, now)
        intake_return_waiting(self, now)
    if self.returned_count or self.finished_count or now - self.reported >= BUSY_REPEAT:
        intake_report(self, now)
