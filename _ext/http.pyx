"""HTTP/1.x requests as they come over a public connection, read by the letter of RFC 9112 and RFC 9110.

The sessions of an edge own one parser per connection and feed it whatever the socket gave; a request comes out as one ZeroMQ message that holds the
client's bytes, from the request line on, with the body de-chunked. The request line is read here, the fields in http_head, the body in http_body;
what the fields mean for a request is decided once its head is complete. A refusal names the status that answers it, and ends the parser: after it
nobody can tell any more where the next request would begin.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memcmp, memcpy, memset, strchr

from prime_server._ext.http_body cimport BY_CHUNKS, body_by_length, body_end, body_feed, body_filled, body_open, body_room
from prime_server._ext.http_head cimport (
    CHUNKED_INSIDE, CHUNKED_LAST, CODED_OTHERWISE, EXPECTS_CONTINUE, EXPECTS_OTHER, HAS_CODING, HAS_HOST, HAS_LENGTH, SAYS_CLOSE,
    SAYS_KEEP_ALIVE, head_end, head_fail, head_feed, head_start, read_fields,
)
from prime_server._ext.http_syntax cimport IS_DIGIT, IS_RAW, is_in, skip_target, skip_token
from prime_server._ext.http_uri cimport is_host, is_target
from prime_server._ext.info cimport BITS_CLOSE, BITS_KEEP_ALIVE
from prime_server._ext.libzmq cimport zmq

cdef enum:
    # RequestParser.stage
    IDLE = 0
    EMPTY_RETURN = 1   # the first half of the one empty line that may come before a request (RFC 9112 section 2.2)
    EMPTY_LINE = 2
    IN_METHOD = 3
    IN_TARGET = 4
    IN_VERSION = 5
    IN_FIELDS = 6
    IN_BODY = 7
    OVER = 8

cdef enum:
    MAX_METHOD = 32    # bytes; the longest registered one has 17
    VERSION_SIZE = 10  # with the line's end


cdef void request_start(RequestParser* parser, const Limits* limits) noexcept nogil:
    memset(parser, 0, sizeof(RequestParser))
    parser.method = METHOD_OTHER
    parser.limits = limits


cdef void request_end(RequestParser* parser) noexcept nogil:
    head_end(&parser.head)
    body_end(&parser.body)
    parser.stage = OVER


cdef bint request_idle(const RequestParser* parser) noexcept nogil:
    return parser.stage <= EMPTY_LINE


cdef size_t request_held(const RequestParser* parser) noexcept nogil:
    return parser.head.kept_capacity + (parser.body.begin + parser.body.size if parser.stage == IN_BODY else 0)


cdef bint request_in_body(const RequestParser* parser) noexcept nogil:
    return parser.stage == IN_BODY


cdef int refuse(RequestParser* parser, int status, const char* reason) noexcept nogil:
    request_end(parser)
    parser.status = status
    parser.reason = reason
    return FAILED


cdef inline int method_of(const char* at, size_t size) noexcept nogil:
    """Methods are case-sensitive (RFC 9110 section 9.1)."""
    if size == 3:
        if memcmp(at, b"GET", 3) == 0:
            return METHOD_GET
        if memcmp(at, b"PUT", 3) == 0:
            return METHOD_PUT
    elif size == 4:
        if memcmp(at, b"POST", 4) == 0:
            return METHOD_POST
        if memcmp(at, b"HEAD", 4) == 0:
            return METHOD_HEAD
    elif size == 5:
        if memcmp(at, b"PATCH", 5) == 0:
            return METHOD_PATCH
        if memcmp(at, b"TRACE", 5) == 0:
            return METHOD_TRACE
    elif size == 6:
        if memcmp(at, b"DELETE", 6) == 0:
            return METHOD_DELETE
    elif size == 7:
        if memcmp(at, b"OPTIONS", 7) == 0:
            return METHOD_OPTIONS
        if memcmp(at, b"CONNECT", 7) == 0:
            return METHOD_CONNECT
    return METHOD_OTHER


cdef bint is_listed(const char* names, const char* at, size_t size) noexcept nogil:
    """Whether the method is one of those that are taken besides."""
    cdef const char* space
    while names != NULL and names[0] != 0:
        space = strchr(names, c" ")
        if <size_t>(space - names) == size and memcmp(names, at, size) == 0:
            return True
        names = space + 1
    return False


cdef inline int read_version(RequestParser* parser, const char* data, size_t size) noexcept nogil:
    """HTTP/D.D CRLF, as far as it has come."""
    cdef Head* head = &parser.head
    cdef size_t start = parser.target_at + parser.target_size + 1
    cdef const char* at = data + start
    cdef size_t there = min(size - start, <size_t>VERSION_SIZE)
    cdef size_t i
    # The last byte compared is the dot: the digits lie around it.
    if there < VERSION_SIZE or memcmp(at, b"HTTP/1.", 7) != 0 or not is_in(at[7], IS_DIGIT) or memcmp(at + 8, b"\r\n", 2) != 0:
        for i in range(there):
            if not (is_in(at[i], IS_DIGIT) if i == 5 or i == 7 else at[i] == b"HTTP/1.1\r\n"[i]):
                return head_fail(head, 400, "a request line that does not end in a version like HTTP/1.1 and a line end")
        if there < VERSION_SIZE:
            return MORE
    if at[5] != c"1":
        return head_fail(head, 505, "a major version other than 1")
    parser.minor = 0 if at[7] == c"0" else 1  # a later minor version is treated as the highest we know (RFC 9110 section 6.2)
    head.line = start + VERSION_SIZE
    if parser.method == METHOD_OTHER and not is_listed(parser.limits.methods, data, parser.target_at - 1):
        return head_fail(head, 501, "a method that is not implemented")
    if not is_target(
        data + parser.target_at, parser.target_size, parser.method == METHOD_CONNECT, parser.method == METHOD_OPTIONS,
        parser.limits.allow & ALLOW_RAW_TARGETS
    ):
        return head_fail(head, 400, "a malformed request target")
    return COMPLETE


cdef inline int read_request_line(RequestParser* parser, const char* data, size_t size) noexcept nogil:
    cdef Head* head = &parser.head
    cdef const char* at
    cdef const char* stop
    cdef size_t longest
    cdef int more
    if parser.stage == IN_METHOD:
        stop = data + min(size, <size_t>MAX_METHOD + 1)
        at = skip_token(data + head.scanned, stop)
        head.scanned = at - data
        if head.scanned > MAX_METHOD:
            return head_fail(head, 501, "a method that is not implemented")
        if at == stop:
            return MORE
        if at[0] != c" " or at == data:
            return head_fail(head, 400, "a request line that does not begin with a method and one space")
        parser.method = method_of(data, at - data)
        parser.target_at = head.scanned + 1
        head.scanned += 1
        parser.stage = IN_TARGET
    if parser.stage == IN_TARGET:
        longest = min(parser.limits.target, parser.limits.head)
        stop = data + (size if size - parser.target_at <= longest else parser.target_at + longest + 1)
        # A path has its own bytes; in other forms brackets may stand around an address, and is_target looks closer.
        more = 0
        if parser.limits.allow & ALLOW_RAW_TARGETS or (size > parser.target_at and data[parser.target_at] != c"/"):
            more = IS_RAW
        at = skip_target(data + head.scanned, stop, more)
        head.scanned = at - data
        parser.target_size = head.scanned - parser.target_at
        if parser.target_size > longest:
            return head_fail(head, 414, "the request target is too long")
        if at == stop:
            return MORE
        if at[0] != c" " or parser.target_size == 0:
            return head_fail(head, 400, "a request target that is empty, holds what it may not, or is not followed by one space")
        parser.stage = IN_VERSION
    return read_version(parser, data, size)


cdef int read_head(void* reader, const char* data, size_t size) noexcept nogil:
    cdef RequestParser* parser = <RequestParser*>reader
    cdef int outcome
    if parser.stage != IN_FIELDS:
        outcome = read_request_line(parser, data, size)
        if outcome != COMPLETE:
            return outcome
        parser.stage = IN_FIELDS
    return read_fields(&parser.head, parser.limits, data, size)


cdef inline int check_head(RequestParser* parser, const char* data) noexcept nogil:
    """What the complete head says of framing and host, expectation and size. MORE, or FAILED."""
    cdef Head* head = &parser.head
    cdef uint32_t flags = head.flags
    if flags & HAS_CODING:
        # RFC 9112 sections 6.1 and 6.3: each of these may be an attempt to have two readers see two different messages.
        if parser.minor == 0:
            return refuse(parser, 400, "Transfer-Encoding in HTTP/1.0")
        if flags & HAS_LENGTH:
            return refuse(parser, 400, "Content-Length together with Transfer-Encoding")
        if not flags & CHUNKED_LAST or flags & CHUNKED_INSIDE:
            return refuse(parser, 400, "a Transfer-Encoding that does not end in one chunked")
    if not flags & HAS_HOST:
        if parser.minor:
            return refuse(parser, 400, "no Host")
    elif not is_host(data + head.host_at, head.host_size):
        return refuse(parser, 400, "a malformed Host")
    if flags & CODED_OTHERWISE:
        return refuse(parser, 501, "a transfer coding other than chunked")
    if flags & EXPECTS_OTHER:
        return refuse(parser, 417, "an expectation other than 100-continue")
    if head.content_length > parser.limits.body:
        return refuse(parser, 413, "the body is too large")
    # RFC 9112 section 9.3
    parser.bits = <uint16_t>parser.minor
    if flags & SAYS_KEEP_ALIVE:
        parser.bits |= BITS_KEEP_ALIVE
    if flags & SAYS_CLOSE:
        parser.bits |= BITS_CLOSE
    parser.keep_alive = not flags & SAYS_CLOSE and (parser.minor != 0 or flags & SAYS_KEEP_ALIVE != 0)
    return MORE


cdef inline int deliver(RequestParser* parser, ParsedRequest* into, size_t head_size) noexcept nogil:
    into.method = parser.method
    into.minor = parser.minor
    into.keep_alive = parser.keep_alive
    into.bits = parser.bits
    into.target_at = parser.target_at
    into.target_size = parser.target_size
    into.head_size = head_size
    parser.method = METHOD_OTHER  # the next one's isn't known yet
    parser.stage = IDLE
    return COMPLETE


cdef int begin_body(RequestParser* parser, const char* head, size_t rest) noexcept nogil:
    """The head is complete, the body isn't: `rest` bytes of it are there. CONTINUE, MORE or FAILED."""
    cdef int outcome
    cdef bint asks = parser.head.flags & EXPECTS_CONTINUE and parser.minor and rest == 0
    if parser.head.flags & HAS_CODING:
        outcome = body_open(&parser.body, BY_CHUNKS, parser.limits, head, parser.head.size)
    else:
        outcome = body_by_length(&parser.body, head, parser.head.size, parser.head.content_length)
    head_end(&parser.head)
    head_start(&parser.head)
    if outcome == FAILED:
        return refuse(parser, parser.body.status, parser.body.reason)
    parser.stage = IN_BODY
    return CONTINUE if asks else MORE


