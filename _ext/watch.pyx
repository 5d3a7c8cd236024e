"""Which of a socket's peers has gone: a socket monitor, read by the hub.

libzmq tells of a closed connection by its descriptor, within a millisecond of a process's end; a heartbeat that stays out closes the connection of a
stopped process or a lost machine too. Which peer that was is known from the first message that it had sent, which names the descriptor it came by.

Descriptors are used again, so the order of looking matters. What has gone is read before a peer is tied to its descriptor: the end of that
descriptor's connection before is then known already. And what has gone is told only when the socket has been read to its end: what it had sent
is heard first. If a peer was gone before it was tied, nobody is told; there is nothing that it could hold, and the first message to it is refused.

The monitor is unbounded, as a full one would stop the context's I/O thread, and is read whenever its descriptor says so: it must stay alive and be
read as long as the socket. Peers over inproc have neither descriptors nor ends.

Of a socket whose peers have no routing id, as PULL, `Ends` tells the descriptors themselves: each names whoever had sent by it what has been read.
"""

from libc.stdint cimport uint16_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove

from prime_server._ext.czmq cimport ZMQ_EVENT_ACCEPTED, ZMQ_EVENT_DISCONNECTED, ZMQ_EVENT_HANDSHAKE_SUCCEEDED, ZMQ_SRCFD
from prime_server._ext.libzmq cimport Multipart, close_all, copy_in, data_of, descriptor_of, frame, receive, size_of, underlying, zmq

cdef enum:
    EVENT_SIZE = 6             # event:2 value:4, in the machine's order
    SMALLEST = 64
    MOST_DESCRIPTORS = 1 << 24


cdef class Watch:
    def __cinit__(self, monitor):
        self.kept = monitor
        self.monitor = underlying(monitor)
        self.descriptor = descriptor_of(self.monitor)

    def __dealloc__(self):
        cdef size_t index
        for index in range(self.room):
            zmq.msg_close(&self.peers[index])
        for index in range(self.gone):
            zmq.msg_close(&self.ended[index])
        free(self.peers)
        free(self.ended)

    cdef int listen(self) noexcept nogil:
        cdef Multipart parts
        cdef uint16_t event
        cdef uint32_t value
        cdef int status
        while True:
            status = receive(self.monitor, &parts)
            if status <= 0:
                return status
            if size_of(frame(&parts, 0)) >= EVENT_SIZE:
                memcpy(&event, data_of(frame(&parts, 0)), sizeof(event))
                memcpy(&value, data_of(frame(&parts, 0)) + sizeof(event), sizeof(value))
                if event == ZMQ_EVENT_DISCONNECTED:
                    self.closed(value)
                elif event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
                    self.connects += 1
                elif event == ZMQ_EVENT_ACCEPTED:
                    self.opened(value)
            close_all(&parts)

    cdef void opened(self, uint32_t descriptor) noexcept nogil:
        pass

    cdef void closed(self, uint32_t descriptor) noexcept nogil:
        cdef Message* grown
        if descriptor >= self.room or size_of(&self.peers[descriptor]) == 0:
            return
        if self.gone == self.gone_room:
            grown = <Message*>realloc(self.ended, (self.gone_room * 2 if self.gone_room else SMALLEST) * sizeof(Message))
            if grown == NULL:
                return  # the next message to it is refused
            self.ended = grown
            self.gone_room = self.gone_room * 2 if self.gone_room else SMALLEST
        self.tied -= 1
        memcpy(&self.ended[self.gone], &self.peers[descriptor], sizeof(Message))
        zmq.msg_init(&self.peers[descriptor])
        self.gone += 1

    cdef void tie(self, Message* peer) noexcept nogil:
        cdef int descriptor = zmq.msg_get(peer, ZMQ_SRCFD)
        cdef size_t room = self.room if self.room else SMALLEST
        cdef Message* grown
        if descriptor < 0 or descriptor >= MOST_DESCRIPTORS:
            return
        self.listen()
        if <size_t>descriptor >= self.room:
            while room <= <size_t>descriptor:
                room *= 2
            grown = <Message*>realloc(self.peers, room * sizeof(Message))
            if grown == NULL:
                return
            self.peers = grown
            while self.room < room:
                zmq.msg_init(&self.peers[self.room])
                self.room += 1
        self.tied += size_of(&self.peers[descriptor]) == 0
        self.any_tied = True
        zmq.msg_close(&self.peers[descriptor])
        copy_in(&self.peers[descriptor], data_of(peer), size_of(peer))

    cdef bint take(self, Message* into) noexcept nogil:
        if self.gone == 0:
            return False
        self.gone -= 1
        memcpy(into, &self.ended[self.gone], sizeof(Message))
        return True


cdef class Ends(Watch):
    def __dealloc__(self):
        free(self.descriptors)

    cdef void opened(self, uint32_t descriptor) noexcept nogil:
        # What has been read may have come by this one already; whoever had it before isn't told from it any more.
        cdef size_t index
        for index in range(self.size):
            if self.descriptors[index] == <int>descriptor:
                self.descriptors[index] = -1

    cdef void closed(self, uint32_t descriptor) noexcept nogil:
        cdef int* grown
        if self.size == self.capacity:
            grown = <int*>realloc(self.descriptors, (self.capacity * 2 if self.capacity else SMALLEST) * sizeof(int))
            if grown == NULL:
                return
            self.descriptors = grown
            self.capacity = self.capacity * 2 if self.capacity else SMALLEST
        self.descriptors[self.size] = <int>descriptor
        self.size += 1

    cdef size_t known(self) noexcept nogil:
        cdef size_t count = self.size
        if count:
            self.listen()
        return count

    cdef void forget(self, size_t count) noexcept nogil:
        self.size -= count
        memmove(self.descriptors, self.descriptors + count, self.size * sizeof(int))
