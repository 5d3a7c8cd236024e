"""Request targets and hosts by the grammar of RFC 3986 and RFC 9112 section 3.2."""

from libc.stddef cimport size_t

# uri-host [":" port], as the Host field has it: empty is allowed (RFC 9110 section 7.2).
cdef bint is_host(const char* at, size_t size) noexcept nogil
# `at` holds none but the bytes that a target may have. `connect`: the method's target is an authority; `options`: it may be an asterisk.
cdef bint is_target(const char* at, size_t size, bint connect, bint options, bint raw) noexcept nogil
