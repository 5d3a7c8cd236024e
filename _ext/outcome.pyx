"""What becomes of a job: its answer, its way to the next stage, or nothing where nobody waits.

Whatever a work function does, its client gets an answer. So all that it returns or raises ends here as one of a few kinds of outcome, with the
message to send: what is no result is logged and answered by 500, an exception by its own status where it has one. Nothing here raises for
what the user's code has done, be it an exception whose text can't be had or a logging handler that fails.
"""

from cpython.buffer cimport PyObject_CheckBuffer
from libc.string cimport memcpy, strlen

from prime_server._ext.cthreads cimport atomic_load
from prime_server._ext.info cimport (
    FLAG_BROKEN,
    FLAG_FAILED,
    FLAG_FINISHED,
    FLAG_FROM_PROXY,
    FLAG_IDEMPOTENT,
    FLAG_MORE,
    FLAG_NETSTRING,
    FLAG_RAW,
    FLAG_REFUSAL,
    FLAG_RESULT,
    FLAG_RETRYABLE,
    NETSTRING_INFO_SIZE,
    set_code,
    write_info,
)
from prime_server._ext.intake cimport CLIENT_LEFT, DEADLINE_PASSED, SHUTTING_DOWN
from prime_server._ext.job cimport Forward, write_forward
from prime_server._ext.libzmq cimport add, close_all, frame, start, zmq
from prime_server._ext.native cimport PRIME_DONE, PRIME_INTERRUPTED, PRIME_PYTHON
from prime_server._ext.nativework cimport FORWARDED, RESPONDED
from prime_server._ext.response cimport Response, reason_of, write_plain, write_response

import logging

from prime_server.errors import Interrupted

cdef object logger = logging.getLogger("prime_server")


cdef int say(int level, str text, object argument, object error) except -1:
    try:
        logger.log(level, text, argument, exc_info=None if error is None else (type(error), error, error.__traceback__))
    except Exception:
        pass                   # a handler of the application's: the worker has other things to do
    return 0


cdef inline bint is_bare(const Info* info) noexcept nogil:
    """Whether the client speaks something else than HTTP, so that a response is its bytes."""
    return info.size == NETSTRING_INFO_SIZE or info.flags & (FLAG_NETSTRING | FLAG_RAW) != 0


cdef int room_for_info(Multipart* parts) except -1:
    cdef Message* slot = add(parts)
    if slot == NULL:
        raise MemoryError()
    zmq.msg_init(slot)
    return 0


cdef int express(Outcome* into, object result, Job job, int stage_count) except -1:
    if isinstance(result, Forward):
        if (<Forward>result).index >= stage_count:
            raise TypeError("the work function returned a Forward of another worker's")
        room_for_info(&into.parts)
        write_forward(&into.parts, <Forward>result)
        into.kind = FORWARDED_ON
        into.stage = (<Forward>result).index
        into.retryable = (<Forward>result).retryable
        return 0
    if not isinstance(result, Response):
        if not is_bare(&job.inner):
            raise TypeError(f"a work function returns a Response or what job.forward() makes, not {type(result).__name__}")
        if not PyObject_CheckBuffer(result) and not isinstance(result, str):
            raise TypeError(f"a work function returns a Response, bytes, str or what job.forward() makes, not {type(result).__name__}")
        if len(result) == 0 and job.inner.flags & FLAG_RAW:
            raise ValueError("the work function's result is empty, which no client would notice")
        result = Response(200, result)
    room_for_info(&into.parts)
    write_response(&into.parts, <Response>result, &job.inner)
    into.kind = ANSWERED
    into.status = (<Response>result).status
    return 0


