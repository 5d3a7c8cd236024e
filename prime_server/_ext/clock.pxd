"""Time as the loops and cores count it: int64 microseconds of the monotonic clock."""

from libc.stdint cimport int64_t
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec

cdef inline int64_t now_us() noexcept nogil:
    cdef timespec at
    clock_gettime(CLOCK_MONOTONIC, &at)
    return <int64_t>at.tv_sec * 1000000 + at.tv_nsec // 1000

cdef inline int64_t unix_us() noexcept nogil:
    cdef timespec at
    clock_gettime(CLOCK_REALTIME, &at)
    return <int64_t>at.tv_sec * 1000000 + at.tv_nsec // 1000

cdef inline int64_t sooner(int64_t one, int64_t other) noexcept nogil:
    """The earlier of two moments, of which -1 is never."""
    return one if other < 0 or 0 <= one < other else other
