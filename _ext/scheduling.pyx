"""Threads that don't push each other off the processor, while jobs are far shorter than it takes to wake a thread, and push long jobs off it.

Each message wakes the thread it is for, and a woken thread usually takes the processor from the one that has woken it: the hub, which is in
the middle of handing out a batch. It then finds one job where a moment later there would be ten. So while jobs are tiny, the hub, the worker's
thread and libzmq's own run under SCHED_BATCH, the kernel's word for "does not preempt when it wakes": their share of the processor stays
the same, and they get a batch at a time. Measured on 2 cores with 64 connections, interleaved: `prime_serverd 1` 1.36 times the requests
per second, `run` with 2 workers 1.4 times, p99 lower in both. For the hub's own part: 1.2 times with a window of 1 and 4 workers (8 rounds),
and nothing to tell with the usual window. The hub does so only while several requests are in flight: a single one would wait for it, and p99 at 1
connection was 2.6 ms instead of 0.3.

Where there are two processors, libzmq's thread follows the hub to the one that the hub is on meanwhile. The two seldom have work at the same time,
as each waits for what the other has done, and apart they wake each other across processors, which costs more, and crowd out the workers: with a
window of 1 and 4 workers, 64 connections, `run` answers 1.2 times the requests, with 8 connections 1.4 times; with the usual window it makes no
difference (interleaved runs, 5 to 8 each). That a worker's follows it, too, made no difference that could be told. On more processors this was not
measured, and nothing is moved.

Where jobs are longer, or long ones are among them, to be woken at once is what keeps short jobs from waiting, so the usual policy holds
there. Then our threads ask for short slices of time, which Linux has from 6.12 on: a thread that wakes takes the processor from one with a longer
slice at once, instead of when that slice is over. A work thread gets the usual slice while its job runs long, so that jobs that burn the
processor hold up neither the hub nor a worker's short job. Their share of the processor stays the same here too. Measured on 2 cores with 4
workers, 1 % of the jobs long: the longest needless wait of a job (bench.uneven) 5.7 ms instead of 7.8, medians of 6 interleaved runs. With 8
workers (bench.mixed) the slices made no difference that could be told: p99 12.8 ms instead of 14.0, medians of 8 pairs that scatter from 9 to 35.

Only threads under the usual policy are touched, and not at all in a process that runs under another. A child that the user's code starts
meanwhile inherits its thread's policy. Linux only; elsewhere nothing happens.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memset

cdef extern from "scheduling.h" nogil:
    void set_batch_self "prime_set_batch_self"(int on)
    void set_batch_io "prime_set_batch_io"(int on)
    int own_thread "prime_own_thread"()
    void set_slice "prime_set_slice"(int thread, uint64_t ns)
    void set_slice_io "prime_set_slice_io"(uint64_t ns)
    int place_io "prime_place_io"(int near, int placed)

cdef enum:
    TINY_US = 40               # mean service time from which on we are patient,
    SHORT_US = 80              # and from which on no more
    LONG_AGO_US = 1000000      # that it has to be past
    QUICK_NS = 200000          # the slice of a thread that has little to do when it wakes; the kernel's own is a few milliseconds


cdef void patience_start(Patience* self, bint followed) noexcept nogil:
    memset(self, 0, sizeof(Patience))
    self.followed = followed
    self.long_at = -LONG_AGO_US
    self.placed = -1
    slice_quick(0)
    set_slice_io(QUICK_NS)


cdef void patience_saw(Patience* self, int64_t took, int64_t now) noexcept nogil:
    if took >= LONG_US:
        self.long_at = now


cdef void patience_look(Patience* self, double service, bint crowded, int64_t now) noexcept nogil:
    cdef bint on = 0 <= service < (SHORT_US if self.on else TINY_US) and now - self.long_at >= LONG_AGO_US
    cdef bint waits = on and crowded
    self.looked = now
    if waits != self.waits:
        self.waits = waits
        set_batch_self(waits)
        if not waits:  # to change the policy takes the slice back
            slice_quick(0)
    if on != self.on:
        self.on = on
        set_batch_io(on)
        if not on:
            set_slice_io(QUICK_NS)
    if self.followed:
        self.placed = place_io(waits, self.placed)


cdef void patience_end(Patience* self) noexcept nogil:
    if self.on:
        patience_look(self, -1, False, self.looked)
    slice_usual(0)
    set_slice_io(0)


cdef int this_thread() noexcept nogil:
    return own_thread()


cdef void slice_quick(int thread) noexcept nogil:
    set_slice(thread, QUICK_NS)


cdef void slice_usual(int thread) noexcept nogil:
    set_slice(thread, 0)
