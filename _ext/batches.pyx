"""Many numbers in one call: from a buffer as it lies in memory, or from anything that can be iterated over.

What comes in is copied, a chunk at a time, into plain unsigned 64-bit integers and judged without the GIL (primality.pyx); whoever writes into the
buffer meanwhile gets answers about old or new numbers, and no harm is done. Between two slices, some milliseconds of work, signals are heard.
Numbers of an iterable are all read before the first is judged, so that an error leaves `out` as it was. Those from 2^64 on, kept apart, go to GMP.

numpy is never imported: only who has done so can have an array of its own.
"""

from cpython.buffer cimport (
    PyBUF_FULL_RO,
    PyBuffer_IsContiguous,
    PyBuffer_Release,
    PyObject_CheckBuffer,
    PyObject_GetBuffer,
)
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.long cimport PyLong_CheckExact
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

import sys

from prime_server._ext.bigprimes cimport is_prime_big
from prime_server._ext.primality cimport are_prime_u64, integer
from prime_server._ext.pylong cimport PYLONG_BIG, PYLONG_FITS, pylong_u64

cdef enum:
    CHUNK = 1 << 11            # numbers copied at once
    SLICE = 1 << 16            # numbers judged between two looks for signals: at most 20 ms
    FEW = 16                   # numbers that are judged sooner than another thread would have the GIL
    ROOM = 64                  # numbers of an iterable that need no memory

cdef enum Kind:
    U64
    I64
    U32
    I32

cdef char NATIVE = c"<" if sys.byteorder == "little" else c">"
cdef str TAKEN = "a buffer of uint64, int64, uint32 or int32 in the machine's byte order"
cdef str FILLED = "a writable buffer of bool or uint8"

cdef object ndarray = None     # numpy's, once somebody has imported it
cdef object empty, boolean


# --- judging -------------------------------------------------------------------------------------------------------------------------------------


cdef void load(const char* source, Kind kind, uint64_t* chunk, Py_ssize_t count) noexcept nogil:
    """`count` numbers, at any address, as unsigned 64-bit ones; a negative one, which is as little prime as 0, as 0."""
    cdef Py_ssize_t index
    cdef int64_t wide
    cdef uint32_t narrow
    cdef int32_t signed
    if kind == U64:
        memcpy(chunk, source, count * sizeof(uint64_t))
    elif kind == I64:
        for index in range(count):
            memcpy(&wide, source + index * sizeof(wide), sizeof(wide))
            chunk[index] = <uint64_t>(wide & ~(wide >> 63))
    elif kind == U32:
        for index in range(count):
            memcpy(&narrow, source + index * sizeof(narrow), sizeof(narrow))
            chunk[index] = narrow
    else:
        for index in range(count):
            memcpy(&signed, source + index * sizeof(signed), sizeof(signed))
            chunk[index] = <uint32_t>(signed & ~(signed >> 31))


cdef void judge_slice(const char* source, Kind kind, uint8_t* primes, Py_ssize_t count) noexcept nogil:
    cdef uint64_t[CHUNK] chunk
    cdef Py_ssize_t size, width = 8 if kind < U32 else 4
    while count > 0:
        size = min(count, <Py_ssize_t>CHUNK)
        load(source, kind, chunk, size)
        are_prime_u64(chunk, primes, size)
        source += size * width
        primes += size
        count -= size


cdef int judge(const char* source, Kind kind, uint8_t* primes, Py_ssize_t count) except -1:
    cdef Py_ssize_t size, width = 8 if kind < U32 else 4
    if count <= FEW:
        judge_slice(source, kind, primes, count)
        return 0
    while True:
        size = min(count, <Py_ssize_t>SLICE)
        with nogil:
            judge_slice(source, kind, primes, size)
        count -= size
        if count == 0:
            return 0
        source += size * width
        primes += size
        PyErr_CheckSignals()


# --- buffers -------------------------------------------------------------------------------------------------------------------------------------


cdef int kind_of(const Py_buffer* view) noexcept:
    """A `Kind`, or -1."""
    cdef const char* format = view.format
    cdef char letter
    if format == NULL:
        return -1
    letter = format[0]
    if letter == c"@" or letter == c"=" or letter == NATIVE:
        format += 1
        letter = format[0]
    if letter == 0 or format[1] != 0 or (view.itemsize != 8 and view.itemsize != 4):
        return -1
    if letter == c"Q" or letter == c"L" or letter == c"I" or letter == c"N":
        return U64 if view.itemsize == 8 else U32
    if letter == c"q" or letter == c"l" or letter == c"i" or letter == c"n":
        return I64 if view.itemsize == 8 else I32
    return -1


cdef bint holds_bytes(const Py_buffer* view) noexcept:
    cdef const char* format = view.format
    if view.itemsize != 1:
        return False
    if format == NULL:
        return True
    if format[0] == c"@" or format[0] == c"=" or format[0] == c"<" or format[0] == c">" or format[0] == c"|":
        format += 1
    return (format[0] == c"?" or format[0] == c"B") and format[1] == 0


cdef str described(object exporter, const Py_buffer* view):
    """What a buffer's items are, for a message."""
    dtype = getattr(exporter, "dtype", None)
    if dtype is not None:
        return str(dtype)
    if isinstance(exporter, (bytes, bytearray)):
        return type(exporter).__name__
    return f"of format {(b'B' if view.format == NULL else view.format).decode()!r}"


