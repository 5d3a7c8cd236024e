"""What has become of a job: from what a work function returned or raised to a message."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t

from prime_server._ext.info cimport Info
from prime_server._ext.job cimport Job
from prime_server._ext.libzmq cimport Message, Multipart, start
from prime_server._ext.nativework cimport NativeCall

cdef enum:
    NOBODY_WAITS
    ANSWERED
    FAILED                     # answered by us
    FORWARDED_ON
    HANDED_BACK
    STREAMED                   # answered in parts, of which these are the last
    BROKEN_OFF                 # the rest of its parts can't be had

cdef struct Outcome:
    int kind
    int stage                  # to which it is forwarded
    bint retryable             # what is forwarded may be run again when its worker dies
    int status                 # with which it is answered
    uint32_t sequence          # of an answer in parts: of this message
    uint32_t source            # of all of them
    Multipart parts            # owned: an empty frame for the info, then the response or the payload; no frame where nothing is sent

cdef inline void outcome_start(Outcome* outcome) noexcept nogil:
    start(&outcome.parts)
    outcome.sequence = 0
    outcome.source = 0
    outcome.retryable = False

# What a work function in Python has returned. Raises where that is no result; what is in `into` then is the caller's to close.
cdef int express(Outcome* into, object result, Job job, int stage_count) except -1
# What it has raised, `greeted`: the proxy takes jobs back. Consumes what is in `into`; returns the exception that is to end the worker, or None.
cdef object express_error(Outcome* into, object error, Job job, bint greeted)
# What a native one has done and returned; consumes the call's result. False: it has failed, say so by `express_native_failure`.
cdef bint express_native(Outcome* into, NativeCall* call, int answer, const int* flag, bint greeted) noexcept nogil
cdef int express_native_failure(Outcome* into, NativeCall* call, int answer) except -1
# What becomes of a job that ended early, as its flag says; False: it had no reason to.
cdef bint give_up(Outcome* into, const int* flag, const Info* info, bint greeted) noexcept nogil
# An empty first frame.
cdef int room_for_info(Multipart* parts) except -1
# Puts the info in front, for who gets the message next; `seen`: by the hub that has given us the job too. 0, or -1 without memory.
cdef int address(Outcome* outcome, Info* info, Message* original, bint seen, int64_t took, int64_t deadline, int64_t now) noexcept nogil
# Logs to `prime_server`, and doesn't raise where the application's logging does. `error` may be None.
cdef int say(int level, str text, object argument, object error) except -1
