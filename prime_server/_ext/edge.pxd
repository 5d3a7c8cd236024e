"""The public sockets of a server, and the sessions behind them."""

from libc.stdint cimport int64_t, uint64_t

from prime_server._ext.addresses cimport Addresses
from prime_server._ext.connections cimport Connection
from prime_server._ext.sessions cimport Sessions

cdef class Edge:
    cdef readonly Sessions sessions
    cdef object listener            # keeps the descriptor
    cdef int descriptor             # listening, -1: closed
    cdef int queue                  # the hub's
    cdef bint tcp
    cdef bint listening             # registered in the queue
    cdef int64_t listen_again       # when, after the descriptors ran out; 0: not waiting
    cdef int64_t shut_at            # when the listener closes, 0: not soon
    cdef int crowded_from           # descriptors from this number on are for others than clients; 0: none are
    cdef size_t max_connections
    cdef size_t max_per_address     # 0: any number
    cdef Addresses addresses        # owned: the connections of each, while there is a bound
    cdef size_t turned_away         # connections that are there only to be told
    cdef char* buffer               # owned: what one read takes
    cdef uint64_t out_of_descriptors, refused, refused_address, paused
    # Starts to accept, waiting in the queue.
    cdef int attach(self, int queue) except -1
    # Something is ready: the tag is the edge itself (the listener) or a Connection.
    cdef bint accept(self, int64_t now) noexcept nogil
    cdef void serve(self, Connection* connection, int events, int64_t now) noexcept nogil
    # Writes what the sessions have to say, and closes what has ended.
    cdef void flush(self, int64_t now) noexcept nogil
    # As the sessions' tick.
    cdef int64_t tick(self, int64_t now) noexcept nogil
    # Closes the listener as soon as all that wait to be accepted are: -1 is its descriptor then.
    cdef void stop_listening(self, int64_t now) noexcept nogil
    # Closes every connection as it is.
    cdef void close(self, int64_t now) noexcept nogil

    cdef void turn_away(self, Connection* connection, int status, const char* why, int64_t now) noexcept nogil
    cdef void shut(self, int64_t now) noexcept nogil
    cdef void pause(self, int64_t until) noexcept nogil
    cdef bint crowded(self) noexcept nogil
    cdef void look(self, Connection* connection, int64_t now) noexcept nogil
    cdef void write(self, Connection* connection, int64_t now) noexcept nogil
    cdef void end(self, Connection* connection) noexcept nogil
