"""A request's info frame, and the messages with which our parts tell each other that they speak the extension (wire.md)."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from prime_server._ext.libzmq cimport Message

cdef enum:
    NETSTRING_INFO_SIZE = 8
    BARE_INFO_SIZE = 12
    INFO_SIZE = 72             # with our extension
    MAX_INFO_SIZE = 1024       # what is longer is malformed

    # info.bits, of the original
    BITS_VERSION = 0x0007
    BITS_KEEP_ALIVE = 0x0008   # `Connection: Keep-Alive` was sent
    BITS_CLOSE = 0x0010        # `Connection: Close` was sent
    BITS_CODE_SHIFT = 5        # ten bits of response code

    # info.flags, of the extension
    FLAG_IDEMPOTENT = 0x0001   # by its method: may be run again when a worker dies
    FLAG_RETRYABLE = 0x0002    # marked so by the application: the same
    FLAG_HEAD = 0x0004         # the answer has no body
    FLAG_OLD = 0x0008          # the answer follows the rules of HTTP/1.0
    FLAG_RESULT = 0x0010       # a result written by our worker: its head has neither Date nor Connection, the server adds them
    FLAG_MORE = 0x0020         # of a result: more messages of the same response follow
    FLAG_REFUSAL = 0x0040      # no result: a proxy could not get the job done; the code says why
    FLAG_FROM_PROXY = 0x0080   # set by our proxy, cleared by our worker: who receives it in a proxy or server knows that a foreign worker sent it
    FLAG_NETSTRING = 0x0100    # the client speaks netstring: the answer is one
    FLAG_RAW = 0x0200          # the client speaks a protocol of the user's: the answer is the bytes that the worker gives
    FLAG_BROKEN = 0x0400       # of a result: the response can't be completed, the connection is to be closed
    FLAG_FAILED = 0x2000       # of a result: the work function gave none, the code and the text are our worker's
    FLAG_WHOLE = 0x4000        # of a result: its messages are pieces of a body whose length is known: time_left has the bytes
    FLAG_BEHIND = 0x8000       # its client has asked for something before it that isn't answered yet: it waits behind those that nothing is owed to
    FLAG_CANCEL = 0x0800       # no job, one frame: nobody waits for the request any more, with key 0 for any of this server's life; sent to ours only
    FLAG_FINISHED = 0x1000     # of a result, or of a job for the next stage: its worker reports it to no proxy, the hub that has both sees it

cdef struct Info:
    uint32_t id
    uint32_t time_stamp        # unix seconds at arrival
    uint16_t bits
    uint8_t size               # as it came: 8, 12 or INFO_SIZE (of a longer one the known prefix)
    bint extended              # the extension is there; all that follows is 0 otherwise
    uint16_t flags
    uint32_t sequence          # of a result
    uint64_t life              # the server's
    int64_t time_left          # us until the deadline, 0: no deadline; what has expired has -1; of a refusal with 503 until it may be tried again
    uint8_t attempt            # how often a proxy has given it to a worker, over all stages' redeliveries
    uint8_t strikes            # how many workers died of it
    uint16_t hops              # parts that have handed it on
    uint32_t queued            # us waited in proxies so far
    uint32_t served            # us in work functions so far
    uint8_t trace[16]
    uint32_t source            # of a result in several messages: a random number that all of them share

cdef inline uint64_t key_of(const Info* info) noexcept nogil:
    """`id | time_stamp << 32`: names a request for every part of one server's life."""
    return <uint64_t>info.id | (<uint64_t>info.time_stamp << 32)

cdef inline int code_of(const Info* info) noexcept nogil:
    return (info.bits >> BITS_CODE_SHIFT) & 0x3ff

cdef inline void set_code(Info* info, int code) noexcept nogil:
    info.bits = <uint16_t>((info.bits & ~(0x3ff << BITS_CODE_SHIFT)) | ((code & 0x3ff) << BITS_CODE_SHIFT))

# 0, or -1 when the frame is no info: too short, too long, or an extension whose own length is a lie.
cdef int read_info(const char* data, size_t size, Info* into) noexcept nogil
# Initialises `to` with the info; `original`, which may be NULL, is the frame it came in: what we don't know of it is passed on.
# An info that is not extended is written with 12 bytes (8 where it came so). 0, or -1 without memory, with `to` empty.
cdef int write_info(Message* to, const Info* info, Message* original) noexcept nogil

