"""The messages that a balancer sends.

At each hop a job's info is written anew: what it has waited here is added to `queued` and taken off `time_left`, and `attempt` and `hops` count on,
always from the info as it came, so that it doesn't matter how often a job has been given away here before. The payload's frames are shared,
not copied. An info without our extension is passed on byte for byte.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from prime_server._ext.info cimport FLAG_FINISHED, FLAG_FROM_PROXY, FLAG_IDEMPOTENT, FLAG_REFUSAL, FLAG_RETRYABLE, Info, set_code, write_cancel
from prime_server._ext.info cimport write_hello, write_info
from prime_server._ext.jobs cimport attempt_of, hops_with_worker
from prime_server._ext.libzmq cimport add, close_all, frame, size_of, start, zmq

cdef int64_t MOST_32 = 0xffffffff


cdef inline uint8_t bounded8(int value) noexcept nogil:
    return <uint8_t>(value if value < 0xff else 0xff)


cdef inline void advance(Info* info, const Job* job, int64_t now) noexcept nogil:
    """From how the info came to what is true of the job now."""
    cdef int64_t waited = now - job.arrived if now > job.arrived else 0
    cdef int64_t queued = info.queued + waited
    info.attempt = attempt_of(job)
    info.strikes = bounded8(job.strikes)
    info.queued = <uint32_t>(queued if queued < MOST_32 else MOST_32)
    if info.time_left > 0:
        info.time_left = info.time_left - waited if info.time_left > waited else -1


cdef inline int share_frame(Multipart* into, Message* source) noexcept nogil:
    cdef Message* slot = add(into)
    if slot == NULL:
        return -1
    zmq.msg_init(slot)
    return zmq.msg_copy(slot, source)


cdef int write_job(Multipart* into, Message* worker, Job* job, int64_t now) noexcept nogil:
    cdef Message* original = frame(&job.frames, 0)
    cdef Info info
    cdef int status
    cdef int index
    start(into)
    status = share_frame(into, worker)
    if job.info.extended:
        info = job.info
        advance(&info, job, now)
        info.flags = (info.flags | FLAG_FROM_PROXY) & ~<unsigned int>FLAG_FINISHED
        if job.repeatable and not info.flags & FLAG_IDEMPOTENT:
            info.flags |= FLAG_RETRYABLE  # where this stage's proxy was told so
        info.hops = hops_with_worker(&info)
        status |= write_info(add(into), &info, original)
    else:
        status |= share_frame(into, original)
    for index in range(1, job.frames.size):
        status |= share_frame(into, frame(&job.frames, index))
    if status != 0:
        close_all(into)
        return -1
    return 0


cdef int write_refusal(Multipart* into, Job* job, int64_t again, int64_t now) noexcept nogil:
    cdef Info info = job.info
    start(into)
    if size_of(&job.sender):
        memcpy(add(into), &job.sender, sizeof(Message))
        zmq.msg_init(&job.sender)
    set_code(&info, job.status)
    if info.extended:
        advance(&info, job, now)
        if job.status == 503:
            info.time_left = again
        info.flags = (info.flags & ~FLAG_FROM_PROXY) | FLAG_REFUSAL
    if write_info(add(into), &info, frame(&job.frames, 0)) != 0:
        close_all(into)
        return -1
    return 0


cdef int write_greeting(Multipart* into, Message* peer, uint64_t life, int word) noexcept nogil:
    start(into)
    memcpy(add(into), peer, sizeof(Message))
    if write_hello(add(into), life, word) != 0:
        close_all(into)
        return -1
    return 0


cdef int write_over(Multipart* into, Message* peer, uint64_t life) noexcept nogil:
    start(into)
    memcpy(add(into), peer, sizeof(Message))
    if write_cancel(add(into), life, 0) != 0:
        close_all(into)
        return -1
    return 0
