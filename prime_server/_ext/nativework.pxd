"""Native work functions as the worker's loop calls them."""

from libc.stddef cimport size_t

from prime_server._ext.intake cimport WaitingJob
from prime_server._ext.libzmq cimport MAX_FRAMES, Multipart
from prime_server._ext.native cimport NativeJob, Slice, work_fn

cdef enum:
    NOTHING_DONE = 0
    RESPONDED = 1
    FORWARDED = 2

# What one function is called with: the job stands first, so a pointer to it is one to the call.
cdef struct NativeCall:
    NativeJob job
    WaitingJob* waiting        # not owned
    const char** stage_names   # not owned, not constant in number: `stage_count`
    int stage_count
    Multipart result           # owned; an empty first frame where the info will stand, then the response or the payload
    int outcome                # NOTHING_DONE, RESPONDED, FORWARDED
    int stage
    int status
    Slice slices[MAX_FRAMES]

cdef class NativeWork:
    cdef readonly object capsule
    cdef readonly object fallback
    cdef work_fn function
    cdef void* data            # the capsule's context

# Calls the function with the job, whose parts stay the caller's. The answer is one of prime_server.h's; `call.outcome` and `call.result` have
# the rest.
cdef int call_native(NativeCall* call, work_fn function, void* data, WaitingJob* waiting, const int* flag) noexcept nogil
