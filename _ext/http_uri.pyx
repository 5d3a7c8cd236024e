"""Request targets and hosts: is this text what the grammar allows?

RFC 3986 has the grammar of the pieces, RFC 9112 section 3.2 the four forms of a target, RFC 9110 section 4.2 what http and https URIs have to be.
Nothing is decoded or changed: the next stages get the client's bytes.
"""

from libc.string cimport memchr, memcmp

from prime_server._ext.http_syntax cimport IS_DIGIT, IS_HEX, IS_NAME, IS_RAW, IS_TARGET, is_in, same, skip


cdef bint percents_are_right(const char* at, const char* end) noexcept nogil:
    """Every percent sign has its two hex digits."""
    while True:
        at = <const char*>memchr(at, c"%", end - at)
        if at == NULL:
            return True
        if end - at < 3 or not is_in(at[1], IS_HEX) or not is_in(at[2], IS_HEX):
            return False
        at += 3


cdef bint is_ipv4(const char* at, const char* end) noexcept nogil:
    cdef int part, value
    cdef const char* start
    for part in range(4):
        if part:
            if at == end or at[0] != c".":
                return False
            at += 1
        start = at
        value = 0
        while at < end and is_in(at[0], IS_DIGIT) and at - start < 4:
            value = value * 10 + at[0] - c"0"
            at += 1
        if at == start or value > 255 or (start[0] == c"0" and at - start > 1):
            return False
    return at == end


cdef bint is_ipv6(const char* at, const char* end) noexcept nogil:
    """Up to eight groups of up to four digits, one run of them squeezed to `::`, the last two written as IPv4 if they like."""
    cdef int groups = 0
    cdef bint squeezed = False
    cdef const char* start
    if end - at >= 2 and at[0] == c":" and at[1] == c":":
        squeezed = True
        at += 2
        if at == end:
            return True
    while True:
        start = at
        at = skip(at, end, IS_HEX)
        if at < end and at[0] == c".":
            groups += 2
            return is_ipv4(start, end) and (groups < 8 if squeezed else groups == 8)
        groups += 1
        if at == start or at - start > 4 or groups > 8:
            return False
        if at == end:
            return groups < 8 if squeezed else groups == 8
        if at[0] != c":" or at + 1 == end:
            return False
        at += 1
        if at[0] == c":":
            if squeezed:
                return False
            squeezed = True
            at += 1
            if at == end:
                return groups < 8


cdef bint is_ip_literal(const char* at, const char* end) noexcept nogil:
    """What stands between the brackets."""
    cdef const char* start
    if at < end and (at[0] == c"v" or at[0] == c"V"):
        start = at + 1
        at = skip(start, end, IS_HEX)
        if at == start or at == end or at[0] != c".":
            return False
        start = at + 1
        at = start
        while at < end and (is_in(at[0], IS_NAME) or at[0] == c":"):
            at += 1
        return at > start and at == end
    return is_ipv6(at, end)


cdef bint is_authority(const char* at, const char* end, bint needs_name, bint needs_port) noexcept nogil:
    """uri-host [":" port]. User information is refused (RFC 9110 section 4.2.4), as its `@` is no part of a name."""
    cdef const char* start = at
    cdef int port = 0
    if at < end and at[0] == c"[":
        at = <const char*>memchr(at, c"]", end - at)
        if at == NULL or not is_ip_literal(start + 1, at):
            return False
        at += 1
    else:
        at = skip(at, end, IS_NAME)
        while at < end and at[0] == c"%":
            if end - at < 3 or not is_in(at[1], IS_HEX) or not is_in(at[2], IS_HEX):
                return False
            at = skip(at + 3, end, IS_NAME)
        if at == start and needs_name:
            return False
    if at == end:
        return not needs_port
    if at[0] != c":":
        return False
    at += 1
    if at == end:
        return not needs_port
    while at < end and is_in(at[0], IS_DIGIT):
        port = port * 10 + at[0] - c"0"
        if port > 65535:
            return False
        at += 1
    return at == end


cdef bint is_host(const char* at, size_t size) noexcept nogil:
    return is_authority(at, at + size, False, False)


cdef bint is_target(const char* at, size_t size, bint connect, bint options, bint raw) noexcept nogil:
    cdef const char* end = at + size
    cdef const char* path
    if connect:
        return is_authority(at, end, True, True)
    if size and at[0] == c"/":
        return percents_are_right(at, end)
    if size == 1 and at[0] == c"*":
        return options
    # absolute-form: http:// or https:// and what follows
    if size > 7 and same(at, "http", 4) and memcmp(at + 4, b"://", 3) == 0:
        at += 7
    elif size > 8 and same(at, "https", 5) and memcmp(at + 5, b"://", 3) == 0:
        at += 8
    else:
        return False
    path = at
    while path < end and path[0] != c"/" and path[0] != c"?":
        path += 1
    return (
        is_authority(at, path, True, False)
        and skip(path, end, IS_TARGET | IS_RAW if raw else IS_TARGET) == end
        and percents_are_right(path, end)
    )
