"""libzmq as pyzmq has loaded it, messages, and multipart messages of our own."""

from libc.stddef cimport size_t

from prime_server._ext.czmq cimport zmq_free_fn, zmq_msg_t, zmq_pollitem_t

ctypedef zmq_msg_t Message

cdef struct Functions:
    int (*msg_init)(Message*) noexcept nogil
    int (*msg_init_size)(Message*, size_t) noexcept nogil
    int (*msg_init_data)(Message*, void*, size_t, zmq_free_fn, void*) noexcept nogil
    int (*msg_close)(Message*) noexcept nogil
    int (*msg_copy)(Message*, Message*) noexcept nogil
    void* (*msg_data)(Message*) noexcept nogil
    size_t (*msg_size)(Message*) noexcept nogil
    int (*msg_more)(Message*) noexcept nogil
    int (*msg_get)(Message*, int) noexcept nogil
    int (*msg_send)(Message*, void*, int) noexcept nogil
    int (*msg_recv)(Message*, void*, int) noexcept nogil
    int (*poll)(zmq_pollitem_t*, int, long) noexcept nogil
    int (*getsockopt)(void*, int, void*, size_t*) noexcept nogil
    int (*last_error)() noexcept nogil

# Filled when the module is imported, constant from then on.
cdef Functions zmq

cdef enum:
    INLINE_FRAMES = 4
    MAX_FRAMES = 256  # of one multipart message; what comes behind is dropped

# The frames of one message. It owns them: every Multipart is ended by `close_all` or by handing it on.
# It may be moved by copying its bytes, as a Message may; the source then counts as uninitialised.
cdef struct Multipart:
    int size                # frames that are initialised
    int capacity            # of `more`
    bint surplus            # frames beyond MAX_FRAMES came and were dropped
    Message* more           # owned, the frames from INLINE_FRAMES on
    Message first[INLINE_FRAMES]

cdef inline void start(Multipart* parts) noexcept nogil:
    parts.size = 0
    parts.capacity = 0
    parts.surplus = False
    parts.more = NULL

cdef inline Message* frame(Multipart* parts, int index) noexcept nogil:
    """The frame at `index`, which the caller knows to be in range."""
    if index < INLINE_FRAMES:
        return &parts.first[index]
    return &parts.more[index - INLINE_FRAMES]

cdef inline const char* data_of(Message* message) noexcept nogil:
    return <const char*>zmq.msg_data(message)

cdef inline size_t size_of(Message* message) noexcept nogil:
    return zmq.msg_size(message)

# Room for one more frame: an uninitialised slot that now counts, so the caller initialises it at once. NULL when there is none.
cdef Message* add(Multipart* parts) noexcept nogil
# Puts an uninitialised slot in front of the rest. NULL when there is none.
cdef Message* add_front(Multipart* parts) noexcept nogil
# Closes the first `count` frames and moves the rest up.
cdef void drop_front(Multipart* parts, int count) noexcept nogil
cdef void close_all(Multipart* parts) noexcept nogil
# `to` becomes another reference to the same frames (libzmq shares what is large, copies what is small). 0, or -1 without memory.
cdef int share(Multipart* to, Multipart* source) noexcept nogil
# A message with a copy of the bytes. 0, or -1 without memory.
cdef int copy_in(Message* to, const void* data, size_t size) noexcept nogil

# What of ZMQ_POLLIN and ZMQ_POLLOUT holds, -1 when the socket has failed. Costs two system calls, as libzmq looks for commands.
cdef int events_of(void* socket) noexcept nogil
# The descriptor to wait for: readable when commands have come for the socket since its mailbox was last found empty, which every call on the socket
# may do. So the socket must be seen to have nothing after the last call on it and before the wait. -1 when the socket has failed.
cdef int descriptor_of(void* socket) noexcept nogil

# Receives without waiting into an uninitialised `parts`. 1: there is a message. 0: none is waiting, -1: the socket failed, see
# zmq.last_error(); `parts` is empty.
cdef int receive(void* socket, Multipart* parts) noexcept nogil
# Sends without waiting. 1: gone, `parts` is empty. 0: it would block, -1: the socket failed, see zmq.last_error(); `parts` is unchanged.
cdef int send(void* socket, Multipart* parts) noexcept nogil

# A message over a Python object's buffer, without a copy: the object stays alive until libzmq has let go of it and somebody has called
# `reap`. Raises BufferError or TypeError as PyObject_GetBuffer does.
cdef int borrow(Message* to, object source) except -1
cdef int reap() except -1

# The libzmq socket under a zmq.Socket. Raises TypeError, or ValueError when it is closed. Keep the zmq.Socket alive meanwhile.
cdef void* underlying(object socket) except NULL

cdef class Frame:
    """One message, owned, as a read-only buffer."""
    cdef Message message
    @staticmethod
    cdef Frame take(Message* message)  # takes over the message: the source counts as uninitialised
