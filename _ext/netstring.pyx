"""Netstrings: `LENGTH:BYTES,`. The length is bounded at each digit, before anything is allocated, and the bytes go into one message of that size."""

from libc.stddef cimport size_t
from libc.string cimport memcpy, memset

from prime_server._ext.http_head cimport COMPLETE, FAILED, MORE
from prime_server._ext.libzmq cimport Message, zmq

cdef enum:
    # NetstringParser.stage
    IDLE = 0
    IN_LENGTH = 1
    BEHIND_ZERO = 2
    IN_BYTES = 3
    AT_COMMA = 4
    OVER = 5


cdef void netstring_start(NetstringParser* parser, size_t limit) noexcept nogil:
    memset(parser, 0, sizeof(NetstringParser))
    parser.limit = limit


cdef void netstring_end(NetstringParser* parser) noexcept nogil:
    if parser.stage == IN_BYTES or parser.stage == AT_COMMA:
        zmq.msg_close(&parser.message)
    parser.stage = OVER


cdef bint netstring_idle(const NetstringParser* parser) noexcept nogil:
    return parser.stage == IDLE


cdef int refuse(NetstringParser* parser, int status, const char* reason) noexcept nogil:
    netstring_end(parser)
    parser.status = status
    parser.reason = reason
    return FAILED


cdef inline int read_length(NetstringParser* parser, char byte) noexcept nogil:
    """One byte of the length, or the colon behind it."""
    cdef size_t digit
    if byte == c":" and parser.stage != IDLE:
        if zmq.msg_init_size(&parser.message, parser.length) != 0:
            return refuse(parser, 503, "out of memory")
        parser.filled = 0
        parser.stage = IN_BYTES if parser.length else AT_COMMA
        return MORE
    if not c"0" <= byte <= c"9":
        return refuse(parser, 400, "a netstring that does not begin with its length in decimal digits and a colon")
    if parser.stage == BEHIND_ZERO:
        return refuse(parser, 400, "a netstring's length with a leading zero")
    digit = byte - c"0"
    if parser.stage == IDLE:
        parser.length = parser.filled = 0
    if parser.length > parser.limit // 10 or parser.length * 10 + digit > parser.limit:
        return refuse(parser, 413, "the netstring is too long")
    parser.length = parser.length * 10 + digit
    parser.stage = IN_LENGTH if parser.length else BEHIND_ZERO
    return MORE


cdef int netstring_feed(NetstringParser* parser, const char* data, size_t size, size_t* used, Message* into) noexcept nogil:
    cdef size_t at = 0
    cdef size_t piece
    used[0] = size
    if parser.stage == OVER:
        return FAILED
    while at < size:
        if parser.stage == IN_BYTES:
            piece = min(size - at, parser.length - parser.filled)
            memcpy(<char*>zmq.msg_data(&parser.message) + parser.filled, data + at, piece)
            parser.filled += piece
            at += piece
            if parser.filled == parser.length:
                parser.stage = AT_COMMA
        elif parser.stage == AT_COMMA:
            if data[at] != c",":
                return refuse(parser, 400, "a netstring without its comma")
            memcpy(into, &parser.message, sizeof(Message))
            parser.stage = IDLE
            used[0] = at + 1
            return COMPLETE
        elif read_length(parser, data[at]) == FAILED:
            return FAILED
        else:
            at += 1
    return MORE
