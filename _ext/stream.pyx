"""An answer in parts, from the iterator that a work function has returned.

The first part takes the head along, so that what goes wrong before it is still an error of its own; each further part is a message of its own as soon
as it is there, and the end of the iterator is the last one. The reader's pace holds the iterator back (pacing.pyx).

When nobody listens any more, the iterator is closed where it stands. What it raises midway can't be told its client but by a connection that ends.
A part that can change is copied, others are lent to libzmq; long ones leave piece by piece, so that what is under way stays within the window.

With a length that was told beforehand the last piece waits for the end of the iterator and leaves with it, so that the client has all exactly when
the worker is done, and an iterator that gives too much is cut off before its client takes the answer for a whole one.

A server of the original's takes one frame, and a netstring needs its length first: for those the parts are joined, up to a bound.
"""

from cpython.buffer cimport PyObject_CheckBuffer
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t

from prime_server._ext.cthreads cimport atomic_load, mutex_lock, mutex_trylock, mutex_unlock
from prime_server._ext.info cimport FLAG_HEAD, FLAG_NETSTRING
from prime_server._ext.intake cimport CLIENT_LEFT, DEADLINE_PASSED
from prime_server._ext.libzmq cimport Multipart, close_all, frame, start
from prime_server._ext.outcome cimport ANSWERED, BROKEN_OFF, NOBODY_WAITS, STREAMED, give_up, room_for_info, say
from prime_server._ext.pacing cimport LARGEST, POSTED, SIGNALLED, Course, post, wait_and_post
from prime_server._ext.response cimport Response, write_response, write_stream_end, write_stream_head, write_stream_part

import logging
import secrets

from prime_server.errors import Interrupted

cdef enum:
    MAX_JOINED = 67108864      # bytes of an answer that is joined


cdef bint in_parts(object result) except -1:
    if isinstance(result, Response):
        return (<Response>result)._parts is not None
    return hasattr(type(result), "__next__")


cdef class Stream:
    cdef Intake* intake
    cdef Job job
    cdef Response response
    cdef object iterator
    cdef Course course
    cdef int64_t given         # bytes, of an answer whose length is known
    cdef object last           # the piece that completes it

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
            if self.course.sequence == 0:
                self.response.settle_type(part)
                if self.job.inner.flags & FLAG_HEAD:
                    room_for_info(&into.parts)
                    write_stream_head(&into.parts, self.response, &self.job.inner)
                    return 0
            if self.send_part(part) != POSTED:
                if not self.stopped(into):
                    into.kind = NOBODY_WAITS
                return 0
        if self.course.sequence == 0:
            return 0 if self.stopped(into) else self.whole(into, self.rest())
        rest = self.rest()
        room_for_info(&into.parts)
        write_stream_part(&into.parts, self.response, rest, &self.job.inner)
        if write_stream_end(&into.parts, self.response, &self.job.inner) != 0:
            raise MemoryError()
        into.kind = STREAMED
        into.sequence = self.course.sequence
        into.source = self.course.source
        return 0

    cdef object rest(self):
        """What is still to leave now that the iterator has ended."""
        if self.response._length != self.given and self.response._length >= 0:
            raise ValueError(f"an answer in parts was to have {self.response._length} bytes and ended after {self.given}")
        return b"" if self.last is None else self.last

    cdef bint keep(self, object piece) except -1:
        """Keeps the piece if it is the last one."""
        self.given += memoryview(piece).nbytes
        if self.given > self.response._length:
            raise ValueError(f"an answer in parts was to have {self.response._length} bytes and has more")
        if self.given == self.response._length:
            self.last = bytes(piece)  # a copy: it may be filled anew meanwhile
            return True
        return False

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
        self.given = len(body)
        self.rest()
        return self.whole(into, body)

    cdef bint stopped(self, Outcome* into) noexcept:
        """Whether nobody listens any more; then the outcome says what becomes of the job."""
        cdef int why = atomic_load(&self.job.flag)
        if why == 0:
            return False
        if self.course.sequence == 0:
            return give_up(into, &self.job.flag, &self.job.inner, self.intake.upstream.greeted)
        if why == CLIENT_LEFT or why == DEADLINE_PASSED:
            into.kind = NOBODY_WAITS
        else:
            self.break_off(into)
        return True

    cdef int break_off(self, Outcome* into) noexcept:
        close_all(&into.parts)
        into.kind = BROKEN_OFF
        into.sequence = self.course.sequence
        into.source = self.course.source
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
        if self.response._length >= 0 and self.keep(piece):
            return POSTED
        start(&parts)
        try:
            room_for_info(&parts)
            if self.course.sequence == 0:
                write_stream_head(&parts, self.response, &self.job.inner)
            write_stream_part(&parts, self.response, piece, &self.job.inner)
        except:
            close_all(&parts)
            raise
        # The common case needs no waiting, and so no change of the GIL's owner.
        if mutex_trylock(&self.intake.lock) == 0:
            status = post(&self.course, &parts)
            mutex_unlock(&self.intake.lock)
            if status == POSTED:
                return POSTED
        while True:
            with nogil:
                mutex_lock(&self.intake.lock)
                status = wait_and_post(&self.course, &parts)
                mutex_unlock(&self.intake.lock)
            if status != SIGNALLED:
                return status
            try:
                PyErr_CheckSignals()
            except:
                close_all(&parts)
                raise


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
    self.course.intake = intake
    self.course.info = &job.inner
    self.course.original = frame(&job.parts, 0)
    self.course.flag = &job.flag
    self.course.until = &job.until
    self.course.status = self.response.status
    self.course.whole = 0
    self.course.upstream = upstream
    self.course.interrupt = interrupt
    self.course.source = secrets.randbits(32)
    source = self.response._parts
    trouble = None
    try:
        self.iterator = blocks(source) if hasattr(source, "read") else iter(source)
        self.go(into)
    except BaseException as error:
        trouble = error
    ends = self.close(source)
    if trouble is not None and self.course.sequence == 0:
        raise trouble if ends is None else ends
    if trouble is not None:
        later = self.failed(into, trouble)
        return later if ends is None else ends
    return ends
