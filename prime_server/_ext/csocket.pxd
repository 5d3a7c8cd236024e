"""Sending and receiving by the system's sockets."""

cdef extern from * nogil:
    """
    #include <sys/socket.h>
    #include <sys/uio.h>
    #if !defined(MSG_NOSIGNAL)
    #define MSG_NOSIGNAL 0  /* where it is missing, Python's ignoring of SIGPIPE does */
    #endif
    """
    struct iovec:
        void* iov_base
        size_t iov_len
    struct msghdr:
        iovec* msg_iov
        size_t msg_iovlen
    ssize_t sendmsg(int, const msghdr*, int)
    ssize_t recv(int, void*, size_t, int)
    ssize_t send(int, const void*, size_t, int)
    int shutdown(int, int)
    int MSG_DONTWAIT
    int MSG_NOSIGNAL
    int MSG_PEEK
    int SHUT_RDWR
    int SHUT_WR
