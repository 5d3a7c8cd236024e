"""HTTP/1.x requests as they come over a public connection: a strict, incremental parser."""

from libc.stddef cimport size_t
from libc.stdint cimport uint16_t

from prime_server._ext.http_body cimport Body
from prime_server._ext.http_head cimport ALLOW_RAW_TARGETS, COMPLETE, CONTINUE, FAILED, MORE, Head, Limits
from prime_server._ext.libzmq cimport Message

cdef enum:
    METHOD_GET = 0
    METHOD_HEAD = 1
    METHOD_POST = 2
    METHOD_PUT = 3
    METHOD_DELETE = 4
    METHOD_CONNECT = 5
    METHOD_OPTIONS = 6
    METHOD_TRACE = 7
    METHOD_PATCH = 8
    METHOD_OTHER = 9

# One per connection; plain memory of a few hundred bytes; owns nothing while `request_idle`.
cdef struct RequestParser:
    const Limits* limits   # not owned
    int status             # after FAILED: the HTTP status that answers it
    const char* reason     # after FAILED: one line of plain text, static
    int method             # of the request that is coming in, METHOD_OTHER until it is known
    # the rest is the parser's own
    int stage
    int minor
    bint keep_alive
    uint16_t bits
    size_t target_at
    size_t target_size
    Head head
    Body body

cdef struct ParsedRequest:
    Message payload        # owned by the receiver: the request as the next stages get it (wire.md), head and de-chunked body
    int method
    int minor              # HTTP/1.minor
    bint keep_alive        # by the rules of its version: the connection persists after the answer
    uint16_t bits          # version and `Connection` bits of info.bits
    size_t target_at       # where the target lies in the payload
    size_t target_size
    size_t head_size       # of the payload, with the empty line

cdef void request_start(RequestParser* parser, const Limits* limits) noexcept nogil
cdef void request_end(RequestParser* parser) noexcept nogil
cdef int request_feed(RequestParser* parser, const char* data, size_t size, size_t* used, ParsedRequest* into) noexcept nogil
# Between requests: nothing but tolerated empty lines has come.
cdef bint request_idle(const RequestParser* parser) noexcept nogil
# Bytes of the request that is coming in.
cdef size_t request_held(const RequestParser* parser) noexcept nogil
# The head is complete, the body isn't.
cdef bint request_in_body(const RequestParser* parser) noexcept nogil
# While a body of known length comes in: where its next bytes belong and how many (0: feed instead). Who has put n bytes there calls
# `request_filled`, which answers as `request_feed` does.
cdef size_t request_room(RequestParser* parser, char** at) noexcept nogil
cdef int request_filled(RequestParser* parser, size_t size, ParsedRequest* into) noexcept nogil
