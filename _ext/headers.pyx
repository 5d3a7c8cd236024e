"""Header fields, as the objects that users read and as the lines that go out.

`Headers` stands over header lines as they came and reads them when it is first asked; it is the same class for requests and responses. It reads
leniently, because what it reads has passed a strict parser or comes from a part of the pipeline that is trusted to frame its messages: a line
without a name is the one thing it can't make sense of (ProtocolError). Text is ISO-8859-1 both ways, so that every byte survives.

`field_lines` is the other direction and is strict: names are tokens, values have no control bytes (RFC 9110 section 5.5), so nothing that a work
function passes on from a client can end a line and begin another.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_AsLatin1String, PyUnicode_DecodeLatin1
from libc.string cimport memchr

from prime_server._ext.http_syntax cimport same, skip_text, skip_token
from prime_server._ext.slices cimport put

from collections.abc import ItemsView, KeysView, Mapping, ValuesView

from prime_server.errors import ProtocolError

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object, Py_ssize_t*) except NULL
    bint PyUnicode_IS_ASCII(object)

cdef bint is_token(const char* data, size_t size) noexcept nogil:
    return size > 0 and skip_token(data, data + size) == data + size


cdef bint is_field_value(const char* data, size_t size) noexcept nogil:
    return skip_text(data, data + size) == data + size


cdef inline bint is_blank(char byte) noexcept nogil:
    return byte == c" " or byte == c"\t"


# --- writing ----------------------------------------------------------------------------------------------------------------------------


cdef int classify(const char* name, size_t size) noexcept nogil:
    """HAS_ bits of a name, or REFUSE_FRAMING alone for the other names that a server sets."""
    if size == 4:
        if same(name, b"host", 4):
            return HAS_HOST
        return REFUSE_FRAMING if same(name, b"date", 4) else 0
    if size == 7:  # RFC 9110 section 7.8: it needs a Connection field beside it, and a server that may be upgraded
        return REFUSE_FRAMING if same(name, b"upgrade", 7) else 0
    if size == 10:
        return REFUSE_FRAMING if same(name, b"connection", 10) or same(name, b"keep-alive", 10) else 0
    if size == 12:
        return HAS_CONTENT_TYPE if same(name, b"content-type", 12) else 0
    if size == 14:
        return HAS_CONTENT_LENGTH if same(name, b"content-length", 14) else 0
    if size == 17:
        return HAS_TRANSFER_ENCODING if same(name, b"transfer-encoding", 17) else 0
    return 0


cdef bytes ascii_name(object name):
    if isinstance(name, str):
        try:
            return (<str>name).encode("ascii")
        except UnicodeEncodeError:
            raise ValueError(f"{name!r} is no header name: letters, digits and !#$%&'*+-.^_`|~ are allowed") from None
    if isinstance(name, bytes):
        return <bytes>name
    raise TypeError(f"a header name is a str, not {type(name).__name__}")


cdef bytes latin_value(object name, object value):
    if isinstance(value, str):
        try:
            return PyUnicode_AsLatin1String(value)
        except UnicodeEncodeError:
            raise ValueError(f"the value of the header {name!r} has characters beyond ISO-8859-1: {value!r}; encode or escape them") from None
    if isinstance(value, bytes):
        return <bytes>value
    raise TypeError(f"the value of the header {name!r} is a str, not {type(value).__name__}")


cdef bytes field_line(object name, object value, int refuse, int* seen):
    cdef bytes line
    cdef const char* name_data
    cdef const char* value_data
    cdef Py_ssize_t name_size, value_size
    cdef bytes held_name, held_value
    cdef int kind
    if isinstance(name, str) and PyUnicode_IS_ASCII(name):
        name_data = PyUnicode_AsUTF8AndSize(name, &name_size)
    else:
        held_name = ascii_name(name)
        name_data = held_name
        name_size = len(held_name)
    if isinstance(value, str) and PyUnicode_IS_ASCII(value):
        value_data = PyUnicode_AsUTF8AndSize(value, &value_size)
    else:
        held_value = latin_value(name, value)
        value_data = held_value
        value_size = len(held_value)
    if not is_token(name_data, name_size):
        raise ValueError(f"{name!r} is no header name: letters, digits and !#$%&'*+-.^_`|~ are allowed")
    while value_size and is_blank(value_data[0]):
        value_data += 1
        value_size -= 1
    while value_size and is_blank(value_data[value_size - 1]):
        value_size -= 1
    if not is_field_value(value_data, value_size):
        raise ValueError(f"the value of the header {name!r} has control characters: {value!r}")
    kind = classify(name_data, name_size)
    if refuse & REFUSE_FRAMING and kind & (REFUSE_FRAMING | HAS_CONTENT_LENGTH | HAS_TRANSFER_ENCODING):
        raise ValueError(f"the header {name!r} is not to be given: the server sets it")
    if refuse & REFUSE_LENGTH and kind & (HAS_CONTENT_LENGTH | HAS_TRANSFER_ENCODING):
        raise ValueError(f"the header {name!r} is not to be given: it follows from the body")
    seen[0] |= kind & 0xff
    line = PyBytes_FromStringAndSize(NULL, name_size + value_size + 4)
    put(put(put(put(PyBytes_AS_STRING(line), name_data, name_size), b": ", 2), value_data, value_size), b"\r\n", 2)
    return line


cdef bint may_be_sent(const char* at, const char* end) noexcept nogil:
    cdef const char* colon
    while at < end:
        colon = skip_token(at, end)
        if colon == at or colon == end or colon[0] != c":":
            return False
        if classify(at, colon - at) & (REFUSE_FRAMING | HAS_CONTENT_LENGTH | HAS_TRANSFER_ENCODING):
            return False
        at = skip_text(colon + 1, end)
        if end - at < 2 or at[0] != c"\r" or at[1] != c"\n":
            return False
        at += 2
    return True


cdef bytes field_lines(object headers, int refuse, int* seen):
    cdef list lines
    seen[0] = 0
    if headers is None:
        return b""
    if isinstance(headers, Headers):
        pairs = (<Headers>headers).fields()
    elif isinstance(headers, dict):
        pairs = (<dict>headers).items()
    elif isinstance(headers, (list, tuple)):
        pairs = headers
    elif isinstance(headers, (str, bytes)):
        raise TypeError(f"headers are a mapping or pairs of name and value, not {type(headers).__name__}")
    else:
        pairs = headers.items() if isinstance(headers, Mapping) else headers
    lines = []
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"headers are a mapping or pairs of name and value; {pair!r} is no pair")
        lines.append(field_line(pair[0], pair[1], refuse, seen))
    if len(lines) == 1:
        return lines[0]
    return b"".join(lines)


# --- reading ----------------------------------------------------------------------------------------------------------------------------


cdef Headers headers_over(object owner, const char* lines, size_t size):
    cdef Headers self = Headers.__new__(Headers)
    self._owner = owner
    self._lines = lines
    self._size = size
    self._pairs = None
    return self


cdef class Headers:
    def __cinit__(self, headers=None):
        cdef int seen
        cdef bytes lines
        if headers is None:
            self._pairs = []
            self._index = {}
            return
        lines = field_lines(headers, 0, &seen)
        self._owner = lines
        self._lines = lines
        self._size = len(lines)

    cdef int read(self) except -1:
        cdef const char* at = self._lines
        cdef const char* end = at + self._size
        cdef const char* stop
        cdef const char* colon
        cdef const char* last
        cdef list pairs = []
        cdef dict index = {}
        cdef list values
        while at < end:
            stop = <const char*>memchr(at, c"\n", end - at)
            if stop == NULL:
                stop = end
            last = stop
            if last > at and (last - 1)[0] == c"\r":
                last -= 1
            colon = <const char*>memchr(at, c":", last - at)
            if colon == NULL or colon == at or is_blank(at[0]):
                raise ProtocolError(f"{PyUnicode_DecodeLatin1(at, min(last - at, 100), NULL)!r} is no header field")
            name = PyUnicode_DecodeLatin1(at, colon - at, NULL)
            colon += 1
            while colon < last and is_blank(colon[0]):
                colon += 1
            while last > colon and is_blank((last - 1)[0]):
                last -= 1
            value = PyUnicode_DecodeLatin1(colon, last - colon, NULL)
            pairs.append((name, value))
            key = (<str>name).lower()
            values = <list>index.get(key)
            if values is None:
                index[key] = [value]
            else:
                values.append(value)
            at = stop + 1
        self._index = index
        self._pairs = pairs
        self._owner = None
        return 0

    cdef list values_of(self, object name):
        """The values of a field, the Headers' own list; None without."""
        if self._pairs is None:
            self.read()
        if not isinstance(name, str):
            return None
        found = self._index.get(name)
        if found is None:
            found = self._index.get((<str>name).lower())
        return <list>found

    def __getitem__(self, name):
        cdef list values = self.values_of(name)
        if values is None:
            raise KeyError(name)
        return values[0] if len(values) == 1 else ", ".join(values)

    def get(self, name, default=None):
        cdef list values = self.values_of(name)
        if values is None:
            return default
        return values[0] if len(values) == 1 else ", ".join(values)

    def get_all(self, name):
        cdef list values = self.values_of(name)
        return [] if values is None else list(values)

    def fields(self):
        if self._pairs is None:
            self.read()
        return list(self._pairs)

    def __contains__(self, name):
        return self.values_of(name) is not None

    def __len__(self):
        if self._pairs is None:
            self.read()
        return len(self._index)

    def __iter__(self):
        if self._pairs is None:
            self.read()
        names = {}
        for name, _ in self._pairs:
            names.setdefault(name.lower(), name)
        return iter(names.values())

    def keys(self):
        return KeysView(self)

    def values(self):
        return ValuesView(self)

    def items(self):
        return ItemsView(self)

    def __eq__(self, other):
        if isinstance(other, Headers):
            (<Headers>self).values_of("")
            (<Headers>other).values_of("")
            return self._index == (<Headers>other)._index
        if isinstance(other, Mapping):
            return {name.lower(): value for name, value in self.items()} == {str(name).lower(): value for name, value in other.items()}
        return NotImplemented

    __hash__ = None

    def __repr__(self):
        return f"Headers({self.fields()!r})"


Mapping.register(Headers)
