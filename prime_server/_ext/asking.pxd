"""What a server asks of the first stage, and asks again."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t

from prime_server._ext.connections cimport Connections, Pending
from prime_server._ext.libzmq cimport Multipart

cdef enum:
    LIVES = 64             # of proxies that have come back: the last ones are known again

cdef class Asking(Connections):
    cdef int64_t timeout           # of a request, us; 0: none
    cdef bint at_once              # the first stage is hosted here: what is taken is sent
    cdef Multipart* jobs           # owned, [info][payload] in order of arrival
    cdef size_t jobs_begin
    cdef size_t jobs_end
    cdef size_t jobs_room
    cdef uint64_t proxy_life       # of the first one, 0: it has not said
    cdef bint sent_again           # for what its next life will be
    cdef uint64_t[LIVES] lives
    cdef int next_life
    cdef int64_t doubt_until       # 0: never; when what was sent up to `doubted` is given up
    cdef int64_t doubted
    cdef uint64_t lost_life        # of the first stage's proxy that has come back last, as one of ours told
    cdef int64_t lost_at           # 0: never; when what was sent before `lost_before` is lost, unless a worker has it
    cdef int64_t lost_before
    cdef int64_t reconnected_at
    cdef bint plain_workers        # have answered: those of the original's don't tell what they have
    cdef uint64_t repeated

    # A job to be filled in, behind the others, without frames. NULL without memory.
    cdef Multipart* new_job(self) noexcept nogil
    cdef void shrink_jobs(self) noexcept nogil
    # The next job for the first stage, owned by the caller. False: none.
    cdef bint take_job(self, Multipart* into) noexcept nogil
    # Whose job it is, to be marked as sent; NULL: nobody waits for it any more.
    cdef Pending* wanted(self, Multipart* job) noexcept nogil
    # The first stage's proxy has told its life.
    cdef void met_proxy(self, uint64_t life, int64_t now) noexcept nogil
    # A worker has met a proxy that came back with another life, and has, or has handed on, these jobs of servers' (KEY_SIZE bytes each).
    cdef void met_anew(self, uint64_t former, uint64_t life, const char* keys, size_t size, int64_t now) noexcept nogil
    # There is a new connection to the first stage's proxy.
    cdef void reconnected(self, int64_t now) noexcept nogil
    # Big answers out of turn would keep their workers waiting: they are given up, and asked for at their turn. -1 without memory.
    cdef void postpone(self, Pending* pending) noexcept nogil
    cdef int ask_at_its_turn(self, Pending* pending, uint32_t id, uint32_t time_stamp, int64_t now) noexcept nogil
    # The next request that is lost as far as can be told, NULL: none.
    cdef Pending* given_up(self, int64_t now) noexcept nogil
    cdef bint is_lost(self, const Pending* pending) noexcept nogil
    cdef void doubt(self, uint64_t life, int64_t now) noexcept nogil
    cdef void send_again(self, int64_t now) noexcept nogil
    cdef int ask_again(self, Pending* pending, int64_t now) noexcept nogil
