"""A server's bounds in all, and when to come again."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t

from prime_server._ext.asking cimport Asking
from prime_server._ext.connections cimport Pending

# Of a `Retry-After`: whole, at least one, and not for ever.
cdef int seconds_of(int64_t us) noexcept nogil

cdef class Admission(Asking):
    cdef size_t max_in_flight      # in all
    cdef size_t max_payload        # bytes of requests in flight in all
    cdef uint64_t overloads
    cdef double pace               # answers by workers a second, 0: not known
    cdef int64_t pace_since
    cdef uint64_t pace_count

    # Whether the request, not yet among those in flight, is one too many.
    cdef bint overloaded(self, const Pending* pending, int64_t now) noexcept nogil
    # A worker has answered.
    cdef void served(self, int64_t now) noexcept nogil
    # Seconds until what is in flight will have been served.
    cdef int retry_after(self, int64_t now) noexcept nogil
    cdef void look(self, int64_t now) noexcept nogil
