"""A hash table of pointers: open addressing, linear probing, no tombstones.

The table keeps the hash beside the pointer and leaves the comparison of keys to its owner, so that one table serves jobs (by life and key) and
workers (by routing id), and several items may have the same key. Removal moves the rest of the run back, so a table that has lived long is as
fast as a new one; it shrinks again after a flood.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

cdef enum:
    TABLE_SMALLEST = 64

cdef struct Entry:
    uint64_t hash
    void* item             # NULL: free

cdef struct Table:
    Entry* entries         # owned; a power of two of them, at most half in use
    size_t mask            # their number - 1
    size_t count

cdef inline uint64_t mixed(uint64_t value) noexcept nogil:
    """A bijection that lets every bit reach every other: David Stafford's variant 13 of MurmurHash3's finaliser."""
    value = (value ^ (value >> 30)) * <uint64_t>0xbf58476d1ce4e5b9
    value = (value ^ (value >> 27)) * <uint64_t>0x94d049bb133111eb
    return value ^ (value >> 31)

cdef inline uint64_t hash_of(const char* data, size_t size, uint64_t seed) noexcept nogil:
    cdef uint64_t hash = seed ^ size
    cdef uint64_t word
    while size >= 8:
        memcpy(&word, data, 8)
        hash = mixed(hash ^ word)
        data += 8
        size -= 8
    word = 0
    if size:
        memcpy(&word, data, size)
    return mixed(hash ^ word)

cdef inline int table_start(Table* table) noexcept nogil:
    table.count = 0
    table.mask = TABLE_SMALLEST - 1
    table.entries = <Entry*>calloc(TABLE_SMALLEST, sizeof(Entry))
    return 0 if table.entries != NULL else -1

cdef inline void table_end(Table* table) noexcept nogil:
    free(table.entries)
    memset(table, 0, sizeof(Table))

cdef inline int table_resize(Table* table, size_t capacity) noexcept nogil:
    cdef Entry* entries = <Entry*>calloc(capacity, sizeof(Entry))
    cdef size_t index
    cdef size_t at
    if entries == NULL:
        return -1
    for index in range(table.mask + 1):
        if table.entries[index].item != NULL:
            at = table.entries[index].hash & (capacity - 1)
            while entries[at].item != NULL:
                at = (at + 1) & (capacity - 1)
            entries[at] = table.entries[index]
    free(table.entries)
    table.entries = entries
    table.mask = capacity - 1
    return 0

cdef inline int table_put(Table* table, uint64_t hash, void* item) noexcept nogil:
    """0, or -1 without memory."""
    cdef size_t at
    if (table.count + 1) * 2 > table.mask + 1 and table_resize(table, (table.mask + 1) * 2) != 0:
        return -1
    at = hash & table.mask
    while table.entries[at].item != NULL:
        at = (at + 1) & table.mask
    table.entries[at].hash = hash
    table.entries[at].item = item
    table.count += 1
    return 0

cdef inline void* table_next(const Table* table, uint64_t hash, size_t* step) noexcept nogil:
    """The items that have this hash, one a call, then NULL; `step` starts at 0, and the table must not change meanwhile."""
    cdef const Entry* entry
    while True:
        entry = &table.entries[(hash + step[0]) & table.mask]
        step[0] += 1
        if entry.item == NULL or entry.hash == hash:
            return entry.item

cdef inline void table_remove(Table* table, uint64_t hash, const void* item) noexcept nogil:
    cdef size_t mask = table.mask
    cdef size_t hole = hash & mask
    cdef size_t at
    while table.entries[hole].item != item:
        if table.entries[hole].item == NULL:
            return
        hole = (hole + 1) & mask
    at = hole
    while True:
        at = (at + 1) & mask
        if table.entries[at].item == NULL:
            break
        # What may stand at the hole: everything whose own place isn't between the hole and where it stands.
        if ((at - table.entries[at].hash) & mask) >= ((at - hole) & mask):
            table.entries[hole] = table.entries[at]
            hole = at
    table.entries[hole].item = NULL
    table.count -= 1
    if mask + 1 > TABLE_SMALLEST and table.count * 16 < mask + 1:
        table_resize(table, (mask + 1) // 2)
