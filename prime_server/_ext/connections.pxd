"""A server's connections and the requests that they wait for: the lists, the table and the order."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from prime_server._ext.http cimport Limits, RequestParser
from prime_server._ext.libzmq cimport Multipart
from prime_server._ext.netstring cimport NetstringParser
from prime_server._ext.output cimport Output

cdef enum:
    HTTP = 0
    NETSTRING = 1
    PYTHON = 2                 # a user's protocol class

# What a connection is waiting for; each has one length of time, so a list of each is sorted by itself.
cdef enum Waiting:
    FOR_WORKERS = 0            # no timer: the requests' deadlines watch over it
    FOR_REQUEST = 1            # keep-alive timeout
    FOR_HEAD = 2               # header timeout
    FOR_BODY = 3               # body timeout: so much must come in this time
    FOR_READER = 4             # write timeout: the client must take something in this time
    FOR_END = 5                # the answer is out, the rest of what the client sends is thrown away for a moment
    WAITINGS = 6

cdef struct Pending:           # a request, or an answer of our own, in its place among the others of its connection
    Connection* connection
    Pending* next              # on the connection, in order
    Pending* bucket            # in the table, same slot
    Pending* newer             # by arrival, for the deadlines; once it streams, among the streams
    Pending* older
    uint32_t id
    uint32_t time_stamp
    uint32_t logged            # the id in the access log
    uint16_t bits
    uint16_t flags
    uint32_t sequence          # of the next message of its response
    int origin                 # the policy's number of the client's origin
    uint32_t source            # of a response in parts: of all its messages
    uint8_t attempt
    bint streaming             # its response has begun to come in parts
    int descriptor             # by which the latest of them came, -1: unknown
    uint64_t received          # bytes of it that have come
    size_t window              # that its worker may be ahead of the reader
    size_t promised            # of the connection's
    bint whole                 # pieces of a body: its worker sends on, or asks, every second
    int64_t heard              # when the last message of it came
    uint64_t granted           # that its worker knows it may send, in all
    bint keep_alive
    bint tunnel                # CONNECT
    bint postponed             # it is asked for at its turn
    bint numbered              # it has an id: it is logged
    bint done                  # its answer is complete
    bint failed                # the connection ends behind what is there of the answer
    int code
    int64_t deadline
    int64_t sent               # to the first stage, 0: not yet
    int again                  # how often it was sent again
    uint64_t safe              # life of the first stage's proxy before which it had gone on to a worker of ours
    Multipart asked            # owned: the job, where it may be sent again, else without frames
    size_t payload             # bytes of the request
    size_t answered            # bytes of the response so far
    Output held                # of the response, until it's its turn

cdef struct Connection:
    int descriptor             # the edge's
    int interest               # the edge's
    uint64_t address           # the edge's: whose connections it is counted among, 0: nobody's
    bint turned_away           # the edge's
    Connection* next           # of all
    Connection* previous
    Connection* next_dirty
    Connection* next_waiting
    Connection* previous_waiting
    Waiting waiting
    int64_t waiting_since
    size_t progress            # bytes since then, in the direction that is waited for
    bint dirty                 # something has changed that the edge should see
    bint ending                # nothing more is parsed; closed when all is answered and sent
    bint lingering             # a refused client may still be sending: throw that away for a while before closing
    bint gone                  # the client has left; what is already on its way out is flushed
    bint broken                # close at once
    int in_flight              # pendings
    int waiting_for_workers    # of them those with a worker
    size_t held                # bytes of held answers
    size_t counted             # of `unread`
    size_t coming              # of `incoming`
    size_t promised            # bytes of big answers that their workers may send at once
    Pending* first
    Pending* last
    Output output
    char* stash                # owned: bytes read but not parsed yet, because the connection is over its bound
    size_t stash_size
    uint64_t received
    RequestParser http
    NetstringParser netstring
    void* state                # owned reference: the Python object that a user's protocol sees as the connection

cdef struct Credit:            # for the worker of a response in parts
    uint64_t key
    uint64_t total             # bytes that it may send in all

cdef class Connections:
    cdef int64_t freed         # when a client was last closed for its worker's sake
    cdef int protocol
    cdef Limits limits
    cdef size_t netstring_limit
    cdef int64_t waits[WAITINGS]   # by Waiting, us, 0: for ever
    cdef int max_pipelined         # requests in flight of one connection
    cdef size_t max_unread         # response bytes that wait for one reader
    cdef size_t max_unread_in_all
    cdef size_t in_flight          # requests that a result is waited for
    cdef size_t payload            # their bytes
    cdef size_t incoming           # bytes of requests that have not come in whole
    cdef size_t unread             # bytes of answers that wait for their turn or their reader
    cdef Pending** table           # owned, by id
    cdef size_t table_size         # a power of two
    cdef Pending* oldest
    cdef Pending* newest
    cdef Pending* streams          # those whose response comes in parts: linked by newer and older
    cdef size_t streaming
    cdef Pending* spare            # pool, linked by next
    cdef int spares
    cdef Connection* all
    cdef Connection* ended         # closed, but still named here and there until the round is over: linked by next
    cdef size_t connections
    cdef Connection* waiting_first[WAITINGS]
    cdef Connection* waiting_last[WAITINGS]
    cdef Connection* dirty_first
    cdef Connection* dirty_last
    cdef uint64_t* interrupts      # owned, keys of requests that nobody waits for any more: whoever has read them resets the size
    cdef size_t interrupts_size
    cdef size_t interrupts_room
    cdef Credit* credits           # owned, in the same way
    cdef size_t credits_size
    cdef size_t credits_room
    cdef int64_t streams_looked    # when silent ones were last looked for
    cdef uint64_t accepted, interrupted, evicted, slowest_closed, streams_begun, streams_broken

    # A new connection, NULL without memory. The edge sets `descriptor`.
    cdef Connection* open(self, int64_t now) noexcept nogil
    # The edge has closed its socket: forgets the connection, which `free_ended` frees, called where nobody has a pointer to one any more.
    cdef void closed(self, Connection* connection) noexcept nogil
    cdef void free_ended(self) noexcept nogil
    # Ends the connection that has been idle longest, if one has been for a while; it is closed once it is looked at. False: there is none.
    # Jobs wait for a worker, and none is idle: closes the client that has kept one waiting longest, if that is too long. When it will be too long, or
    # -1: none keeps one waiting.
    cdef int64_t free_worker(self, int64_t now) noexcept nogil
    cdef bint make_room(self, int64_t now) noexcept nogil
    # Whether to read from it now.
    cdef bint reads(self, Connection* connection) noexcept nogil
    # Everything is answered and sent, or never will be: close it.
    cdef bint finished(self, Connection* connection) noexcept nogil
    # Everything is answered and sent to a client that may still be sending: shut down the sending side and read on until `finished`.
    cdef bint lingers(self, Connection* connection, int64_t now) noexcept nogil
    # Something of it has changed that the edge should see; the next such connection, NULL when there is none.
    cdef void touch(self, Connection* connection) noexcept nogil
    cdef Connection* take_dirty(self) noexcept nogil
    # What it waits for, for ever or until its time is over.
    cdef void wait_for(self, Connection* connection, Waiting what, int64_t now) noexcept nogil
    cdef void set_waiting(self, Connection* connection, int64_t now) noexcept nogil
    # Counts what waits for its reader; over the bound in all the reader that has taken nothing for the longest time is closed.
    cdef void count(self, Connection* connection, int64_t now) noexcept nogil
    # Frees what has come of a request that isn't whole.
    cdef void drop_input(self, Connection* connection) noexcept nogil
    # Counts it.
    cdef void count_incoming(self, Connection* connection) noexcept nogil
    # Among those of whom a request has been coming in for a while, the slowest, or one of the slowest where they are many. NULL: there is none.
    cdef Connection* slowest_writer(self, int64_t now) noexcept nogil
    # Whether nothing of a next request has come.
    cdef bint between(self, Connection* connection) noexcept nogil
    cdef bint over_bound(self, Connection* connection) noexcept nogil
    # A pending at the end of the connection's queue. NULL without memory: the connection is broken then.
    cdef Pending* new_pending(self, Connection* connection) noexcept nogil
    cdef void free_pending(self, Pending* pending) noexcept nogil
    cdef Pending* find(self, uint32_t id, uint32_t time_stamp) noexcept nogil
    cdef int grow_table(self) noexcept nogil
    cdef void enter(self, Pending* pending) noexcept nogil
    cdef void forget(self, Pending* pending) noexcept nogil
    cdef void unlink(self, Pending* pending) noexcept nogil
    # Its response comes in parts: it has no deadline any more, and the reader's pace is its worker's.
    # `whole`: its bytes where they are known, else 0.
    cdef void begin_stream(self, Pending* pending, size_t whole) noexcept nogil
    # A big answer whose worker has been silent for so long that it must be gone; NULL: none.
    cdef Pending* silent(self, int64_t now) noexcept nogil
    # A response whose parts come by a descriptor; NULL: none.
    cdef Pending* coming_by(self, int descriptor) noexcept nogil
    # Whether one more big answer may be held for its reader.
    cdef bint has_room(self, Connection* connection, size_t size) noexcept nogil
    # Whether its reader has so much to take that the answer whose turn it is can wait.
    cdef bint is_behind(self, const Connection* connection) noexcept nogil
    # Whether so much more may be held for it.
    cdef bint fits(self, const Connection* connection, size_t size) noexcept nogil
    # Tells its worker what it may send, where that has become worth a message, or `anyway`.
    cdef void grant(self, Pending* pending, bint anyway) noexcept nogil
    cdef void interrupt(self, Pending* pending) noexcept nogil
    cdef void interrupt_key(self, uint64_t key) noexcept nogil
    cdef void drop_pendings(self, Connection* connection) noexcept nogil
    # Where its answer goes: out, or held until its turn.
    cdef Output* output_of(self, Pending* pending) noexcept nogil
