"""Which requests nobody waits for any more: a set of keys that never grows over its bound."""

from libc.stddef cimport size_t
from libc.stdint cimport uint64_t

cdef enum:
    REMEMBERED = 65536         # ids that are kept at the least, if as many were interrupted; twice as many at the most

cdef struct Interrupts:
    uint64_t* slots[2]         # owned; two generations of 2 * REMEMBERED hashed keys each, 0: free
    size_t counts[2]
    int young                  # the generation that takes new ones

# Nothing is allocated before the first `remember`.
cdef void interrupts_start(Interrupts* self) noexcept nogil
cdef void interrupts_end(Interrupts* self) noexcept nogil
# 0, or -1 without memory: then it isn't remembered. Life 0 is a server's that doesn't speak our extension: it names the key under any life.
cdef int interrupts_remember(Interrupts* self, uint64_t life, uint64_t key) noexcept nogil
cdef bint interrupts_know(const Interrupts* self, uint64_t life, uint64_t key) noexcept nogil

cdef inline bint interrupts_any(const Interrupts* self) noexcept nogil:
    return self.counts[0] + self.counts[1] != 0
