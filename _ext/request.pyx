"""Requests as the stages get them.

A payload is the request as HTTP/1.x text (wire.md). It has passed a strict parser at the edge already, ours or the original's, so the parser here
is a lenient one that finds the parts and judges little: the body is the rest of the frame whatever the fields say of its length or coding, a
bare LF ends a line, and a target that came encoded as a whole, which is how the original writes it, is decoded. The original has decoded such a
target before it encoded it, so what comes out is plain: it is not decoded again, and a `+` in it is a plus.

`read_payload` is that parser for native stages: slices of the frame, nothing copied. `Request` is the same for Python: an object over the frame
that reads when it is first asked and makes a Python value of a part when that part is wanted. Made by hand it is the text of a request just the
same, so there is one way to read it.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.memoryview cimport PyMemoryView_FromObject
from cpython.unicode cimport PyUnicode_DecodeLatin1, PyUnicode_DecodeUTF8
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memset

from prime_server._ext.headers cimport HAS_HOST, REFUSE_LENGTH, field_lines, headers_over, is_token
from prime_server._ext.libzmq cimport data_of, size_of
from prime_server._ext.slices cimport between, put

from collections.abc import ItemsView, KeysView, Mapping, ValuesView

from prime_server.errors import ProtocolError

cdef enum:
    SHORT = 512  # bytes; what is to be decoded and longer than that gets memory of its own

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object, Py_ssize_t*) except NULL


# --- the parser -----------------------------------------------------------------------------------------------------------------------


cdef inline int hex_digit(char byte) noexcept nogil:
    if c"0" <= byte <= c"9":
        return byte - c"0"
    byte |= 0x20
    return byte - c"a" + 10 if c"a" <= byte <= c"f" else -1


cdef inline char next_byte(const char** at, const char* end, bint plus) noexcept nogil:
    """Takes one byte off percent-encoded text; there is one. What is no escape stands for itself."""
    cdef const char* here = at[0]
    cdef int high, low
    if here[0] == c"%" and end - here >= 3:
        high = hex_digit(here[1])
        low = hex_digit(here[2])
        if high >= 0 and low >= 0:
            at[0] = here + 3
            return <char>(high << 4 | low)
    at[0] = here + 1
    return c" " if plus and here[0] == c"+" else here[0]


cdef size_t percent_decode(const char* data, size_t size, char* to, bint plus) noexcept nogil:
    """Decodes into `size` bytes of room and returns how many it took."""
    cdef const char* end = data + size
    cdef size_t count = 0
    while data < end:
        to[count] = next_byte(&data, end, plus)
        count += 1
    return count


cdef const char* find_authority(const char* start, const char* end) noexcept nogil:
    """Behind the `://` of a target in absolute form; NULL for another."""
    cdef const char* at = start
    while at < end and (c"a" <= at[0] | 0x20 <= c"z" or (at > start and (c"0" <= at[0] <= c"9" or at[0] in b"+-."))):
        at += 1
    if at > start and end - at >= 3 and memcmp(at, b"://", 3) == 0:
        return at + 3
    return NULL


cdef const char* behind_authority(const char* start, const char* end) noexcept nogil:
    cdef const char* at = start if start < end and start[0] == c"/" else find_authority(start, end)
    if at == NULL:
        return NULL
    while at < end and at[0] != c"/" and at[0] != c"?":
        at += 1
    return at


cdef int split_target(const char* start, const char* end, PayloadView* into) noexcept nogil:
    """Finds path and query; -1 where the target has no path that they could be part of."""
    cdef const char* path = behind_authority(start, end)
    cdef const char* mark
    cdef const char* slash
    if start == end:
        return -1
    if path == NULL:
        into.path = between(start, end)  # `*`, or an authority
        into.query = between(end, end)
        return 0 if into.decoded == NULL else -1
    start = path
    mark = <const char*>memchr(start, c"?", end - start) if start < end else NULL
    slash = end if mark == NULL else mark
    into.path = between(start, slash)
    if start == slash:
        into.path.data = b"/"
        into.path.size = 1
    into.query = between(end if mark == NULL else mark + 1, end)
    return 0


cdef int read_target(PayloadView* into) noexcept nogil:
    cdef const char* start = into.target.data
    cdef const char* end = start + into.target.size
    cdef size_t size
    if start[0] != c"/" and memchr(start, c"%", end - start) != NULL and memchr(start, c"/", end - start) == NULL:
        into.decoded = <char*>malloc(into.target.size)
        if into.decoded == NULL:
            return -1
        size = percent_decode(start, into.target.size, into.decoded, False)
        if split_target(into.decoded, into.decoded + size, into) == 0:
            return 0
        free(into.decoded)
        into.decoded = NULL
    return split_target(start, end, into)


cdef int read_payload(const char* data, size_t size, PayloadView* into) noexcept nogil:
    cdef const char* at = data
    cdef const char* end = data + size
    cdef const char* line
    cdef const char* stop
    cdef const char* space
    memset(into, 0, sizeof(PayloadView))
    while at < end and (at[0] == c"\n" or (at[0] == c"\r" and end - at > 1 and at[1] == c"\n")):
        at += 1 if at[0] == c"\n" else 2
    # the request line
    stop = <const char*>memchr(at, c"\n", end - at) if at < end else NULL
    if stop == NULL:
        return -1
    line = at
    at = stop + 1
    if stop > line and (stop - 1)[0] == c"\r":
        stop -= 1
    # HTTP/1.x is what it ends with, whatever the rest looks like
    if stop - line < 9 or memcmp(stop - 9, b" HTTP/1.", 8) != 0 or not (c"0" <= (stop - 1)[0] <= c"9"):
        return -1
    into.minor = (stop - 1)[0] - c"0"
    stop -= 9
    space = <const char*>memchr(line, c" ", stop - line) if line < stop else NULL
    if space == NULL or not is_token(line, space - line):
        return -1
    into.method = between(line, space)
    into.target = between(space + 1, stop)
    line = space + 1
    while line < stop:
        if <unsigned char>line[0] <= 0x20 or line[0] == 0x7f:
            return -1
        line += 1
    if into.target.size == 0:
        return -1
    # the field lines, up to an empty one
    line = at
    while True:
        stop = <const char*>memchr(at, c"\n", end - at) if at < end else NULL
        if stop == NULL:
            return -1
        if stop == at or (stop == at + 1 and at[0] == c"\r"):
            break
        at = stop + 1
    into.fields = between(line, at)
    into.body = between(stop + 1, end)
    return read_target(into)


cdef void end_payload(PayloadView* view) noexcept nogil:
    free(view.decoded)
    view.decoded = NULL


cdef bint is_named(const char* at, const char* end, const char* name, size_t size, bint plain) noexcept nogil:
    cdef const char* name_end = name + size
    if plain:
        return <size_t>(end - at) == size and memcmp(at, name, size) == 0
    while at < end and name < name_end:
        if next_byte(&at, end, True) != name[0]:
            return False
        name += 1
    return at == end and name == name_end


cdef int query_value(const PayloadView* view, const char* name, size_t name_size, char* into, size_t room, size_t* size) noexcept nogil:
    cdef bint plain = view.decoded != NULL
    cdef const char* at = view.query.data
    cdef const char* end = at + view.query.size
    cdef const char* stop
    cdef const char* equal
    while at < end:
        stop = <const char*>memchr(at, c"&", end - at)
        if stop == NULL:
            stop = end
        equal = <const char*>memchr(at, c"=", stop - at)
        if stop > at and is_named(at, stop if equal == NULL else equal, name, name_size, plain):
            at = stop if equal == NULL else equal + 1
            size[0] = 0
            while at < stop:
                if size[0] == room:
                    return -1
                if plain:
                    into[size[0]] = at[0]
                    at += 1
                else:
                    into[size[0]] = next_byte(&at, stop, True)
                size[0] += 1
            return 1
        at = stop + 1
    return 0


# --- for Python ---------------------------------------------------------------------------------------------------------------------------


cdef str text_of(const char* data, size_t size, bint plain, bint plus):
    """Percent-encoded text, decoded: UTF-8, and surrogate escapes for bytes that aren't."""
    cdef char short[SHORT]
    cdef char* room = short
    if plain or (memchr(data, c"%", size) == NULL and not (plus and memchr(data, c"+", size) != NULL)):
        return PyUnicode_DecodeUTF8(data, size, "surrogateescape")
    if size > SHORT:
        room = <char*>malloc(size)
        if room == NULL:
            raise MemoryError()
    try:
        return PyUnicode_DecodeUTF8(room, percent_decode(data, size, room, plus), "surrogateescape")
    finally:
        if room != short:
            free(room)


