"""When workers that are told to end may leave.

A worker that gets a signal wishes to leave, and works on until its proxy lets it go. As long as others of the stage stay, that is at once, or when
the others have had a moment to take the backlog; but the last ones stay while there is something to do. So no request waits in vain where a signal
goes to all parts, in whatever order it reaches them: a proxy that ends itself lets nobody go before it has nothing left, and then tells all that it
is over.
"""

from prime_server._ext.greetings cimport tell
from prime_server._ext.info cimport WORD_GO, WORD_OVER
from prime_server._ext.libzmq cimport data_of, size_of

cdef enum:
    BACKLOG_US = 250000        # that one of several works on while jobs wait: the others may be about to leave too
    QUIET_US = 500000          # without a job, and the last one may leave


cdef bint departures_look(
    Departures* self, Workers* workers, Greetings* greetings, size_t others, size_t waiting, size_t pending, int64_t now
) noexcept nogil:
    cdef Worker* worker
    cdef bint all_told = True
    cdef size_t index
    for index in range(workers.table.mask + 1):
        worker = <Worker*>workers.table.entries[index].item
        if worker == NULL or worker.gone or not worker.wishes or worker.told:
            continue
        if not self.closing and (
            (waiting == 0 or now - worker.wished >= BACKLOG_US) if others else (pending == 0 and now - self.worked >= QUIET_US)
        ):
            worker.told = True
            tell(greetings, self.kind, data_of(&worker.id), size_of(&worker.id), WORD_GO)
        else:
            all_told = False
    return not all_told


cdef void departures_over(Departures* self, Workers* workers, Greetings* greetings) noexcept nogil:
    cdef Worker* worker
    cdef size_t index
    for index in range(workers.table.mask + 1):
        worker = <Worker*>workers.table.entries[index].item
        if worker != NULL and not worker.gone and worker.ours:
            tell(greetings, self.kind, data_of(&worker.id), size_of(&worker.id), WORD_OVER)
