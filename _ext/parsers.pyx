"""The parsers of http, http_response and netstring as Python classes: what the tests drive, and what a program may use that reads HTTP/1.x itself.

There is no logic here, only conversion: bytes-like objects go in, and out come objects over the very messages that the parsers have made.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stddef cimport size_t
from libc.string cimport memchr, memcpy

from prime_server._ext.http cimport (
    ALLOW_RAW_TARGETS, COMPLETE, CONTINUE, FAILED, METHOD_OTHER, Limits, request_end, request_feed, request_filled,
    request_idle, request_in_body, request_room, request_start,
)
from prime_server._ext.http cimport ParsedRequest as RequestParts
from prime_server._ext.http cimport RequestParser as RequestState
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
    cdef const char* value
    cdef const char* value_end
    while at < end:
        colon = <const char*>memchr(at, c":", end - at)
        value = colon + 1
        value_end = <const char*>memchr(value, c"\r", end - value)
        name = at[:colon - at]
        at = value_end + 2
        while value < value_end and (value[0] == c" " or value[0] == c"\t"):
            value += 1
        while value < value_end and ((value_end - 1)[0] == c" " or (value_end - 1)[0] == c"\t"):
            value_end -= 1
        fields.append((name, value[:value_end - value]))
    return fields


cdef object error_of(int status, const char* reason):
    return ProtocolError(reason.decode("ascii"), status) if status else None


cdef inline size_t limit(str name, Py_ssize_t value) except? 1:
    if value < 0:
        raise ValueError(f"{name} is a number of 0 or more, not {value}")
    return value


@cython.final
@cython.freelist(64)
cdef class ParsedRequest:
    cdef RequestParts parts

    def __cinit__(self):
        zmq.msg_init(&self.parts.payload)

    def __init__(self):
        raise TypeError("a RequestParser makes these")

    def __dealloc__(self):
        zmq.msg_close(&self.parts.payload)

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, <void*>data_of(&self.parts.payload), size_of(&self.parts.payload), 1, flags)

    @property
    def method(self):
        if self.parts.method != METHOD_OTHER:
            return METHODS[self.parts.method]
        return data_of(&self.parts.payload)[:self.parts.target_at - 1].decode("ascii")

    @property
    def target(self):
        cdef const char* at = data_of(&self.parts.payload) + self.parts.target_at
        return at[:self.parts.target_size]

    @property
    def version(self):
        return "1.1" if self.parts.minor else "1.0"

    @property
    def keep_alive(self):
        return self.parts.keep_alive

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
        return f"<ParsedRequest {self.method} {self.target!r} HTTP/{self.version}, {len(self.body)} bytes of body>"


cdef inline ParsedRequest request_of(const RequestParts* parts):
    cdef ParsedRequest request = ParsedRequest.__new__(ParsedRequest)
    memcpy(&request.parts, parts, sizeof(RequestParts))
    return request


@cython.final
@cython.freelist(16)
cdef class RequestParser:
    cdef RequestState state
    cdef Limits limits
    cdef bytes methods
    cdef bint asks

    def __cinit__(
        self,
        *,
        Py_ssize_t max_target=8192,
        Py_ssize_t max_head=32768,
        int max_fields=128,
        Py_ssize_t max_body=33554432,
        methods=(),
        bint raw_targets=False,
    ):
        request_start(&self.state, &self.limits)
        self.limits.target = limit("max_target", max_target)
        self.limits.head = limit("max_head", max_head)
        self.limits.fields = <int>limit("max_fields", max_fields)
        self.limits.body = limit("max_body", max_body)
        self.limits.allow = ALLOW_RAW_TARGETS if raw_targets else 0
        self.methods = b"".join([name.encode() + b" " for name in methods])
        self.limits.methods = self.methods

    def __dealloc__(self):
        request_end(&self.state)

    cdef list take(self, const char* at, size_t left):
        cdef list found = []
        cdef RequestParts parts
        cdef size_t used
        cdef int outcome
        while left:
            outcome = request_feed(&self.state, at, left, &used, &parts)
            self.asks = outcome == CONTINUE
            if outcome == FAILED:
                break
            at += used
            left -= used
            if outcome == COMPLETE:
                found.append(request_of(&parts))
        return found

    def feed(self, data, /):
        cdef Py_buffer view
        if self.state.status:
            raise self.error
        if type(data) is bytes:  # the usual case, without a view's cost
            return self.take(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            return self.take(<const char*>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    @property
    def room(self):
        cdef char* at
        return request_room(&self.state, &at)

    def fill(self, data, /):
        cdef Py_buffer view
        cdef RequestParts parts
        cdef char* at
        cdef size_t room = request_room(&self.state, &at)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if <size_t>view.len > room:
                raise ValueError(f"there is room for {room} bytes, not for {view.len}")
            if view.len == 0:
                return []
            memcpy(at, view.buf, view.len)
            self.asks = False
            return [request_of(&parts)] if request_filled(&self.state, view.len, &parts) == COMPLETE else []
        finally:
            PyBuffer_Release(&view)

    @property
    def error(self):
        return error_of(self.state.status, self.state.reason)

    @property
    def wants_continue(self):
        return self.asks

    @property
    def idle(self):
        return request_idle(&self.state)

    @property
    def in_body(self):
        return request_in_body(&self.state)


@cython.final
@cython.freelist(64)
cdef class ParsedResponse:
    cdef ResponseParts parts

    def __cinit__(self):
        zmq.msg_init(&self.parts.data)

    def __init__(self):
        raise TypeError("a ResponseParser makes these")

    def __dealloc__(self):
        zmq.msg_close(&self.parts.data)

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, <void*>data_of(&self.parts.data), size_of(&self.parts.data), 1, flags)

    @property
    def status(self):
        return self.parts.status

    @property
    def reason(self):
        cdef const char* at = data_of(&self.parts.data) + 12
        return at[1 if at[0] == c" " else 0:<const char*>memchr(at, c"\r", self.parts.head_size - 12) - at]

    @property
    def version(self):
        return "1.1" if self.parts.minor else "1.0"

    @property
    def keep_alive(self):
        return self.parts.keep_alive

    @property
    def headers(self):
        return fields_of(data_of(&self.parts.data), self.parts.head_size)

    @property
    def head_size(self):
        return self.parts.head_size

    @property
    def body(self):
        return memoryview(self)[self.parts.head_size:]

    @property
    def data(self):
        return memoryview(self)

    def __repr__(self):
        return f"<ParsedResponse {self.status} HTTP/{self.version}, {len(self.body)} bytes of body>"


cdef inline ParsedResponse response_of(const ResponseParts* parts):
    cdef ParsedResponse response = ParsedResponse.__new__(ParsedResponse)
    memcpy(&response.parts, parts, sizeof(ResponseParts))
    return response


@cython.final
cdef class ResponseParser:
    cdef ResponseState state
    cdef Limits limits
    cdef object expected
    cdef bint announced  # of the response being read, what it answers has been taken from `expected`

    def __cinit__(self, *, Py_ssize_t max_head=32768, int max_fields=128, Py_ssize_t max_body=33554432):
        response_start(&self.state, &self.limits)
        self.limits.target = 0
        self.limits.head = limit("max_head", max_head)
        self.limits.fields = <int>limit("max_fields", max_fields)
        self.limits.body = limit("max_body", max_body)
        self.limits.allow = 0
        self.limits.methods = NULL
        self.expected = deque()

    def __dealloc__(self):
        response_end(&self.state)

    def expect(self, method, /):
        self.expected.append(method == "HEAD")

    def feed(self, data, /):
        cdef Py_buffer view
        cdef list found = []
        cdef ResponseParts parts
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
                if not self.announced and self.expected:
                    response_expect(&self.state, self.expected.popleft())
                    self.announced = True
                outcome = response_feed(&self.state, at, left, &used, &parts)
                if outcome == FAILED:
                    break
                at += used
                left -= used
                if outcome == COMPLETE:
                    self.announced = False
                    found.append(response_of(&parts))
        finally:
            PyBuffer_Release(&view)
        return found

    def eof(self):
        cdef ResponseParts parts
        if self.state.status:
            raise self.error
        return [response_of(&parts)] if response_eof(&self.state, &parts) == COMPLETE else []

    @property
    def error(self):
        return error_of(self.state.status, self.state.reason)

    @property
    def idle(self):
        return response_idle(&self.state)


@cython.final
cdef class NetstringParser:
    cdef NetstringState state

    def __cinit__(self, *, Py_ssize_t max_size=33554432):
        netstring_start(&self.state, limit("max_size", max_size))

    def __dealloc__(self):
        netstring_end(&self.state)

    def feed(self, data, /):
        cdef Py_buffer view
        cdef list found = []
        cdef Message message
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
                outcome = netstring_feed(&self.state, at, left, &used, &message)
                if outcome == FAILED:
                    break
                at += used
                left -= used
                if outcome == COMPLETE:
                    found.append(Frame.take(&message))
        finally:
            PyBuffer_Release(&view)
        return found

    @property
    def error(self):
        return error_of(self.state.status, self.state.reason)

    @property
    def idle(self):
        return netstring_idle(&self.state)
