"""The routing side's one loop: a server's edge, or balancers, or both."""

from libc.stdint cimport int64_t

from prime_server._ext.edge cimport Edge
from prime_server._ext.libzmq cimport Multipart
from prime_server._ext.sessions cimport Sessions

cdef enum:
    MAX_STAGES = 32
    MAX_LINKS = 2 * MAX_STAGES + 2

cdef enum LinkKind:
    LOOPBACK               # PULL: results
    PROXY                  # DEALER: the first proxy, when it is hosted elsewhere
    UPSTREAM               # ROUTER of a balancer
    DOWNSTREAM             # ROUTER of a balancer

cdef struct Link:          # a ZeroMQ socket in the wait
    void* socket
    LinkKind kind
    int stage
    bint look              # it may have something: its descriptor was readable, or something was sent on it

cdef class Hub:
    cdef readonly Edge edge
    cdef Sessions sessions
    cdef readonly list balancers
    cdef list sockets              # kept alive
    cdef void* stages[MAX_STAGES]  # Balancer, borrowed from `balancers`
    cdef Link* upstreams[MAX_STAGES]      # into `links`, NULL: none
    cdef Link* downstreams[MAX_STAGES]
    cdef int stage_count
    cdef Link links[MAX_LINKS]
    cdef int link_count
    cdef Link* proxy               # NULL: none
    cdef bint proxy_is_ours        # its hello has come
    cdef void* interrupt           # the libzmq socket
    cdef Multipart held            # a job that the proxy could not take yet
    cdef bint holding
    cdef int queue                 # of readiness.h
    cdef int wake[2]               # a pipe: `stop`
    cdef bint failed               # the context was terminated under the loop
    cdef int64_t stop_at           # 0: running, else when everything ends
    cdef int64_t quiet_since       # a proxy alone: since when it has had nothing
    cdef int64_t drain_us
    cdef bint drained_idle
    cdef int64_t log_flushed
    cdef int running

    cdef int loop(self, bint signals) except -1 nogil
    cdef Link* link(self, socket, LinkKind kind, int stage) except NULL
    cdef bint pump(self, int64_t now) noexcept nogil
    cdef void drain_link(self, Link* link, int64_t now) noexcept nogil
    cdef void dispatch(self, int64_t now) noexcept nogil
    cdef void send_jobs(self, int64_t now) noexcept nogil
    cdef void publish(self, int64_t now) noexcept nogil
    cdef int64_t tick(self, int64_t now) noexcept nogil
    cdef bint finished(self, int64_t now) noexcept nogil
    cdef void begin_drain(self, int64_t until, int64_t now) noexcept nogil
