"""A server's connections, and the requests that each is owed an answer to.

Each request is a `Pending`, linked into three places: its connection's queue, which keeps the answers in the order of the questions; a table by id,
where a result finds it; a list by arrival, whose head has the next deadline. An answer to what stands at the head of its connection's queue goes
straight to the connection's output, any other is held until its turn. Answers of our own take their place in the same queue.

What a request's key names is answered once: with the answer the pending leaves the table, and what comes later finds nothing. When the client
leaves, its pendings leave the table with an interrupt each.

A response may come in parts. Its pending leaves the list by arrival with the first of them, as it has no deadline from then on, and its worker may
send only so much more than what the reader has taken: `grant` says how much, as a sum over all, so that a word that is lost is made good by the next.

A connection that has been closed is freed at the end of the round (`free_ended`): whoever is in the middle of something may still name it.

Every kind of waiting has one length of time, so that the list of those that wait is sorted by itself and only its head is looked at.
"""

from cpython.ref cimport Py_XDECREF, PyObject
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memset

from prime_server._ext.http cimport request_end, request_held, request_idle, request_in_body, request_start
from prime_server._ext.info cimport STREAM_WINDOW
from prime_server._ext.libzmq cimport close_all
from prime_server._ext.netstring cimport netstring_end, netstring_idle, netstring_start
from prime_server._ext.output cimport clear, output_start

cdef enum:
    SPARE_PENDINGS = 4096
    TABLE_SIZE = 1024          # at first
    INTERRUPTS = 64            # at first
    WHOLE_WINDOW = 8 << 20     # bytes of a big body that may leave before the reader has taken any, so that its worker is free for others
    PROMISED_MOST = 32 << 20   # and of all such answers of one connection
    SILENT_US = 10_000_000     # a big answer that nothing more comes of is cut off
    LOOK_US = 1_000_000
    SLOW_US = 1_000_000        # a reader that has taken nothing for so long is closed where all that is unread is too much, and so are slow writers
    STARVING_US = 2_000_000    # and one whose worker waits for it, where all workers are taken and jobs wait for them
    FREED_US = 100_000         # until the next one of them
    LOOKED_AT = 256            # of those that may be the slowest
    CREDIT_STEP = STREAM_WINDOW // 4  # bytes that are worth a message
    IDLE_US = 1000000          # whoever has just been answered is likely to ask again
    WORDLESS_US = 250000       # and whoever connects has something to ask


