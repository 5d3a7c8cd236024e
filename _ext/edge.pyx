"""The public sockets: one listener and its connections, non-blocking, in the hub's wait.

It moves bytes between sockets and sessions and decides nothing: a connection that the sessions don't want to hear isn't read (level triggered, so
nothing is lost by not looking), what they have to say is written in one call for all that is there, and what is over is closed. Reads go into one
buffer for all connections, from which whole requests are parsed in place; the body of a big request is read straight to where it stays.

Over the bound of connections a newcomer takes the place of the one that has been idle longest; where none is idle it is turned away by 503, and over
the bound of its address by 429. When the process is short of descriptors, or too many are being turned away, the listener leaves the wait until
a connection has closed or a moment has passed: the backlog holds the newcomers, and the loop doesn't spin. Short of them it is before the last one
is gone: a quarter, up to 64, are kept for workers that come or come back. They would have to wait for as long as clients stay, while libzmq spins;
and over ipc it ends the process when it has none for a newcomer. Workers that are threads have theirs already, and take most of few: a sixteenth is
kept for what work functions open.

A listener that closes resets whoever is in its backlog, or about to be. So before, newcomers are kept out while those who have come are taken: on
Linux the first segment of a handshake is dropped (the client sends another one a second later, and is refused), on others that moment is left.
"""

from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, errno
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from posix.unistd cimport close as close_descriptor
from posix.unistd cimport dup

from prime_server._ext.addresses cimport addresses_end, addresses_enter, addresses_leave, addresses_start
from prime_server._ext.clock cimport sooner
from prime_server._ext.csocket cimport MSG_NOSIGNAL, SHUT_WR, iovec, msghdr, recv, sendmsg, shutdown
from prime_server._ext.output cimport Piece, bytes_of
from prime_server._ext.readiness cimport HUNG_UP, READABLE, WRITABLE, ready_remove, ready_set

import resource
import secrets
import socket

cdef extern from * nogil:
    """
    #include <fcntl.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <sys/socket.h>
    #include <stdint.h>
    #include <string.h>
    #if defined(__linux__)
    #include <linux/filter.h>
    #endif

    /* Who has connected, as a number: 0 for a unix socket. A multicast prefix, which nobody comes from, stands before an IPv4 address. */
    static uint64_t prime_address(const struct sockaddr_storage *from) {
        uint64_t prefix = 0;
        uint32_t address = 0;
        if (from->ss_family == AF_INET) {
            memcpy(&address, &((const struct sockaddr_in *)from)->sin_addr, 4);
        } else if (from->ss_family == AF_INET6) {
            const struct in6_addr *six = &((const struct sockaddr_in6 *)from)->sin6_addr;
            if (!IN6_IS_ADDR_V4MAPPED(six)) {
                memcpy(&prefix, six, 8);
                return prefix ? prefix : 1;
            }
            memcpy(&address, (const char *)six + 12, 4);
        } else {
            return 0;
        }
        return 0xffffffff00000000u | address;
    }

    static int prime_accept(int listener, int tcp, uint64_t *address) {
        struct sockaddr_storage from;
        socklen_t size = sizeof(from);
        int one = 1;
    #if defined(__linux__)
        int descriptor = accept4(listener, (struct sockaddr *)&from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    #else
        int descriptor = accept(listener, (struct sockaddr *)&from, &size);
        if (descriptor >= 0) {
            fcntl(descriptor, F_SETFL, O_NONBLOCK);
            fcntl(descriptor, F_SETFD, FD_CLOEXEC);
        }
    #endif
    #if defined(SO_NOSIGPIPE)
        if (descriptor >= 0) setsockopt(descriptor, SOL_SOCKET, SO_NOSIGPIPE, &one, sizeof(one));
    #endif
        *address = descriptor >= 0 && tcp ? prime_address(&from) : 0;
        if (descriptor >= 0 && tcp) setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        return descriptor;
    }

    /* From now on nobody new comes into the backlog, but those whose handshake has begun. 0, or -1 where that can't be had. */
    static int prime_keep_out(int listener, int tcp) {
    #if defined(__linux__)
        if (!tcp) return shutdown(listener, SHUT_RD);
        {
            struct sock_filter first_segments[] = {
                BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),               /* the TCP header's flags */
                BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x12),            /* SYN and ACK */
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x02, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, 0),
                BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
            };
            struct sock_fprog program = {5, first_segments};
            return setsockopt(listener, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
        }
    #else
        return -1;
    #endif
    }
    """
    int accept_one "prime_accept"(int listener, bint tcp, uint64_t* address)
    int keep_newcomers_out "prime_keep_out"(int listener, bint tcp)

