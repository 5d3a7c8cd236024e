"""The strict request parser called from C, as the sessions call it. bench/test_codecs.py builds this."""

from libc.string cimport memcpy

from prime_server._ext.clock cimport now_us
from prime_server._ext.http cimport COMPLETE, Limits, ParsedRequest, RequestParser, request_end, request_feed, request_start
from prime_server._ext.libzmq cimport Message, zmq


def parse(const unsigned char[::1] request not None, int rounds):
    """Nanoseconds for one request: reading it, making its message and closing that."""
    cdef RequestParser parser
    cdef Limits limits
    cdef ParsedRequest parsed
    cdef size_t used
    cdef int _
    cdef int wrong = 0
    limits.target = limits.head = limits.body = 65536
    limits.fields = 100
    limits.allow = 0
    request_start(&parser, &limits)
    start = now_us()
    with nogil:
        for _ in range(rounds):
            if request_feed(&parser, <const char*>&request[0], request.shape[0], &used, &parsed) == COMPLETE:
                zmq.msg_close(&parsed.payload)
            else:
                wrong += 1
    took = now_us() - start
    request_end(&parser)
    if wrong:
        raise ValueError("that is not one request")
    return took * 1000 / rounds


def copy(const unsigned char[::1] request not None, int rounds):
    """Nanoseconds for the message alone: allocating it, copying the request into it and closing it."""
    cdef Message message
    cdef int _
    start = now_us()
    with nogil:
        for _ in range(rounds):
            zmq.msg_init_size(&message, request.shape[0])
            memcpy(zmq.msg_data(&message), &request[0], request.shape[0])
            zmq.msg_close(&message)
    return (now_us() - start) * 1000 / rounds
