"""The info frame that travels with every request, and the small frames that our parts add to the original's wire: report, hello, interrupt.

All of it is little endian and of fixed layout (wire.md); every reader is given a pointer and a length, checks the length before each field and
answers -1 for what is not ours. The original's twelve bytes stand first, so that its parts see only what they know; our extension follows
behind a magic number. Of a later version of the extension the fields known here are used and the rest is passed on.

    info       id:4 time_stamp:4 bits:2 pad:2 | magic:4 version:1 length:1 flags:2 sequence:4 life:8 time_left:8 attempt:1 strikes:1 hops:2
               queued:4 served:4 trace:16 source:4
    report     magic:4 version:1 flags:1 window:2 finished:2 returned:2 service:4 busy:8 running_life:8 running_key:8 direct:8 (life:8 key:8)*
    hello      magic:4 version:1 word:1 pad:2 life:8
    restart    magic:4 version:1 pad:3 former:8 life:8 | keys, as in a report
    interrupt  key:8 life:8
    credit     0:8 life:8 key:8 bytes:8
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memcpy, memset

from prime_server._ext.libzmq cimport Frame, data_of, size_of, zmq

import dataclasses

from prime_server.errors import ProtocolError

cdef enum:
    INFO_MAGIC = 0x49535250    # "PRSI"
    REPORT_MAGIC = 0x52535250  # "PRSR"
    HELLO_MAGIC = 0x48535250   # "PRSH"
    RESTART_MAGIC = 0x4c535250  # "PRSL"
    WIRE_VERSION = 1
    EXTENSION_SIZE = INFO_SIZE - BARE_INFO_SIZE
    MAX_CODE = 1023            # ten bits

cdef extern from * nogil:
    """
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    #error "the frames are read and written as they lie in memory: little endian"
    #endif
    """


cdef inline uint8_t get8(const char* at) noexcept nogil:
    return (<const uint8_t*>at)[0]


cdef inline uint16_t get16(const char* at) noexcept nogil:
    cdef uint16_t value
    memcpy(&value, at, 2)
    return value


cdef inline uint32_t get32(const char* at) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, at, 4)
    return value


cdef inline uint64_t get64(const char* at) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, at, 8)
    return value


cdef inline void put8(char* at, uint8_t value) noexcept nogil:
    (<uint8_t*>at)[0] = value


cdef inline void put16(char* at, uint16_t value) noexcept nogil:
    memcpy(at, &value, 2)


cdef inline void put32(char* at, uint32_t value) noexcept nogil:
    memcpy(at, &value, 4)


cdef inline void put64(char* at, uint64_t value) noexcept nogil:
    memcpy(at, &value, 8)


cdef int read_info(const char* data, size_t size, Info* into) noexcept nogil:
    cdef const char* at
    memset(into, 0, sizeof(Info))
    if size < NETSTRING_INFO_SIZE or size > MAX_INFO_SIZE:
        return -1
    into.id = get32(data)
    into.time_stamp = get32(data + 4)
    into.size = NETSTRING_INFO_SIZE
    if size < BARE_INFO_SIZE:
        return 0
    into.bits = get16(data + 8)
    into.size = BARE_INFO_SIZE
    at = data + BARE_INFO_SIZE
    if size < BARE_INFO_SIZE + 4 or get32(at) != INFO_MAGIC:
        return 0
    # Behind our magic a length that is short of version 1, or of what has come, is a lie.
    if size < BARE_INFO_SIZE + 6 or get8(at + 5) < EXTENSION_SIZE or get8(at + 5) > size - BARE_INFO_SIZE or get8(at + 4) < WIRE_VERSION:
        return -1
    into.extended = True
    into.size = INFO_SIZE
    into.flags = get16(at + 6)
    into.sequence = get32(at + 8)
    into.life = get64(at + 12)
    into.time_left = <int64_t>get64(at + 20)
    into.attempt = get8(at + 28)
    into.strikes = get8(at + 29)
    into.hops = get16(at + 30)
    into.queued = get32(at + 32)
    into.served = get32(at + 36)
    memcpy(into.trace, at + 40, 16)
    into.source = get32(at + 56)
    return 0


cdef int write_info(Message* to, const Info* info, Message* original) noexcept nogil:
    cdef size_t known = info.size
    cdef size_t size = known
    cdef char* data
    cdef char* at
    if original != NULL and size_of(original) < known:
        original = NULL  # it came without our extension, which leaves nothing to pass on
    if original != NULL:
        size = size_of(original)
    if zmq.msg_init_size(to, size) != 0:
        zmq.msg_init(to)
        return -1
    data = <char*>zmq.msg_data(to)
    if original != NULL:
        memcpy(data, data_of(original), size)
    put32(data, info.id)
    put32(data + 4, info.time_stamp)
    if known < BARE_INFO_SIZE:
        return 0
    put16(data + 8, info.bits)
    if original == NULL:
        put16(data + 10, 0)
    if not info.extended:
        return 0
    at = data + BARE_INFO_SIZE
    if original == NULL:
        put32(at, INFO_MAGIC)
        put8(at + 4, WIRE_VERSION)
        put8(at + 5, EXTENSION_SIZE)
    put16(at + 6, info.flags)
    put32(at + 8, info.sequence)
    put64(at + 12, info.life)
    put64(at + 20, <uint64_t>info.time_left)
    put8(at + 28, info.attempt)
    put8(at + 29, info.strikes)
    put16(at + 30, info.hops)
    put32(at + 32, info.queued)
    put32(at + 36, info.served)
    memcpy(at + 40, info.trace, 16)
    put32(at + 56, info.source)
    return 0


cdef int write_cancel(Message* to, uint64_t life, uint64_t key) noexcept nogil:
    cdef Info info
    memset(&info, 0, sizeof(Info))
    info.id = <uint32_t>key
    info.time_stamp = <uint32_t>(key >> 32)
    info.size = INFO_SIZE
    info.extended = True
    info.flags = FLAG_CANCEL
    info.life = life
    return write_info(to, &info, NULL)


cdef int read_report(const char* data, size_t size, Report* into) noexcept nogil:
    memset(into, 0, sizeof(Report))
    if size < REPORT_SIZE or get32(data) != REPORT_MAGIC or get8(data + 4) < WIRE_VERSION:
        return -1
    into.flags = get8(data + 5)
    into.window = get16(data + 6)
    into.finished = get16(data + 8)
    into.returned = get16(data + 10)
    into.service = get32(data + 12)
    into.busy = <int64_t>get64(data + 16)
    into.running_life = get64(data + 24)
    into.running_key = get64(data + 32)
    into.direct = get64(data + 40)
    into.keys = data + REPORT_SIZE
    if <int>into.finished + into.returned > MAX_KEYS or size < REPORT_SIZE + KEY_SIZE * (<size_t>into.finished + into.returned):
        return -1
    return 0


cdef int write_report(Message* to, const Report* report) noexcept nogil:
    cdef size_t keys = KEY_SIZE * (<size_t>report.finished + report.returned)
    cdef char* data
    if zmq.msg_init_size(to, REPORT_SIZE + keys) != 0:
        zmq.msg_init(to)
        return -1
    data = <char*>zmq.msg_data(to)
    memset(data, 0, REPORT_SIZE)
    put32(data, REPORT_MAGIC)
    put8(data + 4, WIRE_VERSION)
    put8(data + 5, report.flags)
    put16(data + 6, report.window)
    put16(data + 8, report.finished)
    put16(data + 10, report.returned)
    put32(data + 12, report.service)
    put64(data + 16, <uint64_t>report.busy)
    put64(data + 24, report.running_life)
    put64(data + 32, report.running_key)
    put64(data + 40, report.direct)
    if keys:
        memcpy(data + REPORT_SIZE, report.keys, keys)
    return 0


cdef void report_key(const Report* report, int index, uint64_t* life, uint64_t* key) noexcept nogil:
    get_key(report.keys + index * KEY_SIZE, life, key)


cdef void put_key(char* at, uint64_t life, uint64_t key) noexcept nogil:
    put64(at, life)
    put64(at + 8, key)


cdef void get_key(const char* at, uint64_t* life, uint64_t* key) noexcept nogil:
    life[0] = get64(at)
    key[0] = get64(at + 8)


cdef bint read_hello(const char* data, size_t size, uint64_t* life) noexcept nogil:
    if size < HELLO_SIZE or get32(data) != HELLO_MAGIC or get8(data + 4) < WIRE_VERSION:
        return False
    life[0] = get64(data + 8)
    return True


cdef int hello_word(const char* data) noexcept nogil:
    return get8(data + 5)


cdef int write_hello(Message* to, uint64_t life, int word) noexcept nogil:
    cdef char* data
    if zmq.msg_init_size(to, HELLO_SIZE) != 0:
        zmq.msg_init(to)
        return -1
    data = <char*>zmq.msg_data(to)
    put32(data, HELLO_MAGIC)
    put32(data + 4, WIRE_VERSION | word << 8)
    put64(data + 8, life)
    return 0


cdef bint read_restart(const char* data, size_t size, uint64_t* former, uint64_t* life) noexcept nogil:
    if size < RESTART_SIZE or get32(data) != RESTART_MAGIC or get8(data + 4) < WIRE_VERSION:
        return False
    former[0] = get64(data + 8)
    life[0] = get64(data + 16)
    return True


cdef char* write_restart(Message* to, uint64_t former, uint64_t life, size_t keys) noexcept nogil:
    cdef char* data
    if zmq.msg_init_size(to, RESTART_SIZE + keys * KEY_SIZE) != 0:
        zmq.msg_init(to)
        return NULL
    data = <char*>zmq.msg_data(to)
    put32(data, RESTART_MAGIC)
    put32(data + 4, WIRE_VERSION)
    put64(data + 8, former)
    put64(data + 16, life)
    return data + RESTART_SIZE


cdef int read_interrupt(const char* data, size_t size, uint64_t* life, uint64_t* key, uint64_t* credit) noexcept nogil:
    life[0] = 0
    credit[0] = 0
    if size < 8:
        return -1
    key[0] = get64(data)
    if key[0] == 0 and size >= CREDIT_SIZE:
        life[0] = get64(data + 8)
        key[0] = get64(data + 16)
        credit[0] = get64(data + 24)
    elif size >= INTERRUPT_SIZE:
        life[0] = get64(data + 8)
    return 0


cdef int write_interrupt(Message* to, uint64_t life, uint64_t key) noexcept nogil:
    cdef char* data
    if zmq.msg_init_size(to, INTERRUPT_SIZE) != 0:
        zmq.msg_init(to)
        return -1
    data = <char*>zmq.msg_data(to)
    put64(data, key)
    put64(data + 8, life)
    return 0


cdef int write_credit(Message* to, uint64_t life, uint64_t key, uint64_t credit) noexcept nogil:
    cdef char* data
    if zmq.msg_init_size(to, CREDIT_SIZE) != 0:
        zmq.msg_init(to)
        return -1
    data = <char*>zmq.msg_data(to)
    put64(data, 0)
    put64(data + 8, life)
    put64(data + 16, key)
    put64(data + 24, credit)
    return 0


# --- the same for Python ---------------------------------------------------------------------------------------------------------------


cdef object info_object(const Info* info):
    return RequestInfo(
        id=info.id,
        time_stamp=info.time_stamp,
        version=info.bits & BITS_VERSION,
        keep_alive=info.bits & BITS_KEEP_ALIVE != 0,
        close=info.bits & BITS_CLOSE != 0,
        code=code_of(info),
        extended=info.extended,
        flags=info.flags,
        sequence=info.sequence,
        life=info.life,
        time_left=info.time_left,
        attempt=info.attempt,
        strikes=info.strikes,
        hops=info.hops,
        queued=info.queued,
        served=info.served,
        trace=PyBytes_FromStringAndSize(<const char*>info.trace, 16),
        source=info.source,
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RequestInfo:
    id: int
    time_stamp: int
    version: int = 1
    keep_alive: bool = False
    close: bool = False
    code: int = 0
    extended: bool = False
    flags: int = 0
    sequence: int = 0
    life: int = 0
    time_left: int = 0
    attempt: int = 0
    strikes: int = 0
    hops: int = 0
    queued: int = 0
    served: int = 0
    trace: bytes = bytes(16)
    source: int = 0

    @property
    def key(self):
        return self.id | self.time_stamp << 32

    @staticmethod
    def from_bytes(data):
        cdef Info info
        cdef Py_buffer view
        cdef int status
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        status = read_info(<const char*>view.buf, view.len, &info)
        PyBuffer_Release(&view)
        if status != 0:
            raise ProtocolError(f"{view.len} bytes are no info frame: 8 or 12 bytes, or our extension behind them, are")
        return info_object(&info)

    def to_bytes(self):
        cdef Info info
        cdef Message message
        memset(&info, 0, sizeof(Info))
        if not 0 <= self.version <= BITS_VERSION:
            raise ValueError(f"a version is a number from 0 to {BITS_VERSION}, not {self.version!r}")
        if not 0 <= self.code <= MAX_CODE:
            raise ValueError(f"a code is a number from 0 to {MAX_CODE}, not {self.code!r}")
        info.id = self.id
        info.time_stamp = self.time_stamp
        info.bits = self.version | (BITS_KEEP_ALIVE if self.keep_alive else 0) | (BITS_CLOSE if self.close else 0)
        set_code(&info, self.code)
        info.size = BARE_INFO_SIZE
        if self.extended:
            info.size = INFO_SIZE
            info.extended = True
            info.flags = self.flags
            info.sequence = self.sequence
            info.life = self.life
            info.time_left = self.time_left
            info.attempt = self.attempt
            info.strikes = self.strikes
            info.hops = self.hops
            info.queued = self.queued
            info.served = self.served
            info.source = self.source
            trace = bytes(self.trace)
            if len(trace) != 16:
                raise ValueError(f"a trace id has 16 bytes, not {len(trace)}")
            memcpy(info.trace, <const char*>trace, 16)
        if write_info(&message, &info, NULL) != 0:
            raise MemoryError()
        return bytes(Frame.take(&message))
