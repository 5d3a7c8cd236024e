"""Whether numbers of 2^64 and more are prime, with the GIL released where GMP allows it."""

# For numbers of 2^64 and more, as `int` itself.
cdef bint is_prime_big(object n) except -1
cdef bint is_strong_to(object n, object base) except -1
cdef bint is_prime_big_checked(object n, object check) except -1
