"""Calling native work functions: a C function in a capsule, as SciPy's LowLevelCallable holds one.

The function gets the job as a C struct of borrowed slices and answers through two callbacks, which copy what they are given into the message
that the loop then sends. Nothing here needs the GIL but the making of a NativeWork.
"""

cimport cython
from cpython.pycapsule cimport PyCapsule_CheckExact, PyCapsule_GetContext, PyCapsule_GetName, PyCapsule_GetPointer, PyCapsule_IsValid
from libc.string cimport strcmp

from prime_server._ext.libzmq cimport Message, add, close_all, copy_in, data_of, frame, size_of, start, zmq
from prime_server._ext.native cimport PRIME_SERVER_WORK
from prime_server._ext.response cimport write_plain_extra


@cython.final
cdef class NativeWork:
    def __init__(self, capsule, *, fallback=None):
        cdef const char* name
        if not PyCapsule_CheckExact(capsule):
            raise TypeError(f"a native work function comes in a PyCapsule, not in {type(capsule).__name__}")
        if not PyCapsule_IsValid(capsule, PRIME_SERVER_WORK):
            name = PyCapsule_GetName(capsule)
            named = "without a name" if name == NULL else f"one named {(<bytes>name).decode(errors='replace')!r}"
            raise TypeError(f"a native work function comes in a PyCapsule named {PRIME_SERVER_WORK.decode()!r}, not {named}")
        if fallback is not None and not callable(fallback):
            raise TypeError(f"a fallback is a work function or None, not {type(fallback).__name__}")
        self.function = <work_fn>PyCapsule_GetPointer(capsule, PRIME_SERVER_WORK)
        self.data = PyCapsule_GetContext(capsule)
        self.capsule = capsule
        self.fallback = fallback

    def __repr__(self):
        return f"NativeWork({self.capsule!r}, fallback={self.fallback!r})"


cdef Message* first_slot(NativeCall* call) noexcept nogil:
    """Keeps the first frame free for the info, which the loop writes."""
    cdef Message* slot = add(&call.result)
    if slot != NULL:
        zmq.msg_init(slot)
    return slot


cdef int respond(
    NativeJob* job, int status, const char* content_type, const char* fields, const char* body, size_t body_size
) noexcept nogil:
    cdef NativeCall* call = <NativeCall*>job
    if call.outcome != NOTHING_DONE or first_slot(call) == NULL:
        return -1
    if write_plain_extra(&call.result, status, content_type, fields, body, body_size, &call.waiting.info) != 0:
        close_all(&call.result)
        return -1
    call.status = status
    call.outcome = RESPONDED
    return 0


cdef int forward(NativeJob* job, const char* stage, const char* data, size_t data_size) noexcept nogil:
    cdef NativeCall* call = <NativeCall*>job
    cdef int index = 0
    if call.outcome != NOTHING_DONE or (stage == NULL and call.stage_count != 1):
        return -1
    if stage != NULL:
        while index < call.stage_count and strcmp(call.stage_names[index], stage) != 0:
            index += 1
        if index == call.stage_count:
            return -1
    if first_slot(call) == NULL or copy_in(add(&call.result), data, data_size) != 0:
        close_all(&call.result)
        return -1
    call.stage = index
    call.outcome = FORWARDED
    return 0


cdef int call_native(NativeCall* call, work_fn function, void* data, WaitingJob* waiting, const int* flag) noexcept nogil:
    cdef Multipart* parts = &waiting.parts
    cdef int index
    for index in range(1, parts.size):
        call.slices[index - 1].data = data_of(frame(parts, index))
        call.slices[index - 1].size = size_of(frame(parts, index))
    call.waiting = waiting
    call.outcome = NOTHING_DONE
    start(&call.result)
    call.job.size = sizeof(NativeJob)
    call.job.frame_count = parts.size - 1
    call.job.frames = call.slices
    call.job.info = data_of(frame(parts, 0))
    call.job.info_size = size_of(frame(parts, 0))
    call.job.interrupted = flag
    call.job.deadline = waiting.deadline
    call.job.respond = respond
    call.job.forward = forward
    return function(&call.job, data)
