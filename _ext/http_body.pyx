"""The body of an HTTP/1.x message, put behind its head into one ZeroMQ message.

A body of known length goes into a message that is allocated at its full size once (the system backs the pages as they are written) and filled,
by the caller's own recv if it likes. Of a chunked body, or one that ends with its connection, nobody knows the size: it grows in a buffer of our
own, by doubling, and is handed to libzmq at the end without a copy. There the head comes with room behind it for the Content-Length that the
body turns out to have; it is moved up to it, as it is short and the body isn't.

    [gap …][head, without its empty line][Content-Length: N CRLF CRLF][body …

Chunk sizes, extensions and the trailer section are read byte by byte as RFC 9112 section 7.1 has them. Extensions and trailers are dropped, after
they have been checked and counted.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove

from prime_server._ext.http_head cimport COMPLETE, FAILED, MORE, Limits, head_end, head_feed, head_start, read_trailers
from prime_server._ext.http_syntax cimport IS_HEX, IS_QUOTED, IS_TEXT, IS_TOKEN, is_in
from prime_server._ext.libzmq cimport Message, zmq

cdef enum:
    LENGTH_FIELD = 40      # bytes at most: "Content-Length: ", 20 digits, two line ends
    GROW_FROM = 2048       # bytes
    MAX_DIGITS = 16        # of a chunk's size
    SHRINK_ABOVE = 65536   # bytes: of a bigger buffer the unused rest is given back

cdef enum:
    # Body.state, of BY_CHUNKS: what is next
    SIZE_FIRST = 0         # the first digit of a chunk's size
    SIZE_NEXT = 1          # another, or what follows
    EXTENSION = 2          # whitespace, `;` or the line's end
    EXTENSION_NAME = 3     # whitespace, or the name's first byte
    IN_NAME = 4
    BEHIND_NAME = 5        # whitespace, `=`, `;` or the line's end
    EXTENSION_VALUE = 6    # whitespace, or the value's first byte
    IN_VALUE = 7
    IN_QUOTES = 8
    ESCAPED = 9
    LINE_FEED = 10
    DATA = 11
    DATA_RETURN = 12       # the line end behind a chunk's data
    DATA_LINE_FEED = 13
    TRAILERS = 14
    BEFORE_SEMICOLON = 15  # whitespace behind the size: bad, unless an extension follows


cdef void free_buffer(void* data, void* buffer) noexcept nogil:
    """Called by libzmq, on any thread."""
    free(buffer)


cdef void body_end(Body* body) noexcept nogil:
    if body.kind == BY_LENGTH:
        zmq.msg_close(&body.message)
    elif body.kind != NO_BODY:
        free(body.data)
        head_end(&body.trailers)
    body.data = NULL
    body.kind = NO_BODY


cdef int body_fail(Body* body, int status, const char* reason) noexcept nogil:
    body.status = status
    body.reason = reason
    return FAILED


cdef int body_by_length(Body* body, const char* head, size_t head_size, size_t length) noexcept nogil:
    if zmq.msg_init_size(&body.message, head_size + length) != 0:
        return body_fail(body, 503, "out of memory")
    memcpy(zmq.msg_data(&body.message), head, head_size)
    body.kind = BY_LENGTH
    body.head_size = head_size
    body.size = head_size
    body.left = length
    return MORE


cdef int body_open(Body* body, int kind, const Limits* limits, const char* head, size_t head_size) noexcept nogil:
    # The head's own empty line goes: the field to be added ends with another.
    body.head_size = head_size - 2
    body.begin = body.head_size + LENGTH_FIELD
    body.capacity = body.begin + GROW_FROM
    body.data = <char*>malloc(body.capacity)
    if body.data == NULL:
        return body_fail(body, 503, "out of memory")
    memcpy(body.data, head, body.head_size)
    body.kind = kind
    body.limits = limits
    body.state = SIZE_FIRST
    body.size = 0
    body.left = 0
    body.overhead = 0
    body.digits = 0
    head_start(&body.trailers)
    return MORE


cdef int append(Body* body, const char* data, size_t size) noexcept nogil:
    cdef size_t wanted = body.begin + body.size + size
    cdef char* grown
    if wanted > body.capacity:
        wanted = max(wanted, body.capacity * 2)
        grown = <char*>realloc(body.data, wanted)
        if grown == NULL:
            return body_fail(body, 503, "out of memory")
        body.data = grown
        body.capacity = wanted
    memcpy(body.data + body.begin + body.size, data, size)
    body.size += size
    return 0


cdef size_t write_length(char* at, size_t value) noexcept nogil:
    """Content-Length: VALUE CRLF CRLF, ending at `at`. Its size."""
    cdef char* start = at - 4
    memcpy(start, b"\r\n\r\n", 4)
    while True:
        start -= 1
        start[0] = <char>(c"0" + value % 10)
        value //= 10
        if value == 0:
            break
    start -= 16
    memcpy(start, b"Content-Length: ", 16)
    return at - start


cdef int finish(Body* body, Message* into, size_t* head_size) noexcept nogil:
    """Hands the grown buffer over as a message."""
    cdef char* data = body.data
    cdef char* start
    cdef size_t used = body.begin + body.size
    cdef size_t added
    if body.capacity - used > SHRINK_ABOVE:
        data = <char*>realloc(body.data, used)
        if data == NULL:
            data = body.data
        body.data = data
    added = write_length(data + body.begin, body.size)
    start = data + body.begin - added - body.head_size
    memmove(start, data, body.head_size)
    if zmq.msg_init_data(into, start, body.head_size + added + body.size, free_buffer, data) != 0:
        return body_fail(body, 503, "out of memory")
    head_size[0] = body.head_size + added
    head_end(&body.trailers)
    body.data = NULL
    body.kind = NO_BODY
    return COMPLETE


cdef int body_filled(Body* body, size_t size, Message* into, size_t* head_size) noexcept nogil:
    body.size += size
    body.left -= size
    if body.left:
        return MORE
    memcpy(into, &body.message, sizeof(Message))
    head_size[0] = body.head_size
    body.kind = NO_BODY
    return COMPLETE


cdef size_t body_room(Body* body, char** at) noexcept nogil:
    if body.kind != BY_LENGTH:
        return 0
    at[0] = <char*>zmq.msg_data(&body.message) + body.size
    return body.left


cdef int body_eof(Body* body, Message* into, size_t* head_size) noexcept nogil:
    if body.kind != UNTIL_CLOSE:
        return body_fail(body, 400, "the connection was closed before the body's end")
    return finish(body, into, head_size)


cdef inline int chunk_line(Body* body, uint8_t byte) noexcept nogil:
    """One byte of a chunk's first line, which is not a hex digit of its size. Its next state, or FAILED."""
    cdef int state = body.state
    cdef bint blank = byte == c" " or byte == c"\t"
    if state != LINE_FEED and byte != c"\r":
        body.overhead += 1
        if body.overhead > body.limits.head:
            return body_fail(body, 413, "the chunk extensions are too large")
    if state == LINE_FEED:
        if byte != c"\n":
            return body_fail(body, 400, "a carriage return without a line feed")
        return DATA if body.left else TRAILERS
    if state == SIZE_FIRST:
        return body_fail(body, 400, "a chunk size that is no hexadecimal number")
    if state == IN_QUOTES:
        if byte == c'"':
            return EXTENSION
        if byte == c"\\":
            return ESCAPED
        return IN_QUOTES if is_in(byte, IS_QUOTED) else body_fail(body, 400, "a control byte in a chunk extension")
    if state == ESCAPED:
        return IN_QUOTES if is_in(byte, IS_TEXT) else body_fail(body, 400, "a control byte in a chunk extension")
    if state == EXTENSION_NAME or state == IN_NAME or state == EXTENSION_VALUE or state == IN_VALUE:
        if is_in(byte, IS_TOKEN):
            return IN_NAME if state == EXTENSION_NAME or state == IN_NAME else IN_VALUE
        if state == EXTENSION_NAME or state == EXTENSION_VALUE:
            if blank:
                return state
            if byte == c'"' and state == EXTENSION_VALUE:
                return IN_QUOTES
            return body_fail(body, 400, "a chunk extension without a name or value")
    # Behind a size, a name or a value, whitespace may only lead up to the next `;` or `=`.
    if byte == c";":
        return EXTENSION_NAME
    if byte == c"=" and (state == IN_NAME or state == BEHIND_NAME):
        return EXTENSION_VALUE
    if blank:
        return BEHIND_NAME if state == IN_NAME or state == BEHIND_NAME else BEFORE_SEMICOLON
    if byte == c"\r" and state != BEFORE_SEMICOLON and state != BEHIND_NAME:
        return LINE_FEED
    return body_fail(body, 400, "a chunk size or extension that is malformed")


