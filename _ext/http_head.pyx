"""The head of an HTTP/1.x message: its field section, read line by line as the bytes come, and the copy of what has come of an incomplete one.

A head that lies whole in the caller's buffer is read there and nothing is copied. Otherwise what has come is kept, and the reader goes on in the
copy from where it had stopped: offsets count from the head's first byte, so they hold in either place, and no byte is looked at twice however the
bytes drip in. What is wrong is found at its first byte, in the order of the bytes, and a limit takes effect at the first byte over it: hence the
outcome is the same for every way of splitting the input.

Of the fields only those are understood that frame the message, keep its connection or must be refused when wrong; the rest is checked for its
syntax and left alone.
"""

from libc.stdint cimport SIZE_MAX, uint8_t
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memcpy

from prime_server._ext.http_syntax cimport IS_DIGIT, IS_TOKEN, is_in, same, skip, skip_text, skip_token

cdef enum:
    KEEP_AT_LEAST = 1024   # bytes, of the copy: a usual head in one allocation
    APPEND_AT_MOST = 4096  # bytes between two looks, so that a head over its limit isn't copied first


cdef void head_end(Head* head) noexcept nogil:
    free(head.kept)
    head.kept = NULL


cdef int head_fail(Head* head, int status, const char* reason) noexcept nogil:
    head.status = status
    head.reason = reason
    return FAILED


cdef int keep(Head* head, const char* data, size_t size) noexcept nogil:
    """Appends to the copy. 0, or FAILED without memory."""
    cdef size_t wanted = head.kept_size + size
    cdef char* grown
    if wanted > head.kept_capacity:
        wanted = max(wanted, head.kept_capacity * 2, <size_t>KEEP_AT_LEAST)
        grown = <char*>realloc(head.kept, wanted)
        if grown == NULL:
            return head_fail(head, 503, "out of memory")
        head.kept = grown
        head.kept_capacity = wanted
    memcpy(head.kept + head.kept_size, data, size)
    head.kept_size += size
    return 0


cdef int head_feed(Head* head, read_fn read, void* reader, const char* data, size_t size, size_t* used, const char** at) noexcept nogil:
    cdef int outcome
    cdef size_t piece
    cdef const char* line_end
    if head.kept == NULL:
        at[0] = data
        outcome = read(reader, data, size)
        if outcome == COMPLETE:
            used[0] = head.size
            return COMPLETE
        used[0] = size
        if outcome == MORE and size and keep(head, data, size) != 0:
            return FAILED
        return outcome
    used[0] = 0
    while used[0] < size:
        piece = min(size - used[0], <size_t>APPEND_AT_MOST)
        line_end = <const char*>memchr(data + used[0], c"\n", piece)
        # Up to a line's end, so that nothing behind the head is taken.
        if line_end != NULL:
            piece = line_end - (data + used[0]) + 1
        if keep(head, data + used[0], piece) != 0:
            return FAILED
        used[0] += piece
        outcome = read(reader, head.kept, head.kept_size)
        if outcome != MORE:
            at[0] = head.kept
            return outcome
    return MORE


cdef int read_length(Head* head, const char* at, const char* end) noexcept nogil:
    """Content-Length: digits alone. More than once is refused even with one value, which RFC 9110 section 8.6 leaves to us."""
    cdef size_t value = 0
    cdef size_t digit
    if head.flags & HAS_LENGTH:
        return head_fail(head, 400, "more than one Content-Length")
    if at == end or skip(at, end, IS_DIGIT) != end:
        return head_fail(head, 400, "Content-Length is not a number of decimal digits")
    head.flags |= HAS_LENGTH
    while at < end:
        digit = <size_t>(at[0] - c"0")
        if value > (SIZE_MAX - 1 - digit) // 10:
            value = SIZE_MAX  # more than any limit: 413, once the head is complete
            break
        value = value * 10 + digit
        at += 1
    head.content_length = value
    return 0


cdef int read_member(Head* head, size_t name_size, const char* at, const char* end) noexcept nogil:
    """One member of Connection (10), Transfer-Encoding (17) or Expect (6), told apart by the length of the name."""
    cdef size_t size = end - at
    if name_size == 10:
        if size == 5 and same(at, "close", 5):
            head.flags |= SAYS_CLOSE
        elif size == 10 and same(at, "keep-alive", 10):
            head.flags |= SAYS_KEEP_ALIVE
    elif name_size == 17:
        # Whatever comes behind `chunked`, were it `chunked` itself, makes the message unreadable (RFC 9112 section 6.1).
        if head.flags & CHUNKED_LAST:
            head.flags = (head.flags & ~<uint32_t>CHUNKED_LAST) | CHUNKED_INSIDE
        if size == 7 and same(at, "chunked", 7):
            head.flags |= CHUNKED_LAST
        else:
            head.flags |= CODED_OTHERWISE
    elif size == 12 and same(at, "100-continue", 12):
        head.flags |= EXPECTS_CONTINUE
    else:
        head.flags |= EXPECTS_OTHER
    return 0


