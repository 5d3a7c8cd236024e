"""The jobs in a balancer.

A job is one struct from a pool, linked into exactly one list at a time: those that wait, what a worker holds, or the refusals to be taken. While
it is queued or held it also stands in a hash table, by the server's life and its key, because that is how workers and servers speak of it. Names
needn't be unique: servers without our extension have no life, and a job that its worker forwards to the very same stage is there twice for a
moment. So look-ups say whose job they mean.

Most jobs leave with the round in which they came. What waits only for those that stay is done late, when the round is over, by `settle`: the
deadline goes into a heap, and small frames are copied, as a small frame that came over a connection pins the 8 KiB block that it was read with.
"""

from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from prime_server._ext.info cimport FLAG_BEHIND, FLAG_IDEMPOTENT, FLAG_RETRYABLE, key_of
from prime_server._ext.libzmq cimport copy_in, close_all, data_of, frame, size_of, zmq
from prime_server._ext.table cimport mixed, table_end, table_next, table_put, table_remove, table_start

cdef enum:
    MOST_SPARES = 1024     # about half a megabyte; what is beyond goes back to the allocator
    INLINE_SIZE = 33       # libzmq keeps frames up to this size inside of the message
    COPY_UP_TO = 4096      # half of the block that libzmq reads a connection with
    SMALLEST_HEAP = 64


cdef int jobs_start(Jobs* jobs, uint64_t seed) noexcept nogil:
    memset(jobs, 0, sizeof(Jobs))
    jobs.seed = seed
    return table_start(&jobs.table)


cdef void jobs_end(Jobs* jobs) noexcept nogil:
    cdef Job* job
    free_all(jobs, &jobs.backlog)
    free_all(jobs, &jobs.declined)
    free_all(jobs, &jobs.behind)
    free_all(jobs, &jobs.refusals)
    while jobs.spare != NULL:
        job = jobs.spare
        jobs.spare = job.next
        free(job)
    free(jobs.heap)
    table_end(&jobs.table)


cdef Job* job_new(Jobs* jobs, Multipart* frames, const Info* info) noexcept nogil:
    cdef Job* job = jobs.spare
    cdef int index
    if job != NULL:
        jobs.spare = job.next
        jobs.spares -= 1
    else:
        job = <Job*>malloc(sizeof(Job))
        if job == NULL:
            return NULL
    job.next = NULL
    job.previous = NULL
    job.place = NOWHERE
    job.status = 0
    job.holder = NULL
    job.holder_serial = 0
    job.frames = frames[0]
    zmq.msg_init(&job.sender)
    job.info = info[0]
    job.key = key_of(info)
    job.hash = mixed(job.key ^ mixed(info.life ^ jobs.seed))
    job.size = 0
    for index in range(frames.size):
        job.size += size_of(frame(frames, index))
    job.slot = 0
    job.begun = False
    job.arrived = 0
    job.given = 0
    job.deadline = 0
    job.gives = 0
    job.strikes = info.strikes
    job.repeatable = info.extended and info.flags & (FLAG_IDEMPOTENT | FLAG_RETRYABLE) != 0
    job.suspected = False
    job.cancelled = False
    job.settled = False
    return job


cdef void job_free(Jobs* jobs, Job* job) noexcept nogil:
    close_all(&job.frames)
    zmq.msg_close(&job.sender)
    if jobs.spares >= MOST_SPARES:
        free(job)
        return
    job.next = jobs.spare
    jobs.spare = job
    jobs.spares += 1


cdef void free_all(Jobs* jobs, JobList* these) noexcept nogil:
    cdef Job* job
    while these.first != NULL:
        job = these.first
        unlink(these, job)
        job_free(jobs, job)


cdef int job_enter(Jobs* jobs, Job* job) noexcept nogil:
    if table_put(&jobs.table, job.hash, job) != 0:
        return -1
    jobs.size += job.size
    return 0


