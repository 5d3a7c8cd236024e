"""The server's core: requests in, answers out. It knows no socket."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t

from prime_server._ext.access_log cimport AccessLog
from prime_server._ext.arrivals cimport Arrivals
from prime_server._ext.connections cimport Connection, Pending

cdef class Sessions(Arrivals):
    cdef size_t min_body           # bytes per FOR_BODY period
    cdef uint64_t timeouts, timeouts_header, timeouts_body, timeouts_idle, timeouts_reader

    # The connection has ended by which parts of responses came, and all that had come by it was read.
    cdef void lost(self, int descriptor, int64_t now) noexcept nogil
    # Time has passed. Returns when it wants to be called next, -1 for never.
    cdef int64_t tick(self, int64_t now) noexcept nogil
    # From now on connections end with the answers that are due.
    cdef void drain(self, int64_t now) noexcept nogil
    # And those that are owed nothing end when they have asked for nothing for a while.
    cdef void dismiss(self) noexcept nogil

    cdef int64_t end_requests(self, int64_t now) noexcept nogil
    cdef void give_up(self, Pending* pending, int status, const char* reason, int64_t now) noexcept nogil
    cdef int64_t end_waits(self, int64_t now) noexcept nogil
    cdef void end_wait(self, Connection* connection, int what, int64_t now) noexcept nogil
