"""The info frame: what is written is read, what is cut short or lies about its length is refused, and nothing is read past the end."""

import contextlib
import ctypes
import dataclasses
import mmap
import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prime_server import ProtocolError
from prime_server._ext.info import RequestInfo
from prime_server._ext.libzmq import Frame

MAGIC = b"PRSI"
EXTENDED = RequestInfo(
    id=0x01020304,
    time_stamp=0x05060708,
    version=1,
    keep_alive=True,
    code=503,
    extended=True,
    flags=0x1112,
    sequence=0x13141516,
    life=0x2122232425262728,
    time_left=0x3132333435363738,
    attempt=0x41,
    strikes=0x42,
    hops=0x4344,
    queued=0x45464748,
    served=0x494A4B4C,
    trace=bytes(range(16)),
)

infos = st.builds(
    RequestInfo,
    id=st.integers(0, 2**32 - 1),
    time_stamp=st.integers(0, 2**32 - 1),
    version=st.integers(0, 7),
    keep_alive=st.booleans(),
    close=st.booleans(),
    code=st.integers(0, 1023),
)
extended_infos = st.builds(
    lambda info, fields: dataclasses.replace(info, extended=True, **fields),
    infos,
    st.fixed_dictionaries(
        {
            "flags": st.integers(0, 2**16 - 1),
            "sequence": st.integers(0, 2**32 - 1),
            "life": st.integers(0, 2**64 - 1),
            "time_left": st.integers(-(2**63), 2**63 - 1),
            "attempt": st.integers(0, 255),
            "strikes": st.integers(0, 255),
            "hops": st.integers(0, 2**16 - 1),
            "queued": st.integers(0, 2**32 - 1),
            "served": st.integers(0, 2**32 - 1),
            "trace": st.binary(min_size=16, max_size=16),
        }
    ),
)


def test_the_layout_is_that_of_the_wire() -> None:
    assert EXTENDED.to_bytes() == struct.pack(
        "<IIHxx4sBBHIQqBBHII16s4x",
        *(0x01020304, 0x05060708, 1 | 8 | 503 << 5, MAGIC, 1, 60),
        *(0x1112, 0x13141516, 0x2122232425262728, 0x3132333435363738, 0x41, 0x42, 0x4344, 0x45464748, 0x494A4B4C, bytes(range(16))),
    )
    assert EXTENDED.key == 0x0506070801020304


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (bytes(8), {"version": 0}),
        (struct.pack("<II", 7, 8), {"id": 7, "time_stamp": 8, "version": 0}),
        (struct.pack("<II", 7, 8) + b"\xff\xff\xff", {"id": 7, "time_stamp": 8, "version": 0}),  # netstring's has no bits
        (struct.pack("<IIHH", 7, 8, 0x0001, 0), {"id": 7, "time_stamp": 8}),
        (struct.pack("<IIHH", 7, 8, 0x0009, 0xFFFF), {"id": 7, "time_stamp": 8, "keep_alive": True}),
        (struct.pack("<IIHH", 7, 8, 0x0010, 0), {"id": 7, "time_stamp": 8, "version": 0, "close": True}),
        (struct.pack("<IIHH", 7, 8, 200 << 5, 0), {"id": 7, "time_stamp": 8, "version": 0, "code": 200}),
        (struct.pack("<IIHH", 7, 8, 0xFFFF, 0), {"id": 7, "time_stamp": 8, "version": 7, "keep_alive": True, "close": True, "code": 1023}),
        (struct.pack("<IIHH", 7, 8, 1, 0) + b"PRS", {"id": 7, "time_stamp": 8}),
        (struct.pack("<IIHH", 7, 8, 1, 0) + b"PRSJ\x01\x3c" + bytes(1000), {"id": 7, "time_stamp": 8}),
    ],
)
def test_an_info_of_the_originals_parts(frame: bytes, expected: Any) -> None:
    assert RequestInfo.from_bytes(frame) == RequestInfo(**({"id": 0, "time_stamp": 0} | expected))


@given(infos | extended_infos)
@example(EXTENDED)
def test_what_is_written_is_read(info: RequestInfo) -> None:
    frame = info.to_bytes()
    assert len(frame) == (72 if info.extended else 12)
    assert RequestInfo.from_bytes(frame) == info
    assert RequestInfo.from_bytes(frame).to_bytes() == frame
    for other in (bytearray(frame), memoryview(frame), Frame(frame)):
        assert RequestInfo.from_bytes(other) == info


def test_every_truncation() -> None:
    frame = EXTENDED.to_bytes()
    bare = dataclasses.replace(
        EXTENDED, extended=False, flags=0, sequence=0, life=0, time_left=0, attempt=0, strikes=0, hops=0, queued=0, served=0, trace=bytes(16)
    )
    for size in range(len(frame)):
        if size < 8 or size >= 16:  # too short, or ours and incomplete
            with pytest.raises(ProtocolError, match=f"{size} bytes are no info frame"):
                RequestInfo.from_bytes(frame[:size])
        else:  # what the original's parts would see
            shorter = dataclasses.replace(bare, version=0, keep_alive=False, code=0) if size < 12 else bare
            assert RequestInfo.from_bytes(frame[:size]) == shorter


