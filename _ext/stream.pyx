"""An answer in parts, from the iterator that a work function has returned.

The first part takes the head along, so that what goes wrong before it is still an error of its own; each further part is a message of its own as soon
as it is there, and the end of the iterator is the last one. All of them have the same random source and are counted, so that the server tells what is
missing, comes twice or is another attempt's. With the first one the job has no deadline any more, and its proxy is told that nobody else can do it.

The reader's pace holds the iterator back. The server says up to which sum of bytes the worker may send (info.pxd); beyond that this thread waits,
with the intake's lock and without the GIL, and does meanwhile what the guardian does otherwise: it hears interrupts, hands other jobs back and says
busy. A credit or an interrupt may have been published before we were connected: after a second without one an empty message asks for it.

When nobody listens any more, the iterator is closed where it stands. What it raises midway can't be told its client but by a connection that ends.
A part that can change is copied, others are lent to libzmq; long ones leave piece by piece, so that what is under way stays within the window.

A server of the original's takes one frame, and a netstring needs its length first: for those the parts are joined, up to a bound.
"""

from cpython.buffer cimport PyObject_CheckBuffer
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t

from prime_server._ext.clock cimport now_us
from prime_server._ext.cthreads cimport atomic_load, mutex_lock, mutex_trylock, mutex_unlock
from prime_server._ext.info cimport (
    FLAG_BROKEN,
    FLAG_FROM_PROXY,
    FLAG_HEAD,
    FLAG_MORE,
    FLAG_NETSTRING,
    FLAG_REFUSAL,
    FLAG_RESULT,
    FLAG_RETRYABLE,
    STREAM_WINDOW,
    Info,
    set_code,
    write_info,
)
from prime_server._ext.intake cimport CLIENT_LEFT, DEADLINE_PASSED, intake_guard, intake_hear, intake_report
from prime_server._ext.libzmq cimport Multipart, add, close_all, frame, send, size_of, start, zmq
from prime_server._ext.outcome cimport ANSWERED, BROKEN_OFF, NOBODY_WAITS, STREAMED, give_up, room_for_info, say
from prime_server._ext.response cimport Response, write_response, write_stream_end, write_stream_head, write_stream_part

import logging
import secrets

from prime_server.errors import Interrupted

cdef extern from "poll.h" nogil:
    int POLLIN
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd*, unsigned long, int)

cdef enum:
    LARGEST = 262144           # bytes of a part that leave at once
    MAX_JOINED = 67108864      # bytes of an answer that is joined
    LOOK_EVERY = 5             # ms, while waiting: at deadlines, at the process's state, and for what a descriptor didn't tell
    ASK_AFTER = 1000000        # us without a credit
    # outcomes of a post
    POSTED = 1
    STOPPED = 0                # the job's flag says why
    LOST = -1                  # the socket has failed


cdef bint in_parts(object result) except -1:
    if isinstance(result, Response):
        return (<Response>result)._parts is not None
    return hasattr(type(result), "__next__")


