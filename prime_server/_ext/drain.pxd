"""The end of a server that clients don't see."""

from libc.stdint cimport int64_t

from prime_server._ext.connections cimport Connection
from prime_server._ext.edge cimport Edge
from prime_server._ext.sessions cimport Sessions

cdef class Drain:
    cdef Edge edge
    cdef Sessions sessions
    cdef int64_t until             # when everything is answered by an error that isn't yet
    cdef int64_t newcomers_until   # when the listener closes at the latest
    cdef bint dismissing           # connections without a request end
    cdef int64_t last              # 0, or when all ends as it is

    # From now on. Called once, when no event of the wait is left: it frees connections.
    cdef void begin(self, int64_t until, int64_t now) noexcept nogil
    # Whether nothing is left to be done; takes the steps that are due.
    cdef bint done(self, int64_t now) noexcept nogil
    # When to ask again, whatever happens until then.
    cdef int64_t next(self) noexcept nogil

    cdef void dismiss(self, int64_t now) noexcept nogil
    cdef int64_t balanced(self) noexcept nogil
    cdef void refuse_postponed(self, Connection* connection, int64_t now) noexcept nogil
    cdef void cut_off(self, int64_t now) noexcept nogil
