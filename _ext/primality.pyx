"""Primality: whether a number is prime, for C without the GIL and for Python.

Below 2^64 the answer is exact and comes from primality.h, out of C integers alone; above, gmpy2 does the work, in steps between which a
worker can ask whether anybody still waits.
"""

from cpython.bool cimport PyBool_Check

import operator

import gmpy2

cdef extern from "primality.h" nogil:
    bint prime_u64(uint64_t n)

cdef object MAX_U64 = 2**64 - 1
cdef object SMALL = gmpy2.primorial(1000)


cdef bint is_prime_u64(uint64_t n) noexcept nogil:
    return prime_u64(n)


cdef object integer(object n):
    """n as an `int`; raises TypeError for what is none."""
    if type(n) is int:
        return n
    if PyBool_Check(n):
        raise TypeError("an integer is needed, not bool")
    try:
        return int(operator.index(n))
    except TypeError:
        raise TypeError(f"an integer is needed, not {type(n).__name__}") from None


cdef int below_2_64(object n) except -1:
    """1: prime, 0: not, 2: n is 2^64 or more."""
    if n < 2:
        return 0
    if n > MAX_U64:
        return 2
    return is_prime_u64(n)


def is_prime(n, /):
    cdef int small
    n = integer(n)
    small = below_2_64(n)
    return small == 1 if small != 2 else gmpy2.is_prime(n, 24)


def is_prime_checked(n, check, /):
    cdef int small
    n = integer(n)
    small = below_2_64(n)
    if small != 2:
        return small == 1
    check()
    n = gmpy2.mpz(n)
    if n % 2 == 0 or gmpy2.gcd(n, SMALL) != 1 or not gmpy2.is_strong_prp(n, 2):
        return False
    check()
    return gmpy2.is_strong_selfridge_prp(n)
