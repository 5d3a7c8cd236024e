"""Python's integers as C ones (pylong.h)."""

from libc.stddef cimport size_t
from libc.stdint cimport uint64_t

cdef extern from "pylong.h":
    enum:
        PYLONG_FITS
        PYLONG_NEGATIVE
        PYLONG_BIG

    int pylong_u64(object n, uint64_t* value)
    size_t pylong_limb_bytes(object n)
    int pylong_limbs(object n, uint64_t* limbs, size_t bytes) except -1
