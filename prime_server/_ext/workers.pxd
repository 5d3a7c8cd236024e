"""The workers that a balancer knows, by routing id and by how much they hold."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t

from prime_server._ext.jobs cimport Job, JobList
from prime_server._ext.libzmq cimport Message
from prime_server._ext.table cimport Table

cdef enum:
    MAX_ID = 255           # bytes of a routing id, libzmq's own bound
    MOST_HELD = 64         # jobs that a worker may hold
    GONE_US = 50_000       # what a lost worker had sent before is read long before that; a connection comes back after 100 ms at the least

cdef struct Worker:
    Worker* next           # in its rank, or among the gone
    Worker* previous
    uint64_t hash
    uint64_t serial        # never used twice, as its memory is
    Message id             # owned
    Message heartbeat      # owned: what it favours
    JobList held           # oldest first; owned
    Job* doubtful          # owned, not in the table: a plain worker's job that may not be finished, see hearing.pyx
    int rank               # the rank that it stands in: the number of jobs it holds; -1: none, it is not available
    int window             # jobs that it may hold
    double service         # us, its recent mean; -1: not known
    uint64_t direct        # the number of its direct way, 0: none
    bint ours              # it has shown that it speaks our extension
    bint gone              # lost, and remembered for a moment
    bint leaving
    bint wishes            # to leave, when it may
    bint told              # that it may
    int64_t wished         # since when
    bint occupied          # runs something that we don't know of
    bint stalled           # what it runs takes long: nothing more behind it
    bint alone             # holds a job that has killed a worker
    int64_t heard          # when its last message came; of a gone one, when it was lost
    int64_t progress       # since when its oldest job has been its oldest
    uint64_t running_life  # of the job that it said was running
    uint64_t running_key

cdef struct WorkerList:
    Worker* first
    Worker* last
    size_t count

cdef struct Workers:
    Table table
    WorkerList ranks[MOST_HELD]  # available ones by the number of jobs they hold, least recently come first
    uint64_t ranked              # a bit for each rank that isn't empty
    WorkerList gone              # longest gone first
    uint64_t serial
    uint64_t seed
    Worker* filling            # the one that was given a job last, NULL once it is gone

cdef inline int lowest(const Workers* workers) noexcept nogil:
    """The rank of the least loaded available worker; MOST_HELD: none is available."""
    return lowest_bit(workers.ranked) if workers.ranked else MOST_HELD

cdef extern from * nogil:
    """
    #define prime_lowest_bit(bits) __builtin_ctzll(bits)
    """
    int lowest_bit "prime_lowest_bit"(uint64_t)

cdef int workers_start(Workers* workers, uint64_t seed) noexcept nogil
# No worker may own a job any more.
cdef void workers_end(Workers* workers) noexcept nogil
cdef Worker* worker_find(const Workers* workers, const char* id, size_t size) noexcept nogil
# NULL without memory.
cdef Worker* worker_new(Workers* workers, const char* id, size_t size, int64_t now) noexcept nogil
cdef void worker_free(Workers* workers, Worker* worker) noexcept nogil
# Puts it into the rank where it belongs by what has become of it. True: it has become idle by this.
cdef bint worker_rank(Workers* workers, Worker* worker) noexcept nogil
# Moves it to the gone, of which the longest gone are forgotten when there are many.
cdef void worker_gone(Workers* workers, Worker* worker, int64_t now) noexcept nogil
