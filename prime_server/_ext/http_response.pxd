"""HTTP/1.x responses as a client reads them: a strict, incremental parser."""

from libc.stddef cimport size_t

from prime_server._ext.http_body cimport Body
from prime_server._ext.http_head cimport COMPLETE, FAILED, MORE, Head, Limits
from prime_server._ext.libzmq cimport Message

# One per connection; owns nothing while `response_idle`. Limits.target and .allow mean nothing here.
cdef struct ResponseParser:
    const Limits* limits   # not owned
    int status             # after FAILED: 502
    const char* reason     # after FAILED: one line of plain text, static
    # the rest is the parser's own
    int stage
    bint head_request
    int code
    int minor
    bint keep_alive
    Head head
    Body body

cdef struct ParsedResponse:
    Message data           # owned by the receiver: head and de-chunked body; a chunked one has a Content-Length added to its head
    int status
    int minor              # HTTP/1.minor
    bint keep_alive        # the connection persists
    size_t head_size       # of the data, with the empty line

cdef void response_start(ResponseParser* parser, const Limits* limits) noexcept nogil
cdef void response_end(ResponseParser* parser) noexcept nogil
# The next response answers a HEAD: it has no body. Said before its first byte is fed; it holds for that one response.
cdef void response_expect(ResponseParser* parser, bint head_request) noexcept nogil
# Never CONTINUE: interim responses (1xx) are read and dropped.
cdef int response_feed(ResponseParser* parser, const char* data, size_t size, size_t* used, ParsedResponse* into) noexcept nogil
# The server has closed the connection. COMPLETE: that was the end of a response's body. MORE: it came between responses.
# FAILED: a response was cut short.
cdef int response_eof(ResponseParser* parser, ParsedResponse* into) noexcept nogil
cdef bint response_idle(const ResponseParser* parser) noexcept nogil