cdef class Query:
    cdef dict _values
    cdef list _pairs  # None while no name has come twice: then the dict has the order

    def __init__(self, query=b""):
        cdef bytes raw = query.encode("utf-8", "surrogateescape") if isinstance(query, str) else bytes(query)
        if self._values is not None:
            raise TypeError("a Query can't be made again: it is immutable")
        self.read(raw, len(raw), False)

    cdef int read(self, const char* at, size_t size, bint plain) except -1:
        cdef const char* end = at + size
        cdef const char* stop
        cdef const char* equal
        cdef list values
        self._values = {}
        while at < end:
            stop = <const char*>memchr(at, c"&", end - at)
            if stop == NULL:
                stop = end
            if stop > at:
                equal = <const char*>memchr(at, c"=", stop - at)
                if equal == NULL:
                    name = text_of(at, stop - at, plain, True)
                    value = ""
                else:
                    name = text_of(at, equal - at, plain, True)
                    value = text_of(equal + 1, stop - equal - 1, plain, True)
                values = <list>self._values.get(name)
                if values is None:
                    self._values[name] = [value]
                else:
                    if self._pairs is None:
                        self._pairs = self.pairs()
                    values.append(value)
                if self._pairs is not None:
                    self._pairs.append((name, value))
            at = stop + 1
        return 0

    def __getitem__(self, name):
        return list(<list>self._values[name])  # a copy: the mapping stays as it came

    def get(self, name, default=None):
        values = self._values.get(name)
        return default if values is None else list(<list>values)

    def pairs(self):
        if self._pairs is None:
            return [(name, values[0]) for name, values in self._values.items()]
        return list(self._pairs)

    def __contains__(self, name):
        return name in self._values

    def __iter__(self):
        return iter(self._values)

    def __len__(self):
        return len(self._values)

    def keys(self):
        return KeysView(self)

    def values(self):
        return ValuesView(self)

    def items(self):
        return ItemsView(self)

    def __eq__(self, other):
        if isinstance(other, Query):
            return self._values == (<Query>other)._values
        if isinstance(other, Mapping):
            return self._values == dict(other.items())
        return NotImplemented

    __hash__ = None

    def __repr__(self):
        return f"Query({self._values!r})"


