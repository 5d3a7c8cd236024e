"""Asking a function of the user's which idle worker a job goes to.

The only place where a balancer needs the GIL. Whatever the function does, the job gets a worker or stays queued: when it raises, or returns what is
no choice, the worker is taken that would have been without it, and that is logged, once a second at most.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize

from prime_server._ext.libzmq cimport Frame, Message, data_of, frame, size_of, zmq

import operator

from prime_server.errors import logger

cdef extern from "Python.h":
    void PyErr_SetInterrupt()

cdef enum:
    LOG_US = 1_000_000


cdef class Choice:
    def __cinit__(self, function):
        if not callable(function):
            raise TypeError(f"choose is a function of the idle workers' heartbeats and the job, not {function!r}")
        self.function = function
        self.logged_at = -LOG_US

    cdef Worker* ask(self, const Workers* workers, Job* job, int64_t now) noexcept with gil:
        cdef Worker* first = workers.ranks[0].first
        cdef Worker* worker = first
        cdef Message message
        cdef Py_ssize_t at
        cdef int index
        try:
            self.asking = True
            heartbeats = []
            while worker != NULL:
                heartbeats.append(PyBytes_FromStringAndSize(data_of(&worker.heartbeat), size_of(&worker.heartbeat)))
                worker = worker.next
            frames = []
            for index in range(1, job.frames.size):
                zmq.msg_init(&message)
                zmq.msg_copy(&message, frame(&job.frames, index))
                frames.append(Frame.take(&message))
            choice = self.function(heartbeats, frames)
            if choice is None:
                return NULL
            at = operator.index(choice)
            if not 0 <= at < len(heartbeats):
                raise ValueError(f"choose returns an index into the {len(heartbeats)} heartbeats, or None, not {choice!r}")
            worker = first
            while at:
                worker = worker.next
                at -= 1
            return worker
        except KeyboardInterrupt:
            PyErr_SetInterrupt()  # for the code that can let it through
            return first
        except BaseException:
            if now - self.logged_at < LOG_US:
                self.unlogged += 1
                return first
            logger.exception("choose failed, so the first idle worker is taken (%d more failures were not logged)", self.unlogged)
            self.logged_at = now
            self.unlogged = 0
            return first
        finally:
            self.asking = False
