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
    uint64_t life          # of the server that it is, 0: it is none
    bint gone              # its connection is closed
    size_t size
    char id[MAX_ID]

cdef struct Greeting:
    Greeting* next
    int kind               # whatever the caller says
    Message to             # owned
    uint64_t over          # what it is told: that this server's life is over; 0: hello
    int word               # with the hello

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
# With a word of info.pxd besides.
cdef void tell(Greetings* greetings, int kind, const char* id, size_t size, int word) noexcept nogil
# The same, unless the peer is remembered as greeted. True: it is new. `server` is its life if it is a server, else 0.
cdef bint greet_once(Greetings* greetings, int kind, const char* id, size_t size, uint64_t server) noexcept nogil
# Tells it that a server's life is over.
cdef void tell_over(Greetings* greetings, int kind, const char* id, size_t size, uint64_t over) noexcept nogil
# The connection of an upstream peer is closed.
cdef void peer_gone(Greetings* greetings, const char* id, size_t size) noexcept nogil
# Another server's life that is over, now that there is one of this life: all its connections are closed. 0: there is none.
cdef uint64_t life_over(Greetings* greetings, uint64_t life) noexcept nogil
# The next one into an uninitialised `into`, and its kind; 0: nobody is to be greeted.
cdef int take_greeting(Greetings* greetings, Multipart* into, uint64_t life) noexcept nogil
