"""Responses: the Python object that a work function answers with, and what the wire gets of it."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t

from prime_server._ext.headers cimport Headers
from prime_server._ext.info cimport Info
from prime_server._ext.libzmq cimport Frame, Message, Multipart

# How a response is written follows from its request's info. The flags count whether it is extended or not: who knows more about the request
# than its server has said, because it has seen the payload, may set them.
#   FLAG_NETSTRING, or an info of 8 bytes    the body as a netstring
#   FLAG_RAW                                 the body as it is
#   otherwise HTTP                           version by BITS_VERSION and FLAG_OLD; FLAG_HEAD: the same fields, without the body
# For our own server (info.extended) the head has neither Date nor Connection: the server puts both behind the status line. For a C++ server
# it is complete, and all is one frame.
# The frames are put behind what is in `to`; on failure some of them may be there, so the caller closes it.

cdef class Response:
    cdef readonly int status
    cdef bytes _reason         # None: the usual one
    cdef Headers _headers      # None until asked for
    cdef bytes _fields         # header lines, checked, each with CRLF
    cdef int _default          # which Content-Type comes on top of them
    cdef object _body          # bytes-like or str; None while it is still in the frame, or comes in parts
    cdef object _parts         # iterable of its parts; None: it is whole
    cdef int64_t _length       # bytes of all of them; -1: unknown, and -1 of one that is whole
    cdef Frame _frame          # what came over a connection, head and body; None for a response made by hand
    cdef size_t _head_size     # of it
    cdef int disown(self) except -1
    # Of one in parts: the Content-Type that goes with the first of them, where it has none.
    cdef int settle_type(self, object part) except -1
    # Makes it whole.
    cdef int join(self, object body) except -1

# The response that came from a server as this message, which it takes over.
cdef Response received_response(Message* message, int status, size_t head_size)

# Bodies below 64 KiB share a frame with the head, others are lent without a copy. 0, or raises: ValueError for a status that is no final one.
cdef int write_response(Multipart* to, Response response, const Info* info) except -1

# The same for native work functions and errors. `content_type` NULL: none. `extra`: NULL, or header lines of the caller's own, each with CRLF.
# 0, or -1: without memory, a status outside 200…599, or a content type with control bytes.
cdef int write_plain(Multipart* to, int status, const char* content_type, const char* body, size_t body_size, const Info* info) noexcept nogil
cdef int write_plain_extra(
    Multipart* to, int status, const char* content_type, const char* extra, const char* body, size_t body_size, const Info* info
) noexcept nogil

# A response of many messages: the head, then any number of parts, then the end. Under HTTP/1.1 it is chunked, under 1.0 it ends with the connection;
# FLAG_HEAD: the head alone, parts and end are nothing. Each call puts at most a frame or three behind what is in `to`. Not for C++ servers and
# netstrings, which need the whole in one: -1 or ValueError there.
cdef int write_stream_head(Multipart* to, Response response, const Info* info) except -1
cdef int write_stream_part(Multipart* to, Response response, object part, const Info* info) except -1
cdef int write_stream_end(Multipart* to, Response response, const Info* info) noexcept

# The usual reason phrase of a status, "Unknown" for others. Static.
cdef const char* reason_of(int status) noexcept nogil
