"""Whether this process is running, draining or stopping, for every loop in it."""

from libc.stdint cimport int64_t

cdef enum:
    RUNNING = 0
    DRAINING = 1   # a signal has come: take no new work, finish what is there
    STOPPING = 2   # the drain time is over: leave now

cdef int process_state() noexcept nogil
# Monotonic us at which draining turns into stopping; 0 while running.
cdef int64_t drain_deadline() noexcept nogil
# Descriptors for a poll, level triggered and never read: readable from the moment on that the process drains. A loop takes it out of its
# poll once it has seen it.
cdef int draining_descriptor() noexcept nogil
# The same for workers: readable once the process drains and no hub in it is left that could still need them.
cdef int workers_leave_descriptor() noexcept nogil
cdef bint workers_leave() noexcept nogil
# Every hub's loop calls these on its way in and out.
cdef void hub_enters() noexcept nogil
cdef void hub_leaves() noexcept nogil
