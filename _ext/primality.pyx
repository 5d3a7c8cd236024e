"""Primality: whether a number is prime, for C without the GIL and for Python.

Below 2^64 the answer is exact and comes from primality.h, out of C integers alone; above, GMP does the work (bigprimes.pyx). An `int` goes straight
to its size class; everything else is first turned into one by its `__index__`. Many at once take vectors where the processor has them
(primality_batch.h).
"""

from cpython.bool cimport PyBool_Check
from cpython.long cimport PyLong_Check, PyLong_CheckExact
from libc.stdint cimport uint8_t, uint32_t, uint64_t

import operator
import os
import secrets

from prime_server._ext.bigprimes cimport is_prime_big, is_prime_big_checked, is_strong_to
from prime_server._ext.pylong cimport PYLONG_BIG, PYLONG_FITS, pylong_u64

cdef extern from "primality.h" nogil:
    bint prime_u64(uint64_t n)
    void prime_set_up(const uint32_t* pseudoprimes, int count)

cdef extern from "primality_batch.h" nogil:
    enum:
        PRIME_CHUNK
        PRIME_SCALAR
        PRIME_AVX2
        PRIME_AVX512

    int prime_way
    bint prime_has_way(int way)
    void prime_any_chunk(const uint64_t* numbers, uint8_t* primes, int count)

cdef extern from "primality_avx512.h" nogil:
    pass  # named so that a change of it builds this anew

cdef extern from "pseudoprimes.h" nogil:
    const uint32_t[2314] prime_pseudoprimes

prime_set_up(prime_pseudoprimes, sizeof(prime_pseudoprimes) // sizeof(uint32_t))

cdef dict WAYS = {"scalar": PRIME_SCALAR, "avx2": PRIME_AVX2, "avx512": PRIME_AVX512}
SIMD_PATHS = tuple(name for name, way in WAYS.items() if prime_has_way(way))
SIMD = os.environ.get("PRIME_SERVER_SIMD") or next(reversed(SIMD_PATHS))

if SIMD not in WAYS:
    raise ImportError(f"the environment has PRIME_SERVER_SIMD={SIMD!r}; it should be one of: {', '.join(WAYS)}")
if SIMD not in SIMD_PATHS:
    raise ImportError(f"the environment has PRIME_SERVER_SIMD={SIMD!r}, which this machine lacks; it has: {', '.join(SIMD_PATHS)}")
prime_way = WAYS[SIMD]


cdef bint is_prime_u64(uint64_t n) noexcept nogil:
    return prime_u64(n)


cdef void are_prime_u64(const uint64_t* numbers, uint8_t* primes, Py_ssize_t count) noexcept nogil:
    cdef int size
    while count > 0:
        size = <int>min(count, <Py_ssize_t>PRIME_CHUNK)
        prime_any_chunk(numbers, primes, size)
        numbers += size
        primes += size
        count -= size


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
