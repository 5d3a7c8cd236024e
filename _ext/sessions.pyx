"""The server's core: what clients ask becomes jobs, and results become answers.

The edge tells it of connections, bytes and time; the hub of results. It answers with jobs, interrupts and bytes to write, and knows no socket. Each
layer of it has a module: `Connections` keeps what each connection is owed, `Asking` what is asked of the first stage, `Admission` the bounds in all,
`Answering` the answers in their order; `Results` takes what comes back, `Arrivals` what clients send. Here they are given their options, and time:
whatever doesn't come in its time ends in 408, 502, 504 or a closed connection.
"""

from prime_server._ext.clock cimport sooner
from prime_server._ext.connections cimport (
    FOR_BODY,
    FOR_END,
    FOR_HEAD,
    FOR_READER,
    FOR_REQUEST,
    FOR_WORKERS,
    HTTP,
    NETSTRING,
    PYTHON,
    WAITINGS,
)
from prime_server._ext.http cimport ALLOW_RAW_TARGETS
from prime_server._ext.policy cimport Policy
from prime_server._ext.user_protocol cimport UserProtocol

import secrets

cdef enum:
    LOOK_US = 1_000_000        # at streams that may have become silent
    # while it drains
    PIPELINED_US = 1000000     # so long, what comes behind unanswered requests is answered too
    QUIET_US = 1000000         # a connection without a request for so long is done
    DRAIN_LINGER_US = 500000


cdef inline int64_t shorter(int64_t time, int64_t most) noexcept nogil:
    return most if time <= 0 or time > most else time


