/* Waiting for descriptors: epoll on Linux, kqueue on macOS and the BSDs, as far as the edge and the hub need it. Level triggered throughout. */
#ifndef PRIME_READINESS_H
#define PRIME_READINESS_H

#include <errno.h>
#include <stdint.h>
#include <unistd.h>

enum { PRIME_READABLE = 1, PRIME_WRITABLE = 2, PRIME_HUNG_UP = 4 };

typedef struct prime_ready {
    void *tag;
    int events; /* PRIME_…; PRIME_HUNG_UP: the peer has closed its side or the descriptor failed */
} prime_ready;

#define PRIME_READY_MAX 256

#if defined(__linux__)

#include <sys/epoll.h>

static inline int prime_ready_open(void) { return epoll_create1(EPOLL_CLOEXEC); }

/* `before` and `wanted`: any of PRIME_…; `fresh`: not registered yet. */
static inline int prime_ready_set(int queue, int descriptor, void *tag, int before, int wanted, int fresh) {
    struct epoll_event event;
    (void)before;
    event.events = ((wanted & PRIME_READABLE) ? (uint32_t)EPOLLIN : 0u) | ((wanted & PRIME_WRITABLE) ? (uint32_t)EPOLLOUT : 0u) |
                   ((wanted & PRIME_HUNG_UP) ? (uint32_t)EPOLLRDHUP : 0u);
    event.data.ptr = tag;
    return epoll_ctl(queue, fresh ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, descriptor, &event);
}

static inline void prime_ready_remove(int queue, int descriptor) {
    struct epoll_event event = {0};
    epoll_ctl(queue, EPOLL_CTL_DEL, descriptor, &event);
}

/* Up to `room` descriptors; waits at most `timeout_us` (-1: for ever). -1 on failure, 0 when interrupted. */
static inline int prime_ready_wait(int queue, prime_ready *into, int room, int64_t timeout_us) {
    struct epoll_event events[PRIME_READY_MAX];
    int64_t milliseconds = timeout_us < 0 ? -1 : (timeout_us + 999) / 1000;
    int count, index;
    if (room > PRIME_READY_MAX) room = PRIME_READY_MAX;
    if (milliseconds > 3600000) milliseconds = 3600000;
    count = epoll_wait(queue, events, room, (int)milliseconds);
    if (count < 0) return errno == EINTR ? 0 : -1;
    for (index = 0; index < count; index++) {
        uint32_t seen = events[index].events;
        into[index].tag = events[index].data.ptr;
        /* what has failed is told by the next read or write */
        into[index].events = ((seen & EPOLLIN) ? PRIME_READABLE : 0) | ((seen & (EPOLLOUT | EPOLLHUP | EPOLLERR)) ? PRIME_WRITABLE : 0) |
                             ((seen & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) ? PRIME_HUNG_UP : 0);
    }
    return count;
}

#else

#include <fcntl.h>
#include <sys/event.h>
#include <sys/time.h>
#include <sys/types.h>

static inline int prime_ready_open(void) {
    int queue = kqueue();
    if (queue >= 0) fcntl(queue, F_SETFD, FD_CLOEXEC);
    return queue;
}

static inline int prime_ready_set(int queue, int descriptor, void *tag, int before, int wanted, int fresh) {
    struct kevent changes[2];
    /* A read filter whose low-water mark is never reached tells of a hang-up only. */
    int count = 0;
    (void)fresh;
    if (wanted & PRIME_READABLE)
        EV_SET(&changes[count++], descriptor, EVFILT_READ, EV_ADD, 0, 0, tag);
    else if (wanted & PRIME_HUNG_UP)
        EV_SET(&changes[count++], descriptor, EVFILT_READ, EV_ADD, NOTE_LOWAT, INT32_MAX, tag);
    else if (before & (PRIME_READABLE | PRIME_HUNG_UP))
        EV_SET(&changes[count++], descriptor, EVFILT_READ, EV_DELETE, 0, 0, tag);
    if (wanted & PRIME_WRITABLE)
        EV_SET(&changes[count++], descriptor, EVFILT_WRITE, EV_ADD, 0, 0, tag);
    else if (before & PRIME_WRITABLE)
        EV_SET(&changes[count++], descriptor, EVFILT_WRITE, EV_DELETE, 0, 0, tag);
    return kevent(queue, changes, count, NULL, 0, NULL);
}

static inline void prime_ready_remove(int queue, int descriptor) {
    struct kevent changes[2];
    EV_SET(&changes[0], descriptor, EVFILT_READ, EV_DELETE, 0, 0, NULL);
    kevent(queue, changes, 1, NULL, 0, NULL);
    EV_SET(&changes[1], descriptor, EVFILT_WRITE, EV_DELETE, 0, 0, NULL);
    kevent(queue, &changes[1], 1, NULL, 0, NULL);
}

static inline int prime_ready_wait(int queue, prime_ready *into, int room, int64_t timeout_us) {
    struct kevent events[PRIME_READY_MAX];
    struct timespec limit;
    int count, index;
    if (room > PRIME_READY_MAX) room = PRIME_READY_MAX;
    limit.tv_sec = (time_t)(timeout_us / 1000000);
    limit.tv_nsec = (long)(timeout_us % 1000000) * 1000;
    count = kevent(queue, NULL, 0, events, room, timeout_us < 0 ? NULL : &limit);
    if (count < 0) return errno == EINTR ? 0 : -1;
    for (index = 0; index < count; index++) {
        into[index].tag = events[index].udata;
        into[index].events = events[index].filter == EVFILT_WRITE ? PRIME_WRITABLE : PRIME_READABLE;
        if (events[index].flags & (EV_EOF | EV_ERROR)) into[index].events |= PRIME_HUNG_UP;
    }
    return count;
}

#endif

#endif
