"""How many connections each client address has."""

from libc.stddef cimport size_t
from libc.stdint cimport uint64_t

from prime_server._ext.table cimport Table

cdef struct Addresses:
    Table table            # owned, and so are its items
    uint64_t seed

# 0, or -1 without memory.
cdef int addresses_start(Addresses* addresses, uint64_t seed) noexcept nogil
cdef void addresses_end(Addresses* addresses) noexcept nogil
# One more. How many there are with it, 0 without memory: it isn't counted then.
cdef size_t addresses_enter(Addresses* addresses, uint64_t address) noexcept nogil
# One that was counted has gone.
cdef void addresses_leave(Addresses* addresses, uint64_t address) noexcept nogil
