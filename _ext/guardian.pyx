"""The guardian: a thread that never touches Python, so that nothing which the user's code does can stop it.

While a job runs, it takes the intake's lock now and then and does what the work thread can't: it reads interrupts and sets the job's flag, hands
back the jobs that wait behind a long one, passes refusals on, says that the worker is busy, and has a long job make way for short ones on the
processor. Where the worker is told so, it ends the process when a job goes on past its deadline in spite of the flag: nobody waits for it, its
proxy knows that or will by the broken connection, and what is left is to get the place back for others.

Jobs that are shorter than its tick of a millisecond cost it one load: the work thread counts a serial number up when it enters the user's code and
when it leaves, and where the number has changed since the last tick, the work thread is at its sockets often enough itself. Of a job that runs long
it hears by the sockets' descriptors, and looks every few milliseconds for what they don't tell: the deadline and the shutdown. To tick on for
eight workers took so many turns on two cores that short jobs waited for the processor (`bench.mixed`, eight interleaved pairs of 15 s: of 2,200
short jobs a median of 19 took more than 20 ms, against 0.5 with twenty times fewer ticks).

When the worker has been idle for a few ticks the guardian waits on a condition, so that an idle worker costs nothing; the work thread wakes it with
the next job. Each writes its own word before it reads the other's (`asleep` here, the serial there), so one of them sees the other.
"""

from libc.errno cimport ENOMEM
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from posix.signal cimport SIG_SETMASK, sigfillset, sigset_t
from posix.time cimport nanosleep, timespec
from posix.unistd cimport _exit

from prime_server._ext.clock cimport now_us
from prime_server._ext.cpoll cimport POLLIN, poll, pollfd
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
from prime_server._ext.libzmq cimport descriptor_of
from prime_server._ext.scheduling cimport slice_quick, slice_usual, this_thread

cdef extern from "<signal.h>" nogil:
    int pthread_sigmask(int, const sigset_t*, sigset_t*)

cdef enum:
    TICK = 1000000             # ns
    LISTEN_MS = 5              # between two looks at a job that runs long: what it has to learn it learns within 10 ms
    LISTEN_AFTER = 3           # ticks
    ASLEEP_AFTER = 3           # ticks without a job


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
    cdef bint heard = False
    slice_quick(0)
    while not atomic_load(&self.quit):
        # A descriptor may stay readable, as what the work thread leaves may be more than is read at once: so at most once a tick.
        if seen & 1 and unchanged >= LISTEN_AFTER and not heard:
            heard = poll(self.ears, self.ear_count, LISTEN_MS) > 0
        else:
            doze(TICK)
            heard = False
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


cdef void listen_to(Guardian* self, void* socket) noexcept nogil:
    self.ears[self.ear_count].fd = descriptor_of(socket)
    self.ears[self.ear_count].events = POLLIN
    self.ear_count += 1


cdef int guardian_start(Guardian* self, Intake* intake) noexcept nogil:
    cdef int index
    cdef int status
    cdef sigset_t all_signals
    cdef sigset_t before
    memset(self, 0, sizeof(Guardian))
    self.intake = intake
    self.work_thread = this_thread()
    self.ears = <pollfd*>calloc(3 + intake.stage_count, sizeof(pollfd))
    if self.ears == NULL:
        return ENOMEM
    listen_to(self, intake.upstream.socket)
    listen_to(self, intake.interrupt)
    for index in range(intake.stage_count):
        listen_to(self, intake.stages[index].socket)
    self.ears[self.ear_count].fd = intake.direct  # which poll passes over where there is none
    self.ears[self.ear_count].events = POLLIN
    self.ear_count += 1
    mutex_init(&self.sleep_lock, NULL)
    condition_init(&self.wake, NULL)
    # Signals are for threads that can act on them.
    sigfillset(&all_signals)
    pthread_sigmask(SIG_SETMASK, &all_signals, &before)
    status = thread_create(&self.thread, NULL, watch, self)
    pthread_sigmask(SIG_SETMASK, &before, NULL)
    self.running = status == 0
    if not self.running:
        free(self.ears)
    return status


cdef void guardian_stop(Guardian* self) noexcept nogil:
    if not self.running:
        return
    atomic_store(&self.quit, 1)
    wake_up(self)
    thread_join(self.thread, NULL)
    condition_destroy(&self.wake)
    mutex_destroy(&self.sleep_lock)
    free(self.ears)
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
