"""Responses, as work functions make them and as they go out.

A `Response` is checked when it is made, where the mistake is, and holds its header lines ready for the wire. The writers put head and body into
frames, as the info of the request says (response.pxd): a small body is copied behind its head, since one small frame is cheaper than two; a big
one is lent to libzmq as a frame of its own. Content-Length, Transfer-Encoding, Connection and Date are no work function's business: the first two
follow from the body, the others are known to the server that owns the connection.

`write_plain` is the way of native work functions and of errors: no Python object, no GIL, one allocation.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.stdint cimport uint64_t
from libc.string cimport memchr, memcpy, strlen
from libc.time cimport time_t

from prime_server._ext.clock cimport unix_us
from prime_server._ext.headers cimport HAS_CONTENT_TYPE, REFUSE_FRAMING, field_line, field_lines, headers_over, is_field_value, may_be_sent
from prime_server._ext.info cimport (
    BITS_CLOSE,
    BITS_KEEP_ALIVE,
    BITS_VERSION,
    FLAG_HEAD,
    FLAG_NETSTRING,
    FLAG_OLD,
    FLAG_RAW,
    NETSTRING_INFO_SIZE,
    read_info,
)
from prime_server._ext.libzmq cimport Frame, Message, add, borrow, close_all, data_of, frame, size_of, start, zmq
from prime_server._ext.native cimport Slice
from prime_server._ext.slices cimport count_digits, put, put_number, slice_of

from collections.abc import Mapping, Set

from prime_server.errors import ProtocolError

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object, Py_ssize_t*) except NULL

cdef extern from "response.h" nogil:
    const char* prime_reason(int status)
    enum:
        DATE_LINE_SIZE "PRIME_DATE_LINE_SIZE"
    void write_date "prime_write_date"(char* to, time_t at)

cdef enum:
    LEND_FROM = 65536  # bytes of body; below, copying it behind the head is cheaper than a frame of its own
    NO_TYPE = 0
    TEXT_TYPE = 1
    BYTES_TYPE = 2
    TYPE_OPEN = 3  # by the first part

cdef const char* TYPES[4]
TYPES[NO_TYPE] = NULL
TYPES[TYPE_OPEN] = NULL
TYPES[TEXT_TYPE] = b"text/plain; charset=utf-8"
TYPES[BYTES_TYPE] = b"application/octet-stream"


cdef const char* reason_of(int status) noexcept nogil:
    cdef const char* reason = prime_reason(status)
    if reason == NULL:
        reason = b"Unknown"
    return reason


# --- bytes --------------------------------------------------------------------------------------------------------------------------------


cdef inline char* put_hex(char* to, uint64_t number, int digits) noexcept nogil:
    cdef int index
    for index in range(digits):
        to[digits - 1 - index] = b"0123456789abcdef"[number & 15]
        number >>= 4
    return to + digits


cdef char* new_frame(Multipart* to, size_t size) noexcept nogil:
    """A further frame of that size, to be filled. NULL without memory."""
    cdef Message* slot = add(to)
    if slot == NULL:
        return NULL
    if zmq.msg_init_size(slot, size) != 0:
        to.size -= 1
        return NULL
    return <char*>zmq.msg_data(slot)


# --- the head -----------------------------------------------------------------------------------------------------------------------------

cdef enum:
    LENGTH_NONE = 0
    LENGTH_GIVEN = 1
    LENGTH_CHUNKED = 2


cdef inline bint is_netstring(const Info* info) noexcept nogil:
    return info.size == NETSTRING_INFO_SIZE or info.flags & FLAG_NETSTRING != 0


cdef inline bint is_old(const Info* info) noexcept nogil:
    return info.bits & BITS_VERSION == 0 or info.flags & FLAG_OLD != 0


cdef inline bint has_body(int status, const Info* info) noexcept nogil:
    return status != 204 and status != 205 and status != 304 and not info.flags & FLAG_HEAD


cdef int put_http(
    Multipart* to, int status, Slice reason, const char* content_type, Slice fields, int length, Slice body, bint with_body, const Info* info
) noexcept nogil:
    """One frame: the head, and the body behind it where it is to be there. `body.size` counts for Content-Length in either case."""
    cdef Slice connection = slice_of(b"", 0)
    cdef size_t type_size = 0 if content_type == NULL else strlen(content_type)
    cdef size_t size
    cdef int digits = 0
    cdef char* at
    if status == 205:
        body.size = 0  # RFC 9110 section 15.3.6: no content, and a length that says so
    if not info.extended:
        if info.bits & BITS_CLOSE or (is_old(info) and not info.bits & BITS_KEEP_ALIVE):
            connection = slice_of(b"Connection: close\r\n", 19)
        elif is_old(info):
            connection = slice_of(b"Connection: keep-alive\r\n", 24)
    if reason.data == NULL:
        reason.data = reason_of(status)
        reason.size = strlen(reason.data)
    size = 17 + reason.size + connection.size + fields.size
    if type_size:
        size += 16 + type_size
    if not info.extended:
        size += DATE_LINE_SIZE
    if length == LENGTH_GIVEN:
        digits = count_digits(body.size)
        size += 18 + digits
    elif length == LENGTH_CHUNKED:
        size += 28
    if with_body:
        size += body.size
    at = new_frame(to, size)
    if at == NULL:
        return -1
    at = put(at, b"HTTP/1.1 ", 9)
    at = put_number(at, status, 3)
    at = put(at, b" ", 1)
    at = put(at, reason.data, reason.size)
    at = put(at, b"\r\n", 2)
    if not info.extended:
        write_date(at, unix_us() // 1000000)  # time() is a tick behind it
        at = put(at + DATE_LINE_SIZE, connection.data, connection.size)
    if type_size:
        at = put(at, b"Content-Type: ", 14)
        at = put(at, content_type, type_size)
        at = put(at, b"\r\n", 2)
    at = put(at, fields.data, fields.size)
    if length == LENGTH_GIVEN:
        at = put(at, b"Content-Length: ", 16)
        at = put_number(at, body.size, digits)
        at = put(at, b"\r\n", 2)
    elif length == LENGTH_CHUNKED:
        at = put(at, b"Transfer-Encoding: chunked\r\n", 28)
    at = put(at, b"\r\n", 2)
    if with_body:
        put(at, body.data, body.size)
    return 0


cdef inline int length_of(int status, size_t body_size) noexcept nogil:
    """RFC 9110 section 8.6: no Content-Length with 204; with 304 only the one that a GET would have had, so an empty body says nothing there."""
    return LENGTH_NONE if status == 204 or (status == 304 and body_size == 0) else LENGTH_GIVEN


cdef int put_netstring(Multipart* to, Slice body, bint whole) noexcept nogil:
    """One frame: the netstring, or only what comes before its bytes."""
    cdef int digits = count_digits(body.size)
    cdef char* at = new_frame(to, digits + 1 + (body.size + 1 if whole else 0))
    if at == NULL:
        return -1
    at = put_number(at, body.size, digits)
    at = put(at, b":", 1)
    if whole:
        put(put(at, body.data, body.size), b",", 1)
    return 0


cdef int put_bytes(Multipart* to, const char* data, size_t size) noexcept nogil:
    cdef char* at = new_frame(to, size)
    if at == NULL:
        return -1
    put(at, data, size)
    return 0


cdef int write_plain_extra(
    Multipart* to, int status, const char* content_type, const char* extra, const char* body, size_t body_size, const Info* info
) noexcept nogil:
    cdef Slice content = slice_of(body, body_size)
    cdef Slice fields = slice_of(b"", 0) if extra == NULL else slice_of(extra, strlen(extra))
    if not 200 <= status <= 599 or (content_type != NULL and not is_field_value(content_type, strlen(content_type))):
        return -1
    if not may_be_sent(fields.data, fields.data + fields.size):
        return -1
    if is_netstring(info):
        return put_netstring(to, content, True)
    if info.flags & FLAG_RAW:
        return put_bytes(to, body, body_size)
    return put_http(
        to, status, slice_of(NULL, 0), content_type, fields, length_of(status, content.size), content, has_body(status, info), info
    )


cdef int write_plain(Multipart* to, int status, const char* content_type, const char* body, size_t body_size, const Info* info) noexcept nogil:
    return write_plain_extra(to, status, content_type, NULL, body, body_size, info)


# --- of Python objects ------------------------------------------------------------------------------------------------------------------------


cdef int lend(Multipart* to, object body) except -1:
    cdef Message message
    cdef Message* slot
    if isinstance(body, str):
        body = (<str>body).encode()
    borrow(&message, body)
    slot = add(to)
    if slot == NULL:
        zmq.msg_close(&message)
        raise MemoryError()
    memcpy(slot, &message, sizeof(Message))
    return 0


cdef Slice reason_slice(Response response) noexcept:
    if response._reason is None:
        return slice_of(NULL, 0)
    return slice_of(PyBytes_AS_STRING(response._reason), PyBytes_GET_SIZE(response._reason))


cdef int check_final(Response response) except -1:
    if not 200 <= response.status <= 599:
        raise ValueError(f"a work function answers with a status of 200 to 599, not {response.status}")
    if response._frame is not None:
        response.disown()
    return 0


cdef int write_body(Multipart* to, Response response, Slice body, const Info* info) except -1:
    cdef bint apart = info.extended and body.size >= LEND_FROM
    cdef bint whole = not apart
    cdef int status = 0
    if is_netstring(info):
        status = put_netstring(to, body, whole)
        if apart and status == 0:
            lend(to, response._body)
            status = put_bytes(to, b",", 1)
    elif info.flags & FLAG_RAW:
        if apart:
            lend(to, response._body)
        else:
            status = put_bytes(to, body.data, body.size)
    else:
        whole = whole and has_body(response.status, info)
        status = put_http(
            to,
            response.status,
            reason_slice(response),
            TYPES[response._default],
            slice_of(PyBytes_AS_STRING(response._fields), PyBytes_GET_SIZE(response._fields)),
            length_of(response.status, body.size),
            body,
            whole,
            info,
        )
        if apart and status == 0 and has_body(response.status, info):
            lend(to, response._body)
    if status != 0:
        raise MemoryError()
    return 0


cdef int write_response(Multipart* to, Response response, const Info* info) except -1:
    cdef Py_buffer view
    cdef Py_ssize_t size
    cdef const char* data
    check_final(response)
    body = response._body
    if isinstance(body, bytes):
        return write_body(to, response, slice_of(PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body)), info)
    if isinstance(body, str):
        data = PyUnicode_AsUTF8AndSize(body, &size)
        return write_body(to, response, slice_of(data, size), info)
    PyObject_GetBuffer(body, &view, PyBUF_SIMPLE)
    try:
        return write_body(to, response, slice_of(<const char*>view.buf, view.len), info)
    finally:
        PyBuffer_Release(&view)


cdef int write_stream_head(Multipart* to, Response response, const Info* info) except -1:
    cdef int length = LENGTH_CHUNKED
    check_final(response)
    if response.status == 204 or response.status == 304:
        length = LENGTH_NONE
    elif response._length >= 0:
        length = LENGTH_GIVEN
    elif is_old(info):
        length = LENGTH_NONE
    if not info.extended or is_netstring(info):
        raise ValueError("a response in parts needs a server that takes it in parts: join them")
    if info.flags & FLAG_RAW:
        return 0
    if put_http(
        to,
        response.status,
        reason_slice(response),
        TYPES[response._default],
        slice_of(PyBytes_AS_STRING(response._fields), PyBytes_GET_SIZE(response._fields)),
        length,
        slice_of(b"", max(response._length, 0)),
        False,
        info,
    ) != 0:
        raise MemoryError()
    return 0


cdef int write_stream_part(Multipart* to, Response response, object part, const Info* info) except -1:
    cdef Py_buffer view
    cdef uint64_t rest
    cdef int digits = 1
    cdef int status = 0
    cdef char* at
    if info.flags & FLAG_HEAD and not info.flags & FLAG_RAW:
        return 0
    if isinstance(part, str):
        part = (<str>part).encode()
    PyObject_GetBuffer(part, &view, PyBUF_SIMPLE)
    try:
        if view.len == 0:  # an empty chunk would be the last one
            return 0
        if view.len >= LEND_FROM and not view.readonly:
            part = PyBytes_FromStringAndSize(<const char*>view.buf, view.len)  # which may be filled anew while it waits to be read
        if info.flags & FLAG_RAW or is_old(info) or response._length >= 0:
            return lend(to, part)
        rest = <uint64_t>view.len >> 4
        while rest:
            digits += 1
            rest >>= 4
        if view.len >= LEND_FROM:
            at = new_frame(to, digits + 2)
            if at == NULL:
                raise MemoryError()
            put(put_hex(at, view.len, digits), b"\r\n", 2)
            lend(to, part)
            status = put_bytes(to, b"\r\n", 2)
        else:
            at = new_frame(to, digits + view.len + 4)
            if at == NULL:
                raise MemoryError()
            at = put(put_hex(at, view.len, digits), b"\r\n", 2)
            put(put(at, <const char*>view.buf, view.len), b"\r\n", 2)
        if status != 0:
            raise MemoryError()
    finally:
        PyBuffer_Release(&view)
    return 0


cdef int write_stream_end(Multipart* to, Response response, const Info* info) noexcept:
    if info.flags & (FLAG_RAW | FLAG_HEAD) or is_old(info) or response._length >= 0:
        return 0
    return put_bytes(to, b"0\r\n\r\n", 5)


cdef Response received_response(Message* message, int status, size_t head_size):
    cdef Response self = Response.__new__(Response)
    self.status = status
    self._frame = Frame.take(message)
    self._head_size = head_size
    self._body = None
    return self


cdef Slice reason_line(Response response) noexcept:
    """The reason phrase in the frame; empty where the server gave none."""
    cdef const char* head = data_of(&response._frame.message)
    cdef const char* end = <const char*>memchr(head, c"\n", response._head_size)
    if end == NULL or end - head < 13:  # "HTTP/1.1 200 " and more
        return slice_of(head, 0)
    if (end - 1)[0] == c"\r":
        end -= 1
    return slice_of(head + 13, end - head - 13) if end - head > 13 else slice_of(head, 0)


cdef bytes reason_bytes(object reason):
    cdef bytes raw
    if not isinstance(reason, str):
        raise TypeError(f"a reason is a str, not {type(reason).__name__}")
    try:
        raw = (<str>reason).encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"the reason {reason!r} has characters beyond ISO-8859-1") from None
    if not is_field_value(raw, len(raw)):
        raise ValueError(f"the reason {reason!r} has control characters")
    return raw


@cython.freelist(64)
cdef class Response:
    def __cinit__(self):
        self._fields = b""
        self._body = b""
        self._length = -1

    def __init__(self, status=200, body=b"", *, headers=None, content_type=None, reason=None, length=None):
        cdef Py_buffer view
        cdef Py_ssize_t size
        cdef int seen = 0
        if not isinstance(status, int) or isinstance(status, bool):
            raise TypeError(f"a status is an int, not {type(status).__name__}")
        if not 100 <= status <= 999:
            raise ValueError(f"a status is 100 to 999, not {status}")
        self.status = status
        if isinstance(body, bytes):
            self._default = BYTES_TYPE if PyBytes_GET_SIZE(body) else NO_TYPE
        elif isinstance(body, str):
            PyUnicode_AsUTF8AndSize(body, &size)  # raises for what UTF-8 can't hold
            self._default = TEXT_TYPE if size else NO_TYPE
        else:
            if PyObject_CheckBuffer(body):
                PyObject_GetBuffer(body, &view, PyBUF_SIMPLE)
                self._default = BYTES_TYPE if view.len else NO_TYPE
                PyBuffer_Release(&view)
            elif hasattr(type(body), "__iter__") and not isinstance(body, (Mapping, Set)):
                self._default = TYPE_OPEN
                self._parts = body
                body = None
            else:
                raise TypeError(f"a body is a str, bytes-like or an iterable of such parts, not {type(body).__name__}")
        self._body = body
        if length is not None:
            if self._parts is None:
                raise ValueError("a length is given for a body in parts; of any other it is known")
            if not isinstance(length, int) or isinstance(length, bool):
                raise TypeError(f"a length is an int, not {type(length).__name__}")
            if not 0 <= length < 1 << 62:
                raise ValueError(f"a length is a number of bytes, 0 or more, not {length}")
            self._length = length
        if headers is not None:
            self._fields = field_lines(headers, REFUSE_FRAMING, &seen)
        if content_type is not None:
            if seen & HAS_CONTENT_TYPE:
                raise ValueError("Content-Type is among the headers and given as content_type: one of them is enough")
            self._fields = field_line("Content-Type", content_type, 0, &seen) + self._fields
        if seen & HAS_CONTENT_TYPE:
            self._default = NO_TYPE
        self._headers = None
        self._reason = None if reason is None else reason_bytes(reason)

    cdef int disown(self) except -1:
        """Makes a response that came from a server one to send: without the fields that belong to the message by which it came."""
        cdef int seen
        own = [pair for pair in self.headers.fields() if pair[0].lower() not in OF_THE_MESSAGE]
        self._reason = self.reason.encode("latin-1")
        self._fields = field_lines(own, 0, &seen)
        self._body = memoryview(self._frame)[self._head_size:]
        self._headers = None
        self._frame = None
        return 0

    cdef int settle_type(self, object part) except -1:
        if self._default == TYPE_OPEN:
            self._default = TEXT_TYPE if isinstance(part, str) else BYTES_TYPE
            self._headers = None
        return 0

    cdef int join(self, object body) except -1:
        self._parts = None
        self._body = body
        return 0

    @property
    def reason(self):
        cdef Slice line
        if self._frame is not None:
            line = reason_line(self)
            return PyUnicode_DecodeLatin1(line.data, line.size, NULL)
        return reason_of(self.status).decode() if self._reason is None else self._reason.decode("latin-1")

    @property
    def headers(self):
        cdef bytes lines
        cdef const char* head
        cdef const char* line
        if self._headers is None:
            if self._frame is not None:
                head = data_of(&self._frame.message)
                line = <const char*>memchr(head, c"\n", self._head_size) + 1
                self._headers = headers_over(self._frame, line, head + self._head_size - 2 - line)
            else:
                lines = self._fields
                if TYPES[self._default] != NULL:
                    lines = b"Content-Type: " + TYPES[self._default] + b"\r\n" + lines
                self._headers = headers_over(lines, lines, len(lines))
        return self._headers

    @property
    def body(self):
        if self._parts is not None:
            raise ValueError("a response in parts has no body that could be told before it is sent")
        if self._body is None:
            self._body = PyBytes_FromStringAndSize(
                data_of(&self._frame.message) + self._head_size, size_of(&self._frame.message) - self._head_size
            )
        return (<str>self._body).encode() if isinstance(self._body, str) else bytes(self._body)

    @property
    def text(self):
        if isinstance(self._body, str):
            return self._body
        charset = "utf-8"
        for parameter in self.headers.get("content-type", "").split(";")[1:]:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "charset":
                charset = value.strip().strip('"')
        try:
            return self.body.decode(charset, "replace")
        except LookupError:
            return self.body.decode("utf-8", "replace")

    def __repr__(self):
        size = "in parts" if self._parts is not None else f"{len(self.body)} bytes"
        return f"<Response {self.status} {self.reason}, {size}>"


OF_THE_MESSAGE = frozenset(("connection", "content-length", "date", "keep-alive", "trailer", "transfer-encoding", "upgrade"))


# --- what tests and the curious feed the writers with -------------------------------------------------------------------------------------------


cdef int info_of(object data, Info* info) except -1:
    cdef bytes raw = bytes(data)
    if read_info(PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw), info) != 0:
        raise ProtocolError("no info frame")
    return 0


cdef list frames_of(Multipart* parts):
    cdef Message message
    cdef int index
    frames = []
    for index in range(parts.size):
        memcpy(&message, frame(parts, index), sizeof(Message))
        zmq.msg_init(frame(parts, index))
        frames.append(Frame.take(&message))
    close_all(parts)
    return frames


def response_frames(response, info):
    cdef Multipart parts
    cdef Info request
    info_of(info, &request)
    start(&parts)
    try:
        write_response(&parts, response, &request)
        return frames_of(&parts)
    finally:
        close_all(&parts)


def plain_frames(status, content_type, body, info, extra=None):
    cdef Multipart parts
    cdef Info request
    cdef bytes kind = content_type
    cdef bytes lines = extra
    cdef bytes raw = bytes(body)
    cdef int result
    info_of(info, &request)
    start(&parts)
    result = write_plain_extra(
        &parts,
        status,
        <const char*>NULL if kind is None else PyBytes_AS_STRING(kind),
        <const char*>NULL if lines is None else PyBytes_AS_STRING(lines),
        PyBytes_AS_STRING(raw),
        PyBytes_GET_SIZE(raw),
        &request,
    )
    if result != 0:
        close_all(&parts)
        raise ValueError("the response can't be written")
    return frames_of(&parts)


def stream_frames(response, stream, info):
    cdef Multipart parts
    cdef Info request
    info_of(info, &request)
    start(&parts)
    try:
        write_stream_head(&parts, response, &request)
        messages = [frames_of(&parts)]
        for part in stream:
            write_stream_part(&parts, response, part, &request)
            messages.append(frames_of(&parts))
        if write_stream_end(&parts, response, &request) != 0:
            raise MemoryError()
        messages.append(frames_of(&parts))
        return messages
    finally:
        close_all(&parts)
