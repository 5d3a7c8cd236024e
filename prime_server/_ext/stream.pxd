"""Answers in parts: what a work function's iterator gives, sent while it gives it."""

from prime_server._ext.intake cimport Intake
from prime_server._ext.job cimport Job
from prime_server._ext.outcome cimport Outcome

# Whether what a work function has returned is to be sent in parts.
cdef bint in_parts(object result) except -1
# Sends all but the last message, which is put into the outcome. In the user's code: without the intake's lock, with the GIL. The descriptors are of
# the sockets towards proxy and interrupts. Raises what went wrong before anything was sent, what is in `into` then is the caller's to close;
# returns the exception that is to end the worker, or None.
cdef object stream(Outcome* into, object result, Job job, Intake* intake, int upstream, int interrupt)