cdef class Stream:
    cdef Intake* intake
    cdef Job job
    cdef Response response
    cdef object iterator
    cdef uint32_t source
    cdef uint32_t sequence     # of the next message
    cdef uint64_t sent         # bytes
    cdef int upstream
    cdef int interrupt

    # --- what the iterator gives ----------------------------------------------------------------------------------------------------

    cdef int go(self, Outcome* into) except -1:
        """To its end, or until nobody listens."""
        cdef int status = self.response.status
        into.kind = ANSWERED
        into.status = status
        if status == 204 or status == 205 or status == 304:
            return self.whole(into, b"")
        if not self.job.inner.extended or self.job.inner.flags & FLAG_NETSTRING:
            return self.joined(into)
        for part in self.iterator:
            if self.stopped(into):
                return 0
            if is_empty(part):
                continue
            if self.sequence == 0:
                self.response.settle_type(part)
                if self.job.inner.flags & FLAG_HEAD:
                    room_for_info(&into.parts)
                    write_stream_head(&into.parts, self.response, &self.job.inner)
                    return 0
            if self.send_part(part) != POSTED:
                if not self.stopped(into):
                    into.kind = NOBODY_WAITS
                return 0
        if self.sequence == 0:
            return 0 if self.stopped(into) else self.whole(into, b"")
        room_for_info(&into.parts)
        if write_stream_end(&into.parts, &self.job.inner) != 0:
            raise MemoryError()
        into.kind = STREAMED
        into.sequence = self.sequence
        into.source = self.source
        return 0

    cdef int whole(self, Outcome* into, object body) except -1:
        self.response.join(body)
        room_for_info(&into.parts)
        write_response(&into.parts, self.response, &self.job.inner)
        return 0

    cdef int joined(self, Outcome* into) except -1:
        cdef bytearray body = bytearray()
        for part in self.iterator:
            if self.stopped(into):
                return 0
            if is_empty(part):
                continue
            self.response.settle_type(part)
            body += part.encode() if isinstance(part, str) else memoryview(part).cast("B")
            if len(body) > MAX_JOINED:
                raise ValueError(f"an answer in parts is joined for this client, and is longer than {MAX_JOINED} bytes")
        return self.whole(into, body)

    cdef bint stopped(self, Outcome* into) noexcept:
        """Whether nobody listens any more; then the outcome says what becomes of the job."""
        cdef int why = atomic_load(&self.job.flag)
        if why == 0:
            return False
        if self.sequence == 0:
            return give_up(into, &self.job.flag, &self.job.inner, self.intake.upstream.greeted)
        if why == CLIENT_LEFT or why == DEADLINE_PASSED:
            into.kind = NOBODY_WAITS
        else:
            self.break_off(into)
        return True

    cdef int break_off(self, Outcome* into) noexcept:
        close_all(&into.parts)
        into.kind = BROKEN_OFF
        into.sequence = self.sequence
        into.source = self.source
        try:
            room_for_info(&into.parts)
        except MemoryError:
            into.kind = NOBODY_WAITS
        return 0

    cdef object failed(self, Outcome* into, object error):
        """It was raised after the first part had left."""
        ends = None if isinstance(error, Exception) else error
        if isinstance(error, Interrupted) and self.stopped(into):
            return None
        self.break_off(into)
        try:
            say(logging.ERROR, "a work function failed in the middle of its answer of status %d, which is cut off", self.response.status, error)
        except BaseException as later:
            ends = later
        return ends

    cdef object close(self, object source):
        """Tells the iterator that it is over. Returns the exception that is to end the worker, or None."""
        ends = None
        for one in (self.iterator,) if self.iterator is source else (self.iterator, source):
            try:
                close = getattr(one, "close", None)
                if close is not None:
                    close()
            except BaseException as error:
                if not isinstance(error, Exception):
                    ends = error
                if not (isinstance(error, Interrupted) and atomic_load(&self.job.flag)):
                    try:
                        say(logging.ERROR, "the iterator of an answer of status %d failed as it was closed", self.response.status, error)
                    except BaseException as later:
                        ends = later
        return ends

    # --- what leaves ----------------------------------------------------------------------------------------------------------------

    cdef int send_part(self, object part) except -2:
        cdef Py_ssize_t at, size
        cdef int status
        if isinstance(part, str):
            part = (<str>part).encode()
        view = memoryview(part)
        size = view.nbytes
        if size <= LARGEST:
            return self.send_piece(part)
        view = view.cast("B")
        for at in range(0, size, LARGEST):
            status = self.send_piece(view[at : at + LARGEST])
            if status != POSTED:
                return status
        return POSTED

    cdef int send_piece(self, object piece) except -2:
        cdef Multipart parts
        cdef int status
        start(&parts)
        try:
            room_for_info(&parts)
            if self.sequence == 0:
                write_stream_head(&parts, self.response, &self.job.inner)
            write_stream_part(&parts, piece, &self.job.inner)
        except:
            close_all(&parts)
            raise
        # The common case needs no waiting, and so no change of the GIL's owner.
        if mutex_trylock(&self.intake.lock) == 0:
            status = self.post(&parts)
            mutex_unlock(&self.intake.lock)
            if status == POSTED:
                return POSTED
        with nogil:
            mutex_lock(&self.intake.lock)
            status = self.wait_and_post(&parts)
            mutex_unlock(&self.intake.lock)
        return status

    cdef int post(self, Multipart* parts) noexcept nogil:
        """Sends it if that can be done now; otherwise 0, whatever the reason, or LOST. With the lock, as all below. Consumes what it sends."""
        cdef Intake* intake = self.intake
        cdef size_t size = 0
        cdef int index, status
        if self.sent + STREAM_WINDOW // 2 > intake.running.credit and intake_hear(intake) < 0:
            return LOST
        if atomic_load(&self.job.flag) or self.sent >= intake.running.credit:
            return 0
        for index in range(1, parts.size):
            size += size_of(frame(parts, index))
        if not intake.running.streams:
            intake.running.streams = True
            intake.running.deadline = 0
            self.job.until = 0
            intake.counters.streamed += 1
            intake_report(intake, now_us())
        if self.put_info(parts) != 0:
            return 0
        status = send(intake.loopback, parts)
        if status == 1:
            self.sent += size
            self.sequence += 1
        return status

    cdef int wait_and_post(self, Multipart* parts) noexcept nogil:
        cdef Intake* intake = self.intake
        cdef Multipart question
        cdef pollfd items[2]
        cdef int64_t now = now_us()
        cdef int64_t asked = now
        cdef bint counted = False
        cdef int status
        items[0].fd = self.interrupt
        items[1].fd = self.upstream
        items[0].events = items[1].events = POLLIN
        while True:
            intake_guard(intake, now)
            status = self.post(parts)
            if status == POSTED:
                return status
            if status < 0 or atomic_load(&self.job.flag):
                close_all(parts)
                return status
            if not counted:
                counted = True
                intake.counters.stalled += 1
            if now - asked >= ASK_AFTER:
                asked = now
                self.ask(&question)
            if not intake.unheard:
                poll(items, 2, LOOK_EVERY)
            now = now_us()

    cdef void ask(self, Multipart* question) noexcept nogil:
        """A message without content: the server says anew how much may be sent, or that nobody listens."""
        if self.sequence == 0:
            return
        start(question)
        zmq.msg_init(add(question))
        if self.put_info(question) == 0 and send(self.intake.loopback, question) == 1:
            self.sequence += 1
        else:
            close_all(question)

    cdef int put_info(self, Multipart* parts) noexcept nogil:
        cdef Info info = self.job.inner
        info.flags &= ~<unsigned int>(FLAG_FROM_PROXY | FLAG_REFUSAL | FLAG_BROKEN | FLAG_RETRYABLE)
        info.flags |= FLAG_RESULT | FLAG_MORE
        info.sequence = self.sequence
        info.source = self.source
        set_code(&info, self.response.status)
        zmq.msg_close(frame(parts, 0))
        return write_info(frame(parts, 0), &info, frame(&self.job.parts, 0))


cdef bint is_empty(object part) except -1:
    if isinstance(part, (bytes, str)):
        return len(part) == 0
    if not PyObject_CheckBuffer(part):
        raise TypeError(f"a part of an answer is a str or bytes-like, not {type(part).__name__}")
    return memoryview(part).nbytes == 0


def blocks(file):
    """What a file has, not line by line: a line may be as long as the file."""
    read = getattr(file, "read1", file.read)  # what is there, without waiting for a whole block
    while block := read(LARGEST):
        yield block


cdef object stream(Outcome* into, object result, Job job, Intake* intake, int upstream, int interrupt):
    cdef Stream self = Stream.__new__(Stream)
    self.response = result if isinstance(result, Response) else Response(200, result)
    self.intake = intake
    self.job = job
    self.upstream = upstream
    self.interrupt = interrupt
    self.source = secrets.randbits(32)
    source = self.response._parts
    trouble = None
    try:
        self.iterator = blocks(source) if hasattr(source, "read") else iter(source)
        self.go(into)
    except BaseException as error:
        trouble = error
    ends = self.close(source)
    if trouble is not None and self.sequence == 0:
        raise trouble if ends is None else ends
    if trouble is not None:
        later = self.failed(into, trouble)
        return later if ends is None else ends
    return ends
