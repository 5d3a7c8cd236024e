"""Netstrings (`LENGTH:BYTES,`), incrementally."""

from libc.stddef cimport size_t

from prime_server._ext.http_head cimport COMPLETE, FAILED, MORE
from prime_server._ext.libzmq cimport Message

cdef struct NetstringParser:
    size_t limit           # bytes of one string
    int status             # after FAILED: 400 malformed, 413 too large
    const char* reason
    # the rest is the parser's own
    int stage
    size_t length
    size_t filled
    Message message        # owned while it is being filled

# As in http_head.pxd: FAILED, MORE, COMPLETE; `into` is then the bare bytes, owned by the receiver.
cdef void netstring_start(NetstringParser* parser, size_t limit) noexcept nogil
cdef void netstring_end(NetstringParser* parser) noexcept nogil
cdef int netstring_feed(NetstringParser* parser, const char* data, size_t size, size_t* used, Message* into) noexcept nogil
cdef bint netstring_idle(const NetstringParser* parser) noexcept nogil
