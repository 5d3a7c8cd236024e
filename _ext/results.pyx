"""What workers and proxies send back: results become answers.

A result is taken if it is what the request waits for: of this server's life, not answered yet, and the next message of the same attempt where the
response comes in parts. Anything else is dropped and counted, as duplicates are to be expected: what was lost with a proxy is asked for again. What
can't be completed any more, because a part is missing or another worker has begun anew, is cut off. A result that is no response, a proxy's refusal,
and what would make a tunnel of the connection are answered by an error.

The parts of a response leave at the pace of their reader: its worker is told how far it may go (`grant`). A big body out of turn that has no room is
put off and asked for again when its turn has come, and so is one that has come whole, as those of the original's workers do however big they are.
"""

from libc.string cimport memcpy

from prime_server._ext.admission cimport seconds_of
from prime_server._ext.answer cimport MALFORMED, Manner, answer_result, refusal_text
from prime_server._ext.connections cimport HTTP, PYTHON, Connection
from prime_server._ext.czmq cimport ZMQ_SRCFD
from prime_server._ext.info cimport FLAG_BROKEN, FLAG_FAILED, FLAG_MORE, FLAG_OLD, FLAG_REFUSAL, FLAG_RESULT, FLAG_WHOLE
from prime_server._ext.info cimport code_of, key_of, read_info
from prime_server._ext.libzmq cimport Message, close_all, data_of, frame, size_of, zmq
from prime_server._ext.output cimport Output, append_message
from prime_server._ext.report cimport report_malformed


cdef enum:
    MAX_REASON = 256           # bytes of a text
    WORTH_IT = 65536           # bytes of an answer from which on it is asked for again rather than held


