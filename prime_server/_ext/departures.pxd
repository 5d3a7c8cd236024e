"""When workers that are told to end may leave."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t

from prime_server._ext.greetings cimport Greetings
from prime_server._ext.workers cimport Worker, Workers

cdef struct Departures:
    int kind               # of messages to workers
    size_t wishing         # workers that wish to leave
    int64_t worked         # when the last job came or was finished
    bint closing           # the proxy itself is to end

# Lets those go who may; `others` wish to stay, `waiting` jobs have no worker, `pending` ones aren't finished. True: somebody is still to be let go.
cdef bint departures_look(
    Departures* departures, Workers* workers, Greetings* greetings, size_t others, size_t waiting, size_t pending, int64_t now
) noexcept nogil
# The proxy ends.
cdef void departures_over(Departures* departures, Workers* workers, Greetings* greetings) noexcept nogil
