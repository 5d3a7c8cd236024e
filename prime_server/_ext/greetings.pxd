"""Who has been told that this proxy speaks our extension, and who is still to be."""

from libc.stddef cimport size_t
from libc.stdint cimport uint64_t

from prime_server._ext.libzmq cimport Message, Multipart
from prime_server._ext.table cimport Table
from prime_server._ext.workers cimport MAX_ID

cdef struct Peer:
    Peer* next             # less recently used
    Peer* previous
    uint64_t hash
    size_t size
    char id[MAX_ID]

cdef struct Greeting:
    Greeting* next
    int kind               # whatever the caller says
    Message to             # owned

cdef struct Greetings:
    Table table
    Peer* first            # owned, all peers; the most recently used one
    Peer* last
    Greeting* due          # owned, those that wait to be taken, the oldest first
    Greeting* newest
    size_t count           # of them
    uint64_t seed

cdef int greetings_start(Greetings* greetings, uint64_t seed) noexcept nogil
cdef void greetings_end(Greetings* greetings) noexcept nogil
cdef void greet(Greetings* greetings, int kind, const char* id, size_t size) noexcept nogil
# The same, unless the peer is remembered as greeted.
cdef void greet_once(Greetings* greetings, int kind, const char* id, size_t size) noexcept nogil
# The next one into an uninitialised `into`, and its kind; 0: nobody is to be greeted.
cdef int take_greeting(Greetings* greetings, Multipart* into, uint64_t life) noexcept nogil