cdef void read_members(Head* head, size_t name_size, const char* at, const char* end) noexcept nogil:
    """A comma-separated list; empty members count for nothing (RFC 9110 section 5.6.1.2)."""
    cdef const char* comma
    cdef const char* last
    while at < end:
        comma = <const char*>memchr(at, c",", end - at)
        if comma == NULL:
            comma = end
        last = comma
        while at < last and (at[0] == c" " or at[0] == c"\t"):
            at += 1
        while at < last and ((last - 1)[0] == c" " or (last - 1)[0] == c"\t"):
            last -= 1
        if at < last:
            read_member(head, name_size, at, last)
        at = comma + 1


cdef int read_field(Head* head, const char* data, size_t value_end) noexcept nogil:
    """A complete field line whose syntax is right: `head.line`, `head.colon`, and the end of its value."""
    cdef size_t size = head.colon - head.line
    cdef const char* name = data + head.line
    cdef const char* at
    cdef const char* end
    cdef uint8_t first = <uint8_t>name[0] | 0x20
    # By length and first letter, so that the many fields that say nothing to us cost no comparison.
    if size == 4:
        if first != c"h" or not same(name, "host", 4):
            return 0
    elif size == 6:
        if first != c"e" or not same(name, "expect", 6):
            return 0
    elif size == 10:
        if first != c"c" or not same(name, "connection", 10):
            return 0
    elif size == 14:
        if first != c"c" or not same(name, "content-length", 14):
            return 0
    elif size == 17:
        if first != c"t" or not same(name, "transfer-encoding", 17):
            return 0
    else:
        return 0
    at = data + head.colon + 1
    end = data + value_end
    while at < end and (at[0] == c" " or at[0] == c"\t"):
        at += 1
    while at < end and ((end - 1)[0] == c" " or (end - 1)[0] == c"\t"):
        end -= 1
    if size == 4:
        if head.flags & HAS_HOST:
            return head_fail(head, 400, "more than one Host")
        head.flags |= HAS_HOST
        head.host_at = at - data
        head.host_size = end - at
    elif size == 14:
        return read_length(head, at, end)
    else:
        if size == 17:
            head.flags |= HAS_CODING
        read_members(head, size, at, end)
    return 0


cdef inline int wait(Head* head, const Limits* limits, size_t scanned, size_t size) noexcept nogil:
    """All of the `size` bytes are looked at, or as many as a head may have."""
    head.scanned = scanned
    if size > limits.head:
        return head_fail(head, 431, "the header section is too large")
    return MORE


cdef inline int read_lines(Head* head, const Limits* limits, const char* data, size_t size, bint trailers) noexcept nogil:
    cdef const char* stop = data + min(size, limits.head)
    cdef const char* at = data + max(head.scanned, head.line)
    cdef const char* name
    if head.line > limits.head:
        return head_fail(head, 431, "the header section is too large")
    while True:
        name = data + head.line
        if head.colon == 0:
            if at == stop:
                return wait(head, limits, at - data, size)
            if name[0] == c"\r":
                if stop - name < 2:
                    return wait(head, limits, at - data, size)
                if name[1] != c"\n":
                    return head_fail(head, 400, "a carriage return without a line feed")
                head.size = head.line + 2
                return COMPLETE
            if at == name:
                if not is_in(name[0], IS_TOKEN):
                    if name[0] == c" " or name[0] == c"\t":
                        return head_fail(head, 400, "a field line that goes on in the next line")
                    return head_fail(head, 400, "a field name that is empty or no token")
                if head.fields == limits.fields:
                    return head_fail(head, 431, "too many header fields")
                head.fields += 1
            at = skip_token(at, stop)
            if at == stop:
                return wait(head, limits, at - data, size)
            if at[0] != c":":
                return head_fail(head, 400, "a field name that is no token right before its colon")
            head.colon = at - data
            at += 1
        at = skip_text(at, stop)
        if stop - at < 2:
            if at < stop and at[0] != c"\r":
                return head_fail(head, 400, "a control byte in a field value")
            return wait(head, limits, at - data, size)
        if at[0] != c"\r":
            return head_fail(head, 400, "a control byte in a field value")
        if at[1] != c"\n":
            return head_fail(head, 400, "a carriage return without a line feed")
        if not trailers and read_field(head, data, at - data) != 0:
            return FAILED
        at += 2
        head.line = at - data
        head.colon = 0


cdef int read_fields(Head* head, const Limits* limits, const char* data, size_t size) noexcept nogil:
    return read_lines(head, limits, data, size, False)


cdef int read_trailers(Head* head, const Limits* limits, const char* data, size_t size) noexcept nogil:
    return read_lines(head, limits, data, size, True)
