/* SCHED_BATCH for the calling thread, and for the threads of this process in which libzmq does its I/O. */
#ifndef PRIME_SCHEDULING_H
#define PRIME_SCHEDULING_H

#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif

#if defined(__linux__)

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static void prime_set_batch(int thread, int on) {
    struct sched_param none;
    memset(&none, 0, sizeof none);
    if (prime_scheduling_is_usual() && sched_getscheduler(thread) == (on ? SCHED_OTHER : SCHED_BATCH))
        sched_setscheduler(thread, on ? SCHED_BATCH : SCHED_OTHER, &none); /* where it isn't allowed nothing is lost */
}

static void prime_set_batch_self(int on) { prime_set_batch(0, on); }

static void prime_set_batch_io(int on) {
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
        if (size == (ssize_t)(sizeof name - 1) && memcmp(name, io, sizeof name - 1) == 0) prime_set_batch(thread, on);
    }
    closedir(threads);
}

#else

static void prime_set_batch_self(int on) { (void)on; }
static void prime_set_batch_io(int on) { (void)on; }

#endif

#endif
