"""Header fields: read from header lines, and checked and written as such."""

from libc.stddef cimport size_t

cdef enum:
    # What `field_lines` has seen
    HAS_CONTENT_TYPE = 0x01
    HAS_CONTENT_LENGTH = 0x02
    HAS_HOST = 0x04
    HAS_TRANSFER_ENCODING = 0x08
    # What it is to refuse
    REFUSE_FRAMING = 0x100     # Content-Length, Transfer-Encoding, Connection, Keep-Alive, Upgrade and Date: a server's to set
    REFUSE_LENGTH = 0x200      # Content-Length and Transfer-Encoding: follow from the body

cdef class Headers:
    cdef object _owner         # keeps the lines alive until they are read
    cdef const char* _lines    # borrowed from _owner
    cdef size_t _size
    cdef list _pairs           # of (name, value); None until the lines are read
    cdef dict _index           # lower-case name -> list of values
    cdef int read(self) except -1
    cdef list values_of(self, object name)

# The Headers over header lines, each with its line end, that `owner` keeps in place. Nothing is read before it is asked for.
cdef Headers headers_over(object owner, const char* lines, size_t size)
# The lines of a mapping or an iterable of pairs, each with CRLF, checked; `seen` gets HAS_ bits. Raises ValueError or TypeError.
cdef bytes field_lines(object headers, int refuse, int* seen)
# Whether these are whole field lines, each with its CRLF, and none of them a server's to set.
cdef bint may_be_sent(const char* at, const char* end) noexcept nogil
# One line; HAS_ bits are added to `seen`.
cdef bytes field_line(object name, object value, int refuse, int* seen)
# Whether the bytes are fit to stand as a field's value, as a field's name.
cdef bint is_field_value(const char* data, size_t size) noexcept nogil
cdef bint is_token(const char* data, size_t size) noexcept nogil
