# cython: freelist=64
"""The parsers of http, http_response and netstring as Python classes: what the tests drive, and what a program may use to read HTTP/1.x by itself.

There is no logic here, only the conversion: bytes-like objects in, and out come objects over the very messages that the parsers made.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.string cimport memchr, memcpy

from prime_server._ext.http cimport (
    COMPLETE, CONTINUE, FAILED, METHOD_OTHER, MORE, Limits, request_end, request_feed, request_filled, request_idle, request_in_body,
    request_room, request_start,
)
from prime_server._ext.http cimport ParsedRequest as RequestParts
from prime_server._ext.http cimport RequestParser as RequestState
from prime_server._ext.http_head cimport ALLOW_OTHER_METHODS, ALLOW_RAW_TARGETS
from prime_server._ext.http_response cimport (
    response_end, response_eof, response_expect, response_feed, response_idle, response_start,
)
from prime_server._ext.http_response cimport ParsedResponse as ResponseParts
from prime_server._ext.http_response cimport ResponseParser as ResponseState
from prime_server._ext.libzmq cimport Frame, Message, data_of, size_of, zmq
from prime_server._ext.netstring cimport NetstringParser as NetstringState
from prime_server._ext.netstring cimport netstring_end, netstring_feed, netstring_idle, netstring_start

from collections import deque

from prime_server.errors import ProtocolError

cdef tuple METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")


cdef list fields_of(const char* data, size_t head_size):
    """The (name, value) pairs of a head that a parser has passed."""
    cdef list fields = []
    cdef const char* end = data + head_size - 2
    cdef const char* at = <const char*>memchr(data, c"\n", head_size) + 1
    cdef const char* colon
    cdef const char* line_end
    cdef const char* value
    while at < end:
        colon = <const char*>memchr(at, c":", end - at)
        line_end = <const char*>memchr(colon, c"\r", end + 1 - colon)
        value = colon + 1
        name = at[:colon - at]
        at = line_end + 2
        while value < line_end and (value[0] == c" " or value[0] == c"\t"):
            value += 1
        while value < line_end and ((line_end - 1)[0] == c" " or (line_end - 1)[0] == c"\t"):
            line_end -= 1
        fields.append((name, value[:line_end - value]))
    return fields


cdef int fill_limits(Limits* limits, target, head, fields, body) except -1:
    for name, value in (("max_target", target), ("max_head", head), ("max_fields", fields), ("max_body", body)):
        if not 0 <= value <= (0x7fffffff if name == "max_fields" else 0x7fffffffffffffff):
            raise ValueError(f"{name} is a number of 0 or more, not {value!r}")
    limits.target = target
    limits.head = head
    limits.fields = fields
    limits.body = body
    limits.allow = 0
    return 0


@cython.final
@cython.freelist(64)
cdef class ParsedRequest:
    cdef RequestParts parts

    def __cinit__(self):
        zmq.msg_init(&self.parts.payload)

    def __dealloc__(self):
        zmq.msg_close(&self.parts.payload)

    def __init__(self):
        raise TypeError("a RequestParser makes these")

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, <void*>data_of(&self.parts.payload), size_of(&self.parts.payload), 1, flags)

    @property
    def method(self):
        if self.parts.method == METHOD_OTHER:
            return data_of(&self.parts.payload)[:self.parts.target_at - 1].decode("ascii")
        return METHODS[self.parts.method]

    @property
    def target(self):
        cdef const char* at = data_of(&self.parts.payload) + self.parts.target_at
        return at[:self.parts.target_size]

    @property
    def version(self):
        return "1.1" if self.parts.minor else "1.0"

    @property
    def keep_alive(self):
        return bool(self.parts.keep_alive)

    @property
    def bits(self):
        return self.parts.bits

    @property
    def headers(self):
        return fields_of(data_of(&self.parts.payload), self.parts.head_size)

    @property
    def head_size(self):
        return self.parts.head_size

    @property
    def body(self):
        return memoryview(self)[self.parts.head_size:]

    @property
    def payload(self):
        return memoryview(self)

    def __repr__(self):
        return f"<ParsedRequest {self.method} {self.target!r} HTTP/{self.version}, a body of {len(self.body)} bytes>"


@cython.final
cdef class RequestParser:
    cdef RequestState state
    cdef Limits limits
    cdef bint asks

    def __cinit__(
        self, *, max_target=8190, max_head=65536, max_fields=100, max_body=33554432, other_methods=False, raw_targets=False
    ):
        request_start(&self.state, &self.limits)
        fill_limits(&self.limits, max_target, max_head, max_fields, max_body)
        self.limits.allow = (ALLOW_OTHER_METHODS if other_methods else 0) | (ALLOW_RAW_TARGETS if raw_targets else 0)

    def __dealloc__(self):
        request_end(&self.state)

    def feed(self, data, /):
        cdef Py_buffer view
        cdef list found = []
        cdef ParsedRequest request
        cdef RequestParts parts
        cdef const char* at
        cdef size_t left, used
        cdef int outcome
        if self.state.status:
            raise self.error
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            at = <const char*>view.buf
            left = view.len
            while left:
                outcome = request_feed(&self.state, at, left, &used, &parts)
                if outcome == FAILED:
                    break
                at += used
                left -= used
                self.asks = outcome == CONTINUE
                if outcome == COMPLETE:
                    request = ParsedRequest.__new__(ParsedRequest)
                    memcpy(&request.parts, &parts, sizeof(RequestParts))
                    found.append(request)
        finally:
            PyBuffer_Release(&view)
        return found

    def fill(self, data, /):
        """As feed, by request_room and request_filled where there is room."""
        cdef const unsigned char[::1] source = data
        cdef list found = []
        cdef ParsedRequest request
        cdef RequestParts parts
        cdef char* room
        cdef size_t size = request_room(&self.state, &room)
        if size == 0:
            return None
        size = min(size, <size_t>source.shape[0])
        if size:
            memcpy(room, &source[0], size)
        if request_filled(&self.state, size, &parts) == COMPLETE:
            request = ParsedRequest.__new__(ParsedRequest)
            memcpy(&request.parts, &parts, sizeof(RequestParts))
            found.append(request)
        return size, found

    @property
    def error(self):
        return ProtocolError(self.state.reason.decode("ascii"), self.state.status) if self.state.status else None

    @property
    def wants_continue(self):
        return bool(self.asks)

    @property
    def idle(self):
        return bool(request_idle(&self.state))

    @property
    def in_body(self):
        return bool(request_in_body(&self.state))
