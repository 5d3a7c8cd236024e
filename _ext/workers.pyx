"""The workers that a balancer knows.

Those that may be given a job stand in ranks, by the number of jobs they hold: rank 0 is the idle ones. A bit mask tells which ranks are empty, so
the least loaded worker is found without a search, however many there are. Within a rank it is first come, first served: among idle ones the one
that has been idle longest is next. That spreads the work evenly, as the original does, and a worker that fails fast can't draw all jobs to itself,
which is worth more than the warm caches of the one that was busy last.

A worker that was lost is remembered for a moment: what it had sent before may be read after its end is known, and must not make it known again.
"""

from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memset

from prime_server._ext.libzmq cimport copy_in, data_of, size_of, zmq
from prime_server._ext.table cimport hash_of, table_end, table_next, table_put, table_remove, table_start

cdef enum:
    MOST_GONE = 256


cdef inline void link_last(WorkerList* workers, Worker* worker) noexcept nogil:
    worker.next = NULL
    worker.previous = workers.last
    if workers.last != NULL:
        workers.last.next = worker
    else:
        workers.first = worker
    workers.last = worker
    workers.count += 1


cdef inline void unlink(WorkerList* workers, Worker* worker) noexcept nogil:
    if worker.previous != NULL:
        worker.previous.next = worker.next
    else:
        workers.first = worker.next
    if worker.next != NULL:
        worker.next.previous = worker.previous
    else:
        workers.last = worker.previous
    worker.next = NULL
    worker.previous = NULL
    workers.count -= 1


cdef int workers_start(Workers* workers, uint64_t seed) noexcept nogil:
    memset(workers, 0, sizeof(Workers))
    workers.seed = seed
    return table_start(&workers.table)


cdef void workers_end(Workers* workers) noexcept nogil:
    cdef size_t index
    if workers.table.entries == NULL:
        return
    for index in range(workers.table.mask + 1):
        if workers.table.entries[index].item != NULL:
            dispose(<Worker*>workers.table.entries[index].item)
    table_end(&workers.table)


cdef void dispose(Worker* worker) noexcept nogil:
    zmq.msg_close(&worker.id)
    zmq.msg_close(&worker.heartbeat)
    free(worker)


cdef Worker* worker_find(const Workers* workers, const char* id, size_t size) noexcept nogil:
    cdef uint64_t hash = hash_of(id, size, workers.seed)
    cdef size_t step = 0
    cdef Worker* worker
    while True:
        worker = <Worker*>table_next(&workers.table, hash, &step)
        if worker == NULL or (size_of(&worker.id) == size and memcmp(data_of(&worker.id), id, size) == 0):
            return worker


cdef Worker* worker_new(Workers* workers, const char* id, size_t size, int64_t now) noexcept nogil:
    cdef Worker* worker = <Worker*>malloc(sizeof(Worker))
    if worker == NULL:
        return NULL
    memset(worker, 0, sizeof(Worker))
    zmq.msg_init(&worker.heartbeat)
    worker.hash = hash_of(id, size, workers.seed)
    if copy_in(&worker.id, id, size) != 0 or table_put(&workers.table, worker.hash, worker) != 0:
        dispose(worker)
        return NULL
    workers.serial += 1
    worker.serial = workers.serial
    worker.rank = -1
    worker.window = 1
    worker.service = -1
    worker.heard = now
    worker.progress = now
    return worker


cdef void worker_free(Workers* workers, Worker* worker) noexcept nogil:
    if workers.filling == worker:
        workers.filling = NULL
    if worker.gone:
        unlink(&workers.gone, worker)
    else:
        set_rank(workers, worker, -1)
    table_remove(&workers.table, worker.hash, worker)
    dispose(worker)


cdef inline void set_rank(Workers* workers, Worker* worker, int rank) noexcept nogil:
    if worker.rank >= 0:
        unlink(&workers.ranks[worker.rank], worker)
        if workers.ranks[worker.rank].first == NULL:
            workers.ranked &= ~(<uint64_t>1 << worker.rank)
    worker.rank = rank
    if rank >= 0:
        link_last(&workers.ranks[rank], worker)
        workers.ranked |= <uint64_t>1 << rank


cdef bint worker_rank(Workers* workers, Worker* worker) noexcept nogil:
    cdef int rank = <int>worker.held.count
    if worker.gone or worker.leaving or worker.occupied or worker.alone:
        rank = -1
    elif rank and (worker.stalled or rank >= worker.window):
        rank = -1
    if rank == worker.rank:
        return False
    set_rank(workers, worker, rank)
    return rank == 0


cdef void worker_gone(Workers* workers, Worker* worker, int64_t now) noexcept nogil:
    if workers.filling == worker:
        workers.filling = NULL
    set_rank(workers, worker, -1)
    worker.gone = True
    worker.heard = now
    zmq.msg_close(&worker.heartbeat)
    zmq.msg_init(&worker.heartbeat)
    link_last(&workers.gone, worker)
    if workers.gone.count > MOST_GONE:
        worker_free(workers, workers.gone.first)
