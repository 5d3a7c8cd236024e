"""What a server adds to answers and what it answers by itself: the `Server` field, and cross-origin resource sharing.

Sharing is by the Fetch standard: a browser asks by a preflight what pages of another origin may do, and reads in each answer whether they may see
it. All lines that can go out are made beforehand, one text for each origin, so that here only the request's Origin is looked up.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcmp

from prime_server._ext.answer cimport find_field
from prime_server._ext.slices cimport slice_of


cdef inline Slice text_of(bytes text) noexcept:
    return slice_of(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))


cdef class Policy:
    def __cinit__(self, *, bytes server=b"", methods=(), bint raw_targets=False, origins=(), fields=(), preflights=()):
        cdef bytes names = b"".join([name + b" " for name in methods])
        self.shares = len(fields) > 0
        self.count = len(origins)
        if self.shares and not self.count + 1 == len(fields) == len(preflights):
            raise ValueError("there are fields and preflights for each origin, and for none of them")
        self.kept = server, names, tuple(origins), tuple(fields), tuple(preflights)
        self.server = text_of(server)
        self.methods = text_of(names)
        self.raw_targets = raw_targets
        self.origins = <Slice*>calloc(self.count + 1, sizeof(Slice))
        self.fields = <Slice*>calloc(self.count + 1, sizeof(Slice))
        self.preflights = <Slice*>calloc(self.count + 1, sizeof(Slice))
        if self.origins == NULL or self.fields == NULL or self.preflights == NULL:
            raise MemoryError()
        for into, texts in enumerate(self.kept[2:]):
            for index, text in enumerate(texts):
                (self.origins if into == 0 else self.fields if into == 1 else self.preflights)[<int>index] = text_of(text)

    def __dealloc__(self):
        free(self.origins)
        free(self.fields)
        free(self.preflights)

    cdef int origin_of(self, const char* head, size_t size) noexcept nogil:
        cdef const char* end = head + size
        cdef const char* at
        cdef const char* line_end
        cdef int index
        if self.count == 0:
            return 0
        at = find_field(head, end, "origin", 6)
        if at == NULL:
            return 0
        at += 7
        line_end = <const char*>memchr(at, c"\n", end - at)
        if find_field(line_end + 1, end, "origin", 6) != NULL:
            return 0  # two are none of those that are allowed: read as one they are a list
        end = line_end - 1  # in front of the CR
        while at < end and (at[0] == c" " or at[0] == c"\t"):
            at += 1
        while at < end and ((end - 1)[0] == c" " or (end - 1)[0] == c"\t"):
            end -= 1
        for index in range(self.count):
            if self.origins[index].size == <size_t>(end - at) and memcmp(self.origins[index].data, at, end - at) == 0:
                return index + 1
        return 0

    cdef bint is_preflight(self, const char* head, size_t size) noexcept nogil:
        cdef const char* end = head + size
        return find_field(head, end, "origin", 6) != NULL and find_field(head, end, "access-control-request-method", 29) != NULL
