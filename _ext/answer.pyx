"""The HTTP that the edge writes itself.

Refusals and the health check are short texts with a Content-Length. A worker's response comes as bytes: of ours the head lacks `Date` and
`Connection`, which are the edge's to know; they are put in behind the status line. A foreign worker's response is complete and passed on; only
what RFC 9110 demands of every server is added where it is missing: `Date` (section 6.6.1), and no body in the answer to a HEAD (section 9.3.2).
"""

from libc.stdint cimport int64_t
from libc.stdio cimport snprintf
from libc.string cimport memchr, memcmp, strlen
from posix.strings cimport strncasecmp

from prime_server._ext.clock cimport unix_us
from prime_server._ext.libzmq cimport data_of, frame, size_of
from prime_server._ext.output cimport append, append_message

cdef extern from * nogil:
    """
    #include <stdio.h>
    #include <time.h>
    static __thread int64_t prime_date_second = -1;
    static __thread char prime_date_text[40];

    /* IMF-fixdate, RFC 9110 section 5.6.7; not by strftime, whose names follow the locale */
    static const char *prime_date(int64_t second) {
        static const char days[] = "SunMonTueWedThuFriSat";
        static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        time_t at = (time_t)second;
        struct tm t;
        if (second != prime_date_second && gmtime_r(&at, &t) != NULL) {
            snprintf(prime_date_text, sizeof(prime_date_text), "Date: %.3s, %02u %.3s %04u %02u:%02u:%02u GMT\\r\\n", days + 3 * t.tm_wday,
                     (unsigned)t.tm_mday % 100u, months + 3 * t.tm_mon, (unsigned)(t.tm_year + 1900) % 10000u, (unsigned)t.tm_hour % 100u,
                     (unsigned)t.tm_min % 100u, (unsigned)t.tm_sec % 100u);
            prime_date_second = second;
        }
        return prime_date_text;
    }
    """
    const char* date_line "prime_date"(int64_t second)

cdef extern from "string.h" nogil:
    void* memmem(const void* haystack, size_t haystack_size, const void* needle, size_t needle_size)


cdef const char* phrase(int status) noexcept nogil:
    if status == 200:
        return "OK"
    if status == 204:
        return "No Content"
    if status == 400:
        return "Bad Request"
    if status == 404:
        return "Not Found"
    if status == 405:
        return "Method Not Allowed"
    if status == 408:
        return "Request Timeout"
    if status == 413:
        return "Content Too Large"
    if status == 414:
        return "URI Too Long"
    if status == 417:
        return "Expectation Failed"
    if status == 421:
        return "Misdirected Request"
    if status == 429:
        return "Too Many Requests"
    if status == 431:
        return "Request Header Fields Too Large"
    if status == 500:
        return "Internal Server Error"
    if status == 501:
        return "Not Implemented"
    if status == 502:
        return "Bad Gateway"
    if status == 503:
        return "Service Unavailable"
    if status == 504:
        return "Gateway Timeout"
    if status == 505:
        return "HTTP Version Not Supported"
    return "Error" if status >= 400 else "Answer"


cdef inline const char* connection_line(const Manner* manner) noexcept nogil:
    if manner.close:
        return "Connection: close\r\n"
    return "Connection: keep-alive\r\n" if manner.old else ""


