"""A worker's loop."""

from libc.stdint cimport int64_t, uint64_t

from prime_server._ext.guardian cimport Guardian
from prime_server._ext.info cimport Info
from prime_server._ext.intake cimport Intake, WaitingJob
from prime_server._ext.libzmq cimport Message
from prime_server._ext.native cimport work_fn
from prime_server._ext.nativework cimport NativeCall
from prime_server._ext.outcome cimport Outcome
from prime_server._ext.scheduling cimport Patience

cdef enum:
    MAX_STAGES = 60

cdef class WorkerLoop:
    cdef Intake intake
    cdef Guardian guardian
    cdef NativeCall call
    cdef WaitingJob current    # of a native work function
    cdef int flag              # atomic: of `current`
    cdef work_fn native        # NULL: `function` does all
    cdef void* native_data
    cdef object function       # in Python; None: a native one without a fallback
    cdef object cleanup
    cdef object kept           # what must stay alive: sockets, capsule, names
    cdef dict stages           # name: index
    cdef int upstream_descriptor
    cdef int interrupt_descriptor
    cdef int stage_descriptors[MAX_STAGES]
    cdef int pipe_out          # readable when another thread wants us to look up
    cdef int pipe_in
    cdef int stopping          # atomic
    cdef bint working
    cdef bint dead             # a socket has failed
    cdef bint lent             # libzmq may hold Python's buffers
    cdef bint leave_seen       # the process's descriptor has been seen readable
    cdef int64_t now           # ns: when the work thread last looked at the clock
    cdef int64_t listened      # us
    cdef int64_t leave_by      # us
    cdef int hellos_before     # how many there were when we told that we leave
    cdef int64_t complained    # us
    cdef Patience patience
    cdef uint64_t complaints

    cdef int loop(self) except -1 nogil
    cdef bint done(self) noexcept nogil
    cdef int wait(self) except -1 nogil
    cdef int wait_for_input(self, int64_t timeout, int* seen) noexcept nogil
    cdef int wait_for_all(self, int64_t timeout, int* seen) noexcept nogil
    cdef int look_up(self, bint interrupted) except -1
    cdef int broken(self) except -1 nogil
    cdef int complain(self) except -1
    cdef int run_native(self) except -1 nogil
    cdef int run_python(self) except -1
    cdef int python_job(self, WaitingJob* waiting, bint begun) except -1
    cdef void begin(self, WaitingJob* waiting, int* flag) noexcept nogil
    cdef void settle(self, Outcome* outcome, Info* info, Message* original, int64_t deadline, int flag) noexcept nogil
    cdef void in_pieces(self, Outcome* outcome, const Info* info, Message* original, const int* flag, int64_t* until) noexcept nogil
    cdef void lock_again(self) noexcept
    cdef int clean_up(self) except -1
