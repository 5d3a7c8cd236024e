"""The access log, written in batches."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef class AccessLog:
    cdef int descriptor        # -1: no log
    cdef bint regular          # never blocks
    cdef char* buffer          # owned
    cdef size_t used
    cdef readonly uint64_t dropped   # lines, because whoever should read them did not
    cdef int64_t stamp_second  # the second that `stamp` shows
    cdef char stamp[24]
    # `id timestamp method path version`; `line` is the request line without its CRLF
    cdef void request(self, uint32_t id, int64_t at, const char* line, size_t size) noexcept nogil
    # `id timestamp code bytes`
    cdef void response(self, uint32_t id, int64_t at, int code, size_t size) noexcept nogil
    # Writes what is there, without blocking. Returns whether something is left.
    cdef bint flush(self) noexcept nogil

    cdef char* begin(self, uint32_t id, int64_t at) noexcept nogil
    cdef void end(self, char* to) noexcept nogil
