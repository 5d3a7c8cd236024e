"""HTTP/1.x responses as a client reads them, by the same letter as the requests of the edge.

A connection's owner says for each response whether it answers a HEAD, feeds what the socket gave, and tells of the connection's end, which may be the
end of a body (RFC 9112 section 6.3). Interim responses are read and dropped. A response comes out as one ZeroMQ message: its head and its
de-chunked body. What is malformed is a 502 to whoever asked: a server upstream has answered with nonsense.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t
from libc.string cimport memcpy, memset

from prime_server._ext.http_body cimport BY_CHUNKS, UNTIL_CLOSE, body_by_length, body_end, body_eof, body_feed, body_open
from prime_server._ext.http_head cimport (
    CHUNKED_INSIDE, CHUNKED_LAST, CODED_OTHERWISE, HAS_CODING, HAS_LENGTH, SAYS_CLOSE, SAYS_KEEP_ALIVE, head_end, head_fail, head_feed,
    head_start, read_fields,
)
from prime_server._ext.http_syntax cimport IS_DIGIT, is_in, skip_text
from prime_server._ext.libzmq cimport zmq

cdef enum:
    # ResponseParser.stage
    IDLE = 0
    IN_STATUS = 1
    IN_REASON = 2
    IN_FIELDS = 3
    IN_BODY = 4
    OVER = 5

cdef enum:
    STATUS_SIZE = 12  # bytes: HTTP/1.1 200


cdef void response_start(ResponseParser* parser, const Limits* limits) noexcept nogil:
    memset(parser, 0, sizeof(ResponseParser))
    parser.limits = limits


cdef void response_end(ResponseParser* parser) noexcept nogil:
    head_end(&parser.head)
    body_end(&parser.body)
    parser.stage = OVER


cdef void response_expect(ResponseParser* parser, bint head_request) noexcept nogil:
    parser.head_request = head_request


cdef bint response_idle(const ResponseParser* parser) noexcept nogil:
    return parser.stage == IDLE


cdef int refuse(ResponseParser* parser, const char* reason) noexcept nogil:
    response_end(parser)
    parser.status = 502
    parser.reason = reason
    return FAILED


cdef inline int read_status_line(ResponseParser* parser, const char* data, size_t size) noexcept nogil:
    """HTTP-version SP 3DIGIT SP [reason-phrase] CRLF; the second space is not missed where no reason follows."""
    cdef Head* head = &parser.head
    cdef const char* at
    cdef const char* stop = data + min(size, parser.limits.head)
    cdef size_t i
    if parser.stage == IN_STATUS:
        for i in range(head.scanned, min(size, <size_t>STATUS_SIZE)):
            if not (is_in(data[i], IS_DIGIT) if i == 5 or i == 7 or i > 8 else data[i] == b"HTTP/1.1 "[i]):
                return head_fail(head, 502, "a status line that does not begin like HTTP/1.1 200")
        head.scanned = min(size, <size_t>STATUS_SIZE)
        if size <= STATUS_SIZE:
            return MORE
        if data[5] != c"1":
            return head_fail(head, 502, "a major version other than 1")
        if data[9] == c"0":
            return head_fail(head, 502, "a status code below 100")
        if data[STATUS_SIZE] != c" " and data[STATUS_SIZE] != c"\r":
            return head_fail(head, 502, "a status code that is not followed by a space")
        parser.minor = 0 if data[7] == c"0" else 1
        parser.code = (data[9] - c"0") * 100 + (data[10] - c"0") * 10 + data[11] - c"0"
        parser.stage = IN_REASON
    if head.scanned > parser.limits.head:
        return head_fail(head, 502, "the header section is too large")
    at = skip_text(data + head.scanned, stop)
    head.scanned = at - data
    if at < stop and at[0] != c"\r":
        return head_fail(head, 502, "a control byte in a reason phrase")
    if stop - at < 2:
        if size > parser.limits.head:
            return head_fail(head, 502, "the header section is too large")
        return MORE
    if at[1] != c"\n":
        return head_fail(head, 502, "a carriage return without a line feed")
    head.line = head.scanned + 2
    parser.stage = IN_FIELDS
    return COMPLETE


cdef int read_head(void* reader, const char* data, size_t size) noexcept nogil:
    cdef ResponseParser* parser = <ResponseParser*>reader
    cdef int outcome
    if parser.stage != IN_FIELDS:
        outcome = read_status_line(parser, data, size)
        if outcome != COMPLETE:
            return outcome
    return read_fields(&parser.head, parser.limits, data, size)


cdef inline int deliver(ResponseParser* parser, ParsedResponse* into, size_t head_size) noexcept nogil:
    into.status = parser.code
    into.minor = parser.minor
    into.keep_alive = parser.keep_alive
    into.head_size = head_size
    parser.stage = IDLE
    parser.head_request = False
    return COMPLETE


cdef int feed_body(ResponseParser* parser, const char* data, size_t size, size_t* used, ParsedResponse* into) noexcept nogil:
    cdef size_t head_size
    cdef int outcome = body_feed(&parser.body, data, size, used, &into.data, &head_size)
    if outcome == COMPLETE:
        return deliver(parser, into, head_size)
    if outcome == FAILED:
        return refuse(parser, parser.body.reason)
    return MORE


cdef int begin_body(ResponseParser* parser, const char* head, ParsedResponse* into) noexcept nogil:
    """The head is complete: how long is the body (RFC 9112 section 6.3)? COMPLETE where there is none, MORE where there is one."""
    cdef uint32_t flags = parser.head.flags
    cdef size_t length = parser.head.content_length
    cdef bint none = parser.head_request or parser.code == 204 or parser.code == 304
    cdef int outcome
    if flags & HAS_CODING:
        if parser.minor == 0:
            return refuse(parser, "Transfer-Encoding in HTTP/1.0")
        if flags & HAS_LENGTH:
            return refuse(parser, "Content-Length together with Transfer-Encoding")
        if flags & CODED_OTHERWISE or flags & CHUNKED_INSIDE or not flags & CHUNKED_LAST:
            return refuse(parser, "a transfer coding other than one chunked")
    if not none and length > parser.limits.body:
        return refuse(parser, "the body is too large")
    parser.keep_alive = not flags & SAYS_CLOSE and (parser.minor != 0 or flags & SAYS_KEEP_ALIVE != 0)
    if none or (flags & HAS_LENGTH and length == 0):
        if zmq.msg_init_size(&into.data, parser.head.size) != 0:
            return refuse(parser, "out of memory")
        memcpy(zmq.msg_data(&into.data), head, parser.head.size)
        return deliver(parser, into, parser.head.size)
    if flags & HAS_CODING:
        outcome = body_open(&parser.body, BY_CHUNKS, parser.limits, head, parser.head.size)
    elif flags & HAS_LENGTH:
        outcome = body_by_length(&parser.body, head, parser.head.size, length)
    else:
        parser.keep_alive = False
        outcome = body_open(&parser.body, UNTIL_CLOSE, parser.limits, head, parser.head.size)
    if outcome == FAILED:
        return refuse(parser, parser.body.reason)
    parser.stage = IN_BODY
    return MORE


cdef int response_feed(ResponseParser* parser, const char* data, size_t size, size_t* used, ParsedResponse* into) noexcept nogil:
    cdef Head* head = &parser.head
    cdef const char* lies
    cdef size_t at = 0
    cdef size_t taken
    cdef int outcome
    used[0] = size
    if parser.stage == OVER:
        return FAILED
    while at < size:
        if parser.stage == IN_BODY:
            outcome = feed_body(parser, data + at, size - at, &taken, into)
            used[0] = at + taken
            return outcome
        if parser.stage == IDLE:
            parser.stage = IN_STATUS
        outcome = head_feed(head, read_head, parser, data + at, size - at, &taken, &lies)
        at += taken
        if outcome == FAILED:
            return refuse(parser, head.reason)
        if outcome == MORE:
            return MORE
        if parser.code < 200:
            if parser.code == 101:
                return refuse(parser, "another protocol, which nobody has asked for")
            outcome = MORE
            parser.stage = IDLE
        else:
            outcome = begin_body(parser, lies, into)
        head_end(head)
        head_start(head)
        if outcome != MORE:
            used[0] = at
            return outcome
    return MORE


cdef int response_eof(ResponseParser* parser, ParsedResponse* into) noexcept nogil:
    cdef size_t head_size
    if parser.stage == IDLE:
        return MORE
    if parser.stage == OVER:
        return FAILED
    if parser.stage != IN_BODY or body_eof(&parser.body, &into.data, &head_size) != COMPLETE:
        return refuse(parser, "the connection was closed in the middle of a response")
    return deliver(parser, into, head_size)