cdef int acquire(object exporter, Py_buffer* view, str name) except -1:
    """Whatever the buffer is like: what's wrong with it is told by those who know what it is for."""
    try:
        PyObject_GetBuffer(exporter, view, PyBUF_FULL_RO)
    except (ValueError, BufferError) as error:
        dtype = getattr(exporter, "dtype", None)  # of numpy's, dates have no format
        if dtype is None:
            raise
        raise TypeError(f"{name} should be {TAKEN if name == 'numbers' else FILLED}, not {dtype}") from error
    return 0


cdef int check_shape(const Py_buffer* view, str name) except -1:
    if view.ndim != 1:
        raise ValueError(f"{name} should have 1 dimension, not {view.ndim}")
    if not PyBuffer_IsContiguous(<Py_buffer*>view, c"C"):
        raise ValueError(f"{name} should be C-contiguous, and has strides of {view.strides[0]} bytes for items of {view.itemsize}")
    return 0


cdef int acquire_out(object out, Py_buffer* view, Py_ssize_t count) except -1:
    if not PyObject_CheckBuffer(out):
        raise TypeError(f"out should be {FILLED}, not {type(out).__name__}")
    acquire(out, view, "out")
    try:
        if not holds_bytes(view):
            raise TypeError(f"out should be {FILLED}, not {described(out, view)}")
        if view.readonly:
            raise ValueError("out should be writable, and is read-only")
        check_shape(view, "out")
        if view.len != count:
            raise ValueError(f"out should be as long as numbers, {count}, not {view.len}")
    except BaseException:
        PyBuffer_Release(view)
        raise
    return 0


cdef bint is_array(object numbers) except -1:
    """Of numpy's."""
    global ndarray, empty, boolean
    if ndarray is None:
        numpy = sys.modules.get("numpy")
        if numpy is None or not hasattr(numpy, "ndarray"):
            return False
        empty, boolean, ndarray = numpy.empty, numpy.dtype(bool), numpy.ndarray
    return isinstance(numbers, ndarray)


cdef object of_buffer(object numbers, object out):
    cdef Py_buffer view, filled
    cdef Py_ssize_t count
    cdef int kind
    acquire(numbers, &view, "numbers")
    try:
        kind = kind_of(&view)
        if kind < 0:
            raise TypeError(f"numbers should be {TAKEN}, not {described(numbers, &view)}")
        check_shape(&view, "numbers")
        count = view.len // view.itemsize
        if out is None:
            if not is_array(numbers):
                out = PyByteArray_FromStringAndSize(NULL, count)
                judge(<const char*>view.buf, <Kind>kind, <uint8_t*>PyByteArray_AS_STRING(out), count)
                return out
            out = empty(count, boolean)
        acquire_out(out, &filled, count)
        try:
            if <uintptr_t>filled.buf < <uintptr_t>view.buf + view.len and <uintptr_t>view.buf < <uintptr_t>filled.buf + count:
                raise ValueError("out should share no memory with numbers")
            judge(<const char*>view.buf, <Kind>kind, <uint8_t*>filled.buf, count)
        finally:
            PyBuffer_Release(&filled)
    finally:
        PyBuffer_Release(&view)
    return out


# --- iterables -----------------------------------------------------------------------------------------------------------------------------------


ctypedef struct Collected:
    uint64_t* values           # `room` or memory of its own
    Py_ssize_t count
    Py_ssize_t most


cdef int add(Collected* self, uint64_t value, uint64_t* room) except -1:
    cdef uint64_t* values
    if self.count == self.most:
        values = <uint64_t*>realloc(NULL if self.values == room else self.values, 2 * self.most * sizeof(uint64_t))
        if values == NULL:
            raise MemoryError()
        if self.values == room:
            memcpy(values, room, self.count * sizeof(uint64_t))
        self.values = values
        self.most *= 2
    self.values[self.count] = value
    self.count += 1
    return 0


cdef object of_iterable(object numbers, object out):
    cdef uint64_t[ROOM] room
    cdef Collected collected
    cdef Py_buffer filled
    cdef uint64_t value = 0
    cdef uint8_t* primes
    cdef int kind
    cdef list big = None
    collected.values = room
    collected.count = 0
    collected.most = ROOM
    try:
        for n in numbers:
            if not PyLong_CheckExact(n):
                n = integer(n)
            kind = pylong_u64(n, &value)
            if kind != PYLONG_FITS:
                value = 0
                if kind == PYLONG_BIG:
                    if big is None:
                        big = []
                    big.append((collected.count, n))
            add(&collected, value, room)
        if out is None:
            out = PyByteArray_FromStringAndSize(NULL, collected.count)
            primes = <uint8_t*>PyByteArray_AS_STRING(out)
            judge(<const char*>collected.values, U64, primes, collected.count)
            if big is not None:
                judge_big(big, primes)
            return out
        acquire_out(out, &filled, collected.count)
        try:
            judge(<const char*>collected.values, U64, <uint8_t*>filled.buf, collected.count)
            if big is not None:
                judge_big(big, <uint8_t*>filled.buf)
        finally:
            PyBuffer_Release(&filled)
    finally:
        if collected.values != room:
            free(collected.values)
    return out


cdef int judge_big(list big, uint8_t* primes) except -1:
    cdef Py_ssize_t index
    for index, n in big:
        primes[index] = is_prime_big(n)
        PyErr_CheckSignals()
    return 0


def are_prime(numbers, out=None):
    if not (isinstance(numbers, (list, tuple))) and PyObject_CheckBuffer(numbers):
        return of_buffer(numbers, out)
    try:
        iterator = iter(numbers)
    except TypeError:
        if hasattr(type(numbers), "__iter__"):
            raise
        raise TypeError(f"numbers should be {TAKEN}, or an iterable of integers, not {type(numbers).__name__}") from None
    return of_iterable(numbers if isinstance(numbers, (list, tuple)) else iterator, out)
