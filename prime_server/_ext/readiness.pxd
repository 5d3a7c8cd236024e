"""Waiting for descriptors (readiness.h)."""

from libc.stdint cimport int64_t

cdef extern from "readiness.h" nogil:
    enum:
        READABLE "PRIME_READABLE"
        WRITABLE "PRIME_WRITABLE"
        HUNG_UP "PRIME_HUNG_UP"
        READY_MAX "PRIME_READY_MAX"

    ctypedef struct Ready "prime_ready":
        void* tag
        int events

    int ready_open "prime_ready_open"()
    int ready_set "prime_ready_set"(int queue, int descriptor, void* tag, int before, int wanted, int fresh)
    void ready_remove "prime_ready_remove"(int queue, int descriptor)
    int ready_wait "prime_ready_wait"(int queue, Ready* into, int room, int64_t timeout_us)
