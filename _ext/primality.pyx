"""Primality: whether a number is prime, for C without the GIL and for Python.

Below 2^64 the answer is exact and comes from primality.h, out of C integers alone; above, GMP does the work (bigprimes.pyx). An `int` goes straight
to its size class; everything else is first turned into one by its `__index__`.
"""

from cpython.bool cimport PyBool_Check
from cpython.long cimport PyLong_Check, PyLong_CheckExact
from libc.stdint cimport uint8_t, uint32_t, uint64_t

import operator
import secrets

from prime_server._ext.bigprimes cimport is_prime_big, is_prime_big_checked, is_strong_to
from prime_server._ext.pylong cimport PYLONG_BIG, PYLONG_FITS, pylong_u64

cdef extern from "primality.h" nogil:
    bint prime_u64(uint64_t n)
    void prime_set_up(const uint32_t* pseudoprimes, int count)

cdef extern from "pseudoprimes.h" nogil:
    const uint32_t[2314] prime_pseudoprimes

prime_set_up(prime_pseudoprimes, sizeof(prime_pseudoprimes) // sizeof(uint32_t))


cdef bint is_prime_u64(uint64_t n) noexcept nogil:
    return prime_u64(n)


cdef void prime_chunk(const uint64_t* numbers, uint8_t* primes, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t index
    for index in range(count):
        primes[index] = prime_u64(numbers[index])


cdef object integer(object n):
    """n as an `int`; raises TypeError for what is none."""
    if PyLong_Check(n) and not PyBool_Check(n):
        return n
    if PyBool_Check(n):
        raise TypeError("an integer is needed, not bool")
    try:
        return operator.index(n)
    except TypeError:
        raise TypeError(f"an integer is needed, not {type(n).__name__}") from None


def is_prime(n, /):
    cdef uint64_t value
    cdef int kind
    if not PyLong_CheckExact(n):
        n = integer(n)
    kind = pylong_u64(n, &value)
    if kind == PYLONG_FITS:
        return True if prime_u64(value) else False
    return kind == PYLONG_BIG and is_prime_big(n)


def is_probable_prime(n, /, rounds=25):
    cdef object left
    if PyBool_Check(rounds):
        raise TypeError("rounds should be an integer, not bool")
    try:
        left = operator.index(rounds)
    except TypeError:
        raise TypeError(f"rounds should be an integer, not {type(rounds).__name__}") from None
    if left < 0:
        raise ValueError(f"rounds should be 0 or more, not {left}")
    n = integer(n)
    if not is_prime(n):
        return False
    if n >> 64:
        for _ in range(left):
            if not is_strong_to(n, 2 + secrets.randbelow(n - 3)):
                return False
    return True


def is_prime_checked(n, check, /):
    cdef uint64_t value
    cdef int kind
    n = integer(n)
    kind = pylong_u64(n, &value)
    if kind == PYLONG_FITS:
        return True if prime_u64(value) else False
    return kind == PYLONG_BIG and is_prime_big_checked(n, check)
