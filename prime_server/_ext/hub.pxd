"""The routing side's one loop: a server's edge, or balancers, or both."""

from libc.stdint cimport int64_t, uint64_t

from prime_server._ext.direct cimport Pack
from prime_server._ext.drain cimport Drain
from prime_server._ext.edge cimport Edge
from prime_server._ext.libzmq cimport Message, Multipart
from prime_server._ext.memory cimport Tide
from prime_server._ext.scheduling cimport Patience
from prime_server._ext.sessions cimport Sessions
from prime_server._ext.watch cimport Watch

cdef enum:
    MAX_STAGES = 32
    MAX_LINKS = 4 * MAX_STAGES + 3

cdef enum LinkKind:
    LOOPBACK               # PULL: results
    PROXY                  # DEALER: the first proxy, when it is hosted elsewhere
    UPSTREAM               # ROUTER of a balancer
    DOWNSTREAM             # ROUTER of a balancer
    MONITOR                # PAIR: tells of the ends of another's connections

cdef struct Link:          # a ZeroMQ socket in the wait
    void* socket
    LinkKind kind
    int stage
    bint look              # it may have something: its descriptor was readable, or something was sent on it
    void* watch            # Watch, borrowed: of a monitor its own, of another socket the one over it; NULL: none
    Link* of               # a monitor's: whose peers it tells of
    int64_t mourned        # of a DOWNSTREAM: since when it is known that some have gone who aren't buried yet, 0: none

cdef struct Direct:        # the direct way to a worker process, in the wait
    int descriptor         # owned, -1: none
    int stage
    uint64_t number        # by which the worker names it, never used twice
    bint look
    Pack pack              # jobs that are to go

cdef class Hub:
    cdef readonly Edge edge
    cdef Sessions sessions
    cdef readonly list balancers
    cdef list kept                 # alive: sockets and watches
    cdef void* stages[MAX_STAGES]  # Balancer, borrowed from `balancers`
    cdef Link* upstreams[MAX_STAGES]      # into `links`, NULL: none
    cdef Link* downstreams[MAX_STAGES]
    cdef int stage_count
    cdef Link links[MAX_LINKS]
    cdef int link_count
    cdef Direct* directs           # owned
    cdef int direct_count
    cdef bint look_at_directs      # at one of them at least
    cdef bint packed               # something for one of them
    cdef list new_directs               # (index, stage, number, descriptor) that the loop doesn't know yet
    cdef Link* proxy               # NULL: none
    cdef bint proxy_is_ours        # its hello has come
    cdef int proxy_connects        # how often a connection to it has come about
    cdef void* interrupt           # the libzmq socket
    cdef Multipart held            # a job that the proxy could not take yet
    cdef bint holding
    cdef int queue                 # of readiness.h
    cdef int wake[2]               # a pipe: `stop`
    cdef bint failed               # the context was terminated under the loop
    cdef int64_t stop_at           # 0: running, else when everything ends
    cdef int64_t drain_since
    cdef int64_t drain_us
    cdef Drain drain               # of the edge, None: none is hosted here
    cdef int64_t log_flushed
    cdef int running
    cdef Patience patience
    cdef Tide tide

    cdef int loop(self, bint signals) except -1 nogil
    cdef Link* link(self, socket, LinkKind kind, int stage) except NULL
    cdef Link* watched(self, pair, LinkKind kind, int stage) except NULL
    cdef int take_new_directs(self) except -1
    cdef int end_directs(self) except -1
    cdef Direct* direct(self, uint64_t number, int stage) noexcept nogil
    cdef void drain_directs(self, int64_t now) noexcept nogil
    cdef void drain_direct(self, Direct* direct, int64_t now) noexcept nogil
    cdef void end_direct(self, Direct* direct) noexcept nogil
    cdef bint pack(self, Multipart* job, Direct* direct, int64_t now) noexcept nogil
    cdef void post(self, Direct* direct, int64_t now) noexcept nogil
    cdef bint give(self, Multipart* message, int stage) noexcept nogil
    cdef void hear_workers(self, int64_t now) noexcept nogil
    cdef void bury(self, Link* link, int64_t now) noexcept nogil
    cdef void finish_by(self, Multipart* parts, int stage, int64_t now) noexcept nogil
    cdef void tie(self, Link* link, Message* peer) noexcept nogil
    cdef void cut_off(self, Link* loopback, int64_t now) noexcept nogil
    cdef void reconnected(self, Link* link, int64_t now) noexcept nogil
    cdef bint pump(self, int64_t now) noexcept nogil
    cdef void drain_link(self, Link* link, int64_t now) noexcept nogil
    cdef void dispatch(self, int64_t now) noexcept nogil
    cdef void send_jobs(self, int64_t now) noexcept nogil
    cdef void publish(self, int64_t now) noexcept nogil
    cdef void look_at_pace(self, int64_t now) noexcept nogil
    cdef int64_t tick(self, int64_t now) noexcept nogil
    cdef size_t level(self) noexcept nogil
    cdef bint finished(self, int64_t now) noexcept nogil
    cdef bint abandoned(self, Link* upstream) noexcept nogil
    cdef void say_over(self, int64_t now) noexcept nogil
    cdef void begin_drain(self, int64_t until, int64_t now) noexcept nogil
