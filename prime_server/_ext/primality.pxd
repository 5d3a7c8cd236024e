"""Primality: exact below 2^64, without the GIL."""

from libc.stdint cimport uint64_t

cdef bint is_prime_u64(uint64_t n) noexcept nogil
