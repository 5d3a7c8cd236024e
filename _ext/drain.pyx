"""The end of a server, so that no client sees it: nothing that the kernel has accepted for it is cut, and nobody is left without an answer.

**Newcomers.** What waits in the listener's backlog is taken before the listener is closed. Where there is a health check it stays open until the
check was seen failing, and for a moment after the last request: a balancer that obeys the check has chosen us before it knew.

**Connections that go on.** An answer says `Connection: close` where nothing more of its connection has come. So the next request goes elsewhere, and
one that is on its way already, on a connection that was told nothing yet, is answered. Of such a connection we can't know whether it is done: it is
closed when it has asked for nothing for a second. Closing sends a FIN, and what comes yet is read for a moment, as closing over unread bytes would be
a reset, which takes back answers that the client has not read yet (RFC 9112, section 9.6).

**The end of the time.** What is still unanswered is answered by 503 and interrupted, and what has half come too; then all of it gets a moment to
leave.
"""

from prime_server._ext.connections cimport FOR_END, Connection, Pending

cdef enum:
    BALANCER_US = 500000       # after the last request, once the health check was seen failing
    LAST_US = 500000           # for the answers that leave when the time is over
    LAST_LINGER_US = 200000


cdef class Drain:
    def __cinit__(self, Edge edge not None):
        self.edge = edge
        self.sessions = edge.sessions

    cdef void begin(self, int64_t until, int64_t now) noexcept nogil:
        self.until = until
        self.newcomers_until = until - (until - now) // 4
        if until - now > 4 * BALANCER_US:
            self.newcomers_until = until - BALANCER_US
        self.sessions.drain(now)
        if self.sessions.health_size == 0:
            self.dismiss(now)

    cdef void dismiss(self, int64_t now) noexcept nogil:
        """No balancer sends anything more."""
        self.dismissing = True
        self.sessions.dismiss()
        self.edge.stop_listening(now)

    cdef bint done(self, int64_t now) noexcept nogil:
        if now >= self.until and not self.last:
            self.last = now + LAST_US
            self.edge.stop_listening(now)
            self.cut_off(now)
            self.edge.flush(now)
        if self.last:
            return self.sessions.connections == 0 or now >= self.last
        if not self.dismissing and (now >= self.newcomers_until or (self.sessions.health_failed and now - self.balanced() >= BALANCER_US)):
            self.dismiss(now)
        return self.dismissing and self.edge.descriptor < 0 and self.sessions.connections == 0

    cdef int64_t next(self) noexcept nogil:
        cdef int64_t at
        if self.last:
            return self.last
        if self.dismissing:
            return self.until
        at = self.newcomers_until
        if self.sessions.health_failed and self.balanced() + BALANCER_US < at:
            at = self.balanced() + BALANCER_US
        return at

    cdef int64_t balanced(self) noexcept nogil:
        """When a balancer that knows was last seen, or one that doesn't know yet."""
        return max(self.sessions.health_failed, self.sessions.last_request)

    cdef void refuse_postponed(self, Connection* connection, int64_t now) noexcept nogil:
        """What was to be asked for again at its turn, from the last on, so that none has its turn meanwhile."""
        cdef Pending* postponed = connection.first
        cdef Pending* pending
        while postponed != NULL:
            postponed = NULL
            pending = connection.first
            while pending != NULL:
                if pending.postponed:
                    postponed = pending
                pending = pending.next
            if postponed != NULL:
                postponed.postponed = False
                connection.lingering = True
                self.sessions.refuse(connection, postponed, 503, "the server is shutting down", 1, now)

    cdef void cut_off(self, int64_t now) noexcept nogil:
        cdef Connection* connection
        cdef Pending* pending
        self.sessions.pipelined_until = now
        self.sessions.waits[<int>FOR_END] = LAST_LINGER_US
        connection = self.sessions.all
        while connection != NULL:
            self.refuse_postponed(connection, now)
            connection = connection.next
        while self.sessions.oldest != NULL or self.sessions.streams != NULL:
            pending = self.sessions.oldest if self.sessions.oldest != NULL else self.sessions.streams
            pending.connection.lingering = True
            self.sessions.interrupt(pending)
            self.sessions.refuse(pending.connection, pending, 503, "the server is shutting down", 1, now)
        connection = self.sessions.all
        while connection != NULL:
            if not connection.ending and not self.sessions.between(connection):
                self.sessions.refuse_input(connection, 503, "the server is shutting down", now)
            elif connection.output.size == 0 and not connection.lingering:
                connection.broken = True
            connection.ending = True
            connection.lingering = True
            self.sessions.set_waiting(connection, now)
            self.sessions.touch(connection)
            connection = connection.next
