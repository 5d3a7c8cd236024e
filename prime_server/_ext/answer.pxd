"""What the edge itself writes to HTTP clients: refusals, the health check, and the fields that are its to set in a worker's response."""

from libc.stddef cimport size_t
from libc.stdint cimport uint16_t

from prime_server._ext.libzmq cimport Message, Multipart
from prime_server._ext.native cimport Slice
from prime_server._ext.output cimport Output

cdef enum:
    MALFORMED = -1
    NO_MEMORY = -2
    MAX_ANSWER_HEAD = 256

# How one request wants to be answered.
cdef struct Manner:
    bint old          # by the rules of HTTP/1.0
    bint head         # without the body
    bint close        # the connection ends with this answer
    Slice server      # the Server field's line, for answers that have none, or nothing
    Slice sharing     # the lines of cross-origin sharing, for answers without an Access-Control-Allow-Origin, or nothing

# A response of our own with a one-line text (NULL: without a body). 0, or NO_MEMORY. `fields`: further header lines, each with its CRLF, or NULL.
cdef int answer_plain(Output* to, int status, const char* text, const char* fields, const Manner* manner) noexcept nogil
# The first message of a worker's response: the frames of `result` from `at` on are taken over (the multipart keeps what is in front). `ours`: its
# head has neither Date nor Connection. Returns the status code, or MALFORMED (nothing was written) or NO_MEMORY.
cdef int answer_result(Output* to, Multipart* result, int at, bint ours, const Manner* manner) noexcept nogil
# The line of the field with this lower-case name among complete lines, or NULL.
cdef const char* find_field(const char* at, const char* end, const char* name, size_t size) noexcept nogil
# A text of `size` bytes, of which it takes MAX_ANSWER_HEAD - 1 at most, as a netstring. 0, or less without memory.
cdef int answer_netstring(Output* output, const char* text, int size) noexcept nogil
# Why a proxy has refused a job.
cdef const char* refusal_text(int status) noexcept nogil
# The standard phrase of a status code.
cdef const char* phrase(int status) noexcept nogil
