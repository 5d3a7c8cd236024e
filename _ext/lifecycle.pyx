"""The end of a process: from a signal to every loop in it.

The handler is C, so that it takes effect at once whichever thread is running and whoever holds the GIL. It may do little: it notes the time and
writes a byte into a pipe that every loop has in its poll. The byte is never read, so one pipe wakes all of them. Workers have a pipe of their own:
in a process that hosts a hub they must go on until it has drained, or it could not.

User code may hang with the GIL held, and then no loop and no thread of Python's can end the process. Where that is asked for, a thread in C does,
once the time for an orderly end is over.
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t

cdef extern from * nogil:
    """
    #include <errno.h>
    #include <fcntl.h>
    #include <poll.h>
    #include <pthread.h>
    #include <signal.h>
    #include <stdint.h>
    #include <string.h>
    #include <time.h>
    #include <unistd.h>

    static int prime_pipes[2][2] = {{-1, -1}, {-1, -1}};  /* draining, workers leave */
    static volatile int64_t prime_deadline = 0;
    static volatile int64_t prime_drain_us = 0;
    static volatile int prime_signals = 0;
    static volatile int prime_hubs = 0;

    static void prime_wake(int which) {
        int kept = errno;
        char byte = 1;
        while (write(prime_pipes[which][1], &byte, 1) < 0 && errno == EINTR) {}
        errno = kept;
    }

    static void prime_workers_may_leave(void) {
        if (__atomic_load_n(&prime_signals, __ATOMIC_SEQ_CST) > 0 && __atomic_load_n(&prime_hubs, __ATOMIC_SEQ_CST) == 0) prime_wake(1);
    }

    static void prime_on_signal(int number) {
        struct timespec at;
        clock_gettime(CLOCK_MONOTONIC, &at);
        if (__atomic_load_n(&prime_signals, __ATOMIC_SEQ_CST) > 0) _exit(128 + number);
        __atomic_store_n(&prime_deadline, (int64_t)at.tv_sec * 1000000 + at.tv_nsec / 1000 + prime_drain_us, __ATOMIC_SEQ_CST);
        __atomic_add_fetch(&prime_signals, 1, __ATOMIC_SEQ_CST);
        prime_wake(0);
        prime_workers_may_leave();
    }

    static int prime_open_pipes(void) {
        int which, end;
        for (which = 0; which < 2; which++) {
            if (pipe(prime_pipes[which]) != 0) return -1;
            for (end = 0; end < 2; end++) {
                fcntl(prime_pipes[which][end], F_SETFD, FD_CLOEXEC);
                fcntl(prime_pipes[which][end], F_SETFL, O_NONBLOCK);
            }
        }
        return 0;
    }

    static int prime_install(int64_t drain_us) {
        struct sigaction action;
        memset(&action, 0, sizeof(action));
        action.sa_handler = prime_on_signal;
        sigemptyset(&action.sa_mask);
        sigaddset(&action.sa_mask, SIGTERM);
        sigaddset(&action.sa_mask, SIGINT);
        action.sa_flags = SA_RESTART;
        __atomic_store_n(&prime_drain_us, drain_us, __ATOMIC_SEQ_CST);
        return sigaction(SIGTERM, &action, NULL) != 0 || sigaction(SIGINT, &action, NULL) != 0 ? -1 : 0;
    }

    static volatile int64_t prime_exit_us = 0;

    static void *prime_watch_over_end(void *nothing) {
        struct pollfd draining = {prime_pipes[0][0], POLLIN, 0};
        (void)nothing;
        while (poll(&draining, 1, -1) < 0) {}
        for (;;) {
            struct timespec at;
            int64_t left;
            clock_gettime(CLOCK_MONOTONIC, &at);
            left = __atomic_load_n(&prime_deadline, __ATOMIC_SEQ_CST) + __atomic_load_n(&prime_exit_us, __ATOMIC_SEQ_CST)
                   - ((int64_t)at.tv_sec * 1000000 + at.tv_nsec / 1000);
            if (left <= 0) _exit(0);
            if (left > 1000000) left = 1000000;
            at.tv_sec = left / 1000000;
            at.tv_nsec = left % 1000000 * 1000;
            nanosleep(&at, NULL);
        }
        return NULL;
    }

    /* Once: a later call changes the time alone. 0, or an errno. */
    static int prime_exit_after(int64_t us) {
        static int started = 0;
        pthread_t thread;
        sigset_t all, before;
        int status;
        __atomic_store_n(&prime_exit_us, us, __ATOMIC_SEQ_CST);
        if (started) return 0;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        status = pthread_create(&thread, NULL, prime_watch_over_end, NULL);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (status == 0) {
            started = 1;
            pthread_detach(thread);
        }
        return status;
    }

    static int prime_get_signals(void) { return __atomic_load_n(&prime_signals, __ATOMIC_ACQUIRE); }
    static int64_t prime_get_deadline(void) { return __atomic_load_n(&prime_deadline, __ATOMIC_ACQUIRE); }
    static int prime_get_hubs(void) { return __atomic_load_n(&prime_hubs, __ATOMIC_ACQUIRE); }
    static void prime_hub_enters(void) { __atomic_add_fetch(&prime_hubs, 1, __ATOMIC_SEQ_CST); }
    static void prime_hub_leaves(void) {
        __atomic_sub_fetch(&prime_hubs, 1, __ATOMIC_SEQ_CST);
        prime_workers_may_leave();
    }
    """
    int open_pipes "prime_open_pipes"()
    int install "prime_install"(int64_t)
    int exit_after_us "prime_exit_after"(int64_t)
    int get_signals "prime_get_signals"()
    int64_t get_deadline "prime_get_deadline"()
    int get_hubs "prime_get_hubs"()
    void do_hub_enters "prime_hub_enters"()
    void do_hub_leaves "prime_hub_leaves"()
    int pipes "prime_pipes"[2][2]

from prime_server._ext.clock cimport now_us

import os

if open_pipes() != 0:
    raise OSError(errno, os.strerror(errno))


cdef int process_state() noexcept nogil:
    if get_signals() == 0:
        return RUNNING
    return STOPPING if now_us() >= get_deadline() else DRAINING


cdef int64_t drain_deadline() noexcept nogil:
    return get_deadline() if get_signals() else 0


cdef int draining_descriptor() noexcept nogil:
    return pipes[0][0]


cdef int workers_leave_descriptor() noexcept nogil:
    return pipes[1][0]


cdef bint workers_leave() noexcept nogil:
    return get_signals() > 0 and (get_hubs() == 0 or now_us() >= get_deadline())


cdef void hub_enters() noexcept nogil:
    do_hub_enters()


cdef void hub_leaves() noexcept nogil:
    do_hub_leaves()


def quiesce(drain_seconds=10.0, *, exit_after=None):
    cdef double seconds = drain_seconds
    cdef double patience
    cdef int status
    if not 0 <= seconds <= 1e9:
        raise ValueError(f"drain_seconds is a time of 0 or more seconds, not {drain_seconds!r}")
    if exit_after is not None:
        patience = exit_after
        if not 0 <= patience <= 1e9:
            raise ValueError(f"exit_after is a time of 0 or more seconds, or None, not {exit_after!r}")
        status = exit_after_us(<int64_t>(patience * 1e6))
        if status != 0:
            raise OSError(status, os.strerror(status))
    if install(<int64_t>(seconds * 1e6)) != 0:
        raise OSError(errno, os.strerror(errno))


def draining():
    return process_state() != RUNNING


def shutting_down():
    return process_state() == STOPPING
