"""The access log's lines, formatted by hand and written in batches.

At a hundred thousand requests a second a call of `printf` and a write for each line would cost as much as the requests themselves. So lines are put
together digit by digit in one buffer, which the loop flushes when it is half full or has nothing else to do. A pipe or terminal is only written to
when it has room, so that a reader that has stopped costs lines and not the server.
"""

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove
from posix.unistd cimport write

cdef extern from * nogil:
    """
    #include <poll.h>
    #include <sys/stat.h>
    #include <unistd.h>
    static int prime_is_regular(int fd) {
        struct stat about;
        return fstat(fd, &about) == 0 && (S_ISREG(about.st_mode) || (S_ISCHR(about.st_mode) && !isatty(fd)));
    }
    static int prime_has_room(int fd) {
        struct pollfd one = {fd, POLLOUT, 0};
        return poll(&one, 1, 0) == 1 && (one.revents & POLLOUT);
    }
    """
    bint is_regular "prime_is_regular"(int)
    bint has_room "prime_has_room"(int)

cdef enum:
    BUFFER_SIZE = 1 << 20
    FLUSH_AT = 1 << 16
    PIPE_ROOM = 4096           # a pipe that polls as writable takes this much without blocking (PIPE_BUF)
    MAX_LINE = 2048            # what is longer is cut


cdef inline char* put_number(char* at, uint64_t number) noexcept nogil:
    cdef char digits[20]
    cdef int count = 0
    while True:
        digits[count] = <char>(48 + number % 10)
        count += 1
        number //= 10
        if number == 0:
            break
    while count:
        count -= 1
        at[0] = digits[count]
        at += 1
    return at


cdef class AccessLog:
    def __cinit__(self, int descriptor):
        self.descriptor = descriptor
        self.stamp_second = -1
        if descriptor >= 0:
            self.regular = is_regular(descriptor)
            self.buffer = <char*>malloc(BUFFER_SIZE)
            if self.buffer == NULL:
                raise MemoryError()

    def __dealloc__(self):
        free(self.buffer)

    cdef char* begin(self, uint32_t id, int64_t at) noexcept nogil:
        """Room for a line with its first two columns in it, or NULL."""
        cdef char* to
        cdef int64_t second = at // 1000000
        cdef int64_t rest = at % 1000000
        cdef int index
        if self.descriptor < 0:
            return NULL
        if self.used + MAX_LINE > BUFFER_SIZE:
            self.flush()
            if self.used + MAX_LINE > BUFFER_SIZE:
                self.dropped += 1
                return NULL
        to = put_number(self.buffer + self.used, id)
        to[0] = b" "
        to += 1
        if second != self.stamp_second:
            self.stamp_second = second
            put_number(self.stamp, second)[0] = 0
        index = 0
        while self.stamp[index]:
            to[0] = self.stamp[index]
            to += 1
            index += 1
        to[0] = b"."
        for index in range(6, 0, -1):
            to[index] = <char>(48 + rest % 10)
            rest //= 10
        to[7] = b" "
        return to + 8

    cdef void end(self, char* to) noexcept nogil:
        to[0] = b"\n"
        self.used = to + 1 - self.buffer
        if self.used >= FLUSH_AT:
            self.flush()

    cdef void request(self, uint32_t id, int64_t at, const char* line, size_t size) noexcept nogil:
        cdef char* to = self.begin(id, at)
        if to == NULL:
            return
        if size > MAX_LINE - 64:
            size = MAX_LINE - 64
        memcpy(to, line, size)
        self.end(to + size)

    cdef void response(self, uint32_t id, int64_t at, int code, size_t size) noexcept nogil:
        cdef char* to = self.begin(id, at)
        if to == NULL:
            return
        to = put_number(to, code)
        to[0] = b" "
        self.end(put_number(to + 1, size))

    cdef bint flush(self) noexcept nogil:
        cdef ssize_t written
        cdef size_t done = 0
        cdef size_t piece
        while done < self.used:
            piece = self.used - done
            if not self.regular:
                if not has_room(self.descriptor):
                    break
                if piece > PIPE_ROOM:
                    piece = PIPE_ROOM
            written = write(self.descriptor, self.buffer + done, piece)
            if written <= 0:
                if self.regular:  # a full disk is no reason to stop serving
                    done = self.used
                break
            done += written
        if done and done < self.used:
            memmove(self.buffer, self.buffer + done, self.used - done)
        self.used -= done
        return self.used > 0
