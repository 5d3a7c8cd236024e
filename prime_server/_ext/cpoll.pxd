"""poll(2)."""

cdef extern from "poll.h" nogil:
    int POLLIN
    int POLLOUT
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd*, unsigned long, int)
