"""The thread that looks after a worker while the user's code runs."""

from prime_server._ext.cthreads cimport Condition, Mutex, Thread
from prime_server._ext.intake cimport Intake

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents

cdef enum:
    OVERDUE_STATUS = 75        # the process's exit status when it is given up, EX_TEMPFAIL of sysexits.h

cdef struct Guardian:
    Intake* intake             # not owned
    Thread thread
    Mutex sleep_lock
    Condition wake
    int asleep                 # atomic
    int quit                   # atomic
    bint running
    pollfd* ears               # owned: the descriptors of the sockets that the intake reads
    int ear_count
    int work_thread            # the kernel's number of it
    bint makes_way             # its job runs long: the work thread has the usual slice

# 0, or an errno. `intake` outlives the guardian.
cdef int guardian_start(Guardian* self, Intake* intake) noexcept nogil
# Without the intake's lock.
cdef void guardian_stop(Guardian* self) noexcept nogil
# The work thread enters the user's code: with the intake's lock held, which is released.
cdef void enter_user_code(Guardian* self) noexcept nogil
# It has left it, and holds the lock again.
cdef void leave_user_code(Guardian* self) noexcept nogil
