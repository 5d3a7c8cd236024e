"""The keys of interrupted requests, in bounded memory.

An interrupt reaches every worker, and mostly it names a job that is elsewhere; but the job may still be on its way to us, so each is remembered
for a while. Two generations of an open hash table: the young one takes new keys, and when it is full the old one is emptied and becomes the
young one. So the latest REMEMBERED keys are always known, forgetting costs nothing per key, and there is nothing to order. What stands in a
slot is a 64-bit mix of life and key, which is not reversible but for all purposes unique.
"""

from libc.stdlib cimport calloc, free
from libc.string cimport memset

cdef enum:
    SLOTS = 2 * REMEMBERED     # half full at most: a look-up ends after a step or two


cdef inline uint64_t mix(uint64_t life, uint64_t key) noexcept nogil:
    # The finaliser of splitmix64 over both; 0 stands for a free slot.
    cdef uint64_t value = life ^ (key * <uint64_t>0x9E3779B97F4A7C15)
    value = (value ^ (value >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    value = (value ^ (value >> 27)) * <uint64_t>0x94D049BB133111EB
    value = value ^ (value >> 31)
    return value if value else 1


cdef void interrupts_start(Interrupts* self) noexcept nogil:
    memset(self, 0, sizeof(Interrupts))


cdef void interrupts_end(Interrupts* self) noexcept nogil:
    free(self.slots[0])
    free(self.slots[1])
    memset(self, 0, sizeof(Interrupts))


cdef inline uint64_t* find(uint64_t* slots, uint64_t value) noexcept nogil:
    """Where the value is, or the free slot where it would be."""
    cdef size_t at = value & (SLOTS - 1)
    while slots[at] != 0 and slots[at] != value:
        at = (at + 1) & (SLOTS - 1)
    return &slots[at]


cdef int interrupts_remember(Interrupts* self, uint64_t life, uint64_t key) noexcept nogil:
    cdef uint64_t value = mix(life, key)
    cdef uint64_t* slot
    if self.counts[self.young] >= REMEMBERED:
        self.young = 1 - self.young
        if self.slots[self.young] != NULL:
            memset(self.slots[self.young], 0, SLOTS * sizeof(uint64_t))
        self.counts[self.young] = 0
    if self.slots[self.young] == NULL:
        self.slots[self.young] = <uint64_t*>calloc(SLOTS, sizeof(uint64_t))
        if self.slots[self.young] == NULL:
            return -1
    slot = find(self.slots[self.young], value)
    if slot[0] == 0:
        slot[0] = value
        self.counts[self.young] += 1
    return 0


cdef inline bint holds(const Interrupts* self, uint64_t value) noexcept nogil:
    cdef int which
    for which in range(2):
        if self.counts[which] and find(self.slots[which], value)[0] == value:
            return True
    return False


cdef bint interrupts_know(const Interrupts* self, uint64_t life, uint64_t key) noexcept nogil:
    return holds(self, mix(life, key)) or (life != 0 and holds(self, mix(0, key)))


cdef class InterruptSet:
    cdef Interrupts known

    def __cinit__(self):
        interrupts_start(&self.known)

    def __dealloc__(self):
        interrupts_end(&self.known)

    def add(self, uint64_t key, uint64_t life=0):
        if interrupts_remember(&self.known, life, key) != 0:
            raise MemoryError()

    def __contains__(self, life_and_key):
        life, key = life_and_key
        return interrupts_know(&self.known, life, key)

    def __len__(self):
        return self.known.counts[0] + self.known.counts[1]
