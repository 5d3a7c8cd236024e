"""Whether a loop's threads wait their turn when they wake, and who makes way for whom."""

from libc.stdint cimport int64_t

cdef enum:
    PATIENCE_EVERY = 50000     # us between two looks
    LONG_US = 1500             # a job that takes so long is not to be waited behind

cdef struct Patience:
    bint on
    bint waits                 # the calling thread waits its turn, too
    bint followed              # libzmq's threads go where the calling thread goes
    int placed                 # the processor to which libzmq's threads were moved; -1: none
    int64_t looked             # monotonic us, as all times here
    int64_t long_at            # when the latest long job was seen

cdef void patience_start(Patience* self, bint followed) noexcept nogil
# A job took so long, or has run for so long, us.
cdef void patience_saw(Patience* self, int64_t took, int64_t now) noexcept nogil
# By the mean service time, us; -1: not known. `crowded`: there is more than one job at a time for the calling thread to see to.
cdef void patience_look(Patience* self, double service, bint crowded, int64_t now) noexcept nogil
# As it was; on the thread of the loop.
cdef void patience_end(Patience* self) noexcept nogil

# The kernel's number of the calling thread.
cdef int this_thread() noexcept nogil
# The slice of time of a thread of this process (0: the calling one): short, so that it runs as soon as it wakes, or as the kernel has it.
cdef void slice_quick(int thread) noexcept nogil
cdef void slice_usual(int thread) noexcept nogil