cdef int feed_body(RequestParser* parser, const char* data, size_t size, size_t* used, ParsedRequest* into) noexcept nogil:
    cdef size_t head_size
    cdef int outcome = body_feed(&parser.body, data, size, used, &into.payload, &head_size)
    if outcome == COMPLETE:
        return deliver(parser, into, head_size)
    if outcome == FAILED:
        return refuse(parser, parser.body.status, parser.body.reason)
    return MORE


cdef int request_feed(RequestParser* parser, const char* data, size_t size, size_t* used, ParsedRequest* into) noexcept nogil:
    cdef Head* head = &parser.head
    cdef const char* lies
    cdef char* payload
    cdef size_t at = 0
    cdef size_t taken, length
    cdef int outcome
    used[0] = size
    if parser.stage >= IN_BODY:
        return FAILED if parser.stage == OVER else feed_body(parser, data, size, used, into)
    while parser.stage <= EMPTY_LINE:
        if at == size:
            return MORE
        if parser.stage == EMPTY_RETURN:
            if data[at] != c"\n":
                return refuse(parser, 400, "a carriage return without a line feed")
            parser.stage = EMPTY_LINE
            at += 1
        elif parser.stage == IDLE and data[at] == c"\r":
            parser.stage = EMPTY_RETURN
            at += 1
        else:
            parser.stage = IN_METHOD
    outcome = head_feed(head, read_head, parser, data + at, size - at, &taken, &lies)
    if outcome == MORE:
        return MORE
    if outcome == FAILED:
        return refuse(parser, head.status, head.reason)
    at += taken
    if check_head(parser, lies) == FAILED:
        return FAILED
    length = head.content_length
    if head.flags & HAS_CODING or length > size - at:
        outcome = begin_body(parser, lies, size - at)
        used[0] = at
        if outcome != MORE or at == size:
            return outcome
        outcome = feed_body(parser, data + at, size - at, &taken, into)
        used[0] = at + taken
        return outcome
    # All of it is here: one message, the head and the body in one piece or two.
    taken = head.size
    if zmq.msg_init_size(&into.payload, taken + length) != 0:
        return refuse(parser, 503, "out of memory")
    payload = <char*>zmq.msg_data(&into.payload)
    if head.kept == NULL:
        memcpy(payload, lies, taken + length)
    else:
        memcpy(payload, lies, taken)
        memcpy(payload + taken, data + at, length)
        head_end(head)
    head_start(head)
    used[0] = at + length
    return deliver(parser, into, taken)


cdef size_t request_room(RequestParser* parser, char** at) noexcept nogil:
    return body_room(&parser.body, at) if parser.stage == IN_BODY else 0


cdef int request_filled(RequestParser* parser, size_t size, ParsedRequest* into) noexcept nogil:
    cdef size_t head_size
    if body_filled(&parser.body, size, &into.payload, &head_size) == COMPLETE:
        return deliver(parser, into, head_size)
    return MORE
