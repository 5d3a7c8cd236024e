"""Responses: the Python object that a work function answers with, and what the wire gets of it."""

from libc.stddef cimport size_t

from prime_server._ext.info cimport Info
from prime_server._ext.libzmq cimport Multipart

# How a response is written follows from the info of its request (`info` holds also where a worker reads the flags off the payload):
#   FLAG_NETSTRING, or an info of 8 bytes    the body as a netstring
#   FLAG_RAW                                 the body as it is
#   otherwise HTTP: the version by BITS_VERSION and FLAG_OLD; FLAG_HEAD: the same fields, without the body
# For our own server (info.extended) the head has neither Date nor Connection: the server puts both behind the status line. For a C++ server
# it is complete, and all is one frame.
# The frames are put behind what is in `to`; on failure some may be there, so the caller closes it.

cdef class Response:
    cdef readonly int status
    cdef object _reason        # str; None: the usual one
    cdef object _headers       # Headers; None until asked for
    cdef bytes _fields         # header lines, checked, each with CRLF
    cdef readonly object body  # bytes-like, or the str that was given
    cdef int _default_type     # which Content-Type is added

# Bodies below 64 KiB share a frame with the head, others are lent without a copy. 0, or raises.
cdef int write_response(Multipart* to, Response response, const Info* info) except -1

# The same for native work functions and errors. `content_type` NULL: none. `extra`: header lines, each with CRLF, or NULL.
# 0, or -1: without memory, or a status outside 100…999, or a content type or extra line with control bytes.
cdef int write_plain(Multipart* to, int status, const char* content_type, const char* body, size_t body_size, const Info* info) noexcept nogil
cdef int write_plain_extra(
    Multipart* to, int status, const char* content_type, const char* extra, const char* body, size_t body_size, const Info* info
) noexcept nogil

# The usual reason phrase of a status ("OK"), or "Unknown".
cdef const char* reason_of(int status) noexcept nogil
