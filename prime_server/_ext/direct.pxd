"""Small messages between a hub and a worker process that was started with it, past libzmq."""

from prime_server._ext.libzmq cimport Multipart

cdef enum DirectKind:
    FOR_WORKER = 0         # [info][payload…]: a job
    FOR_SESSIONS = 1       # [info][response…]: a result
    FOR_NEXT_STAGE = 2     # [info][payload…]: a job for the stage behind the worker's

cdef enum:
    MALFORMED = -2
    PACKET_SIZE = 16384    # bytes at most: above, copying costs more than a wake-up
    PACKED = 32            # messages of a packet

cdef struct Packed:        # a message that is to go
    Multipart parts        # owned
    int first              # the frame that it begins with, those before it are for ZeroMQ
    DirectKind kind

cdef struct Pack:          # zeros: empty
    Packed messages[PACKED]
    int count
    size_t size            # of the packet

cdef struct Packet:        # one that has come; zeros: none
    char data[PACKET_SIZE + 1]  # so that a longer one, of which the rest is cut off, is seen to be too long
    size_t size
    size_t at              # what is still to be read

# Takes over the message: 1. 0: it doesn't fit, or never does, and is unchanged.
cdef int pack_add(Pack* self, Multipart* parts, int first, DirectKind kind) noexcept nogil
# Sends all, without waiting. 1: gone, the pack is empty. 0: it can't be sent so, and is unchanged.
cdef int pack_send(Pack* self, int descriptor) noexcept nogil
# The next message, received without waiting into an uninitialised `parts`. 1: there is one. 0: none is waiting, -1: nothing comes any more,
# MALFORMED: the rest of a packet was dropped; `parts` is empty.
cdef int direct_receive(int descriptor, Packet* packet, Multipart* parts, DirectKind* kind) noexcept nogil