cdef class Results(Answering):
    cdef void result(self, Multipart* parts, int64_t now) noexcept nogil:
        cdef Info info
        cdef Pending* pending
        cdef Connection* connection
        cdef size_t whole
        cdef int code, comes
        if parts.size == 0 or parts.surplus or read_info(data_of(frame(parts, 0)), size_of(frame(parts, 0)), &info) != 0:
            self.malformed += 1
            close_all(parts)
            report_malformed("a result without a readable info frame was dropped")
            return
        pending = self.find(info.id, info.time_stamp)
        if pending == NULL or (info.extended and info.life != self.life):
            self.late += 1
            close_all(parts)
            # A worker that goes on has not heard that nobody listens, as it may not have been connected yet.
            if pending == NULL and info.extended and info.life == self.life and info.flags & FLAG_MORE and (
                self.interrupts_size == 0 or self.interrupts[self.interrupts_size - 1] != key_of(&info)
            ):
                self.interrupt_key(key_of(&info))
            return
        connection = pending.connection
        if info.extended and info.flags & FLAG_REFUSAL:
            close_all(parts)
            code = code_of(&info)
            self.refuse(connection, pending, code, refusal_text(code), seconds_of(info.time_left) if code == 503 else 0, now)
            return
        if not (info.extended and info.flags & FLAG_RESULT):
            info.flags = 0
            info.sequence = 0
            self.plain_workers = True
        comes = self.continues(pending, &info)
        if comes <= 0:
            self.late += 1
            close_all(parts)
            if comes < 0:
                self.interrupt(pending)
                self.refuse(connection, pending, 502, "the response broke off", 0, now)
            return
        if pending.tunnel and pending.sequence == 0 and 200 <= code_of(&info) <= 299:
            # RFC 9110 section 9.3.6: it would say that all that follows on the connection goes through a tunnel, and none is made here.
            close_all(parts)
            self.refuse(connection, pending, 501, "no tunnels are made here", 0, now)
            return
        whole = <size_t>max(info.time_left, 0) if info.flags & FLAG_WHOLE else 0
        if self.comes_too_early(pending, parts, &info, whole):
            close_all(parts)
            if info.flags & FLAG_MORE:
                self.interrupt(pending)
            self.postpone(pending)
            return
        if info.flags & FLAG_MORE and not pending.streaming:
            pending.source = info.source
            pending.attempt = info.attempt
            if pending.flags & FLAG_OLD and not info.flags & FLAG_WHOLE:
                pending.keep_alive = False  # RFC 9112 section 6.3: there are no chunks in 1.0, so its end is the connection's
            self.begin_stream(pending, whole)
            self.grant(pending, False)
        if pending.streaming:
            pending.descriptor = zmq.msg_get(frame(parts, 0), ZMQ_SRCFD)  # another one, if the worker has had to connect again
        pending.heard = now
        self.take(pending, parts, &info, now)

    cdef bint comes_too_early(self, const Pending* pending, Multipart* parts, const Info* info, size_t whole) noexcept nogil:
        cdef size_t size = 0
        cdef int index
        cdef bint turn = pending.connection.first == pending
        if pending.streaming or pending.asked.size == 0 or (turn and (whole or not self.is_behind(pending.connection))):
            return False
        if whole:
            return not self.has_room(pending.connection, whole)
        for index in range(1, parts.size):
            size += size_of(frame(parts, index))
        return size >= WORTH_IT and not info.flags & FLAG_MORE and not self.fits(pending.connection, size)

    cdef void take(self, Pending* pending, Multipart* parts, const Info* info, int64_t now) noexcept nogil:
        """Writes what it brings of the response, and ends with it if there is no more."""
        cdef Connection* connection = pending.connection
        cdef Output* output = self.output_of(pending)
        cdef size_t before = output.size
        cdef Manner manner
        cdef int code = 0
        cdef int index, failed = 0
        for index in range(1, parts.size):
            pending.received += size_of(frame(parts, index))
        if self.protocol == PYTHON and info.flags & FLAG_FAILED and pending.sequence == 0 and parts.size > 1:
            self.reject(pending, code_of(info), frame(parts, 1), now)
            close_all(parts)
            return
        if parts.size < 2 and not info.flags & FLAG_BROKEN and pending.sequence == 0:
            code = MALFORMED
        elif pending.sequence == 0 and self.protocol == HTTP and not info.flags & FLAG_BROKEN:
            manner = self.manner_of(pending)
            code = answer_result(output, parts, 1, info.flags & FLAG_RESULT != 0, &manner)
        else:
            for index in range(1, parts.size):
                failed |= append_message(output, frame(parts, index), 0)
            parts.size = 1
            if pending.sequence == 0:
                self.keep_alive_of(pending)
                code = code_of(info) or 200
        if parts.size < 2 and info.flags & FLAG_MORE and output.size == before:
            self.grant(pending, True)  # its worker asks
        close_all(parts)
        if code == MALFORMED:
            self.malformed += 1
            report_malformed("a worker's result was no response; its client was answered 502")
            self.refuse(connection, pending, 502, "the worker's result was malformed", 0, now)
            return
        if failed or code < 0:
            connection.broken = True
            self.touch(connection)
            return
        if code:
            pending.code = code
        pending.answered += output.size - before
        if info.flags & FLAG_BROKEN:
            pending.failed = True
            self.streams_broken += 1
        if info.flags & FLAG_MORE and not pending.failed:
            pending.sequence += 1
            self.touch(connection)
            self.set_waiting(connection, now)
            return
        self.forget(pending)
        self.served(now)
        self.complete(pending, now)
        self.set_waiting(connection, now)

    cdef void reject(self, Pending* pending, int status, Message* text, int64_t now) noexcept nogil:
        """A work function has failed: its client learns of it in the words of the user's protocol."""
        cdef char reason[MAX_REASON]
        cdef size_t size = min(size_of(text), <size_t>MAX_REASON - 1)
        memcpy(reason, data_of(text), size)
        reason[size] = 0
        self.refuse(pending.connection, pending, status, reason, 0, now)

    cdef int continues(self, const Pending* pending, const Info* info) noexcept nogil:
        """Whether a result is what comes next: 1, or 0 where it is to be dropped, -1 where what has begun can't be completed any more."""
        if not pending.streaming:
            return info.sequence == 0
        if info.attempt == pending.attempt and info.source == pending.source:
            return 1 if info.sequence == pending.sequence else -1 if info.sequence > pending.sequence else 0
        # A second attempt tells that the first one's worker is lost.
        return -1 if info.attempt > pending.attempt else 0
