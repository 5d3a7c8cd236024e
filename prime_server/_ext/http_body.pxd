"""The body of an HTTP/1.x message, incrementally, into one ZeroMQ message behind its head."""

from libc.stddef cimport size_t

from prime_server._ext.http_head cimport Head, Limits
from prime_server._ext.libzmq cimport Message

# All zero at first.
cdef struct Body:
    int kind               # NO_BODY, BY_LENGTH, …
    int state              # where in a chunk
    Message message        # BY_LENGTH: owned, of full size, being filled
    char* data             # otherwise: owned, growing; the head's copy ends and the body begins at `begin`
    size_t capacity
    size_t begin
    size_t head_size       # without the empty line
    size_t size            # BY_LENGTH: bytes of the message that are there; otherwise: bytes of the body
    size_t left            # BY_LENGTH: bytes to come; otherwise of the chunk
    size_t overhead        # bytes of chunk extensions so far
    int digits             # of the chunk's size so far
    Head trailers
    const Limits* limits   # not owned
    int status             # after FAILED
    const char* reason     # static

cdef enum:
    NO_BODY = 0
    BY_LENGTH = 1
    BY_CHUNKS = 2
    UNTIL_CLOSE = 3

cdef void body_end(Body* body) noexcept nogil
# The head is complete and lies at `head`. FAILED without memory, else MORE.
cdef int body_by_length(Body* body, const char* head, size_t head_size, size_t length) noexcept nogil
cdef int body_open(Body* body, int kind, const Limits* limits, const char* head, size_t head_size) noexcept nogil
# On COMPLETE `into` is the message, owned by the caller, and `head_size` what its head takes.
cdef int body_feed(Body* body, const char* data, size_t size, size_t* used, Message* into, size_t* head_size) noexcept nogil
cdef size_t body_room(Body* body, char** at) noexcept nogil
cdef int body_filled(Body* body, size_t size, Message* into, size_t* head_size) noexcept nogil
# The connection was closed: the end of an UNTIL_CLOSE body.
cdef int body_eof(Body* body, Message* into, size_t* head_size) noexcept nogil
