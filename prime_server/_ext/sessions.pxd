"""The server's core: requests in, answers out. It knows no socket."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t

from prime_server._ext.access_log cimport AccessLog
from prime_server._ext.admission cimport Admission
from prime_server._ext.answer cimport Manner
from prime_server._ext.connections cimport Connection, Pending
from prime_server._ext.info cimport Info
from prime_server._ext.libzmq cimport Multipart
from prime_server._ext.output cimport Output
from prime_server._ext.policy cimport Policy

cdef class Sessions(Admission):
    cdef readonly uint64_t life
    cdef uint32_t next_id
    cdef object user_protocol
    cdef AccessLog log
    cdef Policy policy
    cdef bytes health_check_path
    cdef const char* health_path   # borrowed from it
    cdef size_t health_size
    cdef bint draining
    cdef int64_t pipelined_until   # while it drains
    cdef int64_t health_failed     # when the health check was first seen failing, 0: it wasn't
    cdef int64_t last_request      # when the latest one came that wasn't for the health check
    cdef size_t min_body           # bytes per FOR_BODY period
    cdef bint retryable            # every request may be repeated
    cdef bint keeps                # requests, to send them again when a proxy was lost
    # counters
    cdef uint64_t requests, answered, refused, late, malformed, timeouts, clients_gone, health_checks, preflights, bytes_in, bytes_out
    cdef uint64_t timeouts_header, timeouts_body, timeouts_idle, timeouts_reader

    # Bytes have come.
    cdef void received(self, Connection* connection, const char* data, size_t size, int64_t now) noexcept nogil
    # Where the next bytes of a big body belong (0: nowhere, use `received`), and that so many have been put there.
    cdef size_t room(self, Connection* connection, char** at) noexcept nogil
    cdef void filled(self, Connection* connection, size_t size, int64_t now) noexcept nogil
    # The client has closed its side, or the connection failed (`broken`: nothing can be sent any more).
    cdef void left(self, Connection* connection, bint broken, int64_t now) noexcept nogil
    # A connection that can't be served: says why and ends it.
    cdef void turn_away(self, Connection* connection, int status, const char* reason, int64_t now) noexcept nogil
    # So much of its output has been taken by the socket.
    cdef void wrote(self, Connection* connection, size_t size, int64_t now) noexcept nogil
    # Bounds what has come of requests that aren't whole: over the bound in all the slowest client is refused.
    cdef void bound_incoming(self, Connection* connection, int64_t now) noexcept nogil
    # Parses what had to wait, if there is room now.
    cdef void resume(self, Connection* connection, int64_t now) noexcept nogil
    # [info][frames of the response…] or [info: refusal] from a worker or proxy. Consumed.
    cdef void result(self, Multipart* parts, int64_t now) noexcept nogil
    # Time has passed. Returns when it wants to be called next, -1 for never.
    cdef int64_t tick(self, int64_t now) noexcept nogil
    # From now on connections end with the answers that are due.
    cdef void drain(self, int64_t now) noexcept nogil
    # And those that are owed nothing end when they have asked for nothing for a while.
    cdef void dismiss(self) noexcept nogil

    cdef void consume(self, Connection* connection, const char* data, size_t size, int64_t now) noexcept nogil
    cdef int consume_user(self, Connection* connection, const char* data, size_t size, int64_t now) noexcept nogil
    cdef void arrived_http(self, Connection* connection, void* parsed, int64_t now) noexcept nogil
    cdef bint is_health_check(self, const char* target, size_t size) noexcept nogil
    cdef void submit(self, Connection* connection, Pending* pending, Multipart* payload, int64_t now) noexcept nogil
    cdef void refuse(self, Connection* connection, Pending* pending, int status, const char* reason, int retry_after, int64_t now) noexcept nogil
    cdef void refuse_input(self, Connection* connection, int status, const char* reason, int64_t now) noexcept nogil
    cdef void complete(self, Pending* pending, int64_t now) noexcept nogil
    cdef void advance(self, Connection* connection, int64_t now) noexcept nogil
    cdef void ask_now(self, Pending* pending, int64_t now) noexcept nogil
    cdef int answer_user(self, Output* output, int status, const char* reason) noexcept nogil
    cdef reject_user(self, Connection* connection, error, int64_t now)
    cdef void answer(self, Pending* pending, int code, const char* text, const Manner* manner, int64_t now) noexcept nogil
    cdef Manner manner_of(self, Pending* pending) noexcept nogil
    cdef bint keep_alive_of(self, Pending* pending) noexcept nogil
    cdef int continues(self, Pending* pending, const Info* info) noexcept nogil
