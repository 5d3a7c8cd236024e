"""What workers and proxies send back to a server."""

from libc.stdint cimport int64_t, uint64_t

from prime_server._ext.answering cimport Answering
from prime_server._ext.connections cimport Pending
from prime_server._ext.info cimport Info
from prime_server._ext.libzmq cimport Message, Multipart

cdef class Results(Answering):
    cdef uint64_t late, malformed

    # [info][frames of the response…] or [info: refusal] from a worker or proxy. Consumed.
    cdef void result(self, Multipart* parts, int64_t now) noexcept nogil

    cdef void reject(self, Pending* pending, int status, Message* text, int64_t now) noexcept nogil
    cdef int continues(self, const Pending* pending, const Info* info) noexcept nogil
    # Whether it is more than should be held for its reader until its turn, or until what is before it was taken.
    cdef bint comes_too_early(self, const Pending* pending, Multipart* parts, const Info* info, size_t whole) noexcept nogil
    cdef void take(self, Pending* pending, Multipart* parts, const Info* info, int64_t now) noexcept nogil
