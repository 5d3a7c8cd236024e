"""Sessions fed by hand: the server's core with a Python face in the place of the edge and the hub.

For tests and the curious. It adds nothing but the conversions: connections are numbers here, messages lists of bytes.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free
from libc.string cimport memcpy

from prime_server._ext.connections cimport Connection
from prime_server._ext.libzmq cimport Frame, Message, Multipart, add, frame, start, zmq
from prime_server._ext.output cimport bytes_of
from prime_server._ext.sessions cimport Sessions


cdef class FedSessions(Sessions):
    cdef dict faces

    def __init__(self, **options):
        self.faces = {}
        self.at_once = True  # what was taken counts as sent

    cdef Connection* face(self, int number) except NULL:
        if number not in self.faces:
            raise KeyError(f"no connection {number}")
        return <Connection*><uintptr_t>self.faces[number]

    def connect(self, now=0):
        cdef Connection* connection = self.open(now)
        if connection == NULL:
            raise MemoryError()
        number = self.accepted
        self.faces[number] = <uintptr_t>connection
        return number

    def receive(self, number, bytes data, now=0):
        cdef Connection* connection = self.face(number)
        cdef const char* at = data
        cdef char* into
        cdef size_t left = len(data)
        cdef size_t room
        while left:
            room = self.room(connection, &into)
            if room:
                room = min(room, left)
                memcpy(into, at, room)
                self.filled(connection, room, now)
            else:
                room = left
                self.received(connection, at, left, now)
            at += room
            left -= room

    def leave(self, number, now=0, *, broken=False):
        self.left(self.face(number), broken, now)

    def disconnect(self, number):
        cdef Connection* connection = self.face(number)
        del self.faces[number]
        self.closed(connection)
        self.free_ended()

    def output(self, number, now=0, *, size=None):
        cdef Connection* connection = self.face(number)
        taken = bytearray()
        while connection.output.size:
            piece = connection.output.first
            room = piece.end - piece.begin
            if size is not None:
                room = min(room, size - len(taken))
                if room == 0:
                    break
            taken += PyBytes_FromStringAndSize(bytes_of(piece), room)
            self.wrote(connection, room, now)
        self.resume(connection, now)
        return bytes(taken)

    def state(self, number):
        cdef Connection* connection = self.face(number)
        return {
            "reads": bool(self.reads(connection)),
            "finished": bool(self.finished(connection)),
            "in_flight": connection.in_flight,
            "unsent": connection.output.size,
            "held": connection.held,
            "waiting": ("workers", "request", "head", "body", "reader", "end")[<int>connection.waiting],
        }

    def jobs_for_workers(self):
        cdef Multipart job
        taken = []
        while self.take_job(&job):
            taken.append([bytes(Frame.take(frame(&job, index))) for index in range(job.size)])
            free(job.more)
        return taken

    def interrupts_for_workers(self):
        taken = [self.interrupts[index] for index in range(self.interrupts_size)]
        self.interrupts_size = 0
        return taken

    def credits_for_workers(self):
        taken = [(self.credits[index].key, self.credits[index].total) for index in range(self.credits_size)]
        self.credits_size = 0
        return taken

    def result_frames(self, frames, now=0):
        cdef Multipart parts
        cdef Message* slot
        start(&parts)
        for data in frames:
            kept = Frame(data)
            slot = add(&parts)
            zmq.msg_init(slot)
            zmq.msg_copy(slot, &(<Frame>kept).message)
        self.result(&parts, now)

    def proxy_came_back(self, now):
        self.reconnected(now)

    def advance_time(self, now):
        return self.tick(now)

    def begin_drain(self, now=0, *, close_idle=True):
        self.drain(now)
        if close_idle:
            self.dismiss()
