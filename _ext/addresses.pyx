"""How many connections each client address has.

An address is a number here: an IPv4 address, or the first 64 bits of an IPv6 address, of which a client has as many as it likes. A connection
remembers the number alone, so nothing points into the table and what has no connection any more is forgotten.
"""

from libc.stdlib cimport free, malloc

from prime_server._ext.table cimport mixed, table_end, table_next, table_put, table_remove, table_start

cdef struct Count:
    size_t connections


cdef int addresses_start(Addresses* addresses, uint64_t seed) noexcept nogil:
    addresses.seed = seed
    return table_start(&addresses.table)


cdef void addresses_end(Addresses* addresses) noexcept nogil:
    cdef size_t index
    if addresses.table.entries != NULL:
        for index in range(addresses.table.mask + 1):
            free(addresses.table.entries[index].item)
    table_end(&addresses.table)


cdef inline Count* find(Addresses* addresses, uint64_t hash) noexcept nogil:
    cdef size_t step = 0
    return <Count*>table_next(&addresses.table, hash, &step)  # the hash is a bijection: there is no other of it


cdef size_t addresses_enter(Addresses* addresses, uint64_t address) noexcept nogil:
    cdef uint64_t hash = mixed(address ^ addresses.seed)
    cdef Count* count = find(addresses, hash)
    if count == NULL:
        count = <Count*>malloc(sizeof(Count))
        if count == NULL:
            return 0
        count.connections = 0
        if table_put(&addresses.table, hash, count) != 0:
            free(count)
            return 0
    count.connections += 1
    return count.connections


cdef void addresses_leave(Addresses* addresses, uint64_t address) noexcept nogil:
    cdef uint64_t hash = mixed(address ^ addresses.seed)
    cdef Count* count = find(addresses, hash)
    if count != NULL:
        count.connections -= 1
        if count.connections == 0:
            table_remove(&addresses.table, hash, count)
            free(count)
