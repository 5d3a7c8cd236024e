"""The server's core: what clients ask becomes jobs, and results become answers.

The edge tells it of connections, bytes and time; the hub of results. It answers with jobs, interrupts and bytes to write, and knows no socket. The
order of the answers, and what each connection is owed, is kept by `Connections`, what is asked of the first stage by `Asking`. This is the active
half of them: it reads requests by the protocol's parser, numbers them, and writes what comes back in its turn; what can't be served it refuses.

Everything has a bound: parsing stops while a connection has too many requests in flight or too much unread; over the bounds in all a request gets
503 at once; and whatever doesn't come in its time ends in 408, 504 or a closed connection.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport Py_INCREF
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from prime_server._ext.admission cimport Admission, seconds_of
from prime_server._ext.answer cimport MALFORMED, MAX_ANSWER_HEAD, Manner, answer_netstring, answer_plain, answer_result, phrase, refusal_text
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
    Connection,
    Pending,
)
from prime_server._ext.clock cimport unix_us
from prime_server._ext.http cimport (
    ALLOW_RAW_TARGETS,
    COMPLETE,
    CONTINUE,
    FAILED,
    METHOD_CONNECT,
    METHOD_GET,
    METHOD_HEAD,
    METHOD_OPTIONS,
    METHOD_OTHER,
    METHOD_PATCH,
    METHOD_POST,
    MORE,
    ParsedRequest,
    request_feed,
    request_filled,
    request_room,
)
from prime_server._ext.info cimport (
    FLAG_BEHIND,
    FLAG_BROKEN,
    FLAG_HEAD,
    FLAG_IDEMPOTENT,
    FLAG_MORE,
    FLAG_NETSTRING,
    FLAG_OLD,
    FLAG_RAW,
    FLAG_REFUSAL,
    FLAG_RESULT,
    FLAG_WHOLE,
    INFO_SIZE,
    Info,
    code_of,
    info_object,
    key_of,
    read_info,
    write_info,
)
from prime_server._ext.libzmq cimport Frame, Message, add, close_all, data_of, frame, share, size_of, start, zmq
from prime_server._ext.netstring cimport netstring_feed
from prime_server._ext.output cimport append, append_message, sent, splice, tighten
from prime_server._ext.policy cimport Policy
from prime_server._ext.report cimport report_malformed
from prime_server._ext.request cimport behind_authority

import secrets
import types

from prime_server.errors import ProtocolError

cdef enum:
    SMALL = 65536              # bytes: what has come of a request isn't worth refusing it
    # while it drains
    PIPELINED_US = 1000000     # so long, what comes behind unanswered requests is answered too
    QUIET_US = 1000000         # a connection without a request for so long is done
    DRAIN_LINGER_US = 500000


cdef inline int64_t shorter(int64_t time, int64_t most) noexcept nogil:
    return most if time <= 0 or time > most else time


cdef class Sessions(Admission):
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
        self.user_protocol = None
        if protocol == "http":
            self.protocol = HTTP
        elif protocol == "netstring":
            self.protocol = NETSTRING
        else:
            self.protocol = PYTHON
            self.user_protocol = protocol
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

    # --- what comes in -----------------------------------------------------------------------------------------------------------------

    cdef void received(self, Connection* connection, const char* data, size_t size, int64_t now) noexcept nogil:
        cdef char* stash
        connection.received += size
        connection.progress += size
        self.bytes_in += size
        if connection.ending or connection.broken:
            return
        if connection.stash_size:
            stash = <char*>realloc(connection.stash, connection.stash_size + size)
            if stash == NULL:
                connection.broken = True
                self.touch(connection)
                return
            connection.stash = stash
            memcpy(stash + connection.stash_size, data, size)
            connection.stash_size += size
            return
        self.consume(connection, data, size, now)
        self.set_waiting(connection, now)

    cdef size_t room(self, Connection* connection, char** at) noexcept nogil:
        if self.protocol != HTTP or connection.ending or connection.stash_size:
            return 0
        return request_room(&connection.http, at)

    cdef void filled(self, Connection* connection, size_t size, int64_t now) noexcept nogil:
        cdef ParsedRequest parsed
        connection.received += size
        connection.progress += size
        self.bytes_in += size
        if request_filled(&connection.http, size, &parsed) == COMPLETE:
            self.arrived_http(connection, &parsed, now)
        self.set_waiting(connection, now)

    cdef void bound_incoming(self, Connection* connection, int64_t now) noexcept nogil:
        cdef size_t before = connection.coming
        cdef Connection* slowest
        self.count_incoming(connection)
        # A single request is taken however big it is.
        if (
            connection.coming <= before
            or self.payload + self.incoming <= self.max_payload
            or (self.payload == 0 and self.incoming == connection.coming)
        ):
            return
        slowest = self.slowest_writer(now)
        if slowest == NULL:
            if connection.coming < SMALL:
                return
            slowest = connection
        self.overloads += 1
        self.wait_for(slowest, FOR_WORKERS, now)
        self.refuse_input(slowest, 503, "too much is coming in", now)
        self.drop_input(slowest)
        self.set_waiting(slowest, now)
        self.count_incoming(slowest)

    cdef void resume(self, Connection* connection, int64_t now) noexcept nogil:
        cdef char* stash = connection.stash
        cdef size_t size = connection.stash_size
        if size == 0 or connection.ending or connection.broken or self.over_bound(connection):
            return
        connection.stash = NULL
        connection.stash_size = 0
        self.consume(connection, stash, size, now)
        free(stash)
        self.set_waiting(connection, now)

    cdef void consume(self, Connection* connection, const char* data, size_t size, int64_t now) noexcept nogil:
        cdef ParsedRequest parsed
        cdef Multipart payload
        cdef Message text
        cdef Pending* pending
        cdef size_t used
        cdef int outcome
        while size and not connection.ending and not connection.broken:
            if self.over_bound(connection):
                connection.stash = <char*>malloc(size)
                if connection.stash == NULL:
                    connection.broken = True
                    self.touch(connection)
                    return
                memcpy(connection.stash, data, size)
                connection.stash_size = size
                return
            used = 0
            if self.protocol == HTTP:
                outcome = request_feed(&connection.http, data, size, &used, &parsed)
                if outcome == COMPLETE:
                    self.arrived_http(connection, &parsed, now)
                elif outcome == CONTINUE:
                    pending = self.new_pending(connection)
                    if pending != NULL:
                        append(self.output_of(pending), "HTTP/1.1 100 Continue\r\n\r\n", 25)
                        self.complete(pending, now)
                elif outcome == FAILED:
                    self.refuse_input(connection, connection.http.status, connection.http.reason, now)
                    return
            elif self.protocol == NETSTRING:
                outcome = netstring_feed(&connection.netstring, data, size, &used, &text)
                if outcome == COMPLETE:
                    start(&payload)
                    memcpy(add(&payload), &text, sizeof(Message))
                    pending = self.new_pending(connection)
                    if pending == NULL:
                        close_all(&payload)
                        return
                    pending.bits = 1
                    pending.flags = FLAG_NETSTRING | FLAG_IDEMPOTENT
                    pending.keep_alive = True
                    self.submit(connection, pending, &payload, now)
                elif outcome == FAILED:
                    self.refuse_input(connection, connection.netstring.status, connection.netstring.reason, now)
                    return
            else:
                outcome = self.consume_user(connection, data, size, now)
                used = size
            data += used
            size -= used
            if outcome == MORE:
                return

    cdef int consume_user(self, Connection* connection, const char* data, size_t size, int64_t now) noexcept nogil:
        """A user's protocol class takes all that has come."""
        cdef Multipart payload
        cdef Pending* pending
        with gil:
            try:
                if connection.state == NULL:
                    state = types.SimpleNamespace()
                    Py_INCREF(state)
                    connection.state = <void*>state
                state = <object>connection.state
                for request in self.user_protocol.feed(state, PyBytes_FromStringAndSize(data, size)):
                    frames = self.user_protocol.serialize(request)
                    if isinstance(frames, (bytes, bytearray, memoryview)):
                        frames = [frames]
                    start(&payload)
                    for data_frame in frames:
                        kept = Frame(data_frame)
                        slot = add(&payload)
                        if slot == NULL:
                            close_all(&payload)
                            raise MemoryError()
                        zmq.msg_init(slot)
                        zmq.msg_copy(slot, &(<Frame>kept).message)
                    if payload.size == 0:
                        raise ValueError("serialize() gave no frames")
                    pending = self.new_pending(connection)
                    if pending == NULL:
                        close_all(&payload)
                        raise MemoryError()
                    pending.bits = 1
                    pending.flags = FLAG_RAW | (FLAG_IDEMPOTENT if getattr(request, "idempotent", False) else 0)
                    pending.keep_alive = True
                    self.submit(connection, pending, &payload, now)
                return MORE
            except ProtocolError as error:
                self.refused += 1
                self.reject_user(connection, error, now)
            except Exception:
                from prime_server.errors import logger

                logger.exception("the protocol's feed or serialize failed; its connection is closed")
                connection.broken = True
                self.touch(connection)
        return FAILED

    cdef reject_user(self, Connection* connection, error, int64_t now):
        cdef Pending* pending = self.new_pending(connection)
        text = bytes(self.user_protocol.reject(error))
        if pending != NULL:
            append(self.output_of(pending), <const char*>text, len(text))
            self.complete(pending, now)
        connection.ending = True
        connection.lingering = True
        self.touch(connection)

    cdef void arrived_http(self, Connection* connection, void* at, int64_t now) noexcept nogil:
        cdef ParsedRequest* parsed = <ParsedRequest*>at
        cdef Pending* pending = self.new_pending(connection)
        cdef Multipart payload
        cdef Manner manner
        cdef const char* head
        start(&payload)
        memcpy(add(&payload), &parsed.payload, sizeof(Message))
        if pending == NULL:
            close_all(&payload)
            return
        pending.bits = parsed.bits
        pending.keep_alive = parsed.keep_alive
        if parsed.minor == 0:
            pending.flags |= FLAG_OLD
        if parsed.method == METHOD_HEAD:
            pending.flags |= FLAG_HEAD
        pending.tunnel = parsed.method == METHOD_CONNECT
        # RFC 9110 section 9.2.2
        if parsed.method != METHOD_POST and parsed.method != METHOD_PATCH and parsed.method != METHOD_CONNECT and parsed.method != METHOD_OTHER:
            pending.flags |= FLAG_IDEMPOTENT
        if self.draining and now >= self.pipelined_until:
            pending.keep_alive = False
            connection.lingering = True
        if not pending.keep_alive:
            connection.ending = True  # whatever comes behind was not to be asked on this connection
        head = data_of(frame(&payload, 0))
        if self.policy.shares:
            pending.origin = self.policy.origin_of(head, parsed.head_size)
            if parsed.method == METHOD_OPTIONS and self.policy.is_preflight(head, parsed.head_size):
                self.preflights += 1
                manner = self.manner_of(pending)
                manner.sharing = self.policy.preflights[pending.origin]
                self.answer(pending, 204, NULL, &manner, now)
                close_all(&payload)
                return
        if (
            self.health_size
            and (parsed.method == METHOD_GET or parsed.method == METHOD_HEAD)
            and self.is_health_check(head + parsed.target_at, parsed.target_size)
        ):
            self.health_checks += 1
            if self.draining:
                pending.keep_alive = False
                connection.ending = connection.lingering = True
                if self.health_failed == 0:
                    self.health_failed = now
            manner = self.manner_of(pending)
            self.answer(pending, 503 if self.draining else 200, "draining" if self.draining else "OK", &manner, now)
            close_all(&payload)
            return
        self.submit(connection, pending, &payload, now)

    cdef void answer(self, Pending* pending, int code, const char* text, const Manner* manner, int64_t now) noexcept nogil:
        """Answers a request that no worker is asked."""
        pending.code = code
        if answer_plain(self.output_of(pending), code, text, NULL, manner) != 0:
            pending.connection.broken = True
        self.complete(pending, now)

    cdef bint is_health_check(self, const char* target, size_t size) noexcept nogil:
        """Whether the path is the health check's, whatever the query and whatever host an absolute form names."""
        cdef const char* path = behind_authority(target, target + size)
        if path == NULL:
            return False
        size -= path - target
        target = path
        if size < self.health_size or memcmp(target, self.health_path, self.health_size) != 0:
            return False
        return size == self.health_size or target[self.health_size] == c"?"

    cdef void submit(self, Connection* connection, Pending* pending, Multipart* payload, int64_t now) noexcept nogil:
        """Numbers a request and makes a job of it, or refuses it. Consumes the payload."""
        cdef Info info
        cdef Multipart* job
        cdef Message* slot
        cdef Message head
        cdef const char* text
        cdef size_t size, index
        cdef int64_t stamp = unix_us()
        self.requests += 1
        self.last_request = now
        if self.retryable:
            pending.flags |= FLAG_IDEMPOTENT
        pending.id = pending.logged = self.next_id
        self.next_id += 1  # wraps
        pending.time_stamp = <uint32_t>(stamp // 1000000)
        pending.numbered = True
        for index in range(<size_t>payload.size):
            pending.payload += size_of(frame(payload, <int>index))
        if self.log.descriptor >= 0 and self.protocol == HTTP:
            text = data_of(frame(payload, 0))
            size = size_of(frame(payload, 0))
            index = 0
            while index < size and text[index] != b"\r" and text[index] != b"\n":
                index += 1
            self.log.request(pending.id, stamp, text, index)
        elif self.log.descriptor >= 0:
            self.log.request(pending.id, stamp, "- - -", 5)
        if self.overloaded(pending, now):
            close_all(payload)
            self.refuse(connection, pending, 503, "too many requests are in flight", self.retry_after(now), now)
            return
        if connection.waiting_for_workers:
            pending.flags |= FLAG_BEHIND
        memset(&info, 0, sizeof(Info))
        info.id = pending.id
        info.time_stamp = pending.time_stamp
        info.bits = pending.bits
        info.size = INFO_SIZE
        info.extended = True
        info.flags = pending.flags
        info.life = self.life
        info.time_left = self.timeout
        job = self.new_job() if self.in_flight < self.table_size or self.grow_table() == 0 else NULL
        if job == NULL or write_info(&head, &info, NULL) != 0:
            if job != NULL:
                self.jobs_end -= 1
            close_all(payload)
            self.refuse(connection, pending, 503, "out of memory", self.retry_after(now), now)
            return
        memcpy(add(job), &head, sizeof(Message))
        if payload.size == 1:
            memcpy(add(job), frame(payload, 0), sizeof(Message))
        else:
            # as many frames as a multipart holds, less the one for the info
            for index in range(<size_t>payload.size):
                slot = add(job)
                if slot == NULL:
                    zmq.msg_close(frame(payload, <int>index))
                else:
                    memcpy(slot, frame(payload, <int>index), sizeof(Message))
        free(payload.more)
        if (self.keeps or connection.waiting_for_workers) and pending.flags & FLAG_IDEMPOTENT:
            share(&pending.asked, job)
        pending.sent = now if self.at_once else 0
        pending.deadline = now + self.timeout if self.timeout > 0 else 0
        self.enter(pending)

    cdef void left(self, Connection* connection, bint broken, int64_t now) noexcept nogil:
        if not connection.gone:
            connection.gone = True
            if connection.waiting_for_workers:
                self.clients_gone += 1
            self.drop_pendings(connection)
            free(connection.stash)
            connection.stash = NULL
            connection.stash_size = 0
        connection.ending = True
        connection.broken |= broken
        self.set_waiting(connection, now)
        self.touch(connection)

    cdef void turn_away(self, Connection* connection, int status, const char* reason, int64_t now) noexcept nogil:
        cdef Pending* pending = self.new_pending(connection)
        connection.ending = True
        connection.lingering = True
        if pending != NULL:
            self.refuse(connection, pending, status, reason, 1, now)
        self.set_waiting(connection, now)

    cdef void wrote(self, Connection* connection, size_t size, int64_t now) noexcept nogil:
        self.bytes_out += size
        sent(&connection.output, size)
        if connection.waiting == FOR_READER and size:
            self.wait_for(connection, FOR_READER, now)  # it took something: its time begins anew
        if connection.first != NULL and connection.first.streaming:
            self.grant(connection.first, False)
        self.set_waiting(connection, now)

    # --- answers -----------------------------------------------------------------------------------------------------------------------

    cdef bint keep_alive_of(self, Pending* pending) noexcept nogil:
        cdef Connection* connection = pending.connection
        cdef Info info
        if self.protocol == PYTHON:
            memset(&info, 0, sizeof(Info))
            info.id = pending.id
            info.time_stamp = pending.time_stamp
            info.bits = pending.bits
            with gil:
                try:
                    pending.keep_alive = bool(self.user_protocol.keep_alive(info_object(&info)))
                except Exception:
                    from prime_server.errors import logger

                    logger.exception("the protocol's keep_alive failed; its connection is closed")
                    pending.keep_alive = False
        if (
            self.draining
            and pending.keep_alive
            and pending.next == NULL
            and connection.stash_size == 0
            and not self.over_bound(connection)
            and self.between(connection)
        ):
            pending.keep_alive = False
            connection.ending = True
            connection.lingering = True
        return pending.keep_alive

    cdef Manner manner_of(self, Pending* pending) noexcept nogil:
        cdef Manner manner
        manner.old = pending.flags & FLAG_OLD != 0
        manner.head = pending.flags & FLAG_HEAD != 0
        manner.close = not self.keep_alive_of(pending)
        manner.server = self.policy.server
        manner.sharing = self.policy.fields[pending.origin]
        return manner

    cdef void refuse(self, Connection* connection, Pending* pending, int status, const char* reason, int retry_after, int64_t now) noexcept nogil:
        """Answers a request, whose worker's result is not waited for any more, with an error."""
        cdef Manner manner
        cdef Output* output = self.output_of(pending)
        cdef size_t before = output.size
        cdef char text[MAX_ANSWER_HEAD]
        cdef char fields[64]
        cdef int size
        self.refused += 1
        self.forget(pending)
        if pending.sequence:
            # its response had begun: all that can be said is to cut it off
            pending.failed = True
            self.streams_broken += 1
            self.complete(pending, now)
            return
        if status < 400 or status > 599:
            status = 502
        pending.code = status
        if self.protocol == HTTP:
            manner = self.manner_of(pending)
            fields[0] = 0
            if retry_after > 0:
                snprintf(fields, sizeof(fields), "Retry-After: %d\r\n", retry_after)
            size = answer_plain(output, status, reason, fields, &manner)
        elif self.protocol == NETSTRING:
            size = snprintf(text, sizeof(text), "%d %s: %s", status, phrase(status), reason)
            size = answer_netstring(output, text, size)
        else:
            size = self.answer_user(output, status, reason)
        if size != 0:
            connection.broken = True
        pending.answered = output.size - before
        self.complete(pending, now)

    cdef int answer_user(self, Output* output, int status, const char* reason) noexcept nogil:
        with gil:
            try:
                if status == 504:
                    text = bytes(self.user_protocol.timeout())
                else:
                    text = bytes(self.user_protocol.reject(ProtocolError(reason.decode(), status)))
                return append(output, <const char*>text, len(text))
            except Exception:
                from prime_server.errors import logger

                logger.exception("the protocol's reject or timeout failed; its connection is closed")
                return -1

    cdef void refuse_input(self, Connection* connection, int status, const char* reason, int64_t now) noexcept nogil:
        """What has come is no request: answers in its turn, and ends the connection behind it."""
        cdef Pending* pending = self.new_pending(connection)
        connection.ending = True
        connection.lingering = True
        if pending == NULL:
            return
        if self.protocol == HTTP and connection.http.method == METHOD_HEAD:
            pending.flags |= FLAG_HEAD
        pending.id = pending.logged = self.next_id
        self.next_id += 1
        pending.numbered = True
        self.refuse(connection, pending, status, reason, self.retry_after(now) if status == 503 else 0, now)

    cdef void complete(self, Pending* pending, int64_t now) noexcept nogil:
        """Its answer is all there."""
        cdef Connection* connection = pending.connection
        pending.done = True
        if pending.numbered or pending.code:
            self.answered += 1
            if pending.numbered:
                self.log.response(pending.logged, unix_us(), pending.code, pending.answered)
        if connection.first == pending:
            self.advance(connection, now)
        else:
            tighten(&pending.held)
            connection.held += pending.held.size

    cdef void advance(self, Connection* connection, int64_t now) noexcept nogil:
        """Lets go of the answers that are complete and at their turn."""
        cdef Pending* pending = connection.first
        while pending != NULL and pending.done:
            if pending.failed or (pending.code and not pending.keep_alive):
                connection.ending = True
                if pending.next != NULL:  # asked behind the end of the connection
                    connection.first = pending.next
                    pending.next = NULL
                    self.drop_pendings(connection)
                    connection.in_flight = 1
            connection.first = pending.next
            if connection.first == NULL:
                connection.last = NULL
            else:
                # what is there of the next answer may leave now
                if connection.first.done:
                    connection.held -= connection.first.held.size
                splice(&connection.output, &connection.first.held)
                if connection.first.postponed:
                    self.ask_now(connection.first, now)
            connection.in_flight -= 1
            self.free_pending(pending)
            pending = connection.first
        self.touch(connection)

    cdef void ask_now(self, Pending* pending, int64_t now) noexcept nogil:
        cdef uint32_t id = self.next_id
        self.next_id += 1
        if self.ask_at_its_turn(pending, id, <uint32_t>(unix_us() // 1000000), now) != 0:
            pending.failed = True
            pending.done = True

    # --- what comes back ---------------------------------------------------------------------------------------------------------------

    cdef void result(self, Multipart* parts, int64_t now) noexcept nogil:
        cdef Info info
        cdef Pending* pending
        cdef Connection* connection
        cdef Output* output
        cdef Manner manner
        cdef size_t before, whole
        cdef int code = 0
        cdef int index, failed = 0
        if parts.size == 0 or parts.surplus or read_info(data_of(frame(parts, 0)), size_of(frame(parts, 0)), &info) != 0:
            self.malformed += 1
            close_all(parts)
            report_malformed("a result without a readable info frame was dropped")
            return
        pending = self.find(info.id, info.time_stamp)
        if pending == NULL or (info.extended and info.life != self.life):
            self.late += 1
            close_all(parts)
            # A worker that goes on has not heard that nobody listens, as it may not have been connected yet.
            if pending == NULL and info.extended and info.life == self.life and info.flags & FLAG_MORE and (
                self.interrupts_size == 0 or self.interrupts[self.interrupts_size - 1] != key_of(&info)
            ):
                self.interrupt_key(key_of(&info))
            return
        connection = pending.connection
        if info.extended and info.flags & FLAG_REFUSAL:
            close_all(parts)
            code = code_of(&info)
            self.refuse(connection, pending, code, refusal_text(code), seconds_of(info.time_left) if code == 503 else 0, now)
            return
        if not (info.extended and info.flags & FLAG_RESULT):
            info.flags = 0
            info.sequence = 0
            self.plain_workers = True
        index = self.continues(pending, &info)
        if index <= 0:
            self.late += 1
            close_all(parts)
            if index < 0:
                self.interrupt(pending)
                self.refuse(connection, pending, 502, "the response broke off", 0, now)
            return
        if pending.tunnel and pending.sequence == 0 and 200 <= code_of(&info) <= 299:
            # RFC 9110 section 9.3.6: it would say that all that follows on the connection goes through a tunnel, and none is made here.
            close_all(parts)
            self.refuse(connection, pending, 501, "no tunnels are made here", 0, now)
            return
        whole = <size_t>max(info.time_left, 0) if info.flags & FLAG_WHOLE else 0
        if whole and not pending.streaming and connection.first != pending and pending.asked.size and not self.has_room(connection, whole):
            close_all(parts)
            self.postpone(pending)
            return
        if info.flags & FLAG_MORE and not pending.streaming:
            pending.source = info.source
            pending.attempt = info.attempt
            if pending.flags & FLAG_OLD and not info.flags & FLAG_WHOLE:
                pending.keep_alive = False  # RFC 9112 section 6.3: there are no chunks in 1.0, so its end is the connection's
            self.begin_stream(pending, whole)
            self.grant(pending, False)
        pending.heard = now
        for index in range(1, parts.size):
            pending.received += size_of(frame(parts, index))
        output = self.output_of(pending)
        before = output.size
        if parts.size < 2 and not info.flags & FLAG_BROKEN and pending.sequence == 0:
            code = MALFORMED
        elif pending.sequence == 0 and self.protocol == HTTP and not info.flags & FLAG_BROKEN:
            manner = self.manner_of(pending)
            code = answer_result(output, parts, 1, info.flags & FLAG_RESULT != 0, &manner)
        else:
            for index in range(1, parts.size):
                failed |= append_message(output, frame(parts, index), 0)
            parts.size = 1
            if pending.sequence == 0:
                self.keep_alive_of(pending)
                code = code_of(&info) or 200
        if parts.size < 2 and info.flags & FLAG_MORE and output.size == before:
            self.grant(pending, True)  # its worker asks
        close_all(parts)
        if code == MALFORMED:
            self.malformed += 1
            report_malformed("a worker's result was no response; its client was answered 502")
            self.refuse(connection, pending, 502, "the worker's result was malformed", 0, now)
            return
        if failed or code < 0:
            connection.broken = True
            self.touch(connection)
            return
        if code:
            pending.code = code
        pending.answered += output.size - before
        if info.flags & FLAG_BROKEN:
            pending.failed = True
            self.streams_broken += 1
        if info.flags & FLAG_MORE and not pending.failed:
            pending.sequence += 1
            self.touch(connection)
            self.set_waiting(connection, now)
            return
        self.forget(pending)
        self.served(now)
        self.complete(pending, now)
        self.set_waiting(connection, now)

    cdef int continues(self, Pending* pending, const Info* info) noexcept nogil:
        """Whether a result is what comes next: 1, or 0 where it is to be dropped, -1 where what has begun can't be completed any more."""
        if not pending.streaming:
            return info.sequence == 0
        if info.attempt == pending.attempt and info.source == pending.source:
            return 1 if info.sequence == pending.sequence else -1 if info.sequence > pending.sequence else 0
        # A second attempt tells that the first one's worker is lost.
        return -1 if info.attempt > pending.attempt else 0

    cdef int64_t tick(self, int64_t now) noexcept nogil:
        cdef int64_t next = -1
        cdef int64_t due
        cdef int what
        cdef Pending* pending
        cdef Connection* connection
        while self.timeout > 0 and self.oldest != NULL:
            pending = self.oldest
            if pending.deadline > now:
                next = pending.deadline
                break
            self.timeouts += 1
            self.interrupt(pending)
            self.refuse(pending.connection, pending, 504, "no worker has answered in time", 0, now)
        pending = self.silent(now)
        while pending != NULL:
            self.interrupt(pending)
            self.refuse(pending.connection, pending, 502, "the rest of the response was lost", 0, now)
            pending = self.silent(now)
        if self.streaming and (next < 0 or next > now + 1_000_000):
            next = now + 1_000_000
        pending = self.given_up(now)
        while pending != NULL:
            self.interrupt(pending)
            self.refuse(pending.connection, pending, 502, "the proxy was lost before the request was answered", 0, now)
            pending = self.given_up(now)
        if self.doubt_until and (next < 0 or self.doubt_until < next):
            next = self.doubt_until
        if self.lost_at and (next < 0 or self.lost_at < next):
            next = self.lost_at
        for what in range(<int>FOR_REQUEST, <int>WAITINGS):
            while self.waits[what] > 0 and self.waiting_first[what] != NULL:
                connection = self.waiting_first[what]
                due = connection.waiting_since + self.waits[what]
                if due > now:
                    if next < 0 or due < next:
                        next = due
                    break
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
        return next

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