cdef void job_leave(Jobs* jobs, Job* job) noexcept nogil:
    table_remove(&jobs.table, job.hash, job)
    jobs.size -= job.size
    if job.slot:
        heap_remove(jobs, job)


cdef void job_end(Jobs* jobs, Job* job) noexcept nogil:
    job_leave(jobs, job)
    job_free(jobs, job)


cdef Job* job_held(const Jobs* jobs, uint64_t life, uint64_t key, const void* holder) noexcept nogil:
    cdef uint64_t hash = mixed(key ^ mixed(life ^ jobs.seed))
    cdef size_t step = 0
    cdef Job* job
    while True:
        job = <Job*>table_next(&jobs.table, hash, &step)
        if job == NULL or (job.holder == holder and job.key == key and job.info.life == life):
            return job


cdef bint job_known(const Jobs* jobs, const Job* job) noexcept nogil:
    # What has no life has no name that holds over several servers.
    cdef size_t step = 0
    cdef Job* other
    if not job.info.extended:
        return False
    while True:
        other = <Job*>table_next(&jobs.table, job.hash, &step)
        if other == NULL:
            return False
        if other.key == job.key and other.info.life == job.info.life and other.info.hops == job.info.hops and not other.cancelled:
            return True


cdef Job* job_named(const Jobs* jobs, uint64_t life, uint64_t key) noexcept nogil:
    cdef uint64_t hash = mixed(key ^ mixed(life ^ jobs.seed))
    cdef size_t step = 0
    cdef Job* job
    while True:
        job = <Job*>table_next(&jobs.table, hash, &step)
        if job == NULL or (job.key == key and job.info.life == life and not job.cancelled):
            return job


cdef Job* job_done(const Jobs* jobs, const Info* info) noexcept nogil:
    cdef uint64_t key = key_of(info)
    cdef uint64_t hash = mixed(key ^ mixed(info.life ^ jobs.seed))
    cdef size_t step = 0
    cdef Job* job
    while True:
        job = <Job*>table_next(&jobs.table, hash, &step)
        if job == NULL or (
            job.key == key
            and job.info.life == info.life
            and hops_with_worker(&job.info) == info.hops
            and job.holder_serial != 0
            and (job.holder == NULL or attempt_of(job) == info.attempt)
        ):
            return job


cdef void drop_payload(Jobs* jobs, Job* job) noexcept nogil:
    """`jobs` counts the bytes of what is in its table only: to be called while the job is not in it."""
    cdef Message info
    if job.frames.size > 1:
        memcpy(&info, frame(&job.frames, 0), sizeof(Message))
        zmq.msg_init(frame(&job.frames, 0))
        close_all(&job.frames)
        job.frames.size = 1
        memcpy(frame(&job.frames, 0), &info, sizeof(Message))
    job.size = size_of(frame(&job.frames, 0))


# --- the backlog ------------------------------------------------------------------------------------------------------------------------


cdef void job_settle(Jobs* jobs, Job* job) noexcept nogil:
    cdef Message copy
    cdef Message* original
    cdef int index
    if not job.settled and size_of(&job.sender):
        for index in range(job.frames.size):
            original = frame(&job.frames, index)
            if INLINE_SIZE < size_of(original) <= COPY_UP_TO and copy_in(&copy, data_of(original), size_of(original)) == 0:
                zmq.msg_close(original)
                memcpy(original, &copy, sizeof(Message))
    job.settled = True
    if job.deadline and job.slot == 0:
        heap_push(jobs, job)


cdef inline void settle_line(Jobs* jobs, JobList* line) noexcept nogil:
    # Those that have not been settled came last.
    cdef Job* job = line.last
    while job != NULL and not job.settled:
        job_settle(jobs, job)
        job = job.previous


cdef void settle(Jobs* jobs) noexcept nogil:
    settle_line(jobs, &jobs.backlog)
    settle_line(jobs, &jobs.behind)


