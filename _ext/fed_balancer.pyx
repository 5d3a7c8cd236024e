"""A balancer fed by hand: a proxy's core with a Python face in the place of the hub.

For tests and the curious. It adds nothing but the conversions: messages are lists of bytes here.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t

from prime_server._ext.balancer cimport Balancer
from prime_server._ext.clock cimport now_us
from prime_server._ext.info cimport Info, read_info
from prime_server._ext.libzmq cimport Message, Multipart, add, close_all, copy_in, data_of, frame, size_of, start
from prime_server._ext.outgoing cimport TO_SESSIONS, TO_UPSTREAM, TO_WORKER


cdef int fill(Multipart* parts, object frames) except -1:
    """A message with copies of the frames."""
    cdef Py_buffer view
    cdef Message* slot
    cdef int status
    start(parts)
    try:
        for source in frames:
            PyObject_GetBuffer(source, &view, PyBUF_SIMPLE)
            slot = add(parts)
            status = copy_in(slot, view.buf, view.len) if slot != NULL else 0
            PyBuffer_Release(&view)
            if status != 0:
                raise MemoryError()
            if slot == NULL:
                parts.surplus = True
    except:
        close_all(parts)
        raise
    return 0


cdef class FedBalancer(Balancer):
    cdef int64_t clock(self, object now) except? -1:
        if self.choice is not None and self.choice.asking:
            raise RuntimeError("a balancer can't be used from within its own choose function")
        return now_us() if now is None else now

    def submit_frames(self, frames, sender=b"", *, now=None):
        cdef Multipart parts
        cdef bytes name = bytes(sender)
        cdef int64_t at = self.clock(now)
        fill(&parts, frames)
        return self.submit(&parts, name, len(name), at) >= 0

    def heard_frames(self, frames, *, now=None):
        cdef Multipart parts
        cdef int64_t at = self.clock(now)
        cdef int status
        fill(&parts, frames)
        status = self.heard(&parts, at)
        close_all(&parts)
        return status >= 0

    def done_by(self, info, *, now=None):
        cdef Info inner
        cdef bytes data = bytes(info)
        if read_info(data, len(data), &inner) != 0:
            raise ValueError(f"an info has 8, 12 or more bytes, and {data!r} is none")
        return self.done(&inner, self.clock(now))

    def lost_worker(self, worker, *, now=None):
        cdef bytes name = bytes(worker)
        self.lost(name, len(name), self.clock(now))

    def peer_left(self, peer, *, now=None):
        cdef bytes name = bytes(peer)
        self.left(name, len(name), self.clock(now))

    def give_back_frames(self, frames):
        cdef Multipart parts
        fill(&parts, frames)
        if parts.size:
            self.give_back(&parts)
        close_all(&parts)

    def unsent_frames(self, frames, *, now=None):
        cdef Multipart parts
        cdef int64_t at = self.clock(now)
        fill(&parts, frames)
        self.unsent(&parts, at)

    def cancel_request(self, life, key, *, now=None):
        self.cancel(life, key, self.clock(now))

    def tick_at(self, now=None):
        cdef int64_t next = self.tick(self.clock(now))
        return next if next >= 0 else None

    def take_frames(self, now=None):
        cdef Multipart parts
        cdef int kind = self.take(&parts, self.clock(now))
        cdef int index
        if kind == 0:
            return None
        try:
            frames = [PyBytes_FromStringAndSize(data_of(frame(&parts, index)), size_of(frame(&parts, index))) for index in range(parts.size)]
        finally:
            close_all(&parts)
        return {TO_WORKER: "worker", TO_UPSTREAM: "upstream", TO_SESSIONS: "sessions"}[kind], frames

    def __len__(self):
        return self.pending()
