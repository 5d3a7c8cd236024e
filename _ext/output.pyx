"""The queue of bytes that a connection has still to send.

Small responses are copied behind one another into blocks, so that a batch of them leaves in one system call from few places; big messages are kept
as they are and closed when their last byte has left. Blocks come from a bounded pool: each is needed for microseconds, over and over.
The pool belongs to the hub's thread; blocks are only ever used under a hub's loop, and each thread has a pool of its own.
"""

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from prime_server._ext.libzmq cimport data_of, size_of, zmq

cdef enum:
    POOLED = 256  # blocks, one MiB

cdef extern from * nogil:
    """
    static __thread void *prime_pool = NULL;
    static __thread int prime_pool_size = 0;
    """
    void* pool "prime_pool"
    int pool_size "prime_pool_size"


cdef Piece* new_block() noexcept nogil:
    global pool, pool_size
    cdef Piece* piece
    if pool != NULL:
        piece = <Piece*>pool
        pool = piece.next
        pool_size -= 1
    else:
        piece = <Piece*>malloc(BLOCK_SIZE)
        if piece == NULL:
            return NULL
    piece.next = NULL
    piece.begin = 0
    piece.end = 0
    piece.room = BLOCK_SIZE - sizeof(Piece)
    piece.referenced = False
    return piece


cdef void free_piece(Piece* piece) noexcept nogil:
    global pool, pool_size
    if piece.referenced:
        zmq.msg_close(&piece.message)
        free(piece)
    elif pool_size < POOLED and piece.room == BLOCK_SIZE - sizeof(Piece):
        piece.next = <Piece*>pool
        pool = piece
        pool_size += 1
    else:
        free(piece)


cdef inline void link(Output* output, Piece* piece) noexcept nogil:
    if output.last == NULL:
        output.first = piece
    else:
        output.last.next = piece
    output.last = piece


cdef int append(Output* output, const void* data, size_t size) noexcept nogil:
    cdef const char* at = <const char*>data
    cdef size_t room
    cdef Piece* piece = output.last
    while size:
        room = 0 if piece == NULL or piece.referenced else piece.room - piece.end
        if room == 0:
            piece = new_block()
            if piece == NULL:
                return -1
            link(output, piece)
            room = piece.room
        if room > size:
            room = size
        memcpy(piece_data(piece) + piece.end, at, room)
        piece.end += room
        output.size += room
        at += room
        size -= room
    return 0


cdef int append_message(Output* output, Message* message, size_t begin) noexcept nogil:
    cdef size_t size = size_of(message)
    cdef int status
    cdef Piece* piece
    if begin >= size:
        zmq.msg_close(message)
        return 0
    if size - begin < REFERENCE_FROM:
        status = append(output, data_of(message) + begin, size - begin)
        zmq.msg_close(message)
        return status
    piece = <Piece*>malloc(sizeof(Piece))
    if piece == NULL:
        zmq.msg_close(message)
        return -1
    piece.next = NULL
    piece.begin = begin
    piece.end = size
    piece.room = 0
    piece.referenced = True
    memcpy(&piece.message, message, sizeof(Message))
    link(output, piece)
    output.size += size - begin
    return 0


cdef void tighten(Output* output) noexcept nogil:
    cdef Piece* piece = output.first
    cdef Piece* tight
    if piece == NULL or piece != output.last or piece.referenced or 2 * piece.end > piece.room:
        return
    tight = <Piece*>malloc(sizeof(Piece) + piece.end)
    if tight == NULL:
        return
    memcpy(tight, piece, sizeof(Piece) + piece.end)
    tight.room = piece.end
    output.first = tight
    output.last = tight
    free_piece(piece)


cdef const char* bytes_of(Piece* piece) noexcept nogil:
    return (data_of(&piece.message) if piece.referenced else <const char*>piece_data(piece)) + piece.begin


cdef void splice(Output* output, Output* source) noexcept nogil:
    if source.first == NULL:
        return
    if output.last == NULL:
        output.first = source.first
    else:
        output.last.next = source.first
    output.last = source.last
    output.size += source.size
    output_start(source)


cdef void sent(Output* output, size_t size) noexcept nogil:
    cdef Piece* piece
    cdef size_t left
    output.size -= size
    while output.first != NULL:
        piece = output.first
        left = piece.end - piece.begin
        if size < left:
            piece.begin += size
            return
        size -= left
        output.first = piece.next
        free_piece(piece)
    output.last = NULL


cdef void clear(Output* output) noexcept nogil:
    cdef Piece* piece = output.first
    cdef Piece* next
    while piece != NULL:
        next = piece.next
        free_piece(piece)
        piece = next
    output_start(output)
