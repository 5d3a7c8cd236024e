"""Bytes on their way out of one connection: a queue of small pieces that were copied together and big messages that were not."""

from libc.stddef cimport size_t

from prime_server._ext.libzmq cimport Message

cdef enum:
    BLOCK_SIZE = 4096          # of a piece with bytes of its own, all in all
    REFERENCE_FROM = 16384     # bytes of a message from which on it is kept instead of copied

cdef struct Piece:
    Piece* next
    size_t begin               # what is left to send: data + begin to data + end
    size_t end
    size_t room                # for bytes behind it
    bint referenced            # the bytes are the message's
    Message message            # owned when referenced
    # behind it, when not referenced, the bytes

# Owned by whoever embeds it: `clear` frees what is left.
cdef struct Output:
    Piece* first
    Piece* last
    size_t size                # bytes in all

cdef inline void output_start(Output* output) noexcept nogil:
    output.first = NULL
    output.last = NULL
    output.size = 0

cdef inline char* piece_data(Piece* piece) noexcept nogil:
    return <char*>piece + sizeof(Piece)

# Copies bytes to the end. 0, or -1 without memory (what fitted is in).
cdef int append(Output* output, const void* data, size_t size) noexcept nogil
# Takes over the message; its bytes before `begin` are left out. 0, or -1 without memory (the message is closed).
cdef int append_message(Output* output, Message* message, size_t begin) noexcept nogil
# Gives back what a short text has not used of its block, where it may have to wait.
cdef void tighten(Output* output) noexcept nogil
# Moves all of `source` to the end of `output`.
cdef void splice(Output* output, Output* source) noexcept nogil
# Drops `size` bytes from the front: they have been sent.
cdef void sent(Output* output, size_t size) noexcept nogil
cdef void clear(Output* output) noexcept nogil
cdef const char* bytes_of(Piece* piece) noexcept nogil
