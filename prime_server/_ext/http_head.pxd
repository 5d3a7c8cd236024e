"""The head of an HTTP/1.x message, incrementally: what requests, responses and trailer sections share."""

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t

cdef enum:
    FAILED = -1    # see status and reason; the parser takes nothing more
    MORE = 0       # all bytes were used, the message is not complete
    COMPLETE = 1   # one message is complete; the bytes behind it were not used
    CONTINUE = 2   # the head is complete, asks for `100 Continue`, and its body has not begun to come; feed on

cdef enum:
    # Limits.allow: what is refused unless it is asked for
    ALLOW_RAW_TARGETS = 1    # the bytes [ ] { } | ^ ` in path and query, which browsers send as they are and RFC 3986 wants encoded

cdef struct Limits:        # all in bytes but `fields`; what is over it is refused while it comes in
    size_t target          # 414
    size_t head            # request line and field section, 431; and the chunk extensions (413) and the trailers (431) of one body
    int fields             # number of header fields, 431
    size_t body            # 413
    int allow              # ALLOW_ flags
    const char* methods    # not owned: names that are METHOD_OTHER instead of 501, each with a space behind it; NULL: none

cdef enum:
    # Head.flags: what the fields have said
    HAS_HOST = 0x001
    HAS_LENGTH = 0x002
    HAS_CODING = 0x004         # there is a Transfer-Encoding …
    CHUNKED_LAST = 0x008       # … whose last coding, so far, is chunked
    CODED_OTHERWISE = 0x010    # … with a coding other than chunked
    CHUNKED_INSIDE = 0x020     # … with chunked where it is not the last
    SAYS_KEEP_ALIVE = 0x040
    SAYS_CLOSE = 0x080
    EXPECTS_CONTINUE = 0x100
    EXPECTS_OTHER = 0x200

# Offsets count from the head's first byte.
cdef struct Head:
    char* kept             # owned: what has come of an incomplete head, NULL while nothing is kept
    size_t kept_size
    size_t kept_capacity
    size_t size            # once it is complete, with the empty line
    size_t scanned         # up to here it has been looked at; nothing is looked at twice
    size_t line            # where the field line being read begins
    size_t colon           # of that line, 0 until it has come
    size_t host_at         # the Host field's value
    size_t host_size
    size_t content_length  # SIZE_MAX for more than can be told
    int fields
    uint32_t flags
    int status             # after FAILED
    const char* reason     # static

# Reads on from where the last call came to, over the `size` bytes of the head that are there by now. FAILED, MORE or COMPLETE.
ctypedef int (*read_fn)(void* reader, const char* data, size_t size) noexcept nogil

cdef inline void head_start(Head* head) noexcept nogil:
    # Field by field: for a struct of this size compilers make a slow string instruction of a memset.
    head.kept = NULL
    head.kept_size = head.kept_capacity = 0
    head.size = head.scanned = head.line = head.colon = 0
    head.host_at = head.host_size = head.content_length = 0
    head.fields = 0
    head.flags = 0
    head.status = 0
    head.reason = NULL

cdef void head_end(Head* head) noexcept nogil
# Drives `read` over what comes, in place while it is whole, else over a copy of what has come so far. On COMPLETE `at` is where the head
# lies: in `data`, or in `head.kept` until `head_end`.
cdef int head_feed(Head* head, read_fn read, void* reader, const char* data, size_t size, size_t* used, const char** at) noexcept nogil
# The field section behind a start line, from `head.line` on.
cdef int read_fields(Head* head, const Limits* limits, const char* data, size_t size) noexcept nogil
# A trailer section: the same, but what its fields say counts for nothing.
cdef int read_trailers(Head* head, const Limits* limits, const char* data, size_t size) noexcept nogil
cdef int head_fail(Head* head, int status, const char* reason) noexcept nogil
