/* The policy, slice and place of the calling thread, and of the threads of this process in which libzmq does its I/O. */
#ifndef PRIME_SCHEDULING_H
#define PRIME_SCHEDULING_H

#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif

#include <stdint.h>

#if defined(__linux__)

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SCHED_BATCH
#define SCHED_BATCH 3
#endif

/* Whether this process was started under the usual policy: asked once, before anything is changed. */
static int prime_scheduling_is_usual(void) {
    static int usual = -1;
    if (usual < 0) usual = sched_getscheduler(getpid()) == SCHED_OTHER;
    return usual;
}

static int prime_own_thread(void) { return (int)syscall(SYS_gettid); }

/* As in <linux/sched/types.h>, which glibc's <sched.h> doesn't go with. */
struct prime_sched_attr {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

/* 0: the kernel's own. Without a word where the kernel knows no slices (before 6.12), or doesn't let us. */
static void prime_set_slice(int thread, uint64_t ns) {
    struct prime_sched_attr attr;
    memset(&attr, 0, sizeof attr);
    if (!prime_scheduling_is_usual() || syscall(SYS_sched_getattr, thread, &attr, (unsigned)sizeof attr, 0) != 0) return;
    if (attr.policy != SCHED_OTHER) return;
    attr.runtime = ns;
    syscall(SYS_sched_setattr, thread, &attr, 0);
}

static void prime_set_batch(int thread, int on) {
    struct sched_param none;
    memset(&none, 0, sizeof none);
    if (prime_scheduling_is_usual() && sched_getscheduler(thread) == (on ? SCHED_OTHER : SCHED_BATCH))
        sched_setscheduler(thread, on ? SCHED_BATCH : SCHED_OTHER, &none); /* where it isn't allowed nothing is lost */
}

static void prime_set_batch_self(int on) { prime_set_batch(0, on); }

enum { PRIME_NO_PATIENCE, PRIME_PATIENCE, PRIME_SLICE, PRIME_PLACE };

/* From `processors`, all of ours, or the one given; a thread that somebody else has placed stays there. */
static void prime_place(int thread, const cpu_set_t *processors, int from, int to) {
    cpu_set_t now, wanted;
    if (sched_getaffinity(thread, sizeof now, &now) != 0) return;
    if (!CPU_EQUAL(&now, processors) && !(CPU_COUNT(&now) == 1 && from >= 0 && CPU_ISSET(from, &now))) return;
    wanted = *processors;
    if (to >= 0) {
        CPU_ZERO(&wanted);
        CPU_SET(to, &wanted);
    }
    sched_setaffinity(thread, sizeof wanted, &wanted);
}

typedef struct {
    const cpu_set_t *processors;
    int from, to;
} prime_move;

static void prime_set_io(int what, uint64_t ns, const prime_move *move) {
    static const char io[] = "ZMQbg/IO";
    char path[64], name[sizeof io];
    struct dirent *entry;
    DIR *threads = opendir("/proc/self/task");
    int file;
    ssize_t size;
    if (threads == NULL) return;
    while ((entry = readdir(threads)) != NULL) {
        int thread = atoi(entry->d_name);
        if (thread <= 0) continue;
        snprintf(path, sizeof path, "/proc/self/task/%d/comm", thread);
        file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0) continue;
        size = read(file, name, sizeof name - 1);
        close(file);
        if (size == (ssize_t)(sizeof name - 1) && memcmp(name, io, sizeof name - 1) == 0) {
            if (what == PRIME_SLICE) prime_set_slice(thread, ns);
            else if (what == PRIME_PLACE) prime_place(thread, move->processors, move->from, move->to);
            else prime_set_batch(thread, what == PRIME_PATIENCE);
        }
    }
    closedir(threads);
}

static void prime_set_batch_io(int on) { prime_set_io(on ? PRIME_PATIENCE : PRIME_NO_PATIENCE, 0, NULL); }
static void prime_set_slice_io(uint64_t ns) { prime_set_io(PRIME_SLICE, ns, NULL); }

/* To the calling thread's processor, where there are two, or, if not `near`, to wherever it may run. `placed`: the number of the processor to which
 * they were moved before, or -1. Gives the new one. */
static int prime_place_io(int near, int placed) {
    cpu_set_t processors;
    prime_move move = {&processors, placed, near ? sched_getcpu() : -1};
    if (move.to == placed || !prime_scheduling_is_usual()) return placed;
    if (sched_getaffinity(0, sizeof processors, &processors) != 0 || (near && CPU_COUNT(&processors) != 2)) return placed;
    prime_set_io(PRIME_PLACE, 0, &move);
    return move.to;
}

#else

static int prime_own_thread(void) { return 0; }
static void prime_set_slice(int thread, uint64_t ns) { (void)thread, (void)ns; }
static void prime_set_slice_io(uint64_t ns) { (void)ns; }
static void prime_set_batch_self(int on) { (void)on; }
static void prime_set_batch_io(int on) { (void)on; }
static int prime_place_io(int near, int placed) { (void)near; return placed; }

#endif

#endif
