"""What a server's clients send."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t

from prime_server._ext.connections cimport Connection, Pending
from prime_server._ext.http cimport ParsedRequest
from prime_server._ext.libzmq cimport Message, Multipart
from prime_server._ext.results cimport Results

cdef class Arrivals(Results):
    cdef bytes health_check_path
    cdef const char* health_path   # borrowed from it
    cdef size_t health_size
    cdef int64_t health_failed     # when the health check was first seen failing, 0: it wasn't
    cdef int64_t last_request      # when the latest one came that wasn't for the health check
    cdef int64_t pipelined_until   # while it drains: from then on connections end with what comes next
    cdef bint retryable            # every request may be repeated
    cdef bint keeps                # requests, to send them again when a proxy was lost
    cdef uint64_t requests, clients_gone, health_checks, preflights, bytes_in

    # Bytes have come.
    cdef void received(self, Connection* connection, const char* data, size_t size, int64_t now) noexcept nogil
    # Where the next bytes of a big body belong (0: nowhere, use `received`), and that so many have been put there.
    cdef size_t room(self, Connection* connection, char** at) noexcept nogil
    cdef void filled(self, Connection* connection, size_t size, int64_t now) noexcept nogil
    # Parses what had to wait, if there is room now.
    cdef void resume(self, Connection* connection, int64_t now) noexcept nogil
    # Bounds what has come of requests that aren't whole: over the bound in all the slowest client is refused.
    cdef void bound_incoming(self, Connection* connection, int64_t now) noexcept nogil
    # The client has closed its side, or the connection failed (`broken`: nothing can be sent any more).
    cdef void left(self, Connection* connection, bint broken, int64_t now) noexcept nogil

    cdef void consume(self, Connection* connection, const char* data, size_t size, int64_t now) noexcept nogil
    cdef int consume_user(self, Connection* connection, const char* data, size_t size, int64_t now) noexcept nogil
    cdef void arrived_http(self, Connection* connection, ParsedRequest* parsed, int64_t now) noexcept nogil
    cdef void arrived_netstring(self, Connection* connection, Message* text, int64_t now) noexcept nogil
    cdef bint answers_itself(self, Pending* pending, const ParsedRequest* parsed, const char* head, int64_t now) noexcept nogil
    cdef bint is_health_check(self, const char* target, size_t size) noexcept nogil
    cdef void submit(self, Connection* connection, Pending* pending, Multipart* payload, int64_t now) noexcept nogil
    cdef void log_request(self, const Pending* pending, int64_t stamp, Multipart* payload) noexcept nogil
