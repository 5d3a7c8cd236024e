"""Small messages between a hub and the worker processes that were started with it, past libzmq.

Where a hub and its workers are one program (supervisor.py), a job costs libzmq four wake-ups of its I/O threads, two in either process, and more
system calls than all the rest. So each such worker shares a pair of sockets with the hub, and what is small goes there by one system call, from the
thread that has it to the one that wants it: twice the requests with a window of 1, and half of the latency at one connection. Everything else goes
over ZeroMQ as ever: what is big, what finds the socket full, answers in parts, and all that the two say of themselves. Whether a worker lives is
ZeroMQ's to tell, too.

The two ways have no order between them but this: what has been sent here can be read at once, before anything that is sent over ZeroMQ later. So
a worker that finds a word of its proxy's there looks here once more before acting on it, and the hub before it takes a worker for lost.

A packet (SOCK_SEQPACKET) holds the messages that there were to send, as native 32 bit numbers, kind, number of frames and the size of each, and then
the frames. The other end is a process of ours in which the user's code runs, so nothing in a packet is believed; what is malformed in one is dropped.
"""

from libc.errno cimport EAGAIN, ECONNRESET, EINTR, errno
from libc.stdint cimport uint32_t
from libc.string cimport memcpy, memset

from prime_server._ext.csocket cimport MSG_DONTWAIT, MSG_NOSIGNAL, iovec, msghdr, recv, sendmsg
from prime_server._ext.libzmq cimport Message, add, close_all, copy_in, data_of, frame, size_of, start

from prime_server.errors import ProtocolError

cdef enum:
    FRAMES = 6                 # of a message, at most
    WORD = sizeof(uint32_t)

cdef struct Head:
    uint32_t kind
    uint32_t frames
    uint32_t sizes[FRAMES]


cdef int pack_add(Pack* self, Multipart* parts, int first, DirectKind kind) noexcept nogil:
    cdef Packed* packed = &self.messages[self.count]
    cdef int frames = parts.size - first
    cdef size_t size = self.size + (2 + frames) * WORD
    cdef size_t more
    cdef int index
    if self.count == PACKED or not 0 < frames <= FRAMES:
        return 0
    for index in range(first, parts.size):
        more = size_of(frame(parts, index))
        if size > PACKET_SIZE or more > PACKET_SIZE - size:
            return 0
        size += more
    memcpy(&packed.parts, parts, sizeof(Multipart))
    start(parts)
    packed.first = first
    packed.kind = kind
    self.count += 1
    self.size = size
    return 1


cdef int pack_send(Pack* self, int descriptor) noexcept nogil:
    cdef Head heads[PACKED]
    cdef iovec pieces[PACKED * (FRAMES + 1)]
    cdef msghdr message
    cdef Packed* packed
    cdef Head* head
    cdef int count = 0
    cdef int index
    cdef int which
    for index in range(self.count):
        packed = &self.messages[index]
        head = &heads[index]
        head.kind = packed.kind
        head.frames = packed.parts.size - packed.first
        pieces[count].iov_base = head
        pieces[count].iov_len = (2 + head.frames) * WORD
        count += 1
        for which in range(<int>head.frames):
            pieces[count].iov_base = <void*>data_of(frame(&packed.parts, packed.first + which))
            pieces[count].iov_len = size_of(frame(&packed.parts, packed.first + which))
            head.sizes[which] = <uint32_t>pieces[count].iov_len
            count += 1
    memset(&message, 0, sizeof(msghdr))
    message.msg_iov = pieces
    message.msg_iovlen = count
    while sendmsg(descriptor, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0:
        if errno != EINTR:
            return 0           # it is full, or nobody is there any more
    for index in range(self.count):
        close_all(&self.messages[index].parts)
    self.count = 0
    self.size = 0
    return 1


cdef int unpack(Packet* self, Multipart* parts, DirectKind* kind) noexcept nogil:
    """The next message of what has come. 0, or -1 where it is malformed or there is no memory; `parts` is empty then."""
    cdef Head head
    cdef Message* slot
    cdef size_t left = self.size - self.at
    cdef uint32_t index
    if left < 2 * WORD:
        return -1
    memcpy(&head, self.data + self.at, 2 * WORD)
    if not 0 < head.frames <= FRAMES or head.kind > FOR_NEXT_STAGE or left < (2 + <size_t>head.frames) * WORD:
        return -1
    memcpy(head.sizes, self.data + self.at + 2 * WORD, head.frames * WORD)
    self.at += (2 + <size_t>head.frames) * WORD
    kind[0] = <DirectKind>head.kind
    for index in range(head.frames):
        slot = add(parts) if head.sizes[index] <= self.size - self.at else NULL
        if slot == NULL or copy_in(slot, self.data + self.at, head.sizes[index]) != 0:
            close_all(parts)
            return -1
        self.at += head.sizes[index]
    return 0


cdef int direct_receive(int descriptor, Packet* packet, Multipart* parts, DirectKind* kind) noexcept nogil:
    cdef ssize_t size
    start(parts)
    while packet.at == packet.size:
        packet.at = packet.size = 0
        size = recv(descriptor, packet.data, sizeof(packet.data), MSG_DONTWAIT)
        if size < 0 and errno == EAGAIN:
            return 0
        # When an end is closed with something unread, the other one hears of that before what is still to be read there.
        if size == 0 or (size < 0 and errno != EINTR and errno != ECONNRESET):
            return -1
        if size > PACKET_SIZE:
            return MALFORMED
        if size > 0:
            packet.size = size
    if unpack(packet, parts, kind) == 0:
        return 1
    packet.at = packet.size
    return MALFORMED


def send_packet(int descriptor, messages):
    cdef Pack pack
    cdef Multipart parts
    cdef Message* slot
    cdef const char* data
    cdef int index
    memset(&pack, 0, sizeof(Pack))
    try:
        for kind, frames in messages:
            if not FOR_WORKER <= kind <= FOR_NEXT_STAGE:
                raise ValueError(f"a kind is 0 to {FOR_NEXT_STAGE}, not {kind!r}")
            start(&parts)
            for data_frame in frames:
                data = data_frame
                slot = add(&parts)
                if slot == NULL or copy_in(slot, data, len(data_frame)) != 0:
                    close_all(&parts)
                    raise MemoryError()
            if pack_add(&pack, &parts, 0, kind) == 0:
                close_all(&parts)
                raise ValueError(f"{len(messages)} messages, or one of them, are too big for a packet")
        return pack_send(&pack, descriptor) == 1
    finally:
        for index in range(pack.count):
            close_all(&pack.messages[index].parts)


def receive_packet(int descriptor):
    cdef Packet packet
    cdef Multipart parts
    cdef DirectKind kind
    cdef int status
    cdef int index
    messages = []
    packet.size = packet.at = 0
    while not messages or packet.at < packet.size:
        status = direct_receive(descriptor, &packet, &parts, &kind)
        if status == 0:
            return None
        if status < 0:
            raise EOFError("the other end is closed") if status != MALFORMED else ProtocolError("a malformed packet")
        messages.append((<int>kind, [data_of(frame(&parts, index))[: size_of(frame(&parts, index))] for index in range(parts.size)]))
        close_all(&parts)
    return messages
