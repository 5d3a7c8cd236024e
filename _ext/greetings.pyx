"""Who has been told that this proxy speaks our extension, and who is still to be.

A hello is owed to each worker of ours when it has shown itself, and to each upstream peer of ours once. Which peers those are is remembered by
routing id, for a bounded number of them: the least recently seen one makes room, and is greeted again when it comes back, which harms nobody.

Of a peer that is a server its life is remembered too. A closed connection alone says little, as a server may come back with the life that it had.
But when its connection is closed and a server of another life is there, that life is over, and so is what it had asked for.
"""

from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from prime_server._ext.libzmq cimport copy_in, zmq
from prime_server._ext.outgoing cimport write_greeting, write_over
from prime_server._ext.table cimport hash_of, table_end, table_next, table_put, table_remove, table_start

cdef enum:
    MOST_PEERS = 1024
    MOST_DUE = 65536


cdef int greetings_start(Greetings* self, uint64_t seed) noexcept nogil:
    self.first = NULL
    self.last = NULL
    self.due = NULL
    self.newest = NULL
    self.count = 0
    self.seed = seed
    return table_start(&self.table)


cdef void greetings_end(Greetings* self) noexcept nogil:
    cdef Greeting* greeting
    cdef Peer* peer
    while self.first != NULL:
        peer = self.first
        self.first = peer.next
        free(peer)
    while self.due != NULL:
        greeting = self.due
        self.due = greeting.next
        zmq.msg_close(&greeting.to)
        free(greeting)
    table_end(&self.table)


cdef void greet(Greetings* self, int kind, const char* id, size_t size) noexcept nogil:
    add_due(self, kind, id, size, 0, 0)


cdef void tell(Greetings* self, int kind, const char* id, size_t size, int word) noexcept nogil:
    add_due(self, kind, id, size, 0, word)


cdef void tell_over(Greetings* self, int kind, const char* id, size_t size, uint64_t over) noexcept nogil:
    add_due(self, kind, id, size, over, 0)


cdef void add_due(Greetings* self, int kind, const char* id, size_t size, uint64_t over, int word) noexcept nogil:
    cdef Greeting* greeting
    if self.count >= MOST_DUE:
        return
    greeting = <Greeting*>malloc(sizeof(Greeting))
    if greeting == NULL:
        return
    if copy_in(&greeting.to, id, size) != 0:
        free(greeting)
        return
    greeting.kind = kind
    greeting.over = over
    greeting.word = word
    greeting.next = NULL
    if self.due != NULL:
        self.newest.next = greeting
    else:
        self.due = greeting
    self.newest = greeting
    self.count += 1


cdef bint greet_once(Greetings* self, int kind, const char* id, size_t size, uint64_t server) noexcept nogil:
    if not is_new(self, id, size):
        return False
    self.first.life = server
    greet(self, kind, id, size)
    return True


cdef int take_greeting(Greetings* self, Multipart* into, uint64_t life) noexcept nogil:
    cdef Greeting* greeting
    cdef int kind
    while self.due != NULL:
        greeting = self.due
        self.due = greeting.next
        self.count -= 1
        kind = greeting.kind
        if (write_over(into, &greeting.to, greeting.over) if greeting.over else write_greeting(into, &greeting.to, life, greeting.word)) != 0:
            kind = 0
        free(greeting)
        if kind:
            return kind
    return 0


# --- the peers -------------------------------------------------------------------------------------------------------------------------


cdef inline bint is_peer(const Peer* peer, const char* id, size_t size) noexcept nogil:
    return peer != NULL and peer.size == size and memcmp(peer.id, id, size) == 0


cdef inline void take_out(Greetings* self, Peer* peer) noexcept nogil:
    if peer.previous != NULL:
        peer.previous.next = peer.next
    else:
        self.first = peer.next
    if peer.next != NULL:
        peer.next.previous = peer.previous
    else:
        self.last = peer.previous


cdef inline void put_first(Greetings* self, Peer* peer) noexcept nogil:
    peer.previous = NULL
    peer.next = self.first
    if self.first != NULL:
        self.first.previous = peer
    else:
        self.last = peer
    self.first = peer


cdef Peer* find(const Greetings* self, const char* id, size_t size, uint64_t hash) noexcept nogil:
    cdef size_t step = 0
    cdef Peer* peer
    while True:
        peer = <Peer*>table_next(&self.table, hash, &step)
        if peer == NULL or is_peer(peer, id, size):
            return peer


cdef void peer_gone(Greetings* self, const char* id, size_t size) noexcept nogil:
    cdef Peer* peer = find(self, id, size, hash_of(id, size, self.seed))
    if peer != NULL:
        peer.gone = True


cdef uint64_t life_over(Greetings* self, uint64_t life) noexcept nogil:
    cdef Peer* peer = self.first
    cdef Peer* other
    cdef uint64_t over
    while peer != NULL:
        if peer.gone and peer.life and peer.life != life:
            over = peer.life
            other = self.first
            while other != NULL and (other.life != over or other.gone):
                other = other.next
            if other == NULL:
                other = self.first
                while other != NULL:
                    if other.life == over:
                        other.life = 0
                    other = other.next
                return over
        peer = peer.next
    return 0


cdef bint is_new(Greetings* self, const char* id, size_t size) noexcept nogil:
    """Whether it was not among the peers; it is now, in front of the others."""
    cdef uint64_t hash
    cdef Peer* peer
    if size > MAX_ID or is_peer(self.first, id, size):
        return False
    hash = hash_of(id, size, self.seed)
    peer = find(self, id, size, hash)
    if peer != NULL:
        take_out(self, peer)
        put_first(self, peer)
        return False
    if self.table.count >= MOST_PEERS:
        peer = self.last
        take_out(self, peer)
        table_remove(&self.table, peer.hash, peer)
    else:
        peer = <Peer*>malloc(sizeof(Peer))
        if peer == NULL:
            return False
    peer.hash = hash
    peer.life = 0
    peer.gone = False
    peer.size = size
    memcpy(peer.id, id, size)
    if table_put(&self.table, hash, peer) != 0:
        free(peer)
        return False
    put_first(self, peer)
    return True
