"""Memory given back to the system.

What a flood has left behind is free, but the allocator keeps it: pages between what lives on, in the arenas of all threads. So the hub tells in every
round how much it holds; once that has fallen to a fraction of what it was and stayed there for a moment, the allocator is told to give back what is
unused. That takes some milliseconds, which is why it isn't done for little, nor while there is much to do.
"""

cdef extern from * nogil:
    """
    #if defined(__GLIBC__)
    #include <malloc.h>
    #define prime_give_back() ((void)malloc_trim(0))
    #elif defined(__APPLE__)
    #include <malloc/malloc.h>
    #define prime_give_back() ((void)malloc_zone_pressure_relief(NULL, 0))
    #else
    #define prime_give_back() ((void)0)
    #endif
    """
    void give_back "prime_give_back"()

cdef enum:
    WORTH = 4 << 20            # bytes held that it is worth the while from
    FALLEN = 4                 # to one part in so many
    QUIET_US = 300_000         # for so long


cdef int64_t tide_look(Tide* tide, size_t level, int64_t now) noexcept nogil:
    if level > tide.high:
        tide.high = level
    if tide.high < WORTH or level > tide.high // FALLEN:
        tide.low_since = 0
        return -1
    if tide.low_since == 0:
        tide.low_since = now
    if now - tide.low_since < QUIET_US:
        return tide.low_since + QUIET_US
    give_back()
    tide.high = level
    tide.low_since = 0
    return -1