cdef object express_error(Outcome* into, object error, Job job, bint greeted):
    cdef int status = 500
    cdef bytes text = b""
    ends = error if isinstance(error, (KeyboardInterrupt, SystemExit)) else None
    close_all(&into.parts)
    if isinstance(error, Interrupted) and give_up(into, &job.flag, &job.inner, greeted):
        return None
    try:
        own = getattr(error, "status", None)
        if type(own) is int and 400 <= own <= 599:
            status = own
            text = str(error).encode(errors="replace")
    except Exception:
        pass                   # the user's code again: then without a text
    except BaseException as later:
        ends = later
    try:
        say(logging.ERROR if status >= 500 else logging.INFO, "a work function failed, its client gets %d", status, error)
    except BaseException as later:
        ends = later
    fail(into, status, text, len(text), &job.inner)
    return ends


cdef bint express_native(Outcome* into, NativeCall* call, int answer, const int* flag, bint greeted) noexcept nogil:
    outcome_start(into)
    memcpy(&into.parts, &call.result, sizeof(Multipart))
    start(&call.result)
    into.status = call.status
    into.stage = call.stage
    if answer == PRIME_DONE and call.outcome == RESPONDED:
        into.kind = ANSWERED
        return True
    if answer == PRIME_DONE and call.outcome == FORWARDED:
        into.kind = FORWARDED_ON
        return True
    close_all(&into.parts)
    return answer == PRIME_INTERRUPTED and give_up(into, flag, &call.waiting.info, greeted)


cdef int express_native_failure(Outcome* into, NativeCall* call, int answer) except -1:
    if answer == PRIME_PYTHON:
        why = "it leaves the job to Python, and has answered it or has no fallback"
    elif answer == PRIME_INTERRUPTED:
        why = "it was not interrupted, and says so"
    else:
        why = "it neither answered nor forwarded the job" if answer == PRIME_DONE else f"it returned {answer}"
    fail(into, 500, NULL, 0, &call.waiting.info)
    return say(logging.ERROR, "a native work function failed: %s", why, None)


cdef bint give_up(Outcome* into, const int* flag, const Info* info, bint greeted) noexcept nogil:
    """What becomes of a job that ended early. False: it had no reason to."""
    cdef int why = atomic_load(flag)
    start(&into.parts)
    if why == CLIENT_LEFT or why == DEADLINE_PASSED:
        into.kind = NOBODY_WAITS
    elif why == SHUTTING_DOWN and greeted and info.flags & (FLAG_IDEMPOTENT | FLAG_RETRYABLE):
        into.kind = HANDED_BACK
    elif why == SHUTTING_DOWN:
        fail(into, 503, NULL, 0, info)
    else:
        return False
    return True


cdef void fail(Outcome* into, int status, const char* text, size_t size, const Info* info) noexcept nogil:
    """Our own answer; without a text of its own, the usual words for the status."""
    start(&into.parts)
    into.kind = FAILED
    into.status = status
    zmq.msg_init(add(&into.parts))
    if size == 0:
        text = reason_of(status)
        size = strlen(text)
    write_plain(&into.parts, status, b"text/plain; charset=utf-8", text, size, info)


cdef int address(Outcome* outcome, Info* info, Message* original, bint seen, int64_t took, int64_t deadline, int64_t now) noexcept nogil:
    info.served += <unsigned int>took
    info.flags &= ~<unsigned int>(FLAG_FROM_PROXY | FLAG_MORE | FLAG_REFUSAL | FLAG_BROKEN | FLAG_FAILED | FLAG_RETRYABLE | FLAG_FINISHED)
    if seen:
        info.flags |= FLAG_FINISHED
    if outcome.kind == FORWARDED_ON:
        info.hops += 1
        if outcome.retryable:
            info.flags |= FLAG_RETRYABLE
        if deadline:
            info.time_left = deadline - now if deadline > now else -1
    else:
        info.flags |= FLAG_RESULT | (FLAG_BROKEN if outcome.kind == BROKEN_OFF else FLAG_FAILED if outcome.kind == FAILED else 0)
        info.sequence = outcome.sequence
        info.source = outcome.source
        set_code(info, outcome.status)
    return write_info(frame(&outcome.parts, 0), info, original)
