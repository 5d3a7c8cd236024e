"""The worker's loop: takes jobs, calls the work function, sends what it answers.

The work thread waits on the worker's sockets, takes all that is there up to its window, runs the jobs in their order and sends each result at
once. What the proxy is told goes in batches: when nothing waits any more, or after a hundred microseconds or sixteen jobs, so that the pipe
stays full. A Python work function has the GIL for a whole batch; a native one runs batch after batch without it.

Around the user's code the intake's lock is released, and the guardian may have it. Where the loop has to wait for the GIL counts as the user's
code too: somebody else's has it.

What becomes of a job is outcome.pyx's: whatever a work function does, its client gets an answer.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport close, read, write

from prime_server._ext.cpoll cimport POLLIN, poll, pollfd
from prime_server._ext.cthreads cimport atomic_load, atomic_store, mutex_lock, mutex_trylock, mutex_unlock
from prime_server._ext.czmq cimport ZMQ_POLLIN, ZMQ_POLLOUT, zmq_pollitem_t
from prime_server._ext.guardian cimport OVERDUE_STATUS, enter_user_code, guardian_start, guardian_stop, leave_user_code
from prime_server._ext.info cimport FLAG_IDEMPOTENT, FLAG_RETRYABLE, STREAM_WINDOW, WORD_OVER, WORD_STAY, key_of
from prime_server._ext.intake cimport (
    CLIENT_LEFT,
    IDLE_REPEAT,
    MAX_WINDOW,
    intake_end,
    intake_fill,
    intake_finish,
    intake_finish_latest,
    intake_listen,
    intake_may_pack,
    intake_owes,
    intake_post,
    intake_report,
    intake_return,
    intake_return_arrivals,
    intake_return_waiting,
    intake_seen,
    intake_send,
    intake_set_heartbeat,
    intake_start,
    intake_take,
    intake_window,
)
from prime_server._ext.job cimport Job
from prime_server._ext.libzmq cimport close_all, descriptor_of, events_of, frame, reap, underlying, zmq
from prime_server._ext.lifecycle cimport STOPPING, process_state, workers_leave, workers_leave_descriptor
from prime_server._ext.native cimport PRIME_PYTHON
from prime_server._ext.nativework cimport NOTHING_DONE, NativeWork, call_native
from prime_server._ext.outcome cimport (
    ANSWERED,
    FORWARDED_ON,
    HANDED_BACK,
    NOBODY_WAITS,
    STREAMED,
    address,
    express,
    express_error,
    express_native,
    express_native_failure,
    outcome_start,
    say,
)
from prime_server._ext.pacing cimport Course, is_big, post_big
from prime_server._ext.scheduling cimport PATIENCE_EVERY, patience_end, patience_look, patience_saw, patience_start
from prime_server._ext.stream cimport in_parts, stream

import logging
import os

import zmq as pyzmq

cdef enum:
    REPORT_EVERY = 100         # us, while jobs wait
    REPORT_AFTER = 16          # jobs
    LISTEN_EVERY = 1000        # us, while jobs are so many that the loop never waits
    LEAVE_WITHIN = 200000      # us, for the proxy to say that it knows
    LEAVE_UNSENT_WITHIN = 2000000  # us, for next stages that aren't there
    COMPLAIN_EVERY = 1000000   # us
    AVERAGE_OVER = 8           # jobs, of the service time
    STREAM_SERVICE = 1000000000  # ns, that count at the most of an answer in parts: how long it takes is up to its reader
    ETERM = 156384765          # libzmq's own: the context is terminated
    # outcomes of a wait, and what it has seen
    WAIT_FAILED = -1
    WAIT_INTERRUPTED = -2
    SEEN_OTHERS = 1            # interrupts or next stages have something, or there is room for what is unsent
    SEEN_PIPE = 2
    SEEN_LEAVE = 4
    SEEN_ROOM = 8              # towards the proxy

OVERDUE = OVERDUE_STATUS


cdef inline int seen_of(short others, short pipe, short leave) noexcept nogil:
    """By what is ready of the interrupts and the two descriptors."""
    return (SEEN_OTHERS if others else 0) | (SEEN_PIPE if pipe else 0) | (SEEN_LEAVE if leave else 0)


cdef inline int64_t now_ns() noexcept nogil:
    cdef timespec at
    clock_gettime(CLOCK_MONOTONIC, &at)
    return <int64_t>at.tv_sec * 1000000000 + at.tv_nsec


cdef class WorkerLoop:
    def __cinit__(self):
        self.pipe_in = self.pipe_out = -1

    def __init__(self, upstream, stages, loopback, interrupt, work, *, cleanup=None, heartbeat=b"", window=64, grace_seconds=0.0):
        cdef NativeWork native
        cdef int index
        if self.pipe_out >= 0:
            raise TypeError("a loop is made once")
        if not 1 <= window <= MAX_WINDOW:
            raise ValueError(f"a window is 1 to {MAX_WINDOW} jobs, not {window}")
        if len(stages) > MAX_STAGES:
            raise ValueError(f"a worker has at most {MAX_STAGES} next stages, not {len(stages)}")
        if not 0 <= grace_seconds <= 1e9:
            raise ValueError(f"grace_seconds is a time of 0 or more seconds, not {grace_seconds!r}")
        if cleanup is not None and not callable(cleanup):
            raise TypeError(f"cleanup is a callable or None, not {type(cleanup).__name__}")
        if isinstance(work, NativeWork):
            native = work
            self.native = native.function
            self.native_data = native.data
            self.function = native.fallback
        elif callable(work):
            self.function = work
        else:
            raise TypeError(f"work is a callable or a NativeWork, not {type(work).__name__}")
        self.cleanup = cleanup
        self.stages = {name: index for index, name in enumerate(stages)}
        names = tuple([b"" if name is None else name.encode() for name in stages])
        self.kept = (upstream, dict(stages), loopback, interrupt, work, names)
        if intake_start(&self.intake, underlying(upstream), underlying(loopback), underlying(interrupt), window, len(stages)) != 0:
            raise MemoryError()
        self.intake.grace = <int64_t>(<double>grace_seconds * 1e6)
        self.call.stage_names = <const char**>malloc((len(names) + 1) * sizeof(char*))
        if self.call.stage_names == NULL:
            raise MemoryError()
        self.call.stage_count = len(names)
        for index, socket in enumerate(stages.values()):
            self.call.stage_names[index] = <const char*><bytes>names[index]
            self.intake.stages[index].socket = underlying(socket)
        for index in range(len(stages)):
            self.stage_descriptors[index] = descriptor_of(self.intake.stages[index].socket)
        self.upstream_descriptor = descriptor_of(self.intake.upstream.socket)
        self.interrupt_descriptor = descriptor_of(self.intake.interrupt)
        self.heartbeat_from(heartbeat)
        self.pipe_out, self.pipe_in = os.pipe()
        os.set_blocking(self.pipe_out, False)
        os.set_blocking(self.pipe_in, False)

    def __dealloc__(self):
        free(self.call.stage_names)
        if self.intake.jobs != NULL:
            intake_end(&self.intake)
        if self.pipe_out >= 0:
            close(self.pipe_out)
            close(self.pipe_in)

    def heartbeat_from(self, heartbeat):
        cdef Py_buffer view
        cdef int status
        PyObject_GetBuffer(heartbeat, &view, PyBUF_SIMPLE)
        status = intake_set_heartbeat(&self.intake, <const char*>view.buf, view.len)
        PyBuffer_Release(&view)
        if status != 0:
            raise MemoryError()

    def work(self):
        cdef int status
        if self.working:
            raise RuntimeError("this worker works already")
        self.working = True
        status = guardian_start(&self.guardian, &self.intake)
        if status != 0:
            self.working = False
            raise OSError(status, f"no thread for the guardian: {os.strerror(status)}")
        try:
            with nogil:
                mutex_lock(&self.intake.lock)
                patience_start(&self.patience, False)
                try:
                    self.loop()
                finally:
                    patience_end(&self.patience)
                    intake_post(&self.intake, self.now // 1000)
                    if not self.intake.leaving:
                        # An exception ended it: what we hold goes to others.
                        self.intake.leaving = True
                        intake_return_waiting(&self.intake, self.now // 1000)
                        intake_finish_latest(&self.intake, self.now // 1000)
                        intake_report(&self.intake, self.now // 1000)
                    mutex_unlock(&self.intake.lock)
                    guardian_stop(&self.guardian)
        finally:
            self.working = False
            self.intake.leaving = self.intake.wishing = False
            reap()

    def set_direct(self, int descriptor, uint64_t number):
        if self.working:
            raise RuntimeError("a worker has its direct way before it works")
        if self.intake.stage_count > 1:
            raise ValueError(f"a direct way leads to one next stage, not {self.intake.stage_count}")
        self.intake.direct = descriptor
        self.intake.direct_number = number

    def stop(self, *, interrupt=False):
        if interrupt:
            atomic_store(&self.intake.stop_now, 1)
        atomic_store(&self.stopping, 1)
        write(self.pipe_in, b"x", 1)

    def stats(self):
        cdef Intake* intake = &self.intake
        return {
            "jobs": intake.counters.jobs,
            "answered": intake.counters.answered,
            "forwarded": intake.counters.forwarded,
            "failed": intake.counters.failed,
            "interrupted": intake.counters.interrupted,
            "expired": intake.counters.expired,
            "returned": intake.counters.returned,
            "refused": intake.counters.refused,
            "malformed": intake.counters.malformed,
            "lost": intake.counters.lost,
            "streamed": intake.counters.streamed,
            "stalled": intake.counters.stalled,
            "reports": intake.counters.reports,
            "proxy_restarts": intake.counters.proxy_restarts,
            "waiting": intake.waiting,
            "unsent": intake.unsent_count,
            "window": intake_window(intake),
            "service_us": intake.service // 1000,
        }

    # --- the loop: with the intake's lock -------------------------------------------------------------------------------------------

    cdef int loop(self) except -1 nogil:
        cdef Intake* intake = &self.intake
        cdef int64_t now
        self.now = now_ns()
        intake.unheard = True  # a socket's descriptor tells of nothing before the socket has been found empty once
        intake.reported = self.now // 1000
        intake_report(intake, intake.reported)
        while True:
            now = self.now // 1000
            if now - self.patience.looked >= PATIENCE_EVERY:
                patience_look(&self.patience, intake.service / 1000.0 if intake.service else -1.0, True, now)
            if intake.counters.malformed != self.complaints and now - self.complained >= COMPLAIN_EVERY:
                intake_post(intake, now)
                with gil:
                    self.complain()
            if (atomic_load(&self.stopping) or workers_leave()) and self.done():
                return 0
            if not intake.leaving and intake_fill(intake, now) < 0:
                return self.broken()
            if intake.waiting:
                if now - self.listened >= LISTEN_EVERY:
                    self.listened = now
                    if intake_listen(intake, now) < 0:
                        return self.broken()
                if self.native != NULL:
                    self.run_native()
                else:
                    # Until we have the GIL somebody else's code is running, perhaps for long.
                    self.begin(NULL, NULL)
                    with gil:
                        self.lock_again()
                        self.run_python()
            else:
                if intake_owes(intake) and intake_report(intake, now) < 0:
                    return self.broken()
                self.wait()
                self.now = now_ns()

    cdef bint done(self) noexcept nogil:
        """We are to leave: what is still to be done first? Nothing that we hold may be lost, and the proxy has to know before we go.

        After a signal, which the other parts may have got too, we go on until the proxy lets us go.
        """
        cdef Intake* intake = &self.intake
        cdef int64_t now = self.now // 1000
        if self.dead:
            return True
        if not intake.upstream.greeted:
            # One of the original's proxies can't take back what it gave us.
            return intake.waiting == 0 and (intake.unsent_count == 0 or process_state() == STOPPING)
        if not intake.leaving and not atomic_load(&self.stopping) and process_state() != STOPPING:
            if not intake.wishing:
                intake.wishing = True
                self.leave_by = now + LEAVE_WITHIN
                if intake.word != WORD_OVER:
                    intake.word = 0
                    intake_report(intake, now)
            if intake.word == WORD_OVER and intake.waiting:
                return False
            if intake.word == WORD_STAY or (intake.word == 0 and now < self.leave_by):
                # Without a proxy there is nobody to be let go by.
                intake.drained = False
                if not intake.owed and events_of(intake.upstream.socket) & ZMQ_POLLOUT:
                    return False
        if not intake.leaving:
            intake.leaving = True
            self.hellos_before = intake.hellos
            self.leave_by = now + LEAVE_WITHIN
            intake_return_waiting(intake, now)
            intake_finish_latest(intake, now)
            intake_report(intake, now)
        intake_return_arrivals(intake, now)
        if intake.finished_count or intake.returned_count:
            intake_report(intake, now)
        if process_state() == STOPPING or intake.owed:
            return True
        if intake.unsent_count:
            return now >= self.leave_by + LEAVE_UNSENT_WITHIN
        return intake.word == WORD_OVER or intake.hellos != self.hellos_before or now >= self.leave_by

    cdef int wait(self) except -1 nogil:
        cdef Intake* intake = &self.intake
        cdef int64_t now = self.now // 1000
        cdef int64_t timeout = intake.reported + IDLE_REPEAT - now
        cdef int seen = 0
        cdef int status
        cdef char byte
        intake_post(intake, now)
        if intake.leaving or intake.wishing:
            timeout = 10000
        elif intake.unsent_count and timeout > 100000:
            timeout = 100000   # their clients may leave meanwhile
        if intake.unheard:
            seen = SEEN_OTHERS
            timeout = 0
        if timeout < 0:
            timeout = 0
        if intake.unsent_count or intake.owed or intake.leaving:
            status = self.wait_for_all(timeout, &seen)
        else:
            status = self.wait_for_input(timeout, &seen)
        if status < 0:
            if status == WAIT_FAILED:
                return self.broken()
            with gil:
                return self.look_up(True)
        now = now_ns() // 1000
        if status == 0 and self.lent:
            with gil:
                self.look_up(False)
        if seen & SEEN_PIPE:
            while read(self.pipe_out, &byte, 1) > 0:
                pass
        if seen & SEEN_LEAVE:
            self.leave_seen = True
        if seen & SEEN_OTHERS or intake.unsent_count:
            self.listened = now
            if intake_listen(intake, now) < 0:
                return self.broken()
        if not intake.leaving and (now - intake.reported >= IDLE_REPEAT or (intake.owed and seen & SEEN_ROOM)):
            intake.reported = now
            if intake_report(intake, now) < 0:
                return self.broken()
        return 0

    cdef int wait_for_input(self, int64_t timeout, int* seen) noexcept nogil:
        """The common wait, by poll(2) on ZeroMQ's descriptors, as libzmq's own costs a look at every socket (two system calls each), twice. A
        descriptor can be relied on unless something was sent on its socket since it was last found empty (libzmq.pxd): only those are looked at."""
        cdef Intake* intake = &self.intake
        cdef pollfd items[MAX_STAGES + 5]
        cdef int count = 5 + intake.stage_count
        cdef int index
        cdef int events = 0 if intake.drained else events_of(intake.upstream.socket)
        cdef int status
        if events < 0:
            return WAIT_FAILED
        if events & ZMQ_POLLIN:
            timeout = 0
        for index in range(count):
            items[index].events = POLLIN
        items[0].fd = self.upstream_descriptor
        items[1].fd = self.interrupt_descriptor
        items[2].fd = self.pipe_out
        items[3].fd = -1 if self.leave_seen else workers_leave_descriptor()
        items[4].fd = intake.direct
        for index in range(intake.stage_count):
            items[5 + index].fd = self.stage_descriptors[index]
            events = events_of(intake.stages[index].socket)
            if events < 0:
                return WAIT_FAILED
            if events & ZMQ_POLLIN:
                seen[0] |= SEEN_OTHERS
                timeout = 0
        status = poll(items, count, <int>((timeout + 999) // 1000))
        if status < 0:
            return WAIT_INTERRUPTED
        if status == 0:
            return seen[0]
        if items[0].revents:
            intake.drained = False
        seen[0] |= seen_of(items[1].revents, items[2].revents, items[3].revents)
        for index in range(5, count):
            if items[index].revents:
                seen[0] |= SEEN_OTHERS
        return status

    cdef int wait_for_all(self, int64_t timeout, int* seen) noexcept nogil:
        """The wait for room to send as well, which descriptors don't tell."""
        cdef Intake* intake = &self.intake
        cdef zmq_pollitem_t items[MAX_STAGES + 6]
        cdef int count = 5 + intake.stage_count
        cdef int index
        cdef int other
        cdef int status
        memset(items, 0, sizeof(items))
        items[0].socket = intake.upstream.socket
        items[0].events = ZMQ_POLLIN if intake.unsent_count < intake.limit or intake.leaving else 0
        if intake.owed:
            items[0].events |= ZMQ_POLLOUT
        items[1].socket = intake.interrupt
        items[1].events = ZMQ_POLLIN
        items[2].fd = self.pipe_out
        items[2].events = ZMQ_POLLIN
        items[3].fd = workers_leave_descriptor()
        items[3].events = 0 if self.leave_seen else ZMQ_POLLIN
        items[4].socket = intake.loopback
        for index in range(intake.stage_count):
            items[5 + index].socket = intake.stages[index].socket
            items[5 + index].events = ZMQ_POLLIN
        for other in range(intake.unsent_count):
            for index in range(4, count):
                if intake.unsent[other].socket == items[index].socket:
                    items[index].events |= ZMQ_POLLOUT
        items[count].fd = intake.direct
        items[count].events = items[0].events & ZMQ_POLLIN
        intake.drained = False  # to wait so takes off what its descriptor tells
        status = zmq.poll(items, count + (intake.direct >= 0), (timeout + 999) // 1000)
        if status < 0:
            return WAIT_INTERRUPTED if zmq.last_error() == EINTR else WAIT_FAILED
        if items[0].revents & ZMQ_POLLOUT:
            seen[0] |= SEEN_ROOM
        seen[0] |= seen_of(items[1].revents, items[2].revents, items[3].revents)
        for index in range(5, count):
            if items[index].revents:
                seen[0] |= SEEN_OTHERS
        return status

    cdef int look_up(self, bint interrupted) except -1:
        if interrupted:
            PyErr_CheckSignals()
        self.lent = False
        return reap()

    cdef int broken(self) except -1 nogil:
        """A socket has failed: the end of the loop, in order if its context was terminated."""
        cdef int error = zmq.last_error()
        self.dead = True
        atomic_store(&self.stopping, 1)
        if error == ETERM:
            return 0
        with gil:
            raise pyzmq.ZMQError(error)

    cdef int complain(self) except -1:
        cdef uint64_t count = self.intake.counters.malformed - self.complaints
        self.complaints = self.intake.counters.malformed
        self.complained = self.now // 1000
        why = (<bytes>self.intake.complaint).decode()
        return say(
            logging.WARNING, "dropped a malformed message: %s" if count == 1 else f"dropped {count} malformed messages, of the last: %s", why, None
        )

    # --- one job --------------------------------------------------------------------------------------------------------------------

    cdef void begin(self, WaitingJob* waiting, int* flag) noexcept nogil:
        """Into the user's code: releases the lock."""
        cdef Intake* intake = &self.intake
        intake.running.flag = flag
        intake.running.since = self.now // 1000
        intake.running.streams = False
        intake.running.credit = STREAM_WINDOW
        if waiting != NULL:
            intake.running.life = waiting.info.life
            intake.running.key = key_of(&waiting.info)
            intake.running.deadline = waiting.deadline
            intake.counters.jobs += 1
        else:
            intake.running.life = intake.running.key = 0
            intake.running.deadline = 0
        enter_user_code(&self.guardian)

    cdef void lock_again(self) noexcept:
        """Out of the user's code, with the GIL: it isn't kept while we wait for the guardian."""
        if mutex_trylock(&self.intake.lock) != 0:
            with nogil:
                mutex_lock(&self.intake.lock)
        leave_user_code(&self.guardian)

    cdef void settle(self, Outcome* outcome, Info* info, Message* original, int64_t deadline, int flag) noexcept nogil:
        cdef Intake* intake = &self.intake
        cdef int64_t before = self.now
        cdef int64_t took
        cdef int64_t now
        cdef uint64_t life = info.life
        cdef uint64_t key = key_of(info)
        cdef void* socket = intake.loopback
        cdef bint repeatable = info.flags & (FLAG_IDEMPOTENT | FLAG_RETRYABLE) != 0
        cdef bint seen
        self.now = now_ns()
        took = self.now - before
        now = self.now // 1000
        if intake.running.streams and took > STREAM_SERVICE:
            took = STREAM_SERVICE
        patience_saw(&self.patience, took // 1000, now)
        intake.service = took if intake.service == 0 else intake.service + (took - intake.service) // AVERAGE_OVER
        # Cleaning up keeps this worker from its next job. Of a stream the proxy knows more.
        seen = self.cleanup is None and not intake.running.streams
        seen = seen and intake_seen(intake, life, &intake.stages[outcome.stage] if outcome.kind == FORWARDED_ON else NULL)
        if outcome.kind == NOBODY_WAITS or flag == CLIENT_LEFT:
            intake.counters.interrupted += 1
            close_all(&outcome.parts)
            intake_finish(intake, life, key, now)
        elif outcome.kind == HANDED_BACK:
            intake_return(intake, life, key, now)
        elif address(outcome, info, original, seen, took // 1000, deadline, now) != 0:
            intake.counters.lost += 1
            close_all(&outcome.parts)
            intake_finish(intake, life, key, now)
        else:
            if outcome.kind == FORWARDED_ON:
                intake.counters.forwarded += 1
                socket = intake.stages[outcome.stage].socket
            elif outcome.kind == ANSWERED or outcome.kind == STREAMED:
                intake.counters.answered += 1
            else:
                intake.counters.failed += 1
            intake_send(intake, socket, &outcome.parts, life, key, deadline, seen, now)
            if not (seen and repeatable and intake_may_pack(intake, now)):
                intake_post(intake, now)
        # Where nothing waits any more the loop looks for more first. The original's proxy is told of each job by itself.
        if not intake.upstream.greeted or (
            intake.waiting
            and (intake.finished_count + intake.returned_count >= REPORT_AFTER or now - intake.reported >= REPORT_EVERY)
            and intake_owes(intake)
        ):
            intake_report(intake, now)

    cdef void in_pieces(self, Outcome* outcome, const Info* info, Message* original, const int* flag, int64_t* until) noexcept nogil:
        """The answer leaves at its reader's pace, all but its last piece."""
        cdef Course course
        course.intake = &self.intake
        course.info = info
        course.original = original
        course.flag = flag
        course.until = until
        course.upstream = self.upstream_descriptor
        course.interrupt = self.interrupt_descriptor
        post_big(outcome, &course)

    cdef int clean_up(self) except -1:
        """With the GIL and the lock, after a job has been sent off."""
        if self.cleanup is None:
            return 0
        self.begin(NULL, NULL)
        try:
            self.cleanup()
        except Exception as error:
            say(logging.ERROR, "the %s function failed", "cleanup", error)
        finally:
            self.lock_again()
        return 0

    # --- native ---------------------------------------------------------------------------------------------------------------------

    cdef int run_native(self) except -1 nogil:
        cdef Intake* intake = &self.intake
        cdef WaitingJob* current = &self.current
        cdef Outcome outcome
        cdef int answer
        while intake_take(intake, current, self.now // 1000):
            atomic_store(&self.flag, 0)
            self.begin(current, &self.flag)
            answer = call_native(&self.call, self.native, self.native_data, current, &self.flag)
            if answer == PRIME_PYTHON and self.call.outcome == NOTHING_DONE:
                with gil:
                    if self.function is not None:
                        self.python_job(current, True)
                        continue
            if not express_native(&outcome, &self.call, answer, &self.flag, intake.upstream.greeted):
                with gil:
                    express_native_failure(&outcome, &self.call, answer)
            if is_big(&outcome, &current.info):
                self.in_pieces(&outcome, &current.info, frame(&current.parts, 0), &self.flag, &current.deadline)
            mutex_lock(&intake.lock)
            leave_user_code(&self.guardian)
            self.settle(&outcome, &current.info, frame(&current.parts, 0), current.deadline, atomic_load(&self.flag))
            close_all(&current.parts)
            if self.cleanup is not None:
                with gil:
                    self.clean_up()
        return 0

    # --- Python ---------------------------------------------------------------------------------------------------------------------

    cdef int run_python(self) except -1:
        cdef WaitingJob waiting
        while intake_take(&self.intake, &waiting, self.now // 1000):
            self.python_job(&waiting, False)
        PyErr_CheckSignals()
        return 0

    cdef int python_job(self, WaitingJob* waiting, bint begun) except -1:
        """Consumes the job. With the lock, or `begun` by a native function, and so without it; with the lock afterwards."""
        cdef Job job = Job.take(waiting, self.stages)
        cdef Outcome outcome
        cdef object ends = None
        outcome_start(&outcome)
        if begun:
            with nogil:
                mutex_lock(&self.intake.lock)
                job.flag = self.flag
                self.intake.running.flag = &job.flag
                mutex_unlock(&self.intake.lock)
        else:
            self.begin(waiting, &job.flag)
        try:
            result = self.function(job)
            if in_parts(result):
                ends = stream(&outcome, result, job, &self.intake, self.upstream_descriptor, self.interrupt_descriptor)
            else:
                express(&outcome, result, job, self.intake.stage_count)
                if is_big(&outcome, &job.inner):
                    result = None
                    with nogil:
                        self.in_pieces(&outcome, &job.inner, frame(&job.parts, 0), &job.flag, &job.until)
        except BaseException as error:
            ends = express_error(&outcome, error, job, self.intake.upstream.greeted)
        self.lock_again()
        if job._heartbeat is not None:
            self.heartbeat_from(job._heartbeat)
        self.settle(&outcome, &job.inner, frame(&job.parts, 0), job.until, atomic_load(&job.flag))
        self.lent = True
        self.clean_up()
        if ends is not None:
            raise ends
        return 0