cdef enum:
    BUFFER_SIZE = 65536
    READS = 8              # of one connection in a row, so that none starves the others
    ACCEPTS = 64           # in a row
    LAST_TURNS = 1024      # when nobody is to be left in the backlog
    SHUT_US = 5000         # for handshakes to end, before the listener closes
    PIECES = 64            # written in one call
    PAUSE_US = 100000      # the listener rests, out of descriptors
    KEPT = 64              # descriptors for workers, whose connections come and go, and for what work functions open
    EVICTED = 4            # idle ones that make room before such a rest: as many come in as are idle long enough
    TURNED_AWAY = 128      # connections over the bound, at most, for as long as it takes to tell them


cdef class Edge:
    def __cinit__(
        self,
        Sessions sessions not None,
        listener,
        *,
        bint threads=False,
        Py_ssize_t max_connections=65536,
        Py_ssize_t max_connections_per_address=0,
    ):
        self.sessions = sessions
        self.listener = listener
        self.descriptor = listener.fileno()
        self.tcp = listener.family != socket.AF_UNIX
        self.queue = -1
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if most != resource.RLIM_INFINITY:
            self.crowded_from = max(1, min(most - min(most // (16 if threads else 4), KEPT), 1 << 30))
        self.max_connections = max_connections
        self.max_per_address = max_connections_per_address
        self.buffer = <char*>malloc(BUFFER_SIZE)
        if self.buffer == NULL or addresses_start(&self.addresses, secrets.randbits(64)) != 0:
            raise MemoryError()

    def __dealloc__(self):
        addresses_end(&self.addresses)
        free(self.buffer)

    cdef int attach(self, int queue) except -1:
        self.queue = queue
        if ready_set(queue, self.descriptor, <void*>self, 0, READABLE, True) != 0:
            raise OSError(errno, "the listening socket can't be waited for")
        self.listening = True
        return 0

    cdef bint crowded(self) noexcept nogil:
        """Whether the next descriptor is one that is kept for others."""
        cdef int next
        if self.crowded_from == 0:
            return False
        next = dup(self.descriptor)
        if next >= 0:
            close_descriptor(next)
        return next < 0 or next >= self.crowded_from

    cdef void pause(self, int64_t until) noexcept nogil:
        if self.listening:
            ready_remove(self.queue, self.descriptor)
            self.listening = False
        self.listen_again = until

    cdef void stop_listening(self, int64_t now) noexcept nogil:
        if self.descriptor < 0 or self.shut_at:
            return
        if keep_newcomers_out(self.descriptor, self.tcp) == 0:
            self.shut_at = now + SHUT_US
        else:
            self.shut(now)

    cdef void shut(self, int64_t now) noexcept nogil:
        cdef int _turn
        with gil:
            self.listener.detach()
        for _turn in range(LAST_TURNS):
            if not self.listening or not self.accept(now):
                break
        close_descriptor(self.descriptor)  # which takes it out of the wait
        self.descriptor = -1
        self.listening = False
        self.listen_again = 0

    cdef bint accept(self, int64_t now) noexcept nogil:
        """True if there may be more."""
        cdef int _turn, _evicted, descriptor, error
        cdef uint64_t address
        cdef bint full
        cdef Connection* connection
        for _turn in range(ACCEPTS):
            if self.turned_away >= TURNED_AWAY:
                self.pause(now + PAUSE_US)
                return False
            # Asked each time, as one that was closed leaves a gap below. That costs a small part of what a connection does.
            descriptor = -1
            error = EMFILE
            if self.crowded():
                if _turn:
                    return True  # perhaps nobody else has come
            else:
                descriptor = accept_one(self.descriptor, self.tcp, &address)
                error = errno
            if descriptor < 0:
                if error == EINTR or error == ECONNABORTED:
                    continue
                if error == EMFILE or error == ENFILE or error == ENOBUFS or error == ENOMEM:
                    self.out_of_descriptors += 1
                    for _evicted in range(EVICTED):
                        if not self.sessions.make_room(now):
                            break
                    self.pause(now + PAUSE_US)
                return False
            full = self.sessions.connections - self.turned_away >= self.max_connections and not self.sessions.make_room(now)
            connection = self.sessions.open(now)
            if connection == NULL:
                close_descriptor(descriptor)
                self.pause(now + PAUSE_US)
                return False
            connection.descriptor = descriptor
            connection.interest = READABLE | HUNG_UP
            if ready_set(self.queue, descriptor, connection, 0, READABLE | HUNG_UP, True) != 0:
                self.end(connection)
            elif full:
                self.refused += 1
                self.turn_away(connection, 503, "too many connections", now)
            elif self.max_per_address and address:
                if addresses_enter(&self.addresses, address) > self.max_per_address:
                    addresses_leave(&self.addresses, address)
                    self.refused_address += 1
                    self.turn_away(connection, 429, "too many connections from one address", now)
                else:
                    connection.address = address
        return True

    cdef void turn_away(self, Connection* connection, int status, const char* why, int64_t now) noexcept nogil:
        connection.turned_away = True
        self.turned_away += 1
        self.sessions.turn_away(connection, status, why, now)

    cdef void serve(self, Connection* connection, int events, int64_t now) noexcept nogil:
        cdef int _turn
        cdef ssize_t size
        cdef size_t room
        cdef char* at
        if events & READABLE:
            for _turn in range(READS):
                if not self.sessions.reads(connection):
                    break
                at = NULL
                room = self.sessions.room(connection, &at)
                size = recv(connection.descriptor, at if room else self.buffer, room if room else <size_t>BUFFER_SIZE, 0)
                if size > 0:
                    if room:
                        self.sessions.filled(connection, size, now)
                    else:
                        room = BUFFER_SIZE
                        self.sessions.received(connection, self.buffer, size, now)
                    if <size_t>size < room:
                        break  # nothing more is there now
                    continue
                if size == 0:
                    self.sessions.left(connection, False, now)
                elif errno == EINTR:
                    continue
                elif errno != EAGAIN:
                    self.sessions.left(connection, True, now)
                break
        elif events & HUNG_UP:
            # not reading from it, so whatever it has sent last stays unread
            self.sessions.left(connection, False, now)
        if events & WRITABLE:
            self.write(connection, now)
        self.sessions.touch(connection)

    cdef void write(self, Connection* connection, int64_t now) noexcept nogil:
        cdef iovec pieces[PIECES]
        cdef msghdr message
        cdef Piece* piece
        cdef int count
        cdef ssize_t size
        cdef size_t all
        while connection.output.size and not connection.broken:
            piece = connection.output.first
            count = 0
            all = 0
            while piece != NULL and count < PIECES:
                if piece.end > piece.begin:
                    pieces[count].iov_base = <void*>bytes_of(piece)
                    pieces[count].iov_len = piece.end - piece.begin
                    all += pieces[count].iov_len
                    count += 1
                piece = piece.next
            memset(&message, 0, sizeof(message))
            message.msg_iov = pieces
            message.msg_iovlen = count
            size = sendmsg(connection.descriptor, &message, MSG_NOSIGNAL)
            if size < 0:
                if errno == EINTR:
                    continue
                if errno != EAGAIN:
                    self.sessions.left(connection, True, now)
                return
            self.sessions.wrote(connection, size, now)
            if <size_t>size < all:
                return

    cdef void flush(self, int64_t now) noexcept nogil:
        cdef Connection* connection = self.sessions.take_dirty()
        while connection != NULL:
            self.look(connection, now)
            connection = self.sessions.take_dirty()

    cdef void look(self, Connection* connection, int64_t now) noexcept nogil:
        cdef int wanted
        if connection.output.size and not connection.interest & WRITABLE:
            self.write(connection, now)
        self.sessions.resume(connection, now)
        self.sessions.count(connection, now)
        self.sessions.bound_incoming(connection, now)
        if self.sessions.finished(connection):
            self.end(connection)
            return
        if self.sessions.lingers(connection, now) and connection.output.size == 0:
            shutdown(connection.descriptor, SHUT_WR)
        wanted = (READABLE if self.sessions.reads(connection) else 0) | (WRITABLE if connection.output.size else 0)
        if not connection.gone:
            wanted |= HUNG_UP
        if connection.interest & READABLE and not wanted & READABLE and not connection.ending:
            self.paused += 1
        if wanted != connection.interest:
            ready_set(self.queue, connection.descriptor, connection, connection.interest, wanted, False)
            connection.interest = wanted

    cdef void end(self, Connection* connection) noexcept nogil:
        cdef int descriptor = connection.descriptor
        if connection.address:
            addresses_leave(&self.addresses, connection.address)
        self.turned_away -= connection.turned_away
        self.sessions.closed(connection)  # freed once nobody can name it any more (`free_ended`)
        if descriptor >= 0:
            close_descriptor(descriptor)  # which takes it out of the wait
        if self.listen_again:
            self.listen_again = 1

    cdef int64_t tick(self, int64_t now) noexcept nogil:
        cdef int64_t next = self.sessions.tick(now)
        if self.shut_at and self.descriptor >= 0:
            if self.shut_at <= now:
                self.shut(now)
            else:
                next = sooner(next, self.shut_at)
        if self.listen_again and self.descriptor >= 0:
            if self.listen_again <= now:
                self.listen_again = 0
                self.listening = ready_set(self.queue, self.descriptor, <void*>self, 0, READABLE, True) == 0
            else:
                next = sooner(next, self.listen_again)
        return next

    cdef void close(self, int64_t now) noexcept nogil:
        if self.descriptor >= 0:
            self.shut(now)
        while self.sessions.all != NULL:
            self.end(self.sessions.all)

    def stats(self):
        counters = self.sessions.stats()
        counters["connections_refused"] = self.refused
        counters["connections_refused_by_address"] = self.refused_address
        counters["connections_paused"] = self.paused
        counters["out_of_descriptors"] = self.out_of_descriptors
        return counters
