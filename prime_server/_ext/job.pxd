"""One job as a work function in Python sees it."""

from libc.stdint cimport int64_t

from prime_server._ext.info cimport Info
from prime_server._ext.intake cimport WaitingJob
from prime_server._ext.libzmq cimport Multipart

cdef class Job:
    cdef Multipart parts       # owned: [info][payload…]; the info alone once the payload has moved to `_frames`
    cdef Info inner
    cdef int64_t until         # monotonic us, 0: none
    cdef int flag              # atomic: why to stop (intake.pxd), 0: go on
    cdef dict stages           # name: index of the stages that `forward` can go to
    cdef tuple _frames
    cdef object _request
    cdef object _info
    cdef bytes _heartbeat

    # Takes over the job; what `waiting` held counts as uninitialised.
    @staticmethod
    cdef Job take(WaitingJob* waiting, dict stages)

cdef class Forward:
    cdef readonly tuple frames
    cdef readonly object to
    cdef readonly bint retryable
    cdef int index

# The payload to send on, behind what is in `parts`: frames that came from libzmq are passed on, big buffers lent, small ones copied.
cdef int write_forward(Multipart* parts, Forward forward) except -1
