"""A user's own protocol: a Python object in the place of a parser.

The only code of the sessions that needs the GIL. The server's core asks it what has come (`feed`, then `serialize` for each request), what to write
where a worker doesn't answer (`refuse`, `reject`), and whether the connection goes on (`keep_alive`). The client's mistakes come as
`ProtocolError`; any other exception is the protocol's own: it is logged, and its connection is closed, whatever else it was owed.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport Py_INCREF
from libc.string cimport memset

from prime_server._ext.info cimport Info, info_object
from prime_server._ext.libzmq cimport Frame, Message, add, close_all, start, zmq
from prime_server._ext.output cimport append

import types

from prime_server.errors import ProtocolError, logger


cdef void log_failure_of(what) noexcept:
    logger.exception("the protocol's %s failed; its connection is closed", what)


cdef class UserProtocol:
    def __cinit__(self, face):
        self.face = face

    cdef feed(self, Connection* connection, const char* data, size_t size):
        if connection.state == NULL:
            state = types.SimpleNamespace()
            Py_INCREF(state)
            connection.state = <void*>state
        return self.face.feed(<object>connection.state, PyBytes_FromStringAndSize(data, size))

    cdef int serialize(self, request, Multipart* into) except -1:
        cdef Message* slot
        frames = self.face.serialize(request)
        if isinstance(frames, (bytes, bytearray, memoryview)):
            frames = [frames]
        start(into)
        try:
            for data in frames:
                kept = Frame(data)
                slot = add(into)
                if slot == NULL:
                    raise MemoryError()
                zmq.msg_init(slot)
                zmq.msg_copy(slot, &(<Frame>kept).message)
            if into.size == 0:
                raise ValueError("serialize() gave no frames")
        except:
            close_all(into)
            raise
        return 0

    cdef void complain(self) noexcept:
        log_failure_of("feed or serialize")

    cdef bint keep_alive(self, const Pending* pending) noexcept with gil:
        cdef Info info
        memset(&info, 0, sizeof(Info))
        info.id = pending.id
        info.time_stamp = pending.time_stamp
        info.bits = pending.bits
        try:
            return bool(self.face.keep_alive(info_object(&info)))
        except BaseException:  # SystemExit too would leave the server's thread with what it was doing half done
            log_failure_of("keep_alive")
            return False

    cdef int refuse(self, Output* output, int status, const char* reason) noexcept with gil:
        try:
            text = bytes(self.face.timeout() if status == 504 else self.face.reject(ProtocolError(reason.decode(), status)))
            return append(output, <const char*>text, len(text))
        except BaseException:  # SystemExit too would leave the server's thread with what it was doing half done
            log_failure_of("reject or timeout")
            return -1

    cdef int reject(self, Output* output, error) noexcept:
        try:
            text = bytes(self.face.reject(error))
            return append(output, <const char*>text, len(text))
        except BaseException:  # SystemExit too would leave the server's thread with what it was doing half done
            log_failure_of("reject")
            return -1
