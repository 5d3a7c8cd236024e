"""Requests out, responses in, in order, over keep-alive connections with many requests under way.

An `Exchange` is one run: an iterable of requests, read no further ahead than its window, and an iterator over the responses. It owns its
connections ("links") while it runs. The k-th request goes out on link k modulo their number, and so its response is the next of that link when its
turn comes: no numbering, no reordering. Per link there is a buffer of bytes to send and a ring of what was asked: first unanswered, then
answered and waiting to be taken.

All happens inside `__next__`, when the response whose turn it is hasn't come: fill the buffers from the iterable, then, without the GIL, send what
the sockets take and read what they have, in turns until something was answered. Reading never waits for sending, so a server that stops reading
until it has been read from does not bring about a deadlock. To keep the system calls few, a link is filled again only once half of its window is
free. The bound on memory follows: a window of responses, one receive buffer, and a link's buffer of a few requests.

What goes wrong on a link is noted there and raised when the response that it prevents has its turn; those before it are still given out.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memmove

from prime_server._ext.clock cimport now_us
from prime_server._ext.cpoll cimport POLLIN, POLLOUT, poll, pollfd
from prime_server._ext.csocket cimport MSG_DONTWAIT, MSG_NOSIGNAL, MSG_PEEK, recv, send
from prime_server._ext.http_head cimport COMPLETE, FAILED, Limits
from prime_server._ext.http_response cimport (
    ParsedResponse, ResponseParser, response_end, response_eof, response_expect, response_feed, response_idle, response_start,
)
from prime_server._ext.libzmq cimport Message, data_of, size_of, zmq
from prime_server._ext.netstring cimport NetstringParser, netstring_end, netstring_feed, netstring_idle, netstring_start
from prime_server._ext.request cimport Request
from prime_server._ext.response cimport received_response

import os

from prime_server.errors import ProtocolError

cdef enum:
    RECEIVE_SIZE = 262144     # bytes read at once
    SEND_SIZE = 65536         # bytes that wait to be sent before the iterable is asked for more
    LOOK_AROUND_MS = 250      # how long a wait may last before signals are looked for again

    # Link.fault
    SOUND = 0
    ENDED = 1                 # the server closed the connection, or said that it would
    CUT = 2                   # it did so in the middle of a response
    BROKEN = 3                # the system reports `error`
    MALFORMED = 4             # see `reason`
    UNASKED = 5               # a response came with no request under way

cdef struct Answer:
    Message data              # owned from the answer on until it is taken
    int status
    size_t head_size
    bint head_request         # set when it is asked

cdef struct Link:
    int fd                    # -1: not connected
    int fault
    int error
    const char* reason
    bint deaf                 # sending has failed: there may still be something to read
    char* out                 # owned: what is to be sent, from out_at to out_end
    size_t out_at
    size_t out_end
    size_t out_room
    Answer* ring              # owned, `window` of them: asked, then answered, then taken
    uint64_t asked
    uint64_t answered
    uint64_t taken
    ResponseParser http
    NetstringParser netstring


cdef int reserve(Link* link, size_t size) except -1:
    """Room for so many bytes more behind out_end."""
    cdef char* grown
    cdef size_t room
    if link.out_at == link.out_end:
        link.out_at = link.out_end = 0
    if link.out_room - link.out_end >= size:
        return 0
    if link.out_at:
        memmove(link.out, link.out + link.out_at, link.out_end - link.out_at)
        link.out_end -= link.out_at
        link.out_at = 0
    if link.out_room - link.out_end >= size:
        return 0
    room = max(link.out_end + size, 2 * link.out_room)
    grown = <char*>realloc(link.out, room)
    if grown == NULL:
        raise MemoryError()
    link.out = grown
    link.out_room = room
    return 0


cdef inline void append(Link* link, const char* data, size_t size) noexcept nogil:
    if size:
        memcpy(link.out + link.out_end, data, size)
        link.out_end += size


cdef inline bint begins_with_head(const char* data, size_t size) noexcept nogil:
    return size > 5 and memcmp(data, b"HEAD ", 5) == 0


cdef bint has_ended(Link* link) noexcept nogil:
    """Whether a connection with nothing under way has been closed by the server, or given a last word that nobody asked for."""
    cdef char byte
    if link.fault != SOUND:
        return link.fault == ENDED
    return link.deaf or recv(link.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 or errno != EAGAIN


@cython.final
cdef class Exchange:
    cdef object _requests          # the iterator; None once it is exhausted
    cdef object _connect           # () -> a connected, non-blocking socket
    cdef list _sockets             # one for each link, None where it is not connected
    cdef bytes _host               # the Host line for requests that were made without one
    cdef bint _netstring
    cdef bint _running
    cdef bint _over
    cdef bint _filling             # the window was half free and is not full again yet
    cdef int64_t _patience         # us without anything moving; 0: for ever
    cdef Limits _limits
    cdef int _count                # of links
    cdef uint64_t _window          # requests under way or answers waiting, for each link
    cdef uint64_t _asked
    cdef uint64_t _taken
    cdef Link* _links              # owned
    cdef pollfd* _polled           # owned
    cdef char* _received           # owned, RECEIVE_SIZE

    def __cinit__(self, requests, connect, sockets, *, host, netstring, window, timeout, max_response):
        cdef int index
        if not sockets or window < 1:
            raise ValueError(f"an exchange has at least one connection and a window of 1, not {len(sockets)} and {window}")
        self._requests = iter(requests)
        self._connect = connect
        self._sockets = list(sockets)
        self._host = b"Host: " + host + b"\r\n"
        self._netstring = netstring
        self._patience = 0 if timeout is None else max(1, <int64_t>(timeout * 1e6))
        self._limits.head = 65536
        self._limits.fields = 1000
        self._limits.body = max_response
        self._window = window
        self._links = <Link*>calloc(len(self._sockets), sizeof(Link))
        self._polled = <pollfd*>calloc(len(self._sockets), sizeof(pollfd))
        self._received = <char*>malloc(RECEIVE_SIZE)
        if self._links == NULL or self._polled == NULL or self._received == NULL:
            raise MemoryError()
        self._count = len(self._sockets)
        for index in range(self._count):
            self._links[index].fd = -1
            self._links[index].ring = <Answer*>calloc(window, sizeof(Answer))
            if self._links[index].ring == NULL:
                raise MemoryError()
            if self._sockets[index] is not None:
                self.attach(index, self._sockets[index])

    def __dealloc__(self):
        cdef int index
        cdef Link* link
        for index in range(self._count):
            link = &self._links[index]
            self.detach(link)
            while link.taken < link.answered:
                zmq.msg_close(&link.ring[link.taken % self._window].data)
                link.taken += 1
            free(link.ring)
            free(link.out)
        free(self._links)
        free(self._polled)
        free(self._received)

    cdef int attach(self, int index, object socket) except -1:
        cdef Link* link = &self._links[index]
        self._sockets[index] = socket
        link.fd = socket.fileno()
        link.fault = SOUND
        link.deaf = False
        link.out_at = link.out_end = 0
        if self._netstring:
            netstring_start(&link.netstring, self._limits.body)
        else:
            response_start(&link.http, &self._limits)
        return 0

    cdef void detach(self, Link* link) noexcept:
        if link.fd >= 0:
            link.fd = -1
            if self._netstring:
                netstring_end(&link.netstring)
            else:
                response_end(&link.http)

    # --- out ------------------------------------------------------------------------------------------------------------------------

    cdef int put_request(self, Link* link, object item) except -1:
        cdef Request request
        cdef Py_buffer view
        cdef const char* rest
        cdef size_t line
        cdef Answer* answer = &link.ring[link.asked % self._window]
        answer.head_request = False
        if isinstance(item, Request) and not self._netstring:
            request = <Request>item
            reserve(link, request._size + PyBytes_GET_SIZE(self._host))
            answer.head_request = begins_with_head(request._data, request._size)
            rest = request._data
            if request._needs_host:
                line = <const char*>memchr(request._data, c"\n", request._size) + 1 - request._data
                append(link, request._data, line)
                append(link, PyBytes_AS_STRING(self._host), PyBytes_GET_SIZE(self._host))
                rest += line
            append(link, rest, request._data + request._size - rest)
            return 0
        if isinstance(item, str):
            raise TypeError("a request is a Request or bytes-like, not str")
        PyObject_GetBuffer(item, &view, PyBUF_SIMPLE)
        try:
            if self._netstring:
                prefix = b"%d:" % view.len
                reserve(link, len(prefix) + view.len + 1)
                append(link, PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix))
                append(link, <const char*>view.buf, view.len)
                append(link, b",", 1)
            elif view.len == 0:
                raise ValueError("an empty request would never be answered")
            else:
                reserve(link, view.len)
                answer.head_request = begins_with_head(<const char*>view.buf, view.len)
                append(link, <const char*>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)
        return 0

    cdef int fill(self) except -1:
        """Takes requests off the iterable while their links have room."""
        cdef Link* link
        cdef int index
        while self._requests is not None:
            index = <int>(self._asked % self._count)
            link = &self._links[index]
            if link.asked - link.taken >= self._window:
                self._filling = False
                return 0
            if link.fd >= 0 and link.asked == link.answered and has_ended(link):
                self.release(index)  # with nothing under way on it, a connection that has ended is simply made again
            if link.fault != SOUND or link.deaf or link.out_end - link.out_at >= SEND_SIZE:
                return 0
            try:
                item = next(self._requests)
            except StopIteration:
                self._requests = None
                return 0
            if link.fd < 0:
                self.attach(index, self._connect())
            self.put_request(link, item)
            link.asked += 1
            self._asked += 1
        return 0

    cdef bint is_hungry(self) noexcept:
        cdef Link* link = &self._links[self._asked % self._count]
        if (link.asked - link.taken) * 2 <= self._window:
            self._filling = True
        return self._filling and self._requests is not None

    # --- both ways, without the GIL ----------------------------------------------------------------------------------------------------

    cdef bint push(self, Link* link) noexcept nogil:
        cdef ssize_t sent = send(link.fd, link.out + link.out_at, link.out_end - link.out_at, MSG_NOSIGNAL)
        if sent < 0:
            if errno != EAGAIN and errno != EINTR:
                # The server may have said why before it closed: what can be read is read, and the end of that is the end of the link.
                link.deaf = True
                link.error = errno
                link.out_at = link.out_end
                return True
            return False
        link.out_at += sent
        return sent > 0

    cdef bint pull(self, Link* link) noexcept nogil:
        cdef ParsedResponse parsed
        cdef ssize_t size = recv(link.fd, self._received, RECEIVE_SIZE, 0)
        if size > 0:
            self.parse(link, self._received, size)
            return True
        if size < 0 and (errno == EAGAIN or errno == EINTR):
            return False
        if size < 0:
            link.fault = BROKEN
            link.error = errno
        elif self._netstring:
            link.fault = ENDED if netstring_idle(&link.netstring) else CUT
        else:
            link.fault = ENDED
            if not response_idle(&link.http):
                if response_eof(&link.http, &parsed) == COMPLETE:
                    self.answer(link, &parsed.data, parsed.status, parsed.head_size)
                else:
                    link.fault = CUT
        return True

    cdef void parse(self, Link* link, const char* data, size_t size) noexcept nogil:
        cdef ParsedResponse parsed
        cdef size_t used
        cdef int status
        while size and link.fault == SOUND:
            if link.answered == link.asked:
                link.fault = UNASKED
                return
            used = 0
            if self._netstring:
                status = netstring_feed(&link.netstring, data, size, &used, &parsed.data)
                parsed.keep_alive = True
                parsed.status = 200
                parsed.head_size = 0
            else:
                if response_idle(&link.http):
                    response_expect(&link.http, link.ring[link.answered % self._window].head_request)
                status = response_feed(&link.http, data, size, &used, &parsed)
            data += used
            size -= used
            if status == FAILED:
                link.fault = MALFORMED
                link.reason = link.netstring.reason if self._netstring else link.http.reason
            elif status == COMPLETE:
                self.answer(link, &parsed.data, parsed.status, parsed.head_size)
                if not parsed.keep_alive:
                    link.fault = ENDED

    cdef void answer(self, Link* link, Message* data, int status, size_t head_size) noexcept nogil:
        cdef Answer* answer = &link.ring[link.answered % self._window]
        memcpy(&answer.data, data, sizeof(Message))
        answer.status = status
        answer.head_size = head_size
        link.answered += 1

    cdef bint turn(self) noexcept nogil:
        """Sends and reads once on each link. Whether anything moved."""
        cdef bint moved = False
        cdef Link* link
        cdef int index
        for index in range(self._count):
            link = &self._links[index]
            if link.fd < 0 or link.fault != SOUND:
                continue
            if link.out_end > link.out_at:
                moved |= self.push(link)
            if link.answered < link.asked:
                moved |= self.pull(link)
        return moved

    cdef int wait(self, int64_t until) noexcept nogil:
        """Until a socket is ready for what is wanted of it, a signal has come, or it is time to look around."""
        cdef Link* link
        cdef int index
        cdef int count = 0
        cdef int64_t left = LOOK_AROUND_MS
        for index in range(self._count):
            link = &self._links[index]
            if link.fd < 0 or link.fault != SOUND or link.answered == link.asked:
                continue
            self._polled[count].fd = link.fd
            self._polled[count].events = POLLIN | (POLLOUT if link.out_end > link.out_at else 0)
            count += 1
        if until:
            left = min(left, (until - now_us()) // 1000 + 1)
            if left < 0:
                left = 0
        return poll(self._polled, count, <int>left)

    cdef int advance(self, Link* link) except -1:
        """Until the answer whose turn it is has come, or nothing is left that could bring it."""
        cdef int64_t until = now_us() + self._patience
        cdef bint moved
        while link.answered == link.taken:
            if self.is_hungry():
                self.fill()
            if link.asked == link.taken or link.fault != SOUND:
                return 0
            with nogil:
                moved = self.turn()
                if not moved:
                    self.wait(until if self._patience else 0)
            PyErr_CheckSignals()
            if moved:
                until = now_us() + self._patience
            elif self._patience and now_us() >= until:
                raise TimeoutError(f"nothing came from the server for {self._patience / 1e6:g} s: {self.tally()}")
        return 0

    # --- for Python -------------------------------------------------------------------------------------------------------------------------

    cdef str tally(self):
        return f"{self._taken} of {self._asked} requests were answered"

    cdef int complain(self, Link* link) except -1:
        if link.fault == MALFORMED:
            raise ProtocolError(f"the server sent what is no response ({(<bytes>link.reason).decode()}): {self.tally()}", 502)
        if link.fault == UNASKED:
            raise ProtocolError(f"the server sent a response that nobody asked for: {self.tally()}", 502)
        if link.fault == BROKEN:
            raise OSError(link.error, f"{os.strerror(link.error)}: {self.tally()}")  # a ConnectionError, as its number says
        if link.fault == CUT:
            raise ConnectionError(f"the server closed the connection in the middle of a response: {self.tally()}")
        raise ConnectionError(f"the server closed the connection: {self.tally()}")

    cdef object take(self):
        cdef Link* link = &self._links[self._taken % self._count]
        cdef Answer* answer
        if link.answered == link.taken:
            self.advance(link)
            if link.asked == link.taken and (link.fault == SOUND or link.fault == ENDED):
                raise StopIteration
            if link.answered == link.taken:
                self.complain(link)
        answer = &link.ring[link.taken % self._window]
        link.taken += 1
        self._taken += 1
        if not self._netstring:
            return received_response(&answer.data, answer.status, answer.head_size)
        try:
            return PyBytes_FromStringAndSize(data_of(&answer.data), size_of(&answer.data))
        finally:
            zmq.msg_close(&answer.data)

    cdef int release(self, int index) except -1:
        cdef Link* link = &self._links[index]
        self.detach(link)
        link.fault = SOUND
        socket = self._sockets[index]
        self._sockets[index] = None
        if socket is not None:
            socket.close()
        return 0

    def __iter__(self):
        return self

    def __next__(self):
        if self._running:
            raise ValueError("the exchange is being iterated already")
        if self._over:
            raise StopIteration
        self._running = self._over = True
        try:
            item = self.take()
            self._over = False
            return item
        finally:
            self._running = False

    def close(self):
        cdef Link* link
        cdef int index
        if self._running:
            raise ValueError("the exchange is being iterated")
        self._over = True
        self._requests = None
        fit = []
        for index in range(self._count):
            link = &self._links[index]
            if link.fd >= 0 and link.fault == SOUND and not link.deaf and link.asked == link.answered and link.out_at == link.out_end:
                fit.append(self._sockets[index])
                self._sockets[index] = None
            self.release(index)
        return fit
