"""Jobs made by hand, as a work function under test gets them, and the set of interrupted requests."""

import gc
import time
import timeit
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prime_server import Forward, Interrupted, Job, ProtocolError
from prime_server._ext.info import RequestInfo
from prime_server._ext.interrupts import InterruptSet
from prime_server._ext.libzmq import Frame

GET = b"GET /a?n=7 HTTP/1.1\r\nHost: a\r\n\r\nbody"


def test_the_views_of_a_job() -> None:
    info = RequestInfo(id=3, time_stamp=4, extended=True, life=5)
    job = Job(GET, bytearray(b"second"), info=info, deadline=1e6)
    assert job.info == info
    assert job.info is job.info
    assert [bytes(frame) for frame in job.frames] == [GET, b"second"]
    assert job.frames is job.frames
    assert all(isinstance(frame, Frame) for frame in job.frames)
    assert memoryview(job.frames[0]).readonly
    assert (job.request.method, job.request.path, job.request.query["n"]) == ("GET", "/a", ["7"])
    assert job.request is job.request
    assert job.deadline == 1e6
    assert repr(job) == "<Job 3 of 4>"


def test_the_defaults_of_a_job() -> None:
    job = Job(b"")
    assert job.info == RequestInfo(id=0, time_stamp=0)
    assert job.deadline is None
    assert job.time_left() is None
    assert job.heartbeat is None
    assert not job.interrupted
    job.check()


@pytest.mark.parametrize(("ahead", "left"), [(60, (59, 60)), (-1, (0, 0))])
def test_time_left(ahead: float, left: tuple[float, float]) -> None:
    time_left = Job(GET, deadline=time.monotonic() + ahead).time_left()
    assert time_left is not None
    assert left[0] <= time_left <= left[1]


def test_parts_outlive_their_job() -> None:
    job = Job(GET)
    request, frame, view = job.request, job.frames[0], memoryview(job.frames[0])
    del job
    gc.collect()
    assert request.path == "/a"
    assert bytes(frame) == bytes(view) == GET


def test_many_jobs_and_frames_at_a_time() -> None:
    jobs = [Job(*[bytes([number])] * (1 + number)) for number in range(200)]
    assert [len(job.frames) for job in jobs] == [1 + number for number in range(200)]
    assert {bytes(frame) for frame in jobs[7].frames} == {b"\x07"}


def test_a_payload_that_is_no_request() -> None:
    job = Job(b"12345")
    with pytest.raises(ProtocolError):
        _ = job.request.method
    assert bytes(job.frames[0]) == b"12345"


@pytest.mark.parametrize("frames", [(), (b"x",) * 256])
def test_a_payload_has_1_to_255_frames(frames: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="1 to 255"):
        Job(*frames)


def test_a_job_is_made_once() -> None:
    job = Job(GET)
    with pytest.raises(TypeError):
        Job.__init__(job, GET)


def test_forward() -> None:
    job = Job(GET, stages=("left", "right"))
    made = job.forward(b"a", memoryview(b"b"), job.frames[0], to="right")
    assert made.to == "right"
    assert [bytes(frame) for frame in made.frames] == [b"a", b"b", GET]
    assert Job(GET, stages=("only",)).forward(b"a").to is None
    assert repr(made) == "<Forward of 3 frames to 'right'>"
    with pytest.raises(TypeError):
        Forward()


@pytest.mark.parametrize(
    ("stages", "frames", "to", "error"),
    [
        ((), (b"a",), None, LookupError),
        (("left",), (b"a",), "right", LookupError),
        (("left", "right"), (b"a",), None, LookupError),
        (("left",), (), None, ValueError),
        (("left",), (b"a",) * 256, None, ValueError),
        (("left",), ("text",), None, TypeError),
        (("left",), (b"a", 7), None, TypeError),
    ],
)
def test_what_cant_be_forwarded(stages: tuple[str, ...], frames: tuple[bytes, ...], to: str | None, error: type[Exception]) -> None:
    with pytest.raises(error):
        Job(GET, stages=stages).forward(*frames, to=to)


@pytest.mark.timing
def test_a_check_is_cheap() -> None:
    job = Job(GET)
    assert min(timeit.repeat(job.check, number=100_000, repeat=5)) / 100_000 < 1e-6  # 30 ns, where nothing else runs


def test_jobs_are_freed() -> None:
    class Marked(bytearray):
        pass

    source = Marked(b"x" * (1 << 20))
    gone = weakref.ref(source)
    job = Job(source, stages=("next",))
    forward = job.forward(source)
    del source, job, forward
    Job(bytes(1 << 17))  # whoever lends next gives back what libzmq has let go of
    gc.collect()
    assert gone() is None


def test_interrupted_is_an_exception_of_ours() -> None:
    assert issubclass(Interrupted, Exception)


# --- the set of interrupted requests ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**64 - 1)), max_size=200), st.tuples(st.integers(0, 3), st.integers(0, 2**64 - 1)))
def test_interrupts_are_known(pairs: list[tuple[int, int]], other: tuple[int, int]) -> None:
    known = InterruptSet()
    for life, key in pairs:
        known.add(key, life)
    assert all(pair in known for pair in pairs)
    assert (other in known) == (other in pairs or (0, other[1]) in pairs)
    assert len(known) == len(set(pairs))


def test_interrupts_are_bounded() -> None:
    known = InterruptSet()
    for key in range(300_000):
        known.add(key, 1)
        assert len(known) <= 2 * 65_536
    assert all((1, key) in known for key in range(300_000 - 65_536, 300_000))
    assert (1, 0) not in known


def test_frames_are_read_like_bytes() -> None:
    frame: Any = Frame(b"GET /")
    assert (frame[:3], frame[0], frame[-1], list(frame)) == (b"GET", 71, 47, list(b"GET /"))
    with pytest.raises(IndexError):
        frame[5]
