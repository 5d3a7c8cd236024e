"""What a worker's two threads share: its sockets, the jobs that wait, and what its proxy is to be told."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t

from prime_server._ext.cthreads cimport Mutex
from prime_server._ext.direct cimport Pack, Packet
from prime_server._ext.info cimport KEY_SIZE, MAX_KEYS, Info
from prime_server._ext.interrupts cimport Interrupts
from prime_server._ext.libzmq cimport Multipart

cdef enum:
    MAX_WINDOW = 1024
    BATCH_WORTH = 250          # us of work that may wait in a worker behind a running job, by its recent service time
    LONG = 1500                # us that a job may run before the guardian hands back what waits behind it
    LONG_WITHOUT_A_JOB = 50000  # us, the same where the worker waits for the GIL or cleans up: the threads of a process take turns of 5 ms
    BUSY_REPEAT = 250000       # us between two words of a busy worker
    LATEST = 64                # finished jobs that are named again when we leave: as many as a proxy believes to be here
    RECENT = 4096              # forwarded jobs that we know again; a power of two
    PACK_BELOW = 25000         # ns of service time: results of such jobs wait for each other
    PACK_FOR = 100             # us, at most
    IDLE_REPEAT = 1000000      # us between two words of an idle one, as the original does: a proxy that was restarted learns of it

# Why a running job is to stop: the value of its flag.
cdef enum:
    CLIENT_LEFT = 1
    DEADLINE_PASSED = 2
    SHUTTING_DOWN = 3

cdef struct WaitingJob:
    Multipart parts            # owned: [info][payload…], at least two frames
    Info info
    int64_t deadline           # monotonic us, 0: none
    int64_t since              # when it came here

cdef struct Unsent:
    Multipart parts            # owned
    void* socket
    uint64_t life
    uint64_t key               # of the job that is finished by it; 0: of none
    int64_t deadline
    bint seen                  # by whoever hosts the proxy: nothing is reported

cdef struct Peer:              # a proxy: our own, or that of a next stage
    void* socket               # not owned
    bint greeted               # its hello has come: it speaks the extension
    uint64_t life              # of its latest hello

cdef struct Running:
    int serial                 # atomic; odd while the work thread is in the user's code, or waits for the GIL to go there
    int* flag                  # atomic, not owned; NULL: no job that could be told
    uint64_t life
    uint64_t key
    int64_t since
    int64_t deadline
    bint streams               # its answer has begun to leave in parts
    uint64_t credit            # bytes of it that may have left in all

cdef struct Counters:
    uint64_t jobs              # begun
    uint64_t answered          # with a result of the work function
    uint64_t forwarded
    uint64_t failed            # answered by us: an exception, or a result that is none
    uint64_t interrupted       # dropped, before or after they began, as nobody waits for them
    uint64_t expired           # dropped before they began, as their deadline had passed
    uint64_t returned          # handed back unstarted
    uint64_t refused           # refusals of next stages' proxies, passed on to the server
    uint64_t malformed         # messages that were dropped
    uint64_t lost              # messages that could not be sent
    uint64_t streamed          # answered in parts
    uint64_t stalled           # how often such an answer had to wait for its reader
    uint64_t reports
    uint64_t proxy_restarts    # proxies that came back with another life

cdef struct Intake:
    Mutex lock                 # held by the work thread but while it is in the user's code; taken then by the guardian
    Peer upstream
    Peer* stages               # owned
    int stage_count
    void* loopback             # not owned
    int direct                 # the descriptor of the direct way to the hub that hosts all the others, not owned; -1: none
    uint64_t direct_number     # by which the hub knows it
    Packet packet              # what has come there
    Pack pack                  # results that are to go there
    int64_t packed             # since when
    void* interrupt            # not owned
    Interrupts interrupts
    uint64_t forwarded[RECENT]  # names of jobs that have gone on to a next stage, each where its hash says, the last one stays
    WaitingJob* jobs           # owned: a ring of `capacity`, a power of two
    int capacity
    int head
    int waiting
    int limit                  # the window option
    Unsent* unsent             # owned: room for `unsent_room`
    int unsent_room
    int unsent_count
    Running running
    int stop_now               # atomic: the running job is to be interrupted
    int64_t grace              # us that a job may run past its deadline before the process is given up; 0: for ever
    bint overdue               # it has
    bint leaving
    bint wishing               # to leave, when our proxy lets us go
    int word                   # what our proxy has said of that last
    bint drained               # our proxy's socket had nothing more: until something is sent on it, its descriptor tells when it has
    bint unheard               # interrupts or next stages may have more to say, of which no descriptor tells
    int64_t service            # ns, recent average
    char* heartbeat            # owned
    size_t heartbeat_size
    char finished[MAX_KEYS * KEY_SIZE]
    char returned[MAX_KEYS * KEY_SIZE]
    int finished_count
    int returned_count
    char latest[LATEST * KEY_SIZE]  # a ring: jobs that were finished without a report
    uint64_t latest_count      # since the start
    int64_t reported           # when the proxy was last told something, us
    int reported_window        # what it was told then
    bint reported_busy
    bint heartbeat_due         # it has changed since
    bint owed                  # the proxy was not there to be told
    int hellos                 # of our own proxy
    uint64_t server            # its life, as the latest job of one of ours has it; 0: none yet
    uint64_t over              # the life of a server that is gone
    const char* complaint      # why the latest malformed message was dropped
    Counters counters

# All but the first two are called with the lock held. 0, or -1 without memory.
cdef int intake_start(Intake* self, void* upstream, void* loopback, void* interrupt, int limit, int stage_count) noexcept nogil
cdef void intake_end(Intake* self) noexcept nogil
# Takes what has come from the own proxy, up to the window. -1: the socket failed.
cdef int intake_fill(Intake* self, int64_t now) noexcept nogil
# Takes the first waiting job for which somebody waits. It is moved into `into`, which is uninitialised. 0: there is none.
cdef bint intake_take(Intake* self, WaitingJob* into, int64_t now) noexcept nogil
# Interrupts and credits alone.
cdef int intake_hear(Intake* self) noexcept nogil
# Interrupts, and what the next stages' proxies say. -1: a socket failed.
cdef int intake_listen(Intake* self, int64_t now) noexcept nogil
# The job is done: the proxy is told with the next report.
cdef void intake_finish(Intake* self, uint64_t life, uint64_t key, int64_t now) noexcept nogil
# Takes a job that isn't ours to do back to the proxy with the next report.
cdef void intake_return(Intake* self, uint64_t life, uint64_t key, int64_t now) noexcept nogil
cdef void intake_return_waiting(Intake* self, int64_t now) noexcept nogil
# What comes while a long job runs, or while we are leaving, goes straight back. -1: the socket failed.
cdef int intake_return_arrivals(Intake* self, int64_t now) noexcept nogil
# Whether the hub that hosts our proxy will see this job's end in the message itself: for the server of that life, or through the next stage's
# proxy (NULL: a result).
cdef bint intake_seen(const Intake* self, uint64_t life, const Peer* stage) noexcept nogil
# Sends the message, now or as soon as the peer is there; the job counts as finished when it is sent, and is reported unless it will be `seen`.
# Consumes the message.
cdef void intake_send(
    Intake* self, void* socket, Multipart* parts, uint64_t life, uint64_t key, int64_t deadline, bint seen, int64_t now
) noexcept nogil
# Sends what is packed for the direct way. Where jobs are tiny, results wait for each other there, as long as jobs wait; those of jobs that must not
# be repeated are not for waiting.
cdef void intake_post(Intake* self, int64_t now) noexcept nogil
cdef inline bint intake_may_pack(const Intake* self, int64_t now) noexcept nogil:
    return self.waiting > 0 and self.service < PACK_BELOW and (self.pack.count == 0 or now - self.packed < PACK_FOR)
cdef void intake_flush(Intake* self, int64_t now) noexcept nogil
# Names what was finished without a report once more: when we are gone the proxy has no doubt about it.
cdef void intake_finish_latest(Intake* self, int64_t now) noexcept nogil
# Whether the proxy is to be told something.
cdef bint intake_owes(const Intake* self) noexcept nogil
# Tells the proxy how things are, as far as it can understand it. -1: the socket failed.
cdef int intake_report(Intake* self, int64_t now) noexcept nogil
cdef int intake_set_heartbeat(Intake* self, const char* data, size_t size) noexcept nogil
# What is to be done while a job runs.
cdef void intake_guard(Intake* self, int64_t now) noexcept nogil
# Jobs that may wait here by the recent service time.
cdef int intake_window(const Intake* self) noexcept nogil

cdef inline bint intake_busy(const Intake* self) noexcept nogil:
    return self.running.serial & 1
