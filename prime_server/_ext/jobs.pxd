"""The jobs in a balancer: their memory, the backlog, and finding them by key or by deadline."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t

from prime_server._ext.info cimport Info
from prime_server._ext.libzmq cimport Message, Multipart
from prime_server._ext.table cimport Table

cdef enum:                 # Job.place: the list that the job is linked into
    NOWHERE = 0
    QUEUED = 1
    DECLINED = 2           # queued, and `choose` wanted none of the idle workers for it
    HELD = 3               # by a worker
    REFUSED = 4            # its refusal waits to be taken
    BEHIND = 5             # queued among those of clients that are owed an answer to something before

cdef struct Job:
    Job* next
    Job* previous
    int place
    int status             # of its refusal
    void* holder           # the Worker that has it, NULL otherwise; not owned
    uint64_t holder_serial  # of the worker that has or had it, 0: none yet
    Multipart frames       # owned, as they came: [info][payload…]
    Message sender         # owned, always initialised: the upstream peer's routing id, empty when it came from the sessions hosted beside
    Info info              # as it came
    uint64_t key           # of the info
    uint64_t hash
    size_t size            # bytes of all frames
    size_t slot            # in the heap + 1; 0: not in it
    int64_t arrived        # monotonic us, as all times here
    int64_t given          # to its last worker
    int64_t deadline       # 0: none
    int gives              # how often it was given to a worker that may have begun it
    int strikes            # with those of the info
    bint repeatable        # may be run again when its worker dies
    bint suspected         # may have been what a worker died of: like one with a strike, it is given to an idle worker, alone
    bint begun             # its answer has begun to leave in parts
    bint cancelled         # held, and nobody waits for it: forgotten when its worker lets go of it
    bint settled           # found waiting at the end of a round, and made ready for it

cdef enum:
    FIRST = 7

cdef struct JobList:
    Job* first
    Job* last
    size_t count

cdef struct Jobs:
    JobList backlog        # owned, as the other lists: next in line first
    JobList declined       # their place in line is before the backlog
    JobList behind         # one of these is given away for FIRST of the backlog
    int turns              # of the backlog since, while there was one behind
    JobList refusals
    Table table            # of all jobs that are queued or held
    Job** heap             # owned: the queued ones that have a deadline, the earliest first
    size_t heap_size
    size_t heap_capacity
    Job* spare             # owned: memory for jobs to come, linked by `next`
    size_t spares
    size_t size            # bytes of all jobs in the table
    uint64_t seed

cdef inline void append(JobList* jobs, Job* job, int place) noexcept nogil:
    job.place = place
    job.next = NULL
    job.previous = jobs.last
    if jobs.last != NULL:
        jobs.last.next = job
    else:
        jobs.first = job
    jobs.last = job
    jobs.count += 1

cdef inline void prepend(JobList* jobs, Job* job, int place) noexcept nogil:
    job.place = place
    job.previous = NULL
    job.next = jobs.first
    if jobs.first != NULL:
        jobs.first.previous = job
    else:
        jobs.last = job
    jobs.first = job
    jobs.count += 1

cdef inline void unlink(JobList* jobs, Job* job) noexcept nogil:
    if job.previous != NULL:
        job.previous.next = job.next
    else:
        jobs.first = job.next
    if job.next != NULL:
        job.next.previous = job.previous
    else:
        jobs.last = job.previous
    job.place = NOWHERE
    job.next = NULL
    job.previous = NULL
    jobs.count -= 1

# How the info of a job reads that a worker has been given.
cdef inline uint8_t attempt_of(const Job* job) noexcept nogil:
    cdef int attempt = job.info.attempt + job.gives
    return <uint8_t>(attempt if attempt < 0xff else 0xff)

cdef inline uint16_t hops_with_worker(const Info* info) noexcept nogil:
    return <uint16_t>(info.hops + (info.hops < 0xffff))

cdef int jobs_start(Jobs* jobs, uint64_t seed) noexcept nogil
# Those that workers hold must have been freed.
cdef void jobs_end(Jobs* jobs) noexcept nogil

# A job that takes over the frames, in no list and not in the table. NULL without memory, the frames are untouched then.
cdef Job* job_new(Jobs* jobs, Multipart* frames, const Info* info) noexcept nogil
# Of a job that is in no list and not in the table.
cdef void job_free(Jobs* jobs, Job* job) noexcept nogil
cdef void free_all(Jobs* jobs, JobList* these) noexcept nogil
# Into the table, and out of table and heap.
cdef int job_enter(Jobs* jobs, Job* job) noexcept nogil
cdef void job_leave(Jobs* jobs, Job* job) noexcept nogil
# `job_leave` and `job_free`, of a job that is in no list any more.
cdef void job_end(Jobs* jobs, Job* job) noexcept nogil
# Closes all frames but the info.
cdef void drop_payload(Jobs* jobs, Job* job) noexcept nogil

# The job of that name that `holder` has (NULL: that none has), or NULL.
cdef Job* job_held(const Jobs* jobs, uint64_t life, uint64_t key, const void* holder) noexcept nogil
# A job of that name that isn't cancelled, or NULL.
cdef Job* job_named(const Jobs* jobs, uint64_t life, uint64_t key) noexcept nogil
# The job that is done by a message of its worker with this info, or NULL: it waits to be given again, or is with the worker that this attempt was
# given to.
cdef Job* job_done(const Jobs* jobs, const Info* info) noexcept nogil
# Whether the same job has come already: same name, same hop.
cdef bint job_known(const Jobs* jobs, const Job* job) noexcept nogil

# To the front of the backlog, of a job that stands in no list.
cdef void requeue(Jobs* jobs, Job* job) noexcept nogil
# To the end of its line, of a job that stands in no list.
cdef void enqueue(Jobs* jobs, Job* job) noexcept nogil
# The last one of those behind, out of all lists and the table.
cdef Job* take_last(Jobs* jobs) noexcept nogil
# Out of the line that it stands in.
cdef void dequeue(Jobs* jobs, Job* job) noexcept nogil
# From the backlog to the declined ones, and all of them back.
cdef void decline(Jobs* jobs, Job* job) noexcept nogil
cdef void reconsider(Jobs* jobs) noexcept nogil
# A round is over: what is still queued waits.
cdef void settle(Jobs* jobs) noexcept nogil

cdef inline size_t queued(const Jobs* jobs) noexcept nogil:
    return jobs.backlog.count + jobs.declined.count + jobs.behind.count

cdef inline bint over_bound(const Jobs* jobs, const Job* job, size_t most, size_t most_bytes) noexcept nogil:
    # A single job is taken however big it is.
    return queued(jobs) >= most or (jobs.size + job.size > most_bytes and jobs.table.count > 0)

cdef inline Job* next_in_line(const Jobs* jobs) noexcept nogil:
    return jobs.behind.first if jobs.backlog.first == NULL or (jobs.turns >= FIRST and jobs.behind.first != NULL) else jobs.backlog.first

cdef inline void next_turn(Jobs* jobs, const Job* job) noexcept nogil:
    """The job at the head of a line is given away."""
    jobs.turns = 0 if job.place == BEHIND or jobs.behind.first == NULL else jobs.turns + 1

cdef inline size_t ahead_of(const Jobs* jobs, bint behind) noexcept nogil:
    """How many are given away before one that comes now."""
    cdef size_t first = jobs.backlog.count + jobs.declined.count
    if behind:
        return jobs.behind.count + min(first, FIRST * (jobs.behind.count + 1))
    return first + min(first // FIRST, jobs.behind.count)

cdef inline Job* earliest(const Jobs* jobs) noexcept nogil:
    """The settled job with the earliest deadline, or NULL."""
    return jobs.heap[0] if jobs.heap_size else NULL
