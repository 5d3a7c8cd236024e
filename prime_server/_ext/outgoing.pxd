"""The messages that a balancer sends: a job to its worker, a refusal back, a greeting."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t

from prime_server._ext.jobs cimport Job, Jobs
from prime_server._ext.libzmq cimport Message, Multipart

cdef enum:             # where they go: to a ROUTER behind the peer's routing id, or by a call
    TO_WORKER = 1      # [routing id][info][payload…], or [routing id][hello]: for the downstream ROUTER
    TO_UPSTREAM = 2    # [routing id][info: refusal], or [routing id][hello]: for the upstream ROUTER
    TO_SESSIONS = 3    # [info: refusal]: the job had come from the sessions hosted beside it

# All of them fill an uninitialised `into`, which the caller owns then. 0, or -1 without memory, with `into` empty.

# [worker][info][payload…]: the job at its next hop. The job keeps its frames.
cdef int write_job(Multipart* into, Message* worker, Job* job, int64_t now) noexcept nogil
# [sender][info: refusal], without the sender where there is none; one with 503 tells in how many us it may be tried again. Takes the job's sender.
cdef int write_refusal(Multipart* into, Job* job, int64_t again, int64_t now) noexcept nogil
# [peer][hello]. Takes the peer's routing id.
cdef int write_greeting(Multipart* into, Message* peer, uint64_t life, int word) noexcept nogil
# [peer][info: cancel, no key]: nobody waits any more for what the server of this life has asked for. Takes the peer's routing id.
cdef int write_over(Multipart* into, Message* peer, uint64_t life) noexcept nogil
