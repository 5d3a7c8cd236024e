"""Warnings from code that runs without the GIL.

Malformed input comes in floods. A warning takes the GIL and a lock in `logging`, so that a flood of them would hold up the loop: only a few a second
are written, the others are counted and told with the next one.
"""

from libc.stdint cimport int64_t

from prime_server._ext.clock cimport now_us

from prime_server.errors import logger

cdef extern from * nogil:
    """
    static int64_t prime_report_second = 0, prime_report_count = 0, prime_report_left_out = 0;
    static int64_t prime_may_report(int64_t second) {  /* -1: no; else how many were left out before */
        int64_t last = __atomic_exchange_n(&prime_report_second, second, __ATOMIC_RELAXED);
        if (last != second) __atomic_store_n(&prime_report_count, 0, __ATOMIC_RELAXED);
        if (__atomic_add_fetch(&prime_report_count, 1, __ATOMIC_RELAXED) > 5) {
            __atomic_add_fetch(&prime_report_left_out, 1, __ATOMIC_RELAXED);
            return -1;
        }
        return __atomic_exchange_n(&prime_report_left_out, 0, __ATOMIC_RELAXED);
    }
    """
    int64_t may_report "prime_may_report"(int64_t second)


cdef void report_malformed(const char* text) noexcept nogil:
    cdef int64_t left_out = may_report(now_us() // 1000000)
    if left_out < 0:
        return
    with gil:
        try:
            logger.warning("%s%s", text.decode(), f" ({left_out} more such warnings were left out)" if left_out else "")
        except Exception:  # a broken log handler must not stop the loop
            pass
