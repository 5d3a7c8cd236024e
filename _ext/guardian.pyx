"""The guardian: a thread that never touches Python, so that nothing which the user's code does can stop it.

While a job runs, it takes the intake's lock every millisecond or so and does what the work thread can't: it reads interrupts and sets the job's
flag, hands back the jobs that wait behind a long one, passes refusals on, says that the worker is busy, and has a long job make way for short ones
on the processor. Where the worker is told so, it ends the
process when a job goes on past its deadline in spite of the flag: nobody waits for it, its proxy knows that or will by the broken connection, and
what is left is to get the place back for others.

Jobs that are shorter than its tick cost it one load: the work thread counts a serial number up when it enters the user's code and when it
leaves, and where the number has changed since the last tick, the work thread is at its sockets often enough itself. When the worker has been
idle for a while the guardian waits on a condition, so that an idle worker costs nothing; the work thread wakes it with the next job. Each
writes its own word before it reads the other's (`asleep` here, the serial there), so one of them sees the other.
"""

from libc.string cimport memset
from posix.signal cimport SIG_SETMASK, sigfillset, sigset_t
from posix.time cimport nanosleep, timespec
from posix.unistd cimport _exit

from prime_server._ext.clock cimport now_us
from prime_server._ext.cthreads cimport (
    atomic_load,
    atomic_load_ordered,
    atomic_store,
    atomic_store_ordered,
    condition_destroy,
    condition_init,
    condition_signal,
    condition_wait,
    mutex_destroy,
    mutex_init,
    mutex_lock,
    mutex_trylock,
    mutex_unlock,
    thread_create,
    thread_join,
)
from prime_server._ext.intake cimport LONG, intake_guard
from prime_server._ext.scheduling cimport slice_quick, slice_usual, this_thread

cdef extern from "<signal.h>" nogil:
    int pthread_sigmask(int, const sigset_t*, sigset_t*)

cdef enum:
    TICK = 1000000             # ns
    LAZY_TICK = 3000000        # ns, for a job that runs long already: what it has to learn it still learns within 10 ms
    LAZY_AFTER = 50            # ticks
    ASLEEP_AFTER = 20          # ticks without a job


cdef void doze(long ns) noexcept nogil:
    cdef timespec time
    time.tv_sec = 0
    time.tv_nsec = ns
    nanosleep(&time, NULL)


cdef void sleep_until_work(Guardian* self, int serial) noexcept nogil:
    mutex_lock(&self.sleep_lock)
    atomic_store_ordered(&self.asleep, 1)
    while atomic_load_ordered(&self.intake.running.serial) == serial and not atomic_load(&self.quit):
        condition_wait(&self.wake, &self.sleep_lock)
    atomic_store(&self.asleep, 0)
    mutex_unlock(&self.sleep_lock)


cdef void* watch(void* argument) noexcept nogil:
    cdef Guardian* self = <Guardian*>argument
    cdef int seen = atomic_load(&self.intake.running.serial)
    cdef int serial
    cdef int unchanged = 0
    slice_quick(0)
    while not atomic_load(&self.quit):
        doze(LAZY_TICK if unchanged > LAZY_AFTER else TICK)
        serial = atomic_load(&self.intake.running.serial)
        if serial != seen:
            seen = serial
            unchanged = 0
            continue
        unchanged += 1
        if serial & 1:
            if mutex_trylock(&self.intake.lock) == 0:
                if atomic_load(&self.intake.running.serial) & 1:
                    intake_guard(self.intake, now_us())
                    if not self.makes_way and now_us() - self.intake.running.since >= LONG:
                        self.makes_way = True
                        slice_usual(self.work_thread)
                if self.intake.overdue:
                    _exit(OVERDUE_STATUS)
                mutex_unlock(&self.intake.lock)
        elif unchanged >= ASLEEP_AFTER:
            sleep_until_work(self, serial)
            unchanged = 0
    return NULL


cdef void wake_up(Guardian* self) noexcept nogil:
    mutex_lock(&self.sleep_lock)
    condition_signal(&self.wake)
    mutex_unlock(&self.sleep_lock)


cdef int guardian_start(Guardian* self, Intake* intake) noexcept nogil:
    cdef int status
    cdef sigset_t all_signals
    cdef sigset_t before
    memset(self, 0, sizeof(Guardian))
    self.intake = intake
    self.work_thread = this_thread()
    mutex_init(&self.sleep_lock, NULL)
    condition_init(&self.wake, NULL)
    # Signals are for threads that can act on them.
    sigfillset(&all_signals)
    pthread_sigmask(SIG_SETMASK, &all_signals, &before)
    status = thread_create(&self.thread, NULL, watch, self)
    pthread_sigmask(SIG_SETMASK, &before, NULL)
    self.running = status == 0
    return status


cdef void guardian_stop(Guardian* self) noexcept nogil:
    if not self.running:
        return
    atomic_store(&self.quit, 1)
    wake_up(self)
    thread_join(self.thread, NULL)
    condition_destroy(&self.wake)
    mutex_destroy(&self.sleep_lock)
    self.running = False


cdef void enter_user_code(Guardian* self) noexcept nogil:
    atomic_store_ordered(&self.intake.running.serial, self.intake.running.serial + 1)
    mutex_unlock(&self.intake.lock)
    if atomic_load_ordered(&self.asleep):
        wake_up(self)


cdef void leave_user_code(Guardian* self) noexcept nogil:
    self.intake.running.flag = NULL
    if self.makes_way:
        self.makes_way = False
        slice_quick(0)
    atomic_store(&self.intake.running.serial, self.intake.running.serial + 1)
