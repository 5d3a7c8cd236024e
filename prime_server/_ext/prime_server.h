/* Native work functions: a C function in a PyCapsule named PRIME_SERVER_WORK, called by the worker's loop without the GIL.
 * The capsule's context, if it has one, is handed to every call as `data`. */
#ifndef PRIME_SERVER_H
#define PRIME_SERVER_H

#include <stddef.h>
#include <stdint.h>

#define PRIME_SERVER_WORK "prime_server.work.1"

enum {
    PRIME_DONE = 0,        /* answered with `respond` or handed on with `forward`; one of them, once */
    PRIME_PYTHON = 1,      /* not for this function: the worker calls its Python fallback instead (500 without one) */
    PRIME_INTERRUPTED = 2, /* gave up because *interrupted was set */
    PRIME_FAILED = 3       /* answered with 500 */
};

typedef struct prime_slice {
    const char *data; /* borrowed, valid during the call */
    size_t size;
} prime_slice;

typedef struct prime_job prime_job;
struct prime_job {
    size_t size;               /* sizeof(prime_job) as the worker knows it: fields are only ever added behind */
    size_t frame_count;        /* at least 1 */
    const prime_slice *frames; /* the payload */
    const void *info;          /* the info frame as it came (wire.md) */
    size_t info_size;
    const int *interrupted;    /* not 0: nobody waits for the answer any more. Read it with __atomic_load_n */
    int64_t deadline;          /* monotonic microseconds, 0: none */
    /* Both copy what they are given, and may be called from the function's own thread alone. 0, or -1: without memory, called twice, or not
     * possible (no such status, malformed fields or such as are the server's to set, no such stage). `content_type` and `fields` may be NULL; `fields` are
     * further header lines, each with its CRLF. Under netstring the body alone is sent. `stage` NULL: the only one there is. */
    int (*respond)(prime_job *job, int status, const char *content_type, const char *fields, const char *body, size_t body_size);
    int (*forward)(prime_job *job, const char *stage, const char *data, size_t data_size);
};

typedef int (*prime_work_fn)(prime_job *job, void *data);

#endif
