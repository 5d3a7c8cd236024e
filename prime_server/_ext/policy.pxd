"""What a server adds to answers and what it answers by itself."""

from libc.stddef cimport size_t

from prime_server._ext.native cimport Slice

cdef class Policy:
    cdef readonly bint shares      # with other origins
    cdef object kept               # the texts that the slices lie in
    cdef Slice server              # the Server field's line, or nothing
    cdef Slice methods             # further methods that are taken, each with a space behind it
    cdef bint raw_targets
    cdef int count
    cdef Slice* origins            # owned, `count`: those that are allowed, if not any is
    cdef Slice* fields             # owned, `count` + 1, by origin: the lines of an answer; at 0 for no origin, or one that isn't allowed
    cdef Slice* preflights         # owned, as `fields`: the lines of the answer to a preflight

    # Which of the origins the request with this head names.
    cdef int origin_of(self, const char* head, size_t size) noexcept nogil
    # Whether an OPTIONS request with this head asks what another may do (Fetch, "CORS-preflight request").
    cdef bint is_preflight(self, const char* head, size_t size) noexcept nogil
