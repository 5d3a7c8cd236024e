"""What a server's clients send: bytes become requests, and requests jobs.

The protocol's parser reads them, whole requests in place and big bodies where they stay. Each request takes its place in its connection's queue, is
numbered and logged, and goes to the first stage with an info of its own; but the health check and preflights are answered here. What is no request is
refused, and what comes behind it isn't read.

Everything has a bound. Parsing stops, and what has been read is kept (`stash`), while a connection has too many requests in flight or too much
unread; over the bounds in all a request gets 503 at once, and so does the slowest of those that still send theirs. When the client leaves, nobody
waits any more for what it has asked.
"""

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from prime_server._ext.answer cimport Manner
from prime_server._ext.clock cimport unix_us
from prime_server._ext.connections cimport FOR_WORKERS, HTTP, NETSTRING
from prime_server._ext.http cimport (
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
    request_feed,
    request_filled,
    request_room,
)
from prime_server._ext.info cimport (
    FLAG_BEHIND,
    FLAG_HEAD,
    FLAG_IDEMPOTENT,
    FLAG_NETSTRING,
    FLAG_OLD,
    FLAG_RAW,
    INFO_SIZE,
    Info,
    write_info,
)
from prime_server._ext.libzmq cimport add, close_all, data_of, frame, share, size_of, start, zmq
from prime_server._ext.netstring cimport netstring_feed
from prime_server._ext.output cimport append
from prime_server._ext.request cimport behind_authority

from prime_server.errors import ProtocolError

cdef enum:
    SMALL = 65536              # bytes: what has come of a request isn't worth refusing it


cdef class Arrivals(Results):
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

    # --- requests ------------------------------------------------------------------------------------------------------------------------

    cdef void consume(self, Connection* connection, const char* data, size_t size, int64_t now) noexcept nogil:
        cdef ParsedRequest parsed
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
                    self.arrived_netstring(connection, &text, now)
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

    cdef void arrived_http(self, Connection* connection, ParsedRequest* parsed, int64_t now) noexcept nogil:
        cdef Pending* pending = self.new_pending(connection)
        cdef Multipart payload
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
        if self.answers_itself(pending, parsed, data_of(frame(&payload, 0)), now):
            close_all(&payload)
        else:
            self.submit(connection, pending, &payload, now)

    cdef bint answers_itself(self, Pending* pending, const ParsedRequest* parsed, const char* head, int64_t now) noexcept nogil:
        """Whether the request was a preflight or the health check, which no worker is asked."""
        cdef Connection* connection = pending.connection
        cdef Manner manner
        if self.policy.shares:
            pending.origin = self.policy.origin_of(head, parsed.head_size)
            if parsed.method == METHOD_OPTIONS and self.policy.is_preflight(head, parsed.head_size):
                self.preflights += 1
                manner = self.manner_of(pending)
                manner.sharing = self.policy.preflights[pending.origin]
                self.answer(pending, 204, NULL, &manner, now)
                return True
        if (
            self.health_size == 0
            or (parsed.method != METHOD_GET and parsed.method != METHOD_HEAD)
            or not self.is_health_check(head + parsed.target_at, parsed.target_size)
        ):
            return False
        self.health_checks += 1
        if self.draining:
            pending.keep_alive = False
            connection.ending = connection.lingering = True
            if self.health_failed == 0:
                self.health_failed = now
        manner = self.manner_of(pending)
        self.answer(pending, 503 if self.draining else 200, "draining" if self.draining else "OK", &manner, now)
        return True

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

    cdef void arrived_netstring(self, Connection* connection, Message* text, int64_t now) noexcept nogil:
        cdef Pending* pending = self.new_pending(connection)
        cdef Multipart payload
        start(&payload)
        memcpy(add(&payload), text, sizeof(Message))
        if pending == NULL:
            close_all(&payload)
            return
        pending.bits = 1
        pending.flags = FLAG_NETSTRING | FLAG_IDEMPOTENT
        pending.keep_alive = True
        self.submit(connection, pending, &payload, now)

    cdef int consume_user(self, Connection* connection, const char* data, size_t size, int64_t now) noexcept nogil:
        """A user's protocol takes all that has come."""
        cdef Multipart payload
        cdef Pending* pending
        cdef bint idempotent
        with gil:
            try:
                for request in self.user_protocol.feed(connection, data, size):
                    idempotent = getattr(request, "idempotent", False)
                    self.user_protocol.serialize(request, &payload)
                    pending = self.new_pending(connection)
                    if pending == NULL:
                        close_all(&payload)
                        return FAILED
                    pending.bits = 1
                    pending.flags = FLAG_RAW | (FLAG_IDEMPOTENT if idempotent else 0)
                    pending.keep_alive = True
                    self.submit(connection, pending, &payload, now)
                return MORE
            except ProtocolError as error:
                self.refused += 1
                pending = self.new_pending(connection)
                if pending != NULL and self.user_protocol.reject(self.output_of(pending), error) != 0:
                    connection.broken = True
                if pending != NULL:
                    self.complete(pending, now)
                connection.ending = True
                connection.lingering = True
            except BaseException:
                self.user_protocol.complain()
                connection.broken = True
            self.touch(connection)
        return FAILED

    # --- jobs ----------------------------------------------------------------------------------------------------------------------------

    cdef void submit(self, Connection* connection, Pending* pending, Multipart* payload, int64_t now) noexcept nogil:
        """Numbers a request and makes a job of it, or refuses it. Consumes the payload."""
        cdef Info info
        cdef Multipart* job
        cdef Message* slot
        cdef Message head
        cdef size_t index
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
        self.log_request(pending, stamp, payload)
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

    cdef void log_request(self, const Pending* pending, int64_t stamp, Multipart* payload) noexcept nogil:
        cdef const char* text
        cdef size_t size
        cdef size_t index = 0
        if self.log.descriptor < 0:
            return
        if self.protocol != HTTP:
            self.log.request(pending.id, stamp, "- - -", 5)
            return
        text = data_of(frame(payload, 0))
        size = size_of(frame(payload, 0))
        while index < size and text[index] != b"\r" and text[index] != b"\n":
            index += 1
        self.log.request(pending.id, stamp, text, index)
