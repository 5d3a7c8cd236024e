"""The work functions of the demonstration in native code: the interface of prime_server.h as a user would write to it.

    parse     a web request -> the decimal digits of its number
    compute   digits -> the number if it is prime, NOT_PRIME else
    work      both in one stage
    echo      a web request -> its body

A number is digits alone, as `int` would read them without a sign, blanks or underscores; leading zeros are dropped. Below 2^64 all is done here;
bigger ones are left to Python, which has them tested in steps.
"""

from cpython.pycapsule cimport PyCapsule_New
from libc.stddef cimport size_t
from libc.stdint cimport uint64_t
from libc.string cimport memcmp, strlen

from prime_server._ext.info cimport FLAG_NETSTRING, NETSTRING_INFO_SIZE, Info, read_info
from prime_server._ext.native cimport PRIME_DONE, PRIME_FAILED, PRIME_PYTHON, PRIME_SERVER_WORK, NativeJob, Slice, work_fn
from prime_server._ext.primality cimport is_prime_u64
from prime_server._ext.request cimport PayloadView, end_payload, is_named, query_value, read_payload

cdef enum:
    DIGITS = 4300              # Python's own limit for reading a number
    U64_DIGITS = 20

cdef const char* TEXT = b"text/plain"
cdef const char* COMPOSITE = b"18446744073709551615"
cdef const char* USAGE = (
    b"requests should look like GET /is_prime?possible_prime=N or POST /is_prime with N as the body, "
    b"where N is a whole number of at most 4300 digits\n"
)


cdef int answer(NativeJob* job, int status, const char* fields, const char* text, size_t size) noexcept nogil:
    return PRIME_DONE if job.respond(job, status, TEXT, fields, text, size) == 0 else PRIME_FAILED


cdef int refuse(NativeJob* job, int status) noexcept nogil:
    cdef const char* fields = NULL
    if status == 405:
        fields = b"Allow: GET, HEAD, POST\r\n"
    return answer(job, status, fields, USAGE, strlen(USAGE))


cdef inline bint is_text(const Slice* slice, const char* text, size_t size) noexcept nogil:
    return slice.size == size and memcmp(slice.data, text, size) == 0


cdef inline bint is_blank(char byte) noexcept nogil:
    return byte == c" " or (c"\t" <= byte <= c"\r")


cdef void strip(Slice* text) noexcept nogil:
    while text.size and is_blank(text.data[text.size - 1]):
        text.size -= 1
    while text.size and is_blank(text.data[0]):
        text.data += 1
        text.size -= 1


cdef bint is_number(Slice* digits) noexcept nogil:
    """Whether they are digits; leading zeros are dropped."""
    cdef size_t index
    if not 1 <= digits.size <= DIGITS:
        return False
    for index in range(digits.size):
        if not c"0" <= digits.data[index] <= c"9":
            return False
    while digits.size > 1 and digits.data[0] == c"0":
        digits.data += 1
        digits.size -= 1
    return True


cdef bint fits_u64(const Slice* digits, uint64_t* into) noexcept nogil:
    cdef size_t index
    cdef uint64_t value = 0
    if digits.size > U64_DIGITS or (digits.size == U64_DIGITS and memcmp(digits.data, COMPOSITE, U64_DIGITS) > 0):
        return False
    for index in range(digits.size):
        value = value * 10 + <uint64_t>(digits.data[index] - c"0")
    into[0] = value
    return True


cdef bint is_netstring(const NativeJob* job) noexcept nogil:
    cdef Info info
    return read_info(<const char*>job.info, job.info_size, &info) == 0 and (
        info.size == NETSTRING_INFO_SIZE or info.flags & FLAG_NETSTRING != 0
    )


cdef int read_number(const NativeJob* job, Slice* digits, char* room) noexcept nogil:
    """The number that a web client asks about, in `digits`: a slice of the payload, or of `room` (DIGITS bytes). 0, or an HTTP status."""
    cdef PayloadView view
    cdef int status = 400
    cdef size_t size
    digits[0] = job.frames[0]
    if is_netstring(job):
        strip(digits)
        return 0 if is_number(digits) else 400
    if read_payload(job.frames[0].data, job.frames[0].size, &view) != 0:
        return 400
    if not is_named(view.path.data, view.path.data + view.path.size, b"/is_prime", 9, view.decoded != NULL):
        status = 404 if view.path.data[0] == c"/" else 405  # neither `OPTIONS *` nor CONNECT asks for a path
    elif is_text(&view.method, b"POST", 4):
        digits[0] = view.body
        strip(digits)
        status = 0
    elif not is_text(&view.method, b"GET", 3) and not is_text(&view.method, b"HEAD", 4):
        status = 405
    elif query_value(&view, b"possible_prime", 14, room, DIGITS, &size) == 1:
        digits.data = room
        digits.size = size
        status = 0
    end_payload(&view)
    return status if status or is_number(digits) else 400


cdef int judge(NativeJob* job, uint64_t number, const Slice* digits) noexcept nogil:
    if is_prime_u64(number):
        return answer(job, 200, NULL, digits.data, digits.size)
    return answer(job, 200, NULL, COMPOSITE, U64_DIGITS)


cdef int parse(NativeJob* job, void* data) noexcept nogil:
    cdef char room[DIGITS]
    cdef Slice digits
    cdef int status = read_number(job, &digits, room)
    if status:
        return refuse(job, status)
    return PRIME_DONE if job.forward(job, NULL, digits.data, digits.size) == 0 else PRIME_FAILED


cdef int compute(NativeJob* job, void* data) noexcept nogil:
    cdef Slice digits = job.frames[0]
    cdef uint64_t number = 0
    if not is_number(&digits):
        return refuse(job, 400)
    return judge(job, number, &digits) if fits_u64(&digits, &number) else PRIME_PYTHON


cdef int work(NativeJob* job, void* data) noexcept nogil:
    cdef char room[DIGITS]
    cdef Slice digits
    cdef uint64_t number = 0
    cdef int status = read_number(job, &digits, room)
    if status:
        return refuse(job, status)
    return judge(job, number, &digits) if fits_u64(&digits, &number) else PRIME_PYTHON


cdef int echo(NativeJob* job, void* data) noexcept nogil:
    cdef PayloadView view
    cdef Slice said = job.frames[0]
    cdef int done
    if is_netstring(job):
        return answer(job, 200, NULL, said.data, said.size)
    if read_payload(said.data, said.size, &view) != 0:
        return answer(job, 400, NULL, b"this is no HTTP request\n", 24)
    said = view.body if view.body.size else view.target
    done = answer(job, 200, NULL, said.data, said.size)
    end_payload(&view)
    return done


cdef object capsule(work_fn function):
    return PyCapsule_New(<void*>function, PRIME_SERVER_WORK, NULL)


NOT_PRIME = COMPOSITE
MAX_DIGITS = DIGITS
PARSE = capsule(parse)
COMPUTE = capsule(compute)
WORK = capsule(work)
ECHO = capsule(echo)