cdef class Sessions(Arrivals):
    def __cinit__(
        self,
        *,
        protocol="http",
        AccessLog log=None,
        health_check=None,
        Policy policy=None,
        bint retryable=False,
        bint keeps=True,
        double request_timeout=60.0,
        double header_timeout=10.0,
        double body_timeout=10.0,
        double keep_alive_timeout=75.0,
        double write_timeout=30.0,
        double linger_timeout=2.0,
        Py_ssize_t min_body_rate=256,
        Py_ssize_t max_target=8192,
        Py_ssize_t max_head=32768,
        int max_fields=128,
        Py_ssize_t max_request=10485760,
        int max_pipelined=64,
        Py_ssize_t max_in_flight=65536,
        Py_ssize_t max_payload=268435456,
        Py_ssize_t max_unread=1048576,
        Py_ssize_t max_unread_in_all=268435456,
    ):
        self.life = secrets.randbits(63) | 1
        self.next_id = secrets.randbits(32)
        if protocol == "http":
            self.protocol = HTTP
        elif protocol == "netstring":
            self.protocol = NETSTRING
        else:
            self.protocol = PYTHON
            self.user_protocol = UserProtocol(protocol)
        self.log = AccessLog(-1) if log is None else log
        self.policy = Policy() if policy is None else policy
        self.limits.target = max_target
        self.limits.head = max_head
        self.limits.fields = max_fields
        self.limits.body = max_request
        self.limits.allow = ALLOW_RAW_TARGETS if self.policy.raw_targets else 0
        self.limits.methods = self.policy.methods.data
        self.netstring_limit = max_request
        if health_check is not None:
            self.health_check_path = health_check.encode()
            self.health_path = self.health_check_path
            self.health_size = len(self.health_check_path)
        self.timeout = <int64_t>(request_timeout * 1e6)
        self.waits[<int>FOR_REQUEST] = <int64_t>(keep_alive_timeout * 1e6)
        self.waits[<int>FOR_HEAD] = <int64_t>(header_timeout * 1e6)
        self.waits[<int>FOR_BODY] = <int64_t>(body_timeout * 1e6)
        self.waits[<int>FOR_READER] = <int64_t>(write_timeout * 1e6)
        self.waits[<int>FOR_END] = <int64_t>(linger_timeout * 1e6)
        self.min_body = <size_t>(min_body_rate * body_timeout)
        self.max_pipelined = max_pipelined
        self.max_in_flight = max_in_flight
        self.max_payload = max_payload
        self.max_unread = max_unread
        self.max_unread_in_all = max_unread_in_all
        self.retryable = retryable
        self.keeps = keeps

    # --- time ----------------------------------------------------------------------------------------------------------------------------

    cdef int64_t tick(self, int64_t now) noexcept nogil:
        cdef int64_t next = self.end_requests(now)
        return sooner(next, self.end_waits(now))

    cdef int64_t end_requests(self, int64_t now) noexcept nogil:
        """Those whose time is over, and those that are lost. Returns when there may be more of them."""
        cdef int64_t next = -1
        cdef Pending* pending
        while self.timeout > 0 and self.oldest != NULL:
            if self.oldest.deadline > now:
                next = self.oldest.deadline
                break
            self.timeouts += 1
            self.give_up(self.oldest, 504, "no worker has answered in time", now)
        pending = self.silent(now)
        while pending != NULL:
            self.give_up(pending, 502, "the rest of the response was lost", now)
            pending = self.silent(now)
        pending = self.given_up(now)
        while pending != NULL:
            self.give_up(pending, 502, "the proxy was lost before the request was answered", now)
            pending = self.given_up(now)
        if self.streaming:
            next = sooner(next, now + LOOK_US)
        if self.doubt_until:
            next = sooner(next, self.doubt_until)
        if self.lost_at:
            next = sooner(next, self.lost_at)
        return next

    cdef void lost(self, int descriptor, int64_t now) noexcept nogil:
        cdef Pending* pending = self.coming_by(descriptor)
        while pending != NULL:
            self.give_up(pending, 502, "the rest of the response was lost", now)
            pending = self.coming_by(descriptor)

    cdef void give_up(self, Pending* pending, int status, const char* reason, int64_t now) noexcept nogil:
        self.interrupt(pending)
        self.refuse(pending.connection, pending, status, reason, 0, now)

    cdef int64_t end_waits(self, int64_t now) noexcept nogil:
        """Of connections. Returns when the next one is over."""
        cdef int64_t next = -1
        cdef int64_t due
        cdef int what
        cdef Connection* connection
        for what in range(<int>FOR_REQUEST, <int>WAITINGS):
            while self.waits[what] > 0 and self.waiting_first[what] != NULL:
                connection = self.waiting_first[what]
                due = connection.waiting_since + self.waits[what]
                if due > now:
                    next = sooner(next, due)
                    break
                self.end_wait(connection, what, now)
        return next

    cdef void end_wait(self, Connection* connection, int what, int64_t now) noexcept nogil:
        if what == FOR_BODY and connection.progress >= self.min_body:
            self.wait_for(connection, FOR_BODY, now)
        elif what == FOR_HEAD or what == FOR_BODY:
            self.timeouts_header += what == FOR_HEAD
            self.timeouts_body += what == FOR_BODY
            self.wait_for(connection, FOR_WORKERS, now)
            self.refuse_input(connection, 408, "the request did not come in time", now)
            self.set_waiting(connection, now)
        elif what == FOR_REQUEST:
            self.timeouts_idle += 1
            # A request may be on its way: it is not to be met by a reset.
            connection.ending = True
            connection.lingering = True
            self.set_waiting(connection, now)
            self.touch(connection)
        else:
            self.timeouts_reader += what == FOR_READER
            self.wait_for(connection, FOR_WORKERS, now)
            connection.broken = True
            self.touch(connection)

    cdef void drain(self, int64_t now) noexcept nogil:
        self.draining = True
        self.pipelined_until = now + PIPELINED_US
        self.waits[<int>FOR_END] = shorter(self.waits[<int>FOR_END], DRAIN_LINGER_US)

    cdef void dismiss(self) noexcept nogil:
        # Those that have been quiet for so long already are first in their list.
        self.waits[<int>FOR_REQUEST] = shorter(self.waits[<int>FOR_REQUEST], QUIET_US)

    def stats(self):
        return {
            "connections": self.connections,
            "connections_accepted": self.accepted,
            "connections_evicted": self.evicted,
            "connections_slowest_closed": self.slowest_closed,
            "timeouts_header": self.timeouts_header,
            "timeouts_body": self.timeouts_body,
            "timeouts_idle": self.timeouts_idle,
            "timeouts_reader": self.timeouts_reader,
            "requests": self.requests,
            "requests_in_flight": self.in_flight,
            "request_bytes_in_flight": self.payload,
            "request_bytes_incoming": self.incoming,
            "answers": self.answered,
            "answers_refused": self.refused,
            "answers_timed_out": self.timeouts,
            "answers_overloaded": self.overloads,
            "results_late": self.late,
            "results_malformed": self.malformed,
            "requests_interrupted": self.interrupted,
            "requests_repeated": self.repeated,
            "streams": self.streaming,
            "streams_begun": self.streams_begun,
            "streams_broken": self.streams_broken,
            "clients_gone": self.clients_gone,
            "health_checks": self.health_checks,
            "preflights": self.preflights,
            "bytes_received": self.bytes_in,
            "bytes_sent": self.bytes_out,
            "log_lines_dropped": self.log.dropped,
        }
