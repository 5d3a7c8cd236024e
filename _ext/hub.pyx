"""The one loop of the routing side: one thread, one wait, any mix of cores.

A server's edge and sessions and the balancers of one or more stages, as far as they are hosted here, hand messages on by a function call; to what is
hosted elsewhere, and to the workers, they go over the ZeroMQ sockets of wire.md. The loop moves messages between sockets and cores and decides
nothing itself.

The wait is the edge's epoll (kqueue) with ZeroMQ's descriptors in it. These are edge triggered in their way: a command that arrives makes the
descriptor readable, and any later call on the socket may take it off again. So a socket is looked at when its descriptor was readable and after
every send on it, until a receive has found nothing: only then may the loop wait. To look costs libzmq two system calls, so nothing else is looked
at. Waiting in zmq_poll instead, with the epoll's descriptor among the sockets, was measured against this (the demo, 5 interleaved pairs): as fast
at 8 and 64 connections, and slower at 1, by a ninth. Each socket is drained up to a bound before the next,
so that neither clients nor workers starve. Who has gone is told by monitors (watch.pyx), once all that has come from there has been read:
of workers a moment later, as others may have gone at the same time, which are not to be given their jobs.

To worker processes that are tied to the hub small messages go, and come from there, by a direct way (direct.pyx).
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from posix.unistd cimport close, read, write

from prime_server._ext.balancer cimport Balancer
from prime_server._ext.clock cimport now_us, sooner
from prime_server._ext.connections cimport Connection, Pending
from prime_server._ext.direct cimport FOR_NEXT_STAGE, FOR_SESSIONS, FOR_WORKER, MALFORMED, PACKED, DirectKind, Packet
from prime_server._ext.direct cimport direct_receive, pack_add, pack_send
from prime_server._ext.drain cimport Drain
from prime_server._ext.info cimport FLAG_FINISHED, RESTART_SIZE, Info, read_hello, read_info, read_restart, write_cancel
from prime_server._ext.info cimport write_credit, write_interrupt
from prime_server._ext.libzmq cimport (
    Message,
    add,
    close_all,
    data_of,
    descriptor_of,
    drop_front,
    frame,
    receive,
    send,
    size_of,
    start,
    underlying,
    zmq,
)
from prime_server._ext.lifecycle cimport (
    RUNNING,
    drain_deadline,
    draining_descriptor,
    hub_enters,
    hub_leaves,
    process_state,
)
from prime_server._ext.memory cimport tide_look
from prime_server._ext.outgoing cimport TO_SESSIONS, TO_UPSTREAM, TO_WORKER
from prime_server._ext.readiness cimport READABLE, READY_MAX, Ready, ready_open, ready_remove, ready_set, ready_wait
from prime_server._ext.report cimport report_malformed
from prime_server._ext.scheduling cimport PATIENCE_EVERY, patience_end, patience_look, patience_start
from prime_server._ext.watch cimport Ends

import itertools
import os
import threading

from prime_server.errors import PrimeServerError

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1

cdef extern from * nogil:
    """
    #include <errno.h>
    #ifndef ETERM
    #define ETERM (156384712 + 53)  /* ZMQ_HAUSNUMERO + 53 */
    #endif
    """
    int ETERM
    int EHOSTUNREACH

cdef enum:
    DRAIN = 512                # messages of one socket in a row
    PLACE_BITS = 16            # of the number of a direct way: its place
    MOST_DIRECTS = 1 << PLACE_BITS
    ROUNDS = 4                 # over all sockets in a row
    RETRY_US = 100000          # a job that no proxy has taken is offered again
    LOG_DELAY_US = 50000       # a line waits at most so long
    SIGNAL_CHECK_US = 500000   # on the main thread, without quiesce(): how long Ctrl-C may take
    CROWDED = 4                # requests in flight, so that the hub hands out a batch at a time
    PER_REQUEST = 1024         # bytes, what a waiting one takes beside its own, about
    PER_CONNECTION = 4096
    NOTHING_US = 500000        # a draining proxy that never had a job is done by then
    QUIET_US = 1250000         # and one that has none now, as servers wait a second for their clients; at once if nobody is left who could send one
    MOURNING_US = 30000        # others may have died at the same time: a job that went on to one of them would seem to have killed two


_numbers = itertools.count(1)  # of direct ways


cdef class Hub:
    def __cinit__(self):
        self.queue = -1
        self.wake[0] = -1
        self.wake[1] = -1
        self.queue = ready_open()
        if self.queue < 0:
            raise OSError(errno, os.strerror(errno))
        self.wake = os.pipe()
        for end in self.wake:
            os.set_blocking(end, False)

    def __init__(self, *, Edge edge=None, loopback=None, interrupt=None, proxy=None, stages=(), int processes=0):
        cdef Balancer balancer
        cdef int index
        if not 0 <= processes <= MOST_DIRECTS:
            raise ValueError(f"at most {MOST_DIRECTS} worker processes are tied to one hub, not {processes}")
        if edge is not None and (loopback is None or interrupt is None):
            raise ValueError("an edge needs a loopback and an interrupt socket")
        if edge is not None and (proxy is None) == (len(stages) == 0):
            raise ValueError("an edge needs the first stage hosted here, or a socket to its proxy, and not both")
        if len(stages) > MAX_STAGES:
            raise ValueError(f"at most {MAX_STAGES} stages are hosted in one hub, not {len(stages)}")
        self.directs = <Direct*>calloc(processes + 1, sizeof(Direct))
        if self.directs == NULL:
            raise MemoryError()
        self.direct_count = processes
        for index in range(processes):
            self.directs[index].descriptor = -1
        self.new_directs = []
        self.edge = edge
        self.kept = []
        self.balancers = []
        if edge is not None:
            self.sessions = edge.sessions
            self.drain = Drain(edge)
            self.interrupt = underlying(interrupt)
            self.kept.append(interrupt)
            self.watched(loopback, LOOPBACK, -1)
            if proxy is not None:
                self.proxy = self.watched(proxy, PROXY, -1)
        for index, (balancer, upstream, downstream) in enumerate(stages):
            self.balancers.append(balancer)
            self.stages[index] = <void*>balancer
            self.downstreams[index] = self.watched(downstream, DOWNSTREAM, index)
            self.upstreams[index] = NULL if upstream is None else self.watched(upstream, UPSTREAM, index)
        self.stage_count = len(self.balancers)
        if edge is not None:
            self.sessions.at_once = proxy is None

    def __dealloc__(self):
        cdef int index
        if self.holding:
            close_all(&self.held)
        cdef int which
        for index in range(self.direct_count):
            if self.directs[index].descriptor >= 0:
                close(self.directs[index].descriptor)
            for which in range(self.directs[index].pack.count):
                close_all(&self.directs[index].pack.messages[which].parts)
        free(self.directs)
        for end in self.wake:
            if end >= 0:
                close(end)
        if self.queue >= 0:
            close(self.queue)

    cdef Link* link(self, socket, LinkKind kind, int stage) except NULL:
        cdef Link* link = &self.links[self.link_count]
        link.socket = underlying(socket)
        link.kind = kind
        link.stage = stage
        link.look = True
        if ready_set(self.queue, descriptor_of(link.socket), link, 0, READABLE, True) != 0:
            raise OSError(errno, os.strerror(errno))
        self.kept.append(socket)
        self.link_count += 1
        return link

    cdef Link* watched(self, pair, LinkKind kind, int stage) except NULL:
        """Of a socket and its monitor."""
        socket, monitor = pair
        cdef Link* link = self.link(socket, kind, stage)
        cdef Link* monitoring = self.link(monitor, MONITOR, stage)
        cdef Watch watch = Ends(monitor) if kind == LOOPBACK else Watch(monitor)
        self.kept.append(watch)
        link.watch = monitoring.watch = <void*>watch
        monitoring.of = link
        return link

    def add_direct(self, int index, int stage, descriptor):
        if not 0 <= index < self.direct_count or not 0 <= stage < self.stage_count:
            raise ValueError(f"there is no place {index} for worker processes, or no stage {stage}")
        number = next(_numbers) << PLACE_BITS | index
        self.new_directs.append((index, stage, number, descriptor))
        write(self.wake[1], b"x", 1)
        return number

    cdef int take_new_directs(self) except -1:
        cdef Direct* direct
        while self.new_directs:
            index, stage, number, descriptor = self.new_directs.pop(0)
            direct = &self.directs[<int>index]
            self.drain_direct(direct, now_us())  # of a process before, which has ended
            self.end_direct(direct)
            direct.descriptor = descriptor
            direct.stage = stage
            direct.number = number
            if ready_set(self.queue, direct.descriptor, direct, 0, READABLE, True) != 0:
                self.end_direct(direct)  # ZeroMQ's way remains
        return 0

    cdef int end_directs(self) except -1:
        cdef int index
        for index in range(self.direct_count):
            self.end_direct(&self.directs[index])
        while self.new_directs:
            _, _, _, descriptor = self.new_directs.pop()
            close(descriptor)
        return 0

    def close(self):
        self.end_directs()

    def run(self):
        if self.running:
            raise PrimeServerError("this hub is running already")
        self.running = True
        cdef bint signals = threading.current_thread() is threading.main_thread()
        if self.edge is not None and self.edge.queue < 0:
            self.edge.attach(self.queue)
        if ready_set(self.queue, self.wake[0], &self.wake, 0, READABLE, True) != 0:
            raise OSError(errno, os.strerror(errno))
        if ready_set(self.queue, draining_descriptor(), &self.stop_at, 0, READABLE, True) != 0:
            raise OSError(errno, os.strerror(errno))
        hub_enters()
        try:
            with nogil:
                patience_start(&self.patience, True)
                self.loop(signals)
        finally:
            patience_end(&self.patience)
            hub_leaves()
            self.end_directs()
            if self.edge is not None:
                self.edge.close(now_us())
                self.publish(now_us())  # workers that are still busy for them needn't go on
                self.sessions.free_ended()
                self.sessions.log.flush()
            self.running = False

    def stop(self, double drain_seconds=0.0):
        self.drain_us = <int64_t>(drain_seconds * 1e6) + 1
        write(self.wake[1], b"x", 1)

    cdef int loop(self, bint signals) except -1 nogil:
        cdef Ready ready[READY_MAX]
        cdef int64_t now = now_us()
        cdef int64_t next, timeout
        cdef int64_t until = 0
        cdef bint busy
        cdef int count, index
        cdef void* tag
        cdef char byte
        while True:
            if self.stage_count and now - self.patience.looked >= PATIENCE_EVERY:
                self.look_at_pace(now)
            busy = self.pump(now)
            if self.edge is not None:
                self.edge.flush(now)
                # What has been flushed may have made room, and brought new requests.
                if (
                    self.sessions.interrupts_size
                    or self.sessions.credits_size
                    or (self.sessions.jobs_begin != self.sessions.jobs_end and not self.holding)
                ):
                    busy |= self.pump(now)
            if self.failed:
                return 0
            next = self.tick(now)
            if self.stop_at and self.finished(now):
                self.say_over(now)
                return 0
            timeout = -1 if next < 0 else (0 if next <= now else next - now)
            if self.edge is not None and self.sessions.log.used:
                if now - self.log_flushed >= LOG_DELAY_US:
                    self.sessions.log.flush()
                    self.log_flushed = now
                if self.sessions.log.used:
                    timeout = sooner(timeout, LOG_DELAY_US)
            if signals and process_state() == RUNNING:
                timeout = sooner(timeout, SIGNAL_CHECK_US)
            if busy:
                timeout = 0
            if self.edge is not None:
                self.sessions.free_ended()  # nobody but the queue names connections here, and it those that are open
            count = ready_wait(self.queue, ready, READY_MAX, timeout)
            now = now_us()
            if count == 0 and timeout and signals:
                with gil:
                    PyErr_CheckSignals()
            for index in range(count):
                tag = ready[index].tag
                if <void*>&self.links[0] <= tag < <void*>&self.links[MAX_LINKS]:
                    (<Link*>tag).look = True
                elif <void*>self.directs <= tag < <void*>(self.directs + self.direct_count):
                    (<Direct*>tag).look = self.look_at_directs = True
                elif tag == <void*>self.edge:
                    self.edge.accept(now)
                elif tag == <void*>&self.wake:
                    while read(self.wake[0], &byte, 1) > 0:
                        pass
                    with gil:
                        self.take_new_directs()
                    if self.drain_us:
                        until = now + self.drain_us
                elif tag == <void*>&self.stop_at:
                    ready_remove(self.queue, draining_descriptor())
                    until = drain_deadline()
                else:
                    self.edge.serve(<Connection*>tag, ready[index].events, now)
            if until and not self.stop_at:
                # Not before: it frees connections, which events of the same wait may name.
                self.begin_drain(until, now)
            until = 0

    cdef bint pump(self, int64_t now) noexcept nogil:
        """Moves what is there until nothing more comes of it; True if it stopped before that, for the clients' sake."""
        cdef int _turn, index
        cdef bint more
        for _turn in range(ROUNDS):
            if self.look_at_directs:
                self.drain_directs(now)
            for index in range(self.link_count):
                if self.links[index].look:
                    self.drain_link(&self.links[index], now)
            self.dispatch(now)
            more = self.look_at_directs
            for index in range(self.link_count):
                more |= self.links[index].look
            if not more:
                return False
        return True

    cdef Direct* direct(self, uint64_t number, int stage) noexcept nogil:
        """The way of that number to a worker of the stage, or NULL: it may name one that has ended."""
        cdef int index = <int>(number & ((1 << PLACE_BITS) - 1))
        if number == 0 or index >= self.direct_count or self.directs[index].number != number:
            return NULL
        if self.directs[index].descriptor < 0 or self.directs[index].stage != stage:
            return NULL
        return &self.directs[index]

    cdef void end_direct(self, Direct* direct) noexcept nogil:
        if direct.descriptor >= 0:
            ready_remove(self.queue, direct.descriptor)
            close(direct.descriptor)
        direct.descriptor = -1
        direct.look = False

    cdef void drain_directs(self, int64_t now) noexcept nogil:
        cdef int index
        self.look_at_directs = False
        for index in range(self.direct_count):
            if self.directs[index].look:
                self.drain_direct(&self.directs[index], now)
                self.look_at_directs |= self.directs[index].look

    cdef void drain_direct(self, Direct* direct, int64_t now) noexcept nogil:
        cdef Multipart parts
        cdef Packet packet
        cdef DirectKind kind
        cdef int next = direct.stage + 1
        cdef int left = DRAIN
        cdef int status
        packet.size = packet.at = 0
        while left > 0 or packet.at < packet.size:  # what has come of a packet can't be left
            left -= 1
            status = direct_receive(direct.descriptor, &packet, &parts, &kind) if direct.descriptor >= 0 else 0
            if status == MALFORMED:
                report_malformed("a malformed packet from a worker process was dropped")
                continue
            if status <= 0:
                direct.look = False
                if status < 0:
                    self.end_direct(direct)
                return
            if kind == FOR_SESSIONS and self.edge is not None:
                self.finish_by(&parts, -1, now)
                self.sessions.result(&parts, now)
            elif kind == FOR_NEXT_STAGE and self.edge is not None and next < self.stage_count:
                self.finish_by(&parts, next, now)
                # What it refuses is told to the sessions, as it has come without a sender.
                if (<Balancer>self.stages[next]).submit(&parts, NULL, 0, now) < 0:
                    report_malformed("a malformed job was dropped by its proxy")
            else:
                close_all(&parts)

    cdef void drain_link(self, Link* link, int64_t now) noexcept nogil:
        cdef Multipart parts
        cdef Message sender
        cdef uint64_t life, former
        cdef int _turn, status
        if link.kind == MONITOR:
            link.look = False
            (<Watch>link.watch).listen()
            link.of.look = True  # what it tells of counts once its socket has been read to the end
            return
        for _turn in range(DRAIN):
            status = receive(link.socket, &parts)
            if status <= 0:
                link.look = False
                if status < 0 and zmq.last_error() == ETERM:
                    self.failed = True
                elif link.watch != NULL:
                    self.bury(link, now)
                return
            if link.kind == LOOPBACK:
                self.finish_by(&parts, -1, now)
                if parts.size == 1 and read_restart(data_of(frame(&parts, 0)), size_of(frame(&parts, 0)), &former, &life):
                    if life != self.sessions.life:  # those hosted here are as old as we are
                        self.sessions.met_anew(
                            former, life, data_of(frame(&parts, 0)) + RESTART_SIZE, size_of(frame(&parts, 0)) - RESTART_SIZE, now
                        )
                    close_all(&parts)
                else:
                    self.sessions.result(&parts, now)
            elif link.kind == PROXY:
                if parts.size == 1 and read_hello(data_of(frame(&parts, 0)), size_of(frame(&parts, 0)), &life):
                    self.proxy_is_ours = True
                    self.sessions.met_proxy(life, now)
                    close_all(&parts)
                else:
                    self.sessions.result(&parts, now)
            elif link.kind == DOWNSTREAM:
                status = (<Balancer>self.stages[link.stage]).heard(&parts, now)
                if status > 0:
                    self.tie(link, frame(&parts, 0))
                elif status < 0:
                    report_malformed("a malformed message from a worker to its proxy was dropped")
                close_all(&parts)
            else:
                # the sender's id is the proxy's to know, not the worker's
                memcpy(&sender, frame(&parts, 0), sizeof(Message))
                zmq.msg_init(frame(&parts, 0))
                drop_front(&parts, 1)
                self.finish_by(&parts, link.stage, now)
                status = (<Balancer>self.stages[link.stage]).submit(&parts, data_of(&sender), size_of(&sender), now)
                if status > 0:
                    self.tie(link, &sender)
                elif status < 0:
                    report_malformed("a malformed job was dropped by its proxy")
                zmq.msg_close(&sender)

    cdef void finish_by(self, Multipart* parts, int stage, int64_t now) noexcept nogil:
        """A result, or a job for `stage`, may tell that its worker has done with the job: one of a proxy that is hosted here with the server."""
        cdef Info info
        cdef int index
        if (
            self.edge is None
            or parts.size == 0
            or read_info(data_of(frame(parts, 0)), size_of(frame(parts, 0)), &info) != 0
            or not info.flags & FLAG_FINISHED
            or info.life != self.sessions.life
        ):
            return
        if stage >= 0:
            info.hops -= 1  # the worker's own
        for index in range(self.stage_count):
            if index != stage and (<Balancer>self.stages[index]).done(&info, now):
                return
        if stage >= 0:
            (<Balancer>self.stages[stage]).done(&info, now)

    cdef void tie(self, Link* link, Message* peer) noexcept nogil:
        (<Watch>link.watch).tie(peer)
        link.look = True  # the watch has read its monitor

    cdef void bury(self, Link* link, int64_t now) noexcept nogil:
        """All that had come from those who have gone has been read."""
        cdef Message peer
        if link.kind == PROXY:
            self.reconnected(link, now)
        elif link.kind == LOOPBACK:
            self.cut_off(link, now)
        elif link.kind == DOWNSTREAM and (<Watch>link.watch).gone:
            if link.mourned == 0:
                link.mourned = now
            if now - link.mourned < MOURNING_US:
                return
            link.mourned = 0
            self.hear_workers(now)
        while (<Watch>link.watch).take(&peer):
            if link.kind == DOWNSTREAM:
                (<Balancer>self.stages[link.stage]).lost(data_of(&peer), size_of(&peer), now)
            elif link.kind == UPSTREAM:
                (<Balancer>self.stages[link.stage]).left(data_of(&peer), size_of(&peer), now)
            zmq.msg_close(&peer)

    cdef void hear_workers(self, int64_t now) noexcept nogil:
        """What workers had sent to others than their proxy, before one of them is lost."""
        cdef int index
        for index in range(self.direct_count):
            self.drain_direct(&self.directs[index], now)  # they hold fewer jobs than are read at once
        for index in range(self.link_count):
            if self.links[index].kind == LOOPBACK or self.links[index].kind == UPSTREAM:
                self.links[index].look = True
                while self.links[index].look and not self.failed:
                    self.drain_link(&self.links[index], now)

    cdef void cut_off(self, Link* loopback, int64_t now) noexcept nogil:
        cdef size_t count = (<Ends>loopback.watch).known()
        cdef size_t index
        if count == 0:
            return
        for index in range(count):
            if (<Ends>loopback.watch).descriptors[index] >= 0:
                self.sessions.lost((<Ends>loopback.watch).descriptors[index], now)
        (<Ends>loopback.watch).forget(count)
        loopback.look |= (<Ends>loopback.watch).size > 0

    cdef void reconnected(self, Link* link, int64_t now) noexcept nogil:
        cdef int connects = (<Watch>link.watch).connects
        if connects == self.proxy_connects:
            return
        if self.proxy_connects:
            # Who is there now has nothing of what the one before had, and may be one of the original's.
            self.proxy_is_ours = False
            self.sessions.reconnected(now)
        self.proxy_connects = connects

    cdef void dispatch(self, int64_t now) noexcept nogil:
        """Hands on what the cores have to say, until they have nothing more."""
        cdef Multipart parts
        cdef int stage, kind, index
        if self.edge is not None:
            self.publish(now)
            self.send_jobs(now)
        for stage in range(self.stage_count):
            while True:
                kind = (<Balancer>self.stages[stage]).take(&parts, now)
                if kind == 0:
                    break
                if kind == TO_WORKER:
                    # What is no job stays in order with what is said here besides.
                    if parts.size == 2 or not self.pack(&parts, self.direct((<Balancer>self.stages[stage]).direct, stage), now):
                        if not self.give(&parts, stage):
                            self.hear_workers(now)
                            (<Balancer>self.stages[stage]).unsent(&parts, now)
                elif kind == TO_UPSTREAM and self.upstreams[stage] != NULL:
                    self.upstreams[stage].look = True
                    if send(self.upstreams[stage].socket, &parts) != 1:
                        close_all(&parts)  # whoever had asked is gone
                elif kind == TO_SESSIONS and self.edge is not None:
                    self.sessions.result(&parts, now)
                else:
                    close_all(&parts)
        if self.packed:
            self.packed = False
            for index in range(self.direct_count):
                if self.directs[index].pack.count:
                    self.post(&self.directs[index], now)

    cdef bint give(self, Multipart* message, int stage) noexcept nogil:
        self.downstreams[stage].look = True
        return send(self.downstreams[stage].socket, message) == 1

    cdef bint pack(self, Multipart* job, Direct* direct, int64_t now) noexcept nogil:
        """False: there is no direct way, or the job is too big for it."""
        if direct == NULL:
            return False
        if pack_add(&direct.pack, job, 1, FOR_WORKER) == 0:
            self.post(direct, now)
            if pack_add(&direct.pack, job, 1, FOR_WORKER) == 0:
                return False
        self.packed = True
        return True

    cdef void post(self, Direct* direct, int64_t now) noexcept nogil:
        cdef Multipart* unsent[PACKED]
        cdef int count = 0
        cdef int index
        if direct.pack.count == 0 or (direct.descriptor >= 0 and pack_send(&direct.pack, direct.descriptor)):
            return
        for index in range(direct.pack.count):
            if not self.give(&direct.pack.messages[index].parts, direct.stage):
                unsent[count] = &direct.pack.messages[index].parts
                count += 1
        direct.pack.count = 0
        direct.pack.size = 0
        if count == 0:
            return
        self.hear_workers(now)
        for index in range(count - 1, 0, -1):
            (<Balancer>self.stages[direct.stage]).give_back(unsent[index])
            close_all(unsent[index])
        (<Balancer>self.stages[direct.stage]).unsent(unsent[0], now)

    cdef void send_jobs(self, int64_t now) noexcept nogil:
        cdef Pending* pending
        cdef Multipart job
        if self.stage_count:
            while self.sessions.take_job(&job):
                (<Balancer>self.stages[0]).submit(&job, NULL, 0, now)
            return
        while True:
            if not self.holding:
                if not self.sessions.take_job(&self.held):
                    return
                self.holding = True
            # Without a proxy there, its jobs wait here; those that nobody waits for any more are left out when one comes.
            pending = self.sessions.wanted(&self.held)
            if pending == NULL:
                close_all(&self.held)
                self.holding = False
                continue
            if send(self.proxy.socket, &self.held) != 1:
                return
            pending.sent = now
            self.proxy.look = True
            self.holding = False

    cdef void publish(self, int64_t now) noexcept nogil:
        cdef Multipart parts
        cdef size_t index
        cdef int stage
        for index in range(self.sessions.interrupts_size):
            for stage in range(self.stage_count):
                (<Balancer>self.stages[stage]).cancel(self.sessions.life, self.sessions.interrupts[index], now)
            start(&parts)
            write_interrupt(add(&parts), self.sessions.life, self.sessions.interrupts[index])
            if send(self.interrupt, &parts) != 1:
                close_all(&parts)
            if self.proxy_is_ours:  # one of the original's would take it for a job
                start(&parts)
                write_cancel(add(&parts), self.sessions.life, self.sessions.interrupts[index])
                if send(self.proxy.socket, &parts) != 1:
                    close_all(&parts)
                self.proxy.look = True
        self.sessions.interrupts_size = 0
        for index in range(self.sessions.credits_size):
            start(&parts)
            write_credit(add(&parts), self.sessions.life, self.sessions.credits[index].key, self.sessions.credits[index].total)
            if send(self.interrupt, &parts) != 1:
                close_all(&parts)
        self.sessions.credits_size = 0

    cdef void look_at_pace(self, int64_t now) noexcept nogil:
        cdef double service = -1
        cdef size_t in_flight = 0 if self.edge is None else self.sessions.in_flight
        cdef int stage
        for stage in range(self.stage_count):
            service = max(service, (<Balancer>self.stages[stage]).service)
            in_flight = max(in_flight, (<Balancer>self.stages[stage]).pending())
            self.patience.long_at = max(self.patience.long_at, (<Balancer>self.stages[stage]).long_at)
        patience_look(&self.patience, service, in_flight >= CROWDED, now)

    cdef int64_t tick(self, int64_t now) noexcept nogil:
        cdef int64_t next = -1
        cdef int64_t at
        cdef int stage
        if self.edge is not None:
            next = self.edge.tick(now)
            if self.sessions.dirty_first != NULL or self.sessions.interrupts_size or self.sessions.credits_size:
                next = now  # what has timed out is to be answered and interrupted
            elif self.holding:
                next = sooner(next, now + RETRY_US)
        for stage in range(self.stage_count):
            next = sooner(next, (<Balancer>self.stages[stage]).tick(now))
            if self.edge is not None and self.sessions.streams != NULL and (<Balancer>self.stages[stage]).starved():
                next = sooner(next, self.sessions.free_worker(now))
            if self.downstreams[stage].mourned:
                self.downstreams[stage].look |= now - self.downstreams[stage].mourned >= MOURNING_US
                next = sooner(next, self.downstreams[stage].mourned + MOURNING_US)
        next = sooner(next, tide_look(&self.tide, self.level(), now))
        if self.stop_at:
            if self.edge is not None:
                at = self.drain.next()
            elif self.stop_at > now + 20000:
                at = now + 20000
            else:
                at = self.stop_at
            next = sooner(next, at)
        return next

    cdef size_t level(self) noexcept nogil:
        """Bytes held for requests, about."""
        cdef size_t bytes = 0
        cdef int stage
        if self.edge is not None:
            bytes = self.sessions.payload + self.sessions.incoming + self.sessions.unread
            bytes += self.sessions.in_flight * PER_REQUEST + self.sessions.connections * PER_CONNECTION
        for stage in range(self.stage_count):
            bytes += (<Balancer>self.stages[stage]).jobs.size + (<Balancer>self.stages[stage]).pending() * PER_REQUEST
        return bytes

    cdef void begin_drain(self, int64_t until, int64_t now) noexcept nogil:
        cdef int stage
        self.stop_at = until
        self.drain_since = now
        if self.edge is not None:
            self.drain.begin(until, now)
        for stage in range(self.stage_count):
            (<Balancer>self.stages[stage]).close()

    cdef bint finished(self, int64_t now) noexcept nogil:
        cdef int stage
        cdef int64_t since
        if self.edge is not None:
            return self.drain.done(now)
        if now >= self.stop_at:
            return True
        for stage in range(self.stage_count):
            if (<Balancer>self.stages[stage]).pending():
                return False
            since = (<Balancer>self.stages[stage]).departures.worked
            if now - max(since, self.drain_since) < (QUIET_US if since else NOTHING_US) and not self.abandoned(self.upstreams[stage]):
                return False
        return True

    cdef bint abandoned(self, Link* upstream) noexcept nogil:
        """Whether it is known that nobody is left who could send a job."""
        return upstream != NULL and (<Watch>upstream.watch).any_tied and (<Watch>upstream.watch).tied == 0

    cdef void say_over(self, int64_t now) noexcept nogil:
        """To the workers, which need not wait for what we'd say when they leave."""
        cdef int stage
        for stage in range(self.stage_count):
            (<Balancer>self.stages[stage]).say_over()
        self.dispatch(now)