cdef void enqueue(Jobs* jobs, Job* job) noexcept nogil:
    if job.info.flags & FLAG_BEHIND:
        append(&jobs.behind, job, BEHIND)
    else:
        append(&jobs.backlog, job, QUEUED)


cdef void requeue(Jobs* jobs, Job* job) noexcept nogil:
    job_settle(jobs, job)
    prepend(&jobs.backlog, job, QUEUED)


cdef Job* take_last(Jobs* jobs) noexcept nogil:
    cdef Job* job = jobs.behind.last
    dequeue(jobs, job)
    job_leave(jobs, job)
    return job


cdef void dequeue(Jobs* jobs, Job* job) noexcept nogil:
    unlink(&jobs.backlog if job.place == QUEUED else &jobs.behind if job.place == BEHIND else &jobs.declined, job)
    if job.slot:
        heap_remove(jobs, job)


cdef void decline(Jobs* jobs, Job* job) noexcept nogil:
    unlink(&jobs.backlog if job.place == QUEUED else &jobs.behind, job)
    append(&jobs.declined, job, DECLINED)
    job_settle(jobs, job)


cdef void reconsider(Jobs* jobs) noexcept nogil:
    cdef Job* job
    while jobs.declined.last != NULL:
        job = jobs.declined.last
        unlink(&jobs.declined, job)
        prepend(&jobs.backlog, job, QUEUED)


# --- a binary heap whose members know where they stand ----------------------------------------------------------------------------------


cdef inline void put_at(Jobs* jobs, size_t at, Job* job) noexcept nogil:
    jobs.heap[at] = job
    job.slot = at + 1


cdef void sift_up(Jobs* jobs, size_t at, Job* job) noexcept nogil:
    while at and job.deadline < jobs.heap[(at - 1) // 2].deadline:
        put_at(jobs, at, jobs.heap[(at - 1) // 2])
        at = (at - 1) // 2
    put_at(jobs, at, job)


cdef void sift_down(Jobs* jobs, size_t at, Job* job) noexcept nogil:
    cdef size_t child
    while at * 2 + 1 < jobs.heap_size:
        child = at * 2 + 1
        if child + 1 < jobs.heap_size and jobs.heap[child + 1].deadline < jobs.heap[child].deadline:
            child += 1
        if jobs.heap[child].deadline >= job.deadline:
            break
        put_at(jobs, at, jobs.heap[child])
        at = child
    put_at(jobs, at, job)


cdef void heap_push(Jobs* jobs, Job* job) noexcept nogil:
    cdef Job** grown
    cdef size_t wanted
    if jobs.heap_size >= jobs.heap_capacity:
        wanted = jobs.heap_capacity * 2 if jobs.heap_capacity else SMALLEST_HEAP
        grown = <Job**>realloc(jobs.heap, wanted * sizeof(Job*))
        if grown == NULL:
            return  # it expires when it would be given to a worker
        jobs.heap = grown
        jobs.heap_capacity = wanted
    jobs.heap_size += 1
    sift_up(jobs, jobs.heap_size - 1, job)


cdef void heap_remove(Jobs* jobs, Job* job) noexcept nogil:
    cdef size_t at = job.slot - 1
    cdef Job* moved
    cdef Job** shrunk
    job.slot = 0
    jobs.heap_size -= 1
    moved = jobs.heap[jobs.heap_size]
    if moved != job:
        if at and moved.deadline < jobs.heap[(at - 1) // 2].deadline:
            sift_up(jobs, at, moved)
        else:
            sift_down(jobs, at, moved)
    if jobs.heap_capacity > SMALLEST_HEAP and jobs.heap_size * 8 < jobs.heap_capacity:
        shrunk = <Job**>realloc(jobs.heap, jobs.heap_capacity // 2 * sizeof(Job*))
        if shrunk != NULL:
            jobs.heap = shrunk
            jobs.heap_capacity //= 2
