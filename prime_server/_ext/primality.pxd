"""Primality: exact below 2^64, without the GIL."""

from libc.stdint cimport uint8_t, uint64_t

cdef bint is_prime_u64(uint64_t n) noexcept nogil

# 1 or 0 for each of the numbers, which nobody may change meanwhile.
cdef void are_prime_u64(const uint64_t* numbers, uint8_t* primes, Py_ssize_t count) noexcept nogil

# What is_prime takes, as an `int`; raises TypeError for all else.
cdef object integer(object n)
