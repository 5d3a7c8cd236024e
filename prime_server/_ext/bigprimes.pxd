"""Whether numbers of 2^64 and more are prime, with the GIL released where GMP allows it."""

from libc.stddef cimport size_t

# For numbers of 2^64 and more, as `int` itself.
cdef bint is_prime_big(object n) except -1
cdef bint is_strong_to(object n, object base) except -1
cdef bint is_prime_big_checked(object n, object check) except -1

cdef enum:
    BIG_COMPOSITE
    BIG_PRIME
    BIG_INTERRUPTED
    BIG_UNABLE              # GMP can't be called without the GIL, or memory ran out

# For decimal digits with a 0 behind them; `interrupted` is read between the steps.
cdef int is_prime_digits(const char* digits, const int* interrupted) noexcept nogil