# [info: cancel]. 0, or -1 without memory, with `to` empty.
cdef int write_cancel(Message* to, uint64_t life, uint64_t key) noexcept nogil

# The RequestInfo of an info.
cdef object info_object(const Info* info)

# --- what a worker tells its proxy behind its heartbeat -----------------------------------------------------------------------------

cdef enum:
    WORKER_IDLE = 0x01
    WORKER_LEAVING = 0x02      # give it nothing more
    WORKER_STREAMS = 0x04      # the running job's answer has begun to leave in parts: nobody else can do it any more
    WORKER_WISHES = 0x08       # it was told to end: it works on until it is let go
    REPORT_SIZE = 48           # without keys
    KEY_SIZE = 16              # life, key
    MAX_KEYS = 256             # finished and handed back, in one report

cdef struct Report:
    uint8_t flags
    uint16_t window            # jobs it may hold
    uint16_t finished          # keys of jobs done since the last report, then
    uint16_t returned          # keys of jobs handed back unstarted
    uint32_t service           # recent service time, us
    int64_t busy               # us that the running job has run, 0: none runs
    uint64_t running_life      # of the running job
    uint64_t running_key
    uint64_t direct            # the number of its direct way to the hub (direct.pyx), 0: none
    const char* keys           # (finished + returned) * KEY_SIZE bytes in the frame that was read: read with `report_key`

cdef int read_report(const char* data, size_t size, Report* into) noexcept nogil
# `keys` of the report points to the keys to write. 0, or -1 without memory, with `to` empty.
cdef int write_report(Message* to, const Report* report) noexcept nogil
cdef void report_key(const Report* report, int index, uint64_t* life, uint64_t* key) noexcept nogil
cdef void put_key(char* at, uint64_t life, uint64_t key) noexcept nogil
cdef void get_key(const char* at, uint64_t* life, uint64_t* key) noexcept nogil

# --- what a proxy tells those that have shown that they speak the extension: one frame, which no job is -------------------------------

cdef enum:
    HELLO_SIZE = 16
    # what a hello may say besides, to a worker
    WORD_STAY = 1              # its wish has been heard
    WORD_GO = 2                # it is let go
    WORD_OVER = 3              # the proxy ends: nothing more comes of it

cdef bint read_hello(const char* data, size_t size, uint64_t* life) noexcept nogil
cdef int hello_word(const char* data) noexcept nogil  # of one that has been read
cdef int write_hello(Message* to, uint64_t life, int word) noexcept nogil

# --- what a worker tells the server, when it is one of ours: one frame, which no result is ----------------------------------------------

cdef enum:
    RESTART_SIZE = 24

# A proxy has come back: its life before, and now. Behind that, the keys (`put_key`) of jobs that are not lost with it, as they are with the worker
# or have gone through its hands.
cdef bint read_restart(const char* data, size_t size, uint64_t* former, uint64_t* life) noexcept nogil
# With room for `keys` of them. NULL without memory, with `to` empty.
cdef char* write_restart(Message* to, uint64_t former, uint64_t life, size_t keys) noexcept nogil

# --- what a server publishes ---------------------------------------------------------------------------------------------------------

cdef enum:
    INTERRUPT_SIZE = 16        # key, life
    CREDIT_SIZE = 32           # zero, life, key, bytes
    STREAM_WINDOW = 524288     # bytes that may leave before the first credit

# 8 bytes of key, and the life behind it where one of ours wrote it (0 otherwise). A credit has the key 0, and its own fields behind: its bytes are
# those of a response in parts that may have left in all, counted in the frames behind the info, so that a later one makes good for a lost one.
cdef int read_interrupt(const char* data, size_t size, uint64_t* life, uint64_t* key, uint64_t* credit) noexcept nogil
cdef int write_interrupt(Message* to, uint64_t life, uint64_t key) noexcept nogil
cdef int write_credit(Message* to, uint64_t life, uint64_t key, uint64_t credit) noexcept nogil
