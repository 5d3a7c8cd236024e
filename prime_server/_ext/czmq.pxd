"""The raw declarations of libzmq that we use: pyzmq's wheel bundles the library, but not its header."""

cdef extern from * nogil:
    """
    typedef struct prime_zmq_msg_t { _Alignas(void *) unsigned char opaque[64]; } prime_zmq_msg_t;
    typedef struct prime_zmq_pollitem_t { void *socket; int fd; short events; short revents; } prime_zmq_pollitem_t;
    typedef void (*prime_zmq_free_fn)(void *data, void *hint);
    """
    ctypedef struct zmq_msg_t "prime_zmq_msg_t":
        pass

    ctypedef struct zmq_pollitem_t "prime_zmq_pollitem_t":
        void* socket
        int fd
        short events
        short revents

    ctypedef void (*zmq_free_fn "prime_zmq_free_fn")(void* data, void* hint) noexcept nogil

cdef enum:
    ZMQ_DONTWAIT = 1
    ZMQ_SNDMORE = 2
    ZMQ_POLLIN = 1
    ZMQ_POLLOUT = 2
    ZMQ_POLLERR = 4
    ZMQ_FD = 14
    ZMQ_EVENTS = 15
    ZMQ_SRCFD = 2  # of a message
    ZMQ_EHOSTUNREACH = 113
    ZMQ_EVENT_ACCEPTED = 0x0020
    ZMQ_EVENT_DISCONNECTED = 0x0200
    ZMQ_EVENT_HANDSHAKE_SUCCEEDED = 0x1000
