/* What APPLICATION.work of faulting.py does, as a native work function: answers `n`, and does what the rest of the query says before. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "prime_server.h"

/* The value of a field of the query, which lasts until the next one or a blank, into `value`. */
static int field(const char *target, const char *name, char *value, size_t room) {
    const char *at = target;
    size_t size = strlen(name);
    while ((at = strpbrk(at, "?&")) != NULL) {
        at++;
        if (strncmp(at, name, size) == 0 && at[size] == '=') {
            size_t length = strcspn(at + size + 1, "& ");
            if (length >= room) return 0;
            memcpy(value, at + size + 1, length);
            value[length] = 0;
            return 1;
        }
    }
    return 0;
}

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + 1e-9 * (double)at.tv_nsec;
}

int work(prime_job *job, void *data) {
    char line[1024], value[512];
    size_t size = job->frames[0].size < sizeof(line) - 1 ? job->frames[0].size : sizeof(line) - 1;
    double end;
    FILE *file;
    (void)data;
    memcpy(line, job->frames[0].data, size);
    line[size] = 0;
    line[strcspn(line, "\r\n")] = 0;
    if (field(line, "die", value, sizeof(value))) kill(getpid(), SIGKILL);
    if (field(line, "write", value, sizeof(value)) && (file = fopen(value, "a")) != NULL) {
        fputc('x', file);
        fclose(file);
    }
    if (field(line, "hold", value, sizeof(value))) { /* whatever it is told */
        for (end = now() + atof(value); now() < end;) usleep(2000);
    }
    if (field(line, "wait", value, sizeof(value))) {
        for (end = now() + atof(value); now() < end;) {
            if (__atomic_load_n(job->interrupted, __ATOMIC_RELAXED)) return PRIME_INTERRUPTED;
            usleep(2000);
        }
    }
    if (!field(line, "n", value, sizeof(value))) return PRIME_FAILED;
    return job->respond(job, 200, "text/plain", NULL, value, strlen(value)) == 0 ? PRIME_DONE : PRIME_FAILED;
}
