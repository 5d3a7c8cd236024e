"""A job in Python: the view of one message that a work function gets, and the message for the next stage that it may return.

A Job owns its message. Nothing of it becomes a Python object before it is asked for: the payload's frames move into `Frame`s then, which keep
libzmq's own memory, and the request is a view over the first of them. So a job may outlive its work function, its worker and its context.

The flag that `check` reads is the Job's own: while the work function runs the guardian may set it, from a thread without the GIL.
"""

cimport cython
from cpython.buffer cimport PyObject_CheckBuffer
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t
from libc.string cimport memcpy
from posix.time cimport nanosleep, timespec

from prime_server._ext.clock cimport now_us
from prime_server._ext.cthreads cimport atomic_load
from prime_server._ext.info cimport info_object, read_info
from prime_server._ext.intake cimport CLIENT_LEFT, DEADLINE_PASSED
from prime_server._ext.libzmq cimport MAX_FRAMES, Frame, Message, add, borrow, close_all, data_of, frame, size_of, start, zmq
from prime_server._ext.request cimport request_of

from prime_server._ext.info import RequestInfo
from prime_server.errors import Interrupted

cdef enum:
    SLEEP_SLICE = 10000        # us between two looks at the flag


cdef str reason_to_stop(int flag):
    if flag == CLIENT_LEFT:
        return "the client has left"
    if flag == DEADLINE_PASSED:
        return "the deadline has passed"
    return "the worker is shutting down"


@cython.freelist(64)
@cython.final
cdef class Job:
    def __cinit__(self, *frames, info=None, deadline=None, stages=()):
        start(&self.parts)

    def __init__(self, *frames, info=None, deadline=None, stages=()):
        cdef Message* head
        if self.parts.size:
            raise TypeError("a job is made once")
        if not 1 <= len(frames) < MAX_FRAMES:
            raise ValueError(f"a payload has 1 to {MAX_FRAMES - 1} frames, not {len(frames)}")
        if info is None:
            info = RequestInfo(id=0, time_stamp=0)
        append(&self.parts, info.to_bytes())
        head = frame(&self.parts, 0)
        if read_info(data_of(head), size_of(head), &self.inner) != 0:
            raise ValueError(f"no info: {info!r}")
        for source in frames:
            append(&self.parts, source)
        self.until = 0 if deadline is None else <int64_t>(<double>deadline * 1e6)
        self.stages = {name: index for index, name in enumerate(stages)}

    def __dealloc__(self):
        close_all(&self.parts)

    @staticmethod
    cdef Job take(WaitingJob* waiting, dict stages):
        cdef Job self = Job.__new__(Job)
        memcpy(&self.parts, &waiting.parts, sizeof(Multipart))
        memcpy(&self.inner, &waiting.info, sizeof(Info))
        self.until = waiting.deadline
        self.stages = stages
        return self

    @property
    def frames(self):
        cdef int index
        if self._frames is None:
            if self.parts.size == 2:
                self._frames = (Frame.take(frame(&self.parts, 1)),)
            else:
                self._frames = tuple([Frame.take(frame(&self.parts, index)) for index in range(1, self.parts.size)])
            self.parts.size = 1
        return self._frames

    @property
    def request(self):
        if self._request is None:
            self._request = request_of(<Frame>(<tuple>self.frames)[0])
        return self._request

    @property
    def info(self):
        if self._info is None:
            self._info = info_object(&self.inner)
        return self._info

    @property
    def deadline(self):
        return self.until / 1e6 if self.until else None

    def time_left(self):
        cdef int64_t left
        if self.until == 0:
            return None
        left = self.until - now_us()
        return left / 1e6 if left > 0 else 0.0

    @property
    def interrupted(self):
        return atomic_load(&self.flag) != 0

    def check(self):
        if atomic_load(&self.flag):
            raise Interrupted(reason_to_stop(self.flag))

    def sleep(self, seconds):
        cdef double length = seconds
        cdef timespec slice
        cdef int64_t until
        if not 0 <= length <= 1e9:
            raise ValueError(f"a job sleeps for 0 or more seconds, not {seconds!r}")
        until = now_us() + <int64_t>(length * 1e6)
        with nogil:
            slice.tv_sec = 0
            while atomic_load(&self.flag) == 0:
                slice.tv_nsec = until - now_us()
                if slice.tv_nsec <= 0:
                    break
                slice.tv_nsec = 1000 * (slice.tv_nsec if slice.tv_nsec < SLEEP_SLICE else <long>SLEEP_SLICE)
                if nanosleep(&slice, NULL) != 0:
                    with gil:
                        PyErr_CheckSignals()
        self.check()

    def forward(self, *frames, to=None, retryable=False):
        cdef Forward made
        if not 1 <= len(frames) < MAX_FRAMES:
            raise ValueError(f"a message for the next stage has 1 to {MAX_FRAMES - 1} frames, not {len(frames)}")
        for source in frames:
            if not PyObject_CheckBuffer(source):
                raise TypeError(f"a frame is bytes-like, not {type(source).__name__}")
        made = Forward.__new__(Forward)
        made.frames = frames
        made.to = to
        made.retryable = retryable
        made.index = stage_index(self.stages, to)
        return made

    @property
    def heartbeat(self):
        return self._heartbeat

    @heartbeat.setter
    def heartbeat(self, value):
        self._heartbeat = None if value is None else bytes(memoryview(value))

    def __repr__(self):
        return f"<Job {self.inner.id} of {self.inner.time_stamp}>"


cdef int stage_index(dict stages, object to) except -1:
    if not stages:
        raise LookupError("there is no next stage: this worker has no downstream")
    if to is None:
        if len(stages) > 1:
            raise LookupError(f"there are several next stages: name one of {', '.join(sorted(map(repr, stages)))}")
        return 0
    index = stages.get(to)
    if index is None:
        raise LookupError(f"there is no next stage {to!r}: name one of {', '.join(sorted(map(repr, stages)))}")
    return index


@cython.final
cdef class Forward:
    def __init__(self):
        raise TypeError("Job.forward makes them")

    def __repr__(self):
        return f"<Forward of {len(self.frames)} frames{'' if self.to is None else f' to {self.to!r}'}>"


cdef int append(Multipart* parts, object source) except -1:
    cdef Message message
    cdef Message* slot
    if type(source) is Frame:
        zmq.msg_init(&message)
        zmq.msg_copy(&message, &(<Frame>source).message)
    else:
        borrow(&message, source)
    slot = add(parts)
    if slot == NULL:
        zmq.msg_close(&message)
        raise MemoryError()
    memcpy(slot, &message, sizeof(Message))
    return 0


cdef int write_forward(Multipart* parts, Forward forward) except -1:
    for source in forward.frames:
        append(parts, source)
    return 0