Mapping.register(Query)


cdef Request over(object payload, const char* data, size_t size):
    cdef Request self = Request.__new__(Request)
    self._payload = payload
    self._data = data
    self._size = size
    return self


cdef Request request_of(Frame payload):
    return over(payload, data_of(&payload.message), size_of(&payload.message))


cdef bytes target_bytes(object target):
    cdef bytes raw
    if isinstance(target, str):
        try:
            raw = (<str>target).encode("ascii")
        except UnicodeEncodeError:
            raise ValueError(f"the target {target!r} has characters beyond ASCII: percent-encode them (urllib.parse.quote)") from None
    elif isinstance(target, bytes):
        raw = target
    else:
        raise TypeError(f"a target is a str or bytes, not {type(target).__name__}")
    for byte in raw:
        if byte <= 0x20 or byte == 0x7F:
            raise ValueError(f"the target {target!r} has blanks or control characters: percent-encode them (urllib.parse.quote)")
    if not raw:
        raise ValueError("the target is empty: '/' is the shortest one")
    return raw


@cython.freelist(64)
cdef class Request:
    def __init__(self, method="GET", target="/", *, headers=None, body=b"", version="1.1"):
        cdef bytes raw_method, raw_target, lines, text
        cdef Py_buffer view
        cdef Py_ssize_t size
        cdef int seen
        cdef char* at
        if self._payload is not None:
            raise TypeError("a Request can't be made again: it is immutable")
        if version != "1.1" and version != "1.0":
            raise ValueError(f"the version of a request is '1.1' or '1.0', not {version!r}")
        if not isinstance(method, str):
            raise TypeError(f"a method is a str, not {type(method).__name__}")
        raw_method = (<str>method).encode("ascii", "replace")
        if not is_token(raw_method, len(raw_method)) or not (<str>method).isascii():
            raise ValueError(f"{method!r} is no method: letters, digits and !#$%&'*+-.^_`|~ are allowed")
        raw_target = target_bytes(target)
        lines = field_lines(headers, REFUSE_LENGTH, &seen)
        if isinstance(body, str):
            body = (<str>body).encode()
        PyObject_GetBuffer(body, &view, PyBUF_SIMPLE)
        try:
            # RFC 9110 section 8.6: a length where the method anticipates content, even if there is none
            if view.len or method in ("POST", "PUT", "PATCH"):
                lines += b"Content-Length: %d\r\n" % view.len
            size = PyBytes_GET_SIZE(raw_method) + PyBytes_GET_SIZE(raw_target) + PyBytes_GET_SIZE(lines) + view.len + 14
            text = PyBytes_FromStringAndSize(NULL, size)
            at = PyBytes_AS_STRING(text)
            at = put(at, PyBytes_AS_STRING(raw_method), PyBytes_GET_SIZE(raw_method))
            at = put(at, b" ", 1)
            at = put(at, PyBytes_AS_STRING(raw_target), PyBytes_GET_SIZE(raw_target))
            at = put(at, b" HTTP/1.1\r\n" if version == "1.1" else b" HTTP/1.0\r\n", 11)
            at = put(at, PyBytes_AS_STRING(lines), PyBytes_GET_SIZE(lines))
            at = put(at, b"\r\n", 2)
            put(at, <const char*>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)
        self._payload = text
        self._data = PyBytes_AS_STRING(text)
        self._size = size
        self._needs_host = not seen & HAS_HOST

    def __dealloc__(self):
        if self._read:
            end_payload(&self._view)

    @staticmethod
    def from_payload(payload):
        cdef bytes text
        if isinstance(payload, Frame):
            return request_of(payload)
        text = bytes(payload)
        return over(text, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))

    cdef int read(self) except -1:
        if read_payload(self._data, self._size, &self._view) != 0:
            raise ProtocolError(f"the payload is no HTTP request: it begins with {self._data[:min(self._size, <size_t>60)]!r}")
        self._read = True
        return 0

    @property
    def method(self):
        if not self._read:
            self.read()
        if self._view.method.size == 3 and memcmp(self._view.method.data, b"GET", 3) == 0:
            return "GET"
        return PyUnicode_DecodeLatin1(self._view.method.data, self._view.method.size, NULL)

    @property
    def target(self):
        if not self._read:
            self.read()
        return PyBytes_FromStringAndSize(self._view.target.data, self._view.target.size)

    @property
    def host(self):
        cdef const char* start
        cdef const char* end
        if not self._read:
            self.read()
        start = self._view.target.data
        end = start + self._view.target.size
        if start[0] != c"/" and find_authority(start, end) != NULL:
            start = find_authority(start, end)
            end = behind_authority(self._view.target.data, end)
            return PyUnicode_DecodeLatin1(start, end - start, NULL)
        if self.method == "CONNECT":
            return PyUnicode_DecodeLatin1(start, end - start, NULL)
        return self.headers.get("Host", "")

    @property
    def path(self):
        if self._path is None:
            if not self._read:
                self.read()
            self._path = text_of(self._view.path.data, self._view.path.size, self._view.decoded != NULL, False)
        return self._path

    @property
    def query(self):
        cdef Query query
        if self._query is None:
            if not self._read:
                self.read()
            query = Query.__new__(Query)
            query.read(self._view.query.data, self._view.query.size, self._view.decoded != NULL)
            self._query = query
        return self._query

    @property
    def headers(self):
        if self._headers is None:
            if not self._read:
                self.read()
            self._headers = headers_over(self._payload, self._view.fields.data, self._view.fields.size)
        return self._headers

    @property
    def body(self):
        if self._body is None:
            if not self._read:
                self.read()
            self._body = PyMemoryView_FromObject(self._payload)[self._size - self._view.body.size:]
        return self._body

    @property
    def version(self):
        if not self._read:
            self.read()
        return "1.1" if self._view.minor == 1 else f"1.{self._view.minor}"

    def serialize(self):
        return bytes(self._payload)

    def __bytes__(self):
        return bytes(self._payload)

    def __repr__(self):
        try:
            return f"<Request {self.method} {self.target.decode('latin-1')}>"
        except ProtocolError:
            return "<Request, malformed>"


def payload_query_value(payload, name, room=4096):
    cdef bytes text = bytes(payload)
    cdef bytes wanted = bytes(name)
    cdef bytearray into = bytearray(room)
    cdef PayloadView view
    cdef size_t size = 0
    cdef int status
    if read_payload(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), &view) != 0:
        raise ProtocolError("the payload is no HTTP request")
    status = query_value(&view, PyBytes_AS_STRING(wanted), PyBytes_GET_SIZE(wanted), into, room, &size)
    end_payload(&view)
    if status < 0:
        raise ValueError(f"the value is longer than {room} bytes")
    return bytes(into[:size]) if status else None