cdef inline int chunk_digit(Body* body, uint8_t byte) noexcept nogil:
    cdef size_t digit = byte - c"0" if byte <= c"9" else (byte | 0x20) - c"a" + 10
    # The limit is checked at each digit: nothing can overflow. Of leading zeros, more than fill a 64-bit number cost as an extension does.
    if body.state == SIZE_FIRST:
        body.digits = 0
    body.digits += 1
    if body.digits > MAX_DIGITS:
        body.digits = MAX_DIGITS
        body.overhead += 1
        if body.overhead > body.limits.head:
            return body_fail(body, 413, "the chunk sizes are too long")
    if body.left > (body.limits.body - body.size) >> 4 or body.left * 16 + digit > body.limits.body - body.size:
        return body_fail(body, 413, "the body is too large")
    body.left = body.left * 16 + digit
    return SIZE_NEXT


cdef int read_trailer_section(void* reader, const char* data, size_t size) noexcept nogil:
    cdef Body* body = <Body*>reader
    return read_trailers(&body.trailers, body.limits, data, size)


cdef int feed_chunks(Body* body, const char* data, size_t size, size_t* used, Message* into, size_t* head_size) noexcept nogil:
    cdef size_t at = 0
    cdef size_t piece
    cdef int state
    cdef uint8_t byte
    cdef const char* lies
    while at < size:
        state = body.state
        byte = <uint8_t>data[at]
        if state == DATA:
            piece = min(size - at, body.left)
            if append(body, data + at, piece) != 0:
                return FAILED
            at += piece
            body.left -= piece
            if body.left == 0:
                body.state = DATA_RETURN
            continue
        if state == TRAILERS:
            state = head_feed(&body.trailers, read_trailer_section, body, data + at, size - at, &piece, &lies)
            if state == COMPLETE:
                used[0] = at + piece
                return finish(body, into, head_size)
            if state == FAILED:
                return body_fail(body, body.trailers.status, body.trailers.reason)
            break
        if state <= SIZE_NEXT and is_in(byte, IS_HEX):
            state = chunk_digit(body, byte)
        elif state == DATA_RETURN or state == DATA_LINE_FEED:
            if byte != (c"\r" if state == DATA_RETURN else c"\n"):
                return body_fail(body, 400, "a chunk that is longer than its size")
            state = SIZE_FIRST if state == DATA_LINE_FEED else DATA_LINE_FEED
        else:
            state = chunk_line(body, byte)
        if state == FAILED:
            return FAILED
        body.state = state
        at += 1
    used[0] = size
    return MORE


cdef int body_feed(Body* body, const char* data, size_t size, size_t* used, Message* into, size_t* head_size) noexcept nogil:
    if body.kind == BY_LENGTH:
        used[0] = min(size, body.left)
        memcpy(<char*>zmq.msg_data(&body.message) + body.size, data, used[0])
        return body_filled(body, used[0], into, head_size)
    used[0] = size
    if body.kind == UNTIL_CLOSE:
        if size > body.limits.body - body.size:
            return body_fail(body, 413, "the body is too large")
        return FAILED if append(body, data, size) != 0 else MORE
    return feed_chunks(body, data, size, used, into, head_size)
