"""What a server's clients are answered, and when: on each connection in the order of its requests.

Whatever answers a request, a worker's result or a text of our own, is written where `output_of` says and ends in `complete`, which counts and logs
it: once. From the head of its connection's queue it leaves at once; what is complete behind it follows when its turn has come, and a big answer that
was put off is asked for then. `Connection: close` is said where the client wants it so, and where a draining server owes the connection nothing more.

What can't be served is refused, in the form of the server's protocol. Where its response has begun to leave, all that can be said is to cut it off.
"""

from libc.stdint cimport uint32_t
from libc.stdio cimport snprintf

from prime_server._ext.answer cimport MAX_ANSWER_HEAD, answer_netstring, answer_plain, phrase
from prime_server._ext.clock cimport unix_us
from prime_server._ext.connections cimport FOR_READER, HTTP, NETSTRING, PYTHON
from prime_server._ext.http cimport METHOD_HEAD
from prime_server._ext.info cimport FLAG_HEAD, FLAG_OLD
from prime_server._ext.output cimport Output, sent, splice, tighten


cdef class Answering(Admission):
    cdef bint keep_alive_of(self, Pending* pending) noexcept nogil:
        cdef Connection* connection = pending.connection
        if self.protocol == PYTHON:
            pending.keep_alive = self.user_protocol.keep_alive(pending)
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

    cdef void answer(self, Pending* pending, int code, const char* text, const Manner* manner, int64_t now) noexcept nogil:
        """Answers a request that no worker is asked."""
        pending.code = code
        if answer_plain(self.output_of(pending), code, text, NULL, manner) != 0:
            pending.connection.broken = True
        self.complete(pending, now)

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
            size = self.user_protocol.refuse(output, status, reason)
        if size != 0:
            connection.broken = True
        pending.answered = output.size - before
        self.complete(pending, now)

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

    cdef void turn_away(self, Connection* connection, int status, const char* reason, int64_t now) noexcept nogil:
        cdef Pending* pending = self.new_pending(connection)
        connection.ending = True
        connection.lingering = True
        if pending != NULL:
            self.refuse(connection, pending, status, reason, 1, now)
        self.set_waiting(connection, now)

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
                if connection.first.postponed and not self.is_behind(connection):
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

    cdef void wrote(self, Connection* connection, size_t size, int64_t now) noexcept nogil:
        self.bytes_out += size
        sent(&connection.output, size)
        if connection.waiting == FOR_READER and size:
            self.wait_for(connection, FOR_READER, now)  # it took something: its time begins anew
        if connection.first != NULL and connection.first.streaming:
            self.grant(connection.first, False)
        elif connection.first != NULL and connection.first.postponed and not self.is_behind(connection):
            self.ask_now(connection.first, now)
            self.advance(connection, now)  # where it could not be asked
        self.set_waiting(connection, now)
