"""An answer that leaves in several messages, at its reader's pace."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t

from prime_server._ext.info cimport Info
from prime_server._ext.intake cimport Intake
from prime_server._ext.libzmq cimport Message, Multipart
from prime_server._ext.outcome cimport Outcome

cdef enum:
    LARGEST = 262144           # bytes of a part that leave at once
    # outcomes of a post
    POSTED = 1
    STOPPED = 0                # the job's flag says why
    LOST = -1                  # the socket has failed
    SIGNALLED = 2              # Python may have a signal to handle

cdef struct Course:            # nothing in it is owned
    Intake* intake
    const Info* info           # of the job
    Message* original          # its frame
    const int* flag            # the job's
    int64_t* until             # its deadline, which is over with the first message
    int status                 # of the answer
    size_t whole               # bytes, where it is pieces of one body; else 0
    uint32_t source            # the same in all its messages, and in those of no other answer
    uint32_t sequence          # of the next message
    uint64_t sent              # bytes
    int64_t asked              # us: since when it waits for credit, or when it last asked for it; 0: it doesn't wait
    int upstream               # descriptors of the sockets towards proxy and interrupts
    int interrupt

# An empty frame for the info, then what is to leave. All with the intake's lock, in the user's code as the guardian sees it.
# Sends it if that can be done now; otherwise 0, whatever the reason, or LOST. Consumes what it sends.
cdef int post(Course* self, Multipart* parts) noexcept nogil
# Waits until it can be sent. Consumes it, unless it is SIGNALLED, after which it is to be called again.
cdef int wait_and_post(Course* self, Multipart* parts) noexcept nogil

# Whether an answer is so big that it is to leave in pieces.
cdef bint is_big(const Outcome* outcome, const Info* info) noexcept nogil
# Sends all of it but the last piece, which is put into the outcome. Takes the lock itself.
cdef void post_big(Outcome* outcome, Course* self) noexcept nogil
