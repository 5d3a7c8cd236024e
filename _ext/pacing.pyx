"""The pace of an answer that leaves in several messages, be they the parts of an iterator or the pieces of one big body.

All of them have the same random source and are counted, so that the server tells what is missing, comes twice or is another attempt's. With the
first one the job has no deadline any more, and its proxy is told that nobody else can do it. The server says up to which sum of bytes the worker
may send (info.pxd); beyond that it waits, with the intake's lock and without the GIL, and does meanwhile what the guardian does otherwise: it hears
interrupts, hands other jobs back and says busy. A credit or an interrupt may have been published before we were connected: after a second
without one an empty message asks for it.

A big body leaves in pieces because the server would otherwise have to hold all that its reader has not taken. Pieces are copied: the body may be
lent.
"""

from prime_server._ext.clock cimport now_us
from prime_server._ext.cpoll cimport POLLIN, poll, pollfd
from prime_server._ext.cthreads cimport atomic_load, mutex_lock, mutex_unlock
from prime_server._ext.info cimport (
    FLAG_BEHIND,
    FLAG_BROKEN,
    FLAG_FROM_PROXY,
    FLAG_MORE,
    FLAG_REFUSAL,
    FLAG_RESULT,
    FLAG_RETRYABLE,
    FLAG_WHOLE,
    STREAM_WINDOW,
    key_of,
    set_code,
    write_info,
)
from prime_server._ext.intake cimport CLIENT_LEFT, DEADLINE_PASSED, intake_guard, intake_hear, intake_report
from prime_server._ext.libzmq cimport add, close_all, copy_in, data_of, frame, send, size_of, start, zmq
from prime_server._ext.outcome cimport ANSWERED, BROKEN_OFF, NOBODY_WAITS, STREAMED
from prime_server._ext.table cimport mixed

cdef enum:
    BIG = 1572864              # bytes of an answer from which on it leaves in pieces
    LOOK_EVERY = 5             # ms, while waiting: at deadlines, at the process's state, and for what a descriptor didn't tell
    ASK_AFTER = 1000000        # us without a credit


cdef int post(Course* self, Multipart* parts) noexcept nogil:
    """Sends it if that can be done now; otherwise 0, whatever the reason, or LOST. With the lock, as all below. Consumes what it sends."""
    cdef Intake* intake = self.intake
    cdef size_t size = 0
    cdef int index, status
    if self.sent + STREAM_WINDOW // 2 > intake.running.credit and intake_hear(intake) < 0:
        return LOST
    if atomic_load(self.flag) or self.sent >= intake.running.credit:
        return 0
    for index in range(1, parts.size):
        size += size_of(frame(parts, index))
    if not intake.running.streams:
        intake.running.streams = True
        intake.running.deadline = 0
        self.until[0] = 0
        intake.counters.streamed += 1
        intake_report(intake, now_us())
    if put_info(self, parts) != 0:
        return 0
    status = send(intake.loopback, parts)
    if status == 1:
        self.sent += size
        self.sequence += 1
    return status


cdef int wait_and_post(Course* self, Multipart* parts) noexcept nogil:
    cdef Intake* intake = self.intake
    cdef Multipart question
    cdef pollfd items[2]
    cdef int64_t now = now_us()
    cdef int status
    items[0].fd = self.interrupt
    items[1].fd = self.upstream
    items[0].events = items[1].events = POLLIN
    while True:
        intake_guard(intake, now)
        status = post(self, parts)
        if status == POSTED:
            self.asked = 0
            return status
        if status < 0 or atomic_load(self.flag):
            close_all(parts)
            return status
        if self.asked == 0:
            self.asked = now
            intake.counters.stalled += 1
        elif now - self.asked >= ASK_AFTER:
            self.asked = now
            ask(self, &question)
        if not intake.unheard and poll(items, 2, LOOK_EVERY) < 0:
            return SIGNALLED
        now = now_us()


cdef void ask(Course* self, Multipart* question) noexcept nogil:
    """A message without content: the server says anew how much may be sent, or that nobody listens."""
    if self.sequence == 0:
        return
    start(question)
    zmq.msg_init(add(question))
    if put_info(self, question) == 0 and send(self.intake.loopback, question) == 1:
        self.sequence += 1
    else:
        close_all(question)


cdef int put_info(Course* self, Multipart* parts) noexcept nogil:
    cdef Info info = self.info[0]
    info.flags &= ~<unsigned int>(FLAG_FROM_PROXY | FLAG_REFUSAL | FLAG_BROKEN | FLAG_RETRYABLE | FLAG_BEHIND)
    info.flags |= FLAG_RESULT | FLAG_MORE | (FLAG_WHOLE if self.whole else 0)
    if self.whole:
        info.time_left = <int64_t>self.whole
    info.sequence = self.sequence
    info.source = self.source
    set_code(&info, self.status)
    zmq.msg_close(frame(parts, 0))
    return write_info(frame(parts, 0), &info, self.original)


# --- a big body ---------------------------------------------------------------------------------------------------------------------------


cdef size_t size_in_all(Multipart* parts) noexcept nogil:
    cdef size_t size = 0
    cdef int index
    for index in range(1, parts.size):
        size += size_of(frame(parts, index))
    return size


cdef bint is_big(const Outcome* outcome, const Info* info) noexcept nogil:
    return outcome.kind == ANSWERED and info.extended and size_in_all(<Multipart*>&outcome.parts) >= BIG


cdef int post_piece(Course* self, const char* data, size_t size) noexcept nogil:
    cdef Multipart parts
    cdef int status
    start(&parts)
    zmq.msg_init(add(&parts))
    if copy_in(add(&parts), data, size) != 0:
        close_all(&parts)
        return LOST
    while True:
        status = wait_and_post(self, &parts)
        if status != SIGNALLED:
            return status  # a signal is seen to when the answer has left


cdef int post_all_but_the_last(Outcome* outcome, Course* self) noexcept nogil:
    cdef Multipart rest
    cdef Message* whole
    cdef size_t at, size, piece
    cdef int index, status
    for index in range(1, outcome.parts.size):
        whole = frame(&outcome.parts, index)
        size = size_of(whole)
        at = 0
        while at < size:
            piece = min(size - at, <size_t>LARGEST)
            if at + piece == size and index == outcome.parts.size - 1:
                start(&rest)
                zmq.msg_init(add(&rest))
                status = copy_in(add(&rest), data_of(whole) + at, piece)
                close_all(&outcome.parts)
                outcome.parts = rest
                return POSTED if status == 0 else LOST
            status = post_piece(self, data_of(whole) + at, piece)
            if status != POSTED:
                return status
            at += piece
    return LOST


cdef void post_big(Outcome* outcome, Course* self) noexcept nogil:
    cdef int status, why
    self.status = outcome.status
    self.whole = size_in_all(&outcome.parts)
    self.source = <uint32_t>mixed(<uint64_t>now_us() ^ key_of(self.info))
    self.sequence = 0
    self.sent = 0
    self.asked = 0
    mutex_lock(&self.intake.lock)
    status = post_all_but_the_last(outcome, self)
    mutex_unlock(&self.intake.lock)
    outcome.sequence = self.sequence
    outcome.source = self.source
    if status == POSTED:
        outcome.kind = STREAMED
        return
    why = atomic_load(self.flag)
    close_all(&outcome.parts)
    if status == LOST or why == CLIENT_LEFT or why == DEADLINE_PASSED:
        outcome.kind = NOBODY_WAITS
        return
    outcome.kind = BROKEN_OFF
    zmq.msg_init(add(&outcome.parts))