cdef int answer_plain(Output* to, int status, const char* text, const char* fields, const Manner* manner) noexcept nogil:
    cdef char head[512]
    cdef size_t size = 0 if text == NULL else strlen(text)
    cdef int failed = 0
    cdef int written = snprintf(
        head, sizeof(head), "HTTP/1.1 %d %s\r\n%s%s%s", status, phrase(status), date_line(unix_us() // 1000000), connection_line(manner),
        fields if fields != NULL else <const char*>"",
    )
    if written < 0 or <size_t>written >= sizeof(head):
        return MALFORMED
    failed |= append(to, head, written)
    failed |= append(to, manner.server.data, manner.server.size)
    failed |= append(to, manner.sharing.data, manner.sharing.size)
    if text != NULL:
        failed |= append(to, head, snprintf(head, sizeof(head), "Content-Type: text/plain; charset=utf-8\r\nContent-Length: %zu\r\n", size + 1))
    failed |= append(to, "\r\n", 2)
    if text != NULL and not manner.head:
        failed |= append(to, text, size) | append(to, "\n", 1)
    return NO_MEMORY if failed else 0


cdef const char* find_field(const char* at, const char* end, const char* name, size_t size) noexcept nogil:
    cdef const char* line = at
    while line < end:
        if <size_t>(end - line) > size and strncasecmp(line, name, size) == 0 and line[size] == b":":
            return line
        line = <const char*>memchr(line, b"\n", end - line)
        if line == NULL:
            return NULL
        line += 1
    return NULL


cdef int append_missing(Output* to, const char* line, const char* end, const Manner* manner) noexcept nogil:
    """What an answer is to have unless it is among its lines."""
    cdef int failed = 0
    if manner.server.size and find_field(line, end, "server", 6) == NULL:
        failed |= append(to, manner.server.data, manner.server.size)
    if manner.sharing.size and find_field(line, end, "access-control-allow-origin", 27) == NULL:
        failed |= append(to, manner.sharing.data, manner.sharing.size)
    return failed


cdef int answer_result(Output* to, Multipart* result, int at, bint ours, const Manner* manner) noexcept nogil:
    cdef Message* first = frame(result, at)
    cdef const char* data = data_of(first)
    cdef size_t size = size_of(first)
    cdef const char* line
    cdef const char* head_end
    cdef const char* extra
    cdef int status, index, failed = 0
    if size < 14 or memcmp(data, b"HTTP/1.", 7) != 0:
        return MALFORMED
    if not b"1" <= data[9] <= b"9" or not b"0" <= data[10] <= b"9" or not b"0" <= data[11] <= b"9":
        return MALFORMED
    line = <const char*>memchr(data, b"\n", size)
    if line == NULL:
        return MALFORMED
    line += 1
    status = (data[9] - 48) * 100 + (data[10] - 48) * 10 + (data[11] - 48)
    failed |= append(to, data, line - data)
    head_end = NULL
    if not ours or manner.server.size or manner.sharing.size:
        head_end = <const char*>memmem(data, size, b"\r\n\r\n", 4)
        head_end = data + size if head_end == NULL else head_end + 4
        failed |= append_missing(to, line, head_end, manner)
    if ours:
        extra = connection_line(manner)
        failed |= append(to, date_line(unix_us() // 1000000), 37)
        failed |= append(to, extra, strlen(extra))
    else:
        if find_field(line, head_end, "date", 4) == NULL:
            failed |= append(to, date_line(unix_us() // 1000000), 37)
        if find_field(line, head_end, "connection", 10) == NULL:
            extra = connection_line(manner)
            failed |= append(to, extra, strlen(extra))
        if manner.head:
            failed |= append(to, line, head_end - line)
            return NO_MEMORY if failed else status
    failed |= append_message(to, first, line - data)
    for index in range(at + 1, result.size):
        failed |= append_message(to, frame(result, index), 0)
    result.size = at
    return NO_MEMORY if failed else status


cdef int answer_netstring(Output* output, const char* text, int size) noexcept nogil:
    cdef char length[16]
    cdef int digits
    if size < 0:
        return -1
    if size >= MAX_ANSWER_HEAD:
        size = MAX_ANSWER_HEAD - 1
    digits = snprintf(length, sizeof(length), "%d:", size)
    return append(output, length, digits) | append(output, text, size) | append(output, ",", 1)


cdef const char* refusal_text(int status) noexcept nogil:
    if status == 500:
        return "the job was given up: its workers died of it"
    if status == 502:
        return "the worker was lost before it had answered"
    if status == 503:
        return "the backlog is full"
    if status == 504:
        return "the deadline passed before a worker was free"
    return "the request could not be served"
