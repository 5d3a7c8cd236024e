"""The interface of native work functions (prime_server.h)."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t

cdef extern from "prime_server.h" nogil:
    const char* PRIME_SERVER_WORK
    enum:
        PRIME_DONE
        PRIME_PYTHON
        PRIME_INTERRUPTED
        PRIME_FAILED

    ctypedef struct Slice "prime_slice":
        const char* data
        size_t size

    ctypedef struct NativeJob "prime_job":
        size_t size
        size_t frame_count
        const Slice* frames
        const void* info
        size_t info_size
        const int* interrupted
        int64_t deadline
        int (*respond)(NativeJob* job, int status, const char* content_type, const char* fields, const char* body, size_t body_size) noexcept nogil
        int (*forward)(NativeJob* job, const char* stage, const char* data, size_t data_size) noexcept nogil

    ctypedef int (*work_fn "prime_work_fn")(NativeJob* job, void* data) noexcept nogil
