"""Requests as the stages get them: the lenient payload parser (wire.md) and the Python object over a payload."""

from libc.stddef cimport size_t

from prime_server._ext.headers cimport Headers
from prime_server._ext.libzmq cimport Frame
from prime_server._ext.native cimport Slice

# A payload's parts: slices borrowed from the frame, or from `decoded`. Ended by `end_payload`.
cdef struct PayloadView:
    Slice method
    Slice target       # as it stands in the frame
    Slice path         # of the target, up to `?`; percent-encoded still, unless `decoded`
    Slice query        # of the target, behind `?`; percent-encoded still, unless `decoded`
    Slice fields       # the header lines with their line ends, without the empty line that ends them
    Slice body         # the rest of the frame
    int minor          # HTTP/1.minor
    char* decoded      # owned: where path and query lie when the target came encoded as a whole (then they are plain); NULL otherwise

# 0, or -1: malformed, or without memory; there is nothing to end then.
cdef int read_payload(const char* data, size_t size, PayloadView* into) noexcept nogil
cdef void end_payload(PayloadView* view) noexcept nogil
# Where path and query of a target begin (there may be none); NULL for one in authority or asterisk form.
cdef const char* behind_authority(const char* start, const char* end) noexcept nogil
# Whether percent-encoded text (`plain`: decoded already) stands for `name`.
cdef bint is_named(const char* at, const char* end, const char* name, size_t size, bint plain) noexcept nogil
# The first value of a query parameter, percent-decoded, into `room` bytes: 1 with its size, 0: there is no such parameter,
# -1: the value is longer than `room`.
cdef int query_value(const PayloadView* view, const char* name, size_t name_size, char* into, size_t room, size_t* size) noexcept nogil

cdef class Request:
    cdef object _payload       # a Frame or bytes: what the view's slices lie in
    cdef const char* _data     # of it
    cdef size_t _size
    cdef bint _read            # the view is filled
    cdef bint _needs_host      # made by hand without a Host field: a client adds its own
    cdef PayloadView _view
    cdef object _path, _query, _body
    cdef Headers _headers
    cdef int read(self) except -1

# The Request over a frame, which it keeps alive. Cheap: nothing is read before it is asked for.
cdef Request request_of(Frame payload)