def test_every_lie_about_the_length() -> None:
    for behind in (0, 1, 100):
        frame = bytearray(EXTENDED.to_bytes() + bytes(behind))
        for length in range(256):
            frame[17] = length
            if 60 <= length <= 60 + behind:
                assert RequestInfo.from_bytes(frame) == EXTENDED
            else:
                with pytest.raises(ProtocolError):
                    RequestInfo.from_bytes(frame)


@pytest.mark.parametrize("version", range(256))
def test_later_versions_are_read_as_far_as_they_are_known(version: Any) -> None:
    frame = bytearray(EXTENDED.to_bytes() + b"what later versions say")
    frame[16:18] = version, len(frame) - 12
    if version:
        assert RequestInfo.from_bytes(frame) == EXTENDED
    else:
        with pytest.raises(ProtocolError):
            RequestInfo.from_bytes(frame)


def test_a_frame_that_is_too_long_is_refused() -> None:
    for frame in (bytes(12), EXTENDED.to_bytes()):
        assert RequestInfo.from_bytes(frame + bytes(1024 - len(frame))).extended == (len(frame) > 12)
        for size in (1025, 2**16, 2**20):
            with pytest.raises(ProtocolError):
                RequestInfo.from_bytes(frame + bytes(size - len(frame)))


@given(st.binary(max_size=100) | st.builds(lambda head, tail: head + MAGIC + tail, st.binary(min_size=12, max_size=12), st.binary(max_size=80)))
def test_any_bytes_give_an_info_or_our_error(data: bytes) -> None:
    try:
        info = RequestInfo.from_bytes(data)
    except ProtocolError as error:
        assert error.status == 400
    else:
        assert RequestInfo.from_bytes(info.to_bytes()) == info


@pytest.mark.parametrize(
    ("fields", "error", "says"),
    [
        ({"version": 8}, ValueError, "from 0 to 7, not 8"),
        ({"version": -1}, ValueError, "not -1"),
        ({"code": 1024}, ValueError, "from 0 to 1023, not 1024"),
        ({"code": -1}, ValueError, "not -1"),
        ({"id": 2**32}, OverflowError, None),
        ({"id": -1}, OverflowError, None),
        ({"time_stamp": 2**32}, OverflowError, None),
        ({"flags": 2**16}, OverflowError, None),
        ({"life": 2**64}, OverflowError, None),
        ({"time_left": 2**63}, OverflowError, None),
        ({"attempt": 256}, OverflowError, None),
        ({"strikes": -1}, OverflowError, None),
        ({"hops": 2**16}, OverflowError, None),
        ({"queued": 2**32}, OverflowError, None),
        ({"trace": b"short"}, ValueError, "16 bytes, not 5"),
        ({"id": "1"}, TypeError, None),
    ],
)
def test_what_does_not_fit_is_refused(fields: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        RequestInfo(**({"id": 1, "time_stamp": 2, "extended": True} | fields)).to_bytes()


def test_an_info_is_a_value() -> None:
    assert RequestInfo(id=1, time_stamp=2) == RequestInfo(id=1, time_stamp=2)
    assert RequestInfo(id=1, time_stamp=2) != RequestInfo(id=1, time_stamp=3)
    assert len({RequestInfo(id=1, time_stamp=2), RequestInfo(id=1, time_stamp=2)}) == 1
    value: Any = EXTENDED
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.id = 3
    text: Any = "12345678"
    with pytest.raises(TypeError):
        RequestInfo.from_bytes(text)
    with pytest.raises(BufferError):
        RequestInfo.from_bytes(memoryview(bytes(32))[::2])


def test_nothing_is_read_past_the_end_of_a_page() -> None:
    pages = mmap.mmap(-1, 2 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    anchor = ctypes.c_char.from_buffer(pages, mmap.PAGESIZE)
    libc = ctypes.CDLL(None, use_errno=True)
    second = ctypes.c_void_p(ctypes.addressof(anchor))
    if libc.mprotect(second, ctypes.c_size_t(mmap.PAGESIZE), 0):
        pytest.skip("mprotect is not allowed here")
    later = bytearray(EXTENDED.to_bytes())
    later[17] = 255
    for frame in (EXTENDED.to_bytes(), bytes(later)):
        for size in range(len(frame) + 1):
            pages[mmap.PAGESIZE - size : mmap.PAGESIZE] = frame[:size]
            with memoryview(pages) as view, view[mmap.PAGESIZE - size : mmap.PAGESIZE] as part, contextlib.suppress(ProtocolError):
                RequestInfo.from_bytes(part)
    libc.mprotect(second, ctypes.c_size_t(mmap.PAGESIZE), mmap.PROT_READ | mmap.PROT_WRITE)
    del anchor
    pages.close()
