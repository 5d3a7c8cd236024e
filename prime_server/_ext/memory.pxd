"""Memory given back to the system after a flood."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t

# All zero at first.
cdef struct Tide:
    size_t high                # bytes, the most that were held since memory was given back
    int64_t low_since          # 0: it hasn't fallen

# So many bytes are held now. When it wants to be told again, -1: when there is more.
cdef int64_t tide_look(Tide* tide, size_t level, int64_t now) noexcept nogil