cdef class Connections:
    def __cinit__(self):
        self.table_size = TABLE_SIZE
        self.table = <Pending**>calloc(self.table_size, sizeof(Pending*))
        self.interrupts_room = INTERRUPTS
        self.interrupts = <uint64_t*>malloc(self.interrupts_room * sizeof(uint64_t))
        self.credits_room = INTERRUPTS
        self.credits = <Credit*>malloc(self.credits_room * sizeof(Credit))
        if self.table == NULL or self.interrupts == NULL or self.credits == NULL:
            raise MemoryError()

    def __dealloc__(self):
        cdef Pending* next
        while self.all != NULL:
            self.closed(self.all)
        self.free_ended()
        while self.spare != NULL:
            next = self.spare.next
            free(self.spare)
            self.spare = next
        free(self.table)
        free(self.interrupts)
        free(self.credits)

    cdef Connection* open(self, int64_t now) noexcept nogil:
        cdef Connection* connection = <Connection*>calloc(1, sizeof(Connection))
        if connection == NULL:
            return NULL
        connection.descriptor = -1
        if self.protocol == HTTP:
            request_start(&connection.http, &self.limits)
        elif self.protocol == NETSTRING:
            netstring_start(&connection.netstring, self.netstring_limit)
        output_start(&connection.output)
        connection.next = self.all
        if self.all != NULL:
            self.all.previous = connection
        self.all = connection
        self.connections += 1
        self.accepted += 1
        self.set_waiting(connection, now)
        return connection

    cdef void closed(self, Connection* connection) noexcept nogil:
        cdef Connection* before
        self.drop_pendings(connection)
        self.wait_for(connection, FOR_WORKERS, 0)
        if connection.dirty:
            # rare: closed by the edge on its own account while something had changed
            if self.dirty_first == connection:
                self.dirty_first = connection.next_dirty
                if self.dirty_first == NULL:
                    self.dirty_last = NULL
            else:
                before = self.dirty_first
                while before.next_dirty != connection:
                    before = before.next_dirty
                before.next_dirty = connection.next_dirty
                if self.dirty_last == connection:
                    self.dirty_last = before
        if connection.previous != NULL:
            connection.previous.next = connection.next
        else:
            self.all = connection.next
        if connection.next != NULL:
            connection.next.previous = connection.previous
        self.connections -= 1
        self.unread -= connection.counted
        self.incoming -= connection.coming
        clear(&connection.output)
        self.drop_input(connection)
        if connection.state != NULL and self.protocol != HTTP and self.protocol != NETSTRING:
            with gil:
                Py_XDECREF(<PyObject*>connection.state)
        # Whoever still names it finds nothing to do.
        connection.state = NULL
        connection.descriptor = -1
        connection.broken = True
        connection.ending = True
        connection.gone = True
        connection.dirty = True
        connection.next = self.ended
        self.ended = connection

    cdef void free_ended(self) noexcept nogil:
        cdef Connection* next
        while self.ended != NULL:
            next = self.ended.next
            free(self.ended)
            self.ended = next

    cdef void touch(self, Connection* connection) noexcept nogil:
        if connection.dirty:
            return
        connection.dirty = True
        connection.next_dirty = NULL
        if self.dirty_last == NULL:
            self.dirty_first = connection
        else:
            self.dirty_last.next_dirty = connection
        self.dirty_last = connection

    cdef Connection* take_dirty(self) noexcept nogil:
        cdef Connection* connection = self.dirty_first
        if connection != NULL:
            self.dirty_first = connection.next_dirty
            if self.dirty_first == NULL:
                self.dirty_last = NULL
            connection.dirty = False
        return connection

    cdef void wait_for(self, Connection* connection, Waiting what, int64_t now) noexcept nogil:
        """Moves it to the end of the list of those that wait for the same."""
        cdef int old = connection.waiting
        if old != FOR_WORKERS:
            if connection.previous_waiting != NULL:
                connection.previous_waiting.next_waiting = connection.next_waiting
            else:
                self.waiting_first[old] = connection.next_waiting
            if connection.next_waiting != NULL:
                connection.next_waiting.previous_waiting = connection.previous_waiting
            else:
                self.waiting_last[old] = connection.previous_waiting
        connection.waiting = what
        connection.waiting_since = now
        connection.progress = 0
        if what != FOR_WORKERS:
            connection.next_waiting = NULL
            connection.previous_waiting = self.waiting_last[<int>what]
            if connection.previous_waiting != NULL:
                connection.previous_waiting.next_waiting = connection
            else:
                self.waiting_first[<int>what] = connection
            self.waiting_last[<int>what] = connection

    cdef void set_waiting(self, Connection* connection, int64_t now) noexcept nogil:
        """What it waits for now; the clock of what goes on being waited for isn't touched."""
        cdef Waiting what
        if connection.lingering and connection.ending and connection.first == NULL and connection.output.size == 0:
            what = FOR_END
        elif connection.output.size:
            what = FOR_READER
        elif connection.ending or connection.stash_size:
            what = FOR_WORKERS
        elif self.protocol == HTTP and request_in_body(&connection.http):
            what = FOR_BODY
        elif self.protocol == HTTP and not request_idle(&connection.http):
            what = FOR_HEAD
        elif self.protocol == NETSTRING and not netstring_idle(&connection.netstring):
            what = FOR_BODY
        elif connection.first != NULL:
            what = FOR_WORKERS
        else:
            what = FOR_REQUEST
        if <int>what != <int>connection.waiting:
            self.wait_for(connection, what, now)

    cdef void count(self, Connection* connection, int64_t now) noexcept nogil:
        cdef Connection* slowest = self.waiting_first[<int>FOR_READER]
        self.unread += connection.output.size + connection.held - connection.counted
        connection.counted = connection.output.size + connection.held
        if self.unread > self.max_unread_in_all and slowest != NULL and now - slowest.waiting_since >= SLOW_US:
            self.slowest_closed += not slowest.broken
            slowest.broken = True
            self.touch(slowest)

    cdef int64_t free_worker(self, int64_t now) noexcept nogil:
        cdef Connection* slowest = self.waiting_first[<int>FOR_READER]
        cdef int64_t at
        while slowest != NULL and (slowest.broken or slowest.first == NULL or not slowest.first.streaming):
            slowest = slowest.next_waiting
        if slowest == NULL:
            return -1
        # The worker of the last one may not have learnt of it yet.
        at = max(slowest.waiting_since + STARVING_US, self.freed + FREED_US)
        if now < at:
            return at
        self.freed = now
        self.slowest_closed += 1
        slowest.broken = True
        self.touch(slowest)
        return now + FREED_US

    cdef void drop_input(self, Connection* connection) noexcept nogil:
        if self.protocol == HTTP:
            request_end(&connection.http)
        elif self.protocol == NETSTRING:
            netstring_end(&connection.netstring)
        free(connection.stash)
        connection.stash = NULL
        connection.stash_size = 0

    cdef void count_incoming(self, Connection* connection) noexcept nogil:
        cdef size_t coming = connection.stash_size
        if self.protocol == HTTP:
            coming += request_held(&connection.http)
        elif self.protocol == NETSTRING and not connection.ending and not netstring_idle(&connection.netstring):
            coming += connection.netstring.filled
        self.incoming += coming - connection.coming
        connection.coming = coming

    cdef Connection* slowest_writer(self, int64_t now) noexcept nogil:
        cdef Connection* connection
        cdef Connection* slowest = NULL
        cdef double rate
        cdef double least = 0
        cdef int what, looked
        for what in range(<int>FOR_HEAD, <int>FOR_BODY + 1):
            connection = self.waiting_first[what]
            looked = 0
            while connection != NULL and looked < LOOKED_AT and now - connection.waiting_since >= SLOW_US:
                rate = <double>connection.progress / (now - connection.waiting_since)
                if connection.coming and (slowest == NULL or rate < least):
                    slowest = connection
                    least = rate
                connection = connection.next_waiting
                looked += 1
        return slowest

    cdef bint make_room(self, int64_t now) noexcept nogil:
        cdef Connection* connection = self.waiting_first[<int>FOR_REQUEST]
        cdef int looked = 0
        if connection == NULL or now - connection.waiting_since < IDLE_US:
            while connection != NULL and looked < LOOKED_AT and connection.received:
                connection = connection.next_waiting
                looked += 1
            if connection == NULL or looked == LOOKED_AT or now - connection.waiting_since < WORDLESS_US:
                return False
        # It isn't freed here, as an event of the same wait may name it.
        self.wait_for(connection, FOR_WORKERS, now)
        connection.broken = True
        self.touch(connection)
        self.evicted += 1
        return True
    cdef bint between(self, Connection* connection) noexcept nogil:
        if self.protocol == HTTP:
            return request_idle(&connection.http)
        return self.protocol != NETSTRING or netstring_idle(&connection.netstring)

    cdef bint over_bound(self, Connection* connection) noexcept nogil:
        return connection.in_flight >= self.max_pipelined or connection.output.size + connection.held >= self.max_unread

    cdef bint reads(self, Connection* connection) noexcept nogil:
        if connection.gone or connection.broken:
            return False
        if connection.ending:
            return connection.lingering
        return connection.stash_size == 0 and not self.over_bound(connection)

    cdef bint finished(self, Connection* connection) noexcept nogil:
        if connection.broken:
            return True
        if connection.first != NULL or connection.output.size:
            return False
        return connection.gone or (connection.ending and not connection.lingering)

    cdef bint lingers(self, Connection* connection, int64_t now) noexcept nogil:
        if not connection.lingering or connection.first != NULL or connection.output.size or connection.gone:
            return False
        self.set_waiting(connection, now)
        return True

    # --- requests, in order, by id and by arrival ---------------------------------------------------------------------------------------

    cdef Pending* new_pending(self, Connection* connection) noexcept nogil:
        cdef Pending* pending = self.spare
        if pending != NULL:
            self.spare = pending.next
            self.spares -= 1
        else:
            pending = <Pending*>malloc(sizeof(Pending))
            if pending == NULL:
                connection.broken = True
                self.touch(connection)
                return NULL
        memset(pending, 0, sizeof(Pending))
        output_start(&pending.held)
        pending.connection = connection
        if connection.last == NULL:
            connection.first = pending
        else:
            connection.last.next = pending
        connection.last = pending
        connection.in_flight += 1
        return pending

    cdef void free_pending(self, Pending* pending) noexcept nogil:
        clear(&pending.held)
        close_all(&pending.asked)
        if self.spares < SPARE_PENDINGS:
            pending.next = self.spare
            self.spare = pending
            self.spares += 1
        else:
            free(pending)

    cdef Pending* find(self, uint32_t id, uint32_t time_stamp) noexcept nogil:
        cdef Pending* pending = self.table[id & (self.table_size - 1)]
        while pending != NULL and not (pending.id == id and pending.time_stamp == time_stamp):
            pending = pending.bucket
        return pending

    cdef int grow_table(self) noexcept nogil:
        cdef size_t size = self.table_size * 2
        cdef Pending** table = <Pending**>calloc(size, sizeof(Pending*))
        cdef Pending* pending
        cdef Pending* lists[2]
        cdef int index
        if table == NULL:
            return -1
        lists[0] = self.oldest
        lists[1] = self.streams
        for index in range(2):
            pending = lists[index]
            while pending != NULL:
                pending.bucket = table[pending.id & (size - 1)]
                table[pending.id & (size - 1)] = pending
                pending = pending.newer
        free(self.table)
        self.table = table
        self.table_size = size
        return 0

    cdef void enter(self, Pending* pending) noexcept nogil:
        """Into the table, which has room, and behind the others by arrival: a worker's result is waited for."""
        cdef Pending** slot = &self.table[pending.id & (self.table_size - 1)]
        pending.bucket = slot[0]
        slot[0] = pending
        pending.older = self.newest
        pending.newer = NULL
        if self.newest != NULL:
            self.newest.newer = pending
        else:
            self.oldest = pending
        self.newest = pending
        self.in_flight += 1
        self.payload += pending.payload
        pending.connection.waiting_for_workers += 1

    cdef void forget(self, Pending* pending) noexcept nogil:
        """Out of the table and the deadlines, if it is there: it has been answered, or nobody waits for it."""
        cdef Pending** slot
        if pending.deadline == 0 and pending.older == NULL and pending.newer == NULL and self.oldest != pending and self.streams != pending:
            return
        slot = &self.table[pending.id & (self.table_size - 1)]
        while slot[0] != pending:
            if slot[0] == NULL:
                return
            slot = &slot[0].bucket
        slot[0] = pending.bucket
        self.unlink(pending)
        close_all(&pending.asked)
        self.in_flight -= 1
        self.payload -= pending.payload
        pending.connection.waiting_for_workers -= 1

    cdef void unlink(self, Pending* pending) noexcept nogil:
        """Out of the list by arrival, or of the streams."""
        if pending.older != NULL:
            pending.older.newer = pending.newer
        elif pending.streaming:
            self.streams = pending.newer
        else:
            self.oldest = pending.newer
        if pending.newer != NULL:
            pending.newer.older = pending.older
        elif not pending.streaming:
            self.newest = pending.older
        if pending.streaming:
            self.streaming -= 1
            pending.streaming = False
            pending.connection.promised -= pending.promised
            pending.promised = 0
        pending.older = NULL
        pending.newer = NULL
        pending.deadline = 0

    cdef Pending* silent(self, int64_t now) noexcept nogil:
        # Its proxy may have been told that it is done, while the last pieces were lost with the worker.
        cdef Pending* pending = self.streams if now - self.streams_looked >= LOOK_US else NULL
        while pending != NULL and not (pending.whole and now - pending.heard >= SILENT_US):
            pending = pending.newer
        if pending == NULL:
            self.streams_looked = now if now - self.streams_looked >= LOOK_US else self.streams_looked
        return pending

    cdef Pending* coming_by(self, int descriptor) noexcept nogil:
        cdef Pending* pending = self.streams
        while pending != NULL and pending.descriptor != descriptor:
            pending = pending.newer
        return pending

    cdef bint has_room(self, Connection* connection, size_t size) noexcept nogil:
        return size <= WHOLE_WINDOW and self.fits(connection, size) and self.unread <= self.max_unread_in_all // 2

    cdef bint is_behind(self, const Connection* connection) noexcept nogil:
        return connection.output.size >= WHOLE_WINDOW

    cdef bint fits(self, const Connection* connection, size_t size) noexcept nogil:
        return connection.output.size + connection.held + connection.promised + size <= PROMISED_MOST

    cdef void begin_stream(self, Pending* pending, size_t whole) noexcept nogil:
        self.unlink(pending)
        pending.window = STREAM_WINDOW
        pending.whole = whole > 0
        if whole > WHOLE_WINDOW:
            whole = WHOLE_WINDOW
        if whole > pending.window and self.has_room(pending.connection, whole):
            pending.window = whole
            pending.promised = whole
            pending.connection.promised += whole
        close_all(&pending.asked)  # it can't be asked for again
        pending.streaming = True
        pending.granted = STREAM_WINDOW
        pending.newer = self.streams
        if self.streams != NULL:
            self.streams.older = pending
        self.streams = pending
        self.streaming += 1
        self.streams_begun += 1

    cdef void grant(self, Pending* pending, bint anyway) noexcept nogil:
        cdef size_t unsent = self.output_of(pending).size
        cdef uint64_t total = pending.received + pending.window
        cdef Credit* grown
        # What of the answers before it is still unsent counts too: less is told then, for a moment.
        total -= unsent if unsent < pending.received else pending.received
        if total < pending.granted + CREDIT_STEP and not anyway:
            return
        if total > pending.granted:
            pending.granted = total
        if self.credits_size == self.credits_room:
            grown = <Credit*>realloc(self.credits, 2 * self.credits_room * sizeof(Credit))
            if grown == NULL:
                return  # its worker will ask
            self.credits = grown
            self.credits_room *= 2
        self.credits[self.credits_size].key = <uint64_t>pending.id | (<uint64_t>pending.time_stamp << 32)
        self.credits[self.credits_size].total = pending.granted
        self.credits_size += 1

    cdef void interrupt(self, Pending* pending) noexcept nogil:
        self.interrupted += 1
        self.interrupt_key(<uint64_t>pending.id | (<uint64_t>pending.time_stamp << 32))

    cdef void interrupt_key(self, uint64_t key) noexcept nogil:
        cdef uint64_t* grown
        if self.interrupts_size == self.interrupts_room:
            grown = <uint64_t*>realloc(self.interrupts, 2 * self.interrupts_room * sizeof(uint64_t))
            if grown == NULL:
                return
            self.interrupts = grown
            self.interrupts_room *= 2
        self.interrupts[self.interrupts_size] = key
        self.interrupts_size += 1

    cdef void drop_pendings(self, Connection* connection) noexcept nogil:
        """Nobody waits for them any more."""
        cdef Pending* pending = connection.first
        cdef Pending* next
        while pending != NULL:
            next = pending.next
            if pending.numbered and not pending.done:
                self.interrupt(pending)
                self.forget(pending)
            self.free_pending(pending)
            pending = next
        connection.first = NULL
        connection.last = NULL
        connection.in_flight = 0
        connection.held = 0

    cdef Output* output_of(self, Pending* pending) noexcept nogil:
        return &pending.connection.output if pending.connection.first == pending else &pending.held
