"""Slices of bytes, and writing bytes one after the other into memory that is known to be large enough."""

from libc.stddef cimport size_t
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from prime_server._ext.native cimport Slice

cdef inline Slice slice_of(const char* data, size_t size) noexcept nogil:
    cdef Slice result
    result.data = data
    result.size = size
    return result

cdef inline Slice between(const char* start, const char* end) noexcept nogil:
    return slice_of(start, end - start)

# Each returns where the next byte belongs.

cdef inline char* put(char* to, const char* data, size_t size) noexcept nogil:
    if size:
        memcpy(to, data, size)
    return to + size

cdef inline char* put_number(char* to, uint64_t number, int digits) noexcept nogil:
    """In decimal, with as many digits as `count_digits` says, or with leading zeros."""
    cdef char* at = to + digits
    while at > to:
        at -= 1
        at[0] = <char>(c"0" + number % 10)
        number //= 10
    return to + digits

cdef inline int count_digits(uint64_t number) noexcept nogil:
    cdef int count = 1
    while number >= 10:
        number //= 10
        count += 1
    return count
