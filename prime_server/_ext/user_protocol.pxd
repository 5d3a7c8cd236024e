"""A protocol that a user has written in Python."""

from libc.stddef cimport size_t

from prime_server._ext.connections cimport Connection, Pending
from prime_server._ext.libzmq cimport Multipart
from prime_server._ext.output cimport Output

cdef class UserProtocol:
    cdef object face           # the user's object

    # With the GIL. The requests that are complete with these bytes, as they come, and one as the payload for the first stage, in an uninitialised
    # `into`. Any exception may come.
    cdef feed(self, Connection* connection, const char* data, size_t size)
    cdef int serialize(self, request, Multipart* into) except -1
    # Logs the exception of one of them.
    cdef void complain(self) noexcept
    # What to write where a ProtocolError has come. 0, or -1: it has failed, and that is logged.
    cdef int reject(self, Output* output, error) noexcept

    # What to write where there is no result. 0 or -1, as above.
    cdef int refuse(self, Output* output, int status, const char* reason) noexcept nogil
    # Whether the connection goes on behind the answer.
    cdef bint keep_alive(self, const Pending* pending) noexcept nogil
