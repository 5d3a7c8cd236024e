"""The server's core: connections, their requests in flight, and the order of their answers. It knows no socket."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

from prime_server._ext.access_log cimport AccessLog
from prime_server._ext.http cimport Limits, RequestParser
from prime_server._ext.libzmq cimport Message, Multipart
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
    Pending* newer             # by arrival, for the deadlines
    Pending* older
    uint32_t id
    uint32_t time_stamp
    uint16_t bits
    uint16_t flags
    uint32_t sequence          # of the next message of its response
    bint keep_alive
    bint numbered              # it has an id: it is logged
    bint done                  # its answer is complete
    bint failed                # the connection ends behind what is there of the answer
    int code
    int64_t deadline
    size_t payload             # bytes of the request
    size_t answered            # bytes of the response so far
    Output held                # of the response, until it's its turn

cdef struct Connection:
    int descriptor             # the edge's
    int interest               # the edge's
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
    Pending* first
    Pending* last
    Output output
    char* stash                # owned: bytes read but not parsed yet, because the connection is over its bound
    size_t stash_size
    uint64_t received
    RequestParser http
    NetstringParser netstring
    void* state                # owned reference: the Python object that a user's protocol sees as the connection

cdef class Sessions:
    cdef readonly uint64_t life
    cdef uint32_t next_id
    cdef int protocol
    cdef object user_protocol
    cdef AccessLog log
    cdef Limits limits
    cdef size_t netstring_limit
    cdef bytes health_check_path
    cdef const char* health_path   # borrowed from it
    cdef size_t health_size
    cdef bint draining
    cdef bint health_seen_failing
    cdef int64_t timeout
    cdef int64_t waits[6]          # by Waiting, us, 0: for ever
    cdef size_t min_body           # bytes per FOR_BODY period
    cdef int max_pipelined         # requests in flight of one connection
    cdef size_t max_in_flight      # in all
    cdef size_t max_payload        # bytes of requests in flight in all
    cdef size_t max_unread         # response bytes that wait for one reader
    cdef size_t in_flight
    cdef size_t payload
    cdef Pending** table           # owned, by id
    cdef size_t table_size         # a power of two
    cdef Pending* oldest
    cdef Pending* newest
    cdef Pending* spare            # pool, linked by next
    cdef int spares
    cdef Connection* all
    cdef size_t connections
    cdef Connection* waiting_first[6]
    cdef Connection* waiting_last[6]
    cdef Connection* dirty_first
    cdef Connection* dirty_last
    cdef Multipart* jobs           # owned, [info][payload] in order of arrival
    cdef size_t jobs_begin
    cdef size_t jobs_end
    cdef size_t jobs_room
    cdef uint64_t* interrupts      # owned, keys
    cdef size_t interrupts_size
    cdef size_t interrupts_room
    cdef dict faces                # connections of the Python face
    # counters
    cdef uint64_t accepted, requests, answered, refused, late, malformed, timeouts, clients_gone, interrupted, overloads, health_checks, bytes_in, bytes_out

    # A new connection, NULL without memory. The edge sets `descriptor`.
    cdef Connection* open(self, int64_t now) noexcept nogil
    # The edge has closed its socket: forgets the connection and frees it.
    cdef void closed(self, Connection* connection) noexcept nogil
    # Bytes have come.
    cdef void received(self, Connection* connection, const char* data, size_t size, int64_t now) noexcept nogil
    # Where the next bytes of a big body belong (0: nowhere, use `received`), and that so many have been put there.
    cdef size_t room(self, Connection* connection, char** at) noexcept nogil
    cdef void filled(self, Connection* connection, size_t size, int64_t now) noexcept nogil
    # The client has closed its side, or the connection failed (`broken`: nothing can be sent any more).
    cdef void left(self, Connection* connection, bint broken, int64_t now) noexcept nogil
    # So much of its output has been taken by the socket.
    cdef void wrote(self, Connection* connection, size_t size, int64_t now) noexcept nogil
    # Whether to read from it now.
    cdef bint reads(self, Connection* connection) noexcept nogil
    # Parses what had to wait, if there is room now.
    cdef void resume(self, Connection* connection, int64_t now) noexcept nogil
    # Everything is answered and sent, or never will be: close it.
    cdef bint finished(self, Connection* connection) noexcept nogil
    # Everything is answered and sent to a client that may still be sending: shut down the sending side and read on until `finished`.
    cdef bint lingers(self, Connection* connection, int64_t now) noexcept nogil
    # The next connection of which something has changed, NULL when there is none.
    cdef Connection* take_dirty(self) noexcept nogil
    # The next job for the first stage, owned by the caller. False: none.
    cdef bint take_job(self, Multipart* into) noexcept nogil
    # Whether somebody still waits for a job that was taken.
    cdef bint wants(self, Multipart* job) noexcept nogil
    # Keys to interrupt: the caller reads `interrupts` up to `interrupts_size` and resets that to 0.
    # [info][frames of the response…] or [info: refusal] from a worker or proxy. Consumed.
    cdef void result(self, Multipart* parts, int64_t now) noexcept nogil
    # Time has passed. Returns when it wants to be called next, -1 for never.
    cdef int64_t tick(self, int64_t now) noexcept nogil
    # From now on connections end with the answers that are due; those that are owed nothing end now if `close_idle`.
    cdef void drain(self, bint close_idle, int64_t now) noexcept nogil
    cdef void touch(self, Connection* connection) noexcept nogil

    cdef void wait_for(self, Connection* connection, Waiting what, int64_t now) noexcept nogil
    cdef void set_waiting(self, Connection* connection, int64_t now) noexcept nogil
    cdef bint over_bound(self, Connection* connection) noexcept nogil
    cdef void consume(self, Connection* connection, const char* data, size_t size, int64_t now) noexcept nogil
    cdef int consume_user(self, Connection* connection, const char* data, size_t size, int64_t now) noexcept nogil
    cdef void arrived_http(self, Connection* connection, void* parsed, int64_t now) noexcept nogil
    cdef void submit(self, Connection* connection, Pending* pending, Multipart* payload, int64_t now) noexcept nogil
    cdef Pending* new_pending(self, Connection* connection) noexcept nogil
    cdef void free_pending(self, Pending* pending) noexcept nogil
    cdef Pending* find(self, uint32_t id, uint32_t time_stamp) noexcept nogil
    cdef void forget(self, Pending* pending) noexcept nogil
    cdef int grow_table(self) noexcept nogil
    cdef void interrupt(self, Pending* pending) noexcept nogil
    cdef void refuse(self, Connection* connection, Pending* pending, int status, const char* reason, int retry_after, int64_t now) noexcept nogil
    cdef void refuse_input(self, Connection* connection, int status, const char* reason, int64_t now) noexcept nogil
    cdef Output* output_of(self, Pending* pending) noexcept nogil
    cdef void complete(self, Pending* pending, int64_t now) noexcept nogil
    cdef void advance(self, Connection* connection, int64_t now) noexcept nogil
    cdef void drop_pendings(self, Connection* connection) noexcept nogil
    cdef int answer_user(self, Output* output, int status, const char* reason) noexcept nogil
    cdef reject_user(self, Connection* connection, error, int64_t now)
    cdef bint keep_alive_of(self, Pending* pending) noexcept nogil
    cdef Connection* face(self, int number) except NULL
