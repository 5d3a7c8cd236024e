"""The worker against stand-ins of its proxy, server and next stages, over real sockets."""

import ctypes
import logging
import os
import re
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from stage_standin import GET, IDLE, LEAVING, LIFE, PATIENCE, StandIn, key, received

from prime_server import Interrupted, Job, ProtocolError, Response, Worker
from prime_server._ext.info import RequestInfo
from prime_server._ext.libzmq import receive_frames

IDEMPOTENT, RESULT, MORE, REFUSAL, FROM_PROXY, NETSTRING, RAW, HEAD, CANCEL = 0x1, 0x10, 0x20, 0x40, 0x80, 0x100, 0x200, 0x4, 0x800


@pytest.fixture
def around() -> Iterator[StandIn]:
    made = StandIn()
    yield made
    made.close()


@pytest.fixture
def staged() -> Iterator[StandIn]:
    made = StandIn(stages=True)
    yield made
    made.close()


def ok(job: Job) -> Response:
    return Response(200, "fine")


class Gate:
    """A work function that lets each job of a gated request wait until it is told to go on."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.seen: list[int] = []

    def __call__(self, job: Job) -> Response:
        self.seen.append(job.info.id)
        if job.info.id == 1:
            self.entered.set()
            assert self.open.wait(PATIENCE / 1000)
        return Response(200, str(job.info.id))


class UntilInterrupted(Gate):
    """Its first job checks until it is interrupted, for ever if need be."""

    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Event()
        self.why = ""
        self.at = 0.0

    def __call__(self, job: Job) -> Response:
        self.seen.append(job.info.id)
        if job.info.id == 1:
            self.entered.set()
            try:
                while True:
                    job.check()
            except Interrupted as error:
                self.at = time.monotonic()
                self.why = str(error)
                self.told.set()
                raise
        return Response(200, str(job.info.id))


# --- the proxy of the original --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["inproc", "ipc", "tcp", "tcp6"])
def test_answers_each_job_and_says_once_that_it_is_idle(transport: str, tmp_path: Path) -> None:
    around = StandIn(transport, tmp_path)
    try:
        with around.worker(lambda job: Response(200, job.request.query["possible_prime"][0]), heartbeat=b"hot"):
            assert around.first.heartbeat == b"hot"
            for number in range(1, 6):
                around.bare_job(number)
                info, frames = around.result()
                assert (info.id, info.code, info.extended) == (number, 200, False)
                assert len(frames) == 1
                assert frames[0].startswith(b"HTTP/1.1 200 OK\r\n")
                assert frames[0].endswith(b"\r\n\r\n7")
                report = around.report()
                assert report.flags == IDLE
                assert report.finished == [key(number)]
            assert around.quiet(around.proxy)
    finally:
        around.close()


def test_takes_one_job_at_a_time_and_tells_of_each(around: StandIn) -> None:
    gate = Gate()
    with around.worker(gate) as worker:
        for number in range(1, 4):
            around.bare_job(number)
        assert gate.entered.wait(PATIENCE / 1000)
        assert worker.stats()["waiting"] == 0
        gate.open.set()
        for number in range(1, 4):
            assert around.result().info.id == number
            assert around.report().finished == [key(number)]
        assert around.quiet(around.proxy)


def test_says_again_every_second_that_it_is_idle(around: StandIn) -> None:
    with around.worker(ok):
        before = time.monotonic()
        assert around.report().flags == IDLE
        assert 0.8 <= time.monotonic() - before < 5


def test_a_busy_worker_says_nothing_to_the_original(around: StandIn) -> None:
    gate = Gate()
    with around.worker(gate):
        around.bare_job(1)
        assert gate.entered.wait(PATIENCE / 1000)
        assert around.quiet(around.proxy, 1200)
        gate.open.set()
        assert around.report().finished == [key(1)]


@pytest.mark.parametrize(("bits", "connection"), [(0, b"close"), (0x08, b"keep-alive"), (0x01, None)])
def test_a_response_for_the_originals_server_is_complete(around: StandIn, bits: int, connection: bytes | None) -> None:
    with around.worker(ok):
        around.bare_job(1, bits=bits)
        (frame,) = around.result().frames
        assert frame.startswith(b"HTTP/1.1 200 OK\r\n")
        assert re.findall(rb"\r\nConnection: (.*)\r\n", frame) == ([] if connection is None else [connection])
        assert b"\r\nContent-Length: 4\r\n" in frame


def test_sees_a_head_request_of_the_originals_server(around: StandIn) -> None:
    with around.worker(ok):
        around.bare_job(1, b"HEAD /" + GET[5:])
        (frame,) = around.result().frames
        assert frame.endswith(b"\r\n\r\n")
        assert b"Content-Length: 4\r\n" in frame


def test_netstring_clients_of_the_original(around: StandIn) -> None:
    with around.worker(lambda job: bytes(job.frames[0])[::-1]):
        around.job(1, b"abc", info=struct.pack("<II", 1, 5))
        info, *frames = received(around.loopback)
        assert info == struct.pack("<II", 1, 5)
        assert frames == [b"3:cba,"]


# --- our proxy -----------------------------------------------------------------------------------------------------------------------------


def test_reports_every_job_of_a_batch(around: StandIn) -> None:
    with around.worker(ok):
        around.hello()
        for _ in range(50):  # on a busy machine the jobs may come one by one
            reports = around.carry(range(200))
            assert sorted(one for report in reports for one in report.finished) == [key(number) for number in range(200)]
            assert sorted(around.result().info.id for _ in range(200)) == list(range(200))
            assert around.quiet(around.loopback)
            assert reports[-1].flags & IDLE or around.report().flags & IDLE
            if len(reports) < 200:
                break
        else:
            pytest.fail("each job had a report of its own")


def test_the_window_follows_the_time_that_jobs_take(around: StandIn) -> None:
    pause = 0.0

    def work(job: Job) -> Response:
        until = time.monotonic() + pause
        while time.monotonic() < until:
            pass
        return Response(200)

    with around.worker(work, window=8):
        assert around.first.window == 1
        around.hello()
        for _ in range(100):
            if around.carry(range(32))[-1].window == 8:
                break
        else:
            pytest.fail("the window stayed small")
        pause = 0.001
        assert around.carry(range(40))[-1].window == 1


def test_a_window_of_one_holds_one_job(around: StandIn) -> None:
    gate = Gate()
    with around.worker(gate, window=1) as worker:
        around.hello()
        around.job(1)
        around.job(2)
        assert gate.entered.wait(PATIENCE / 1000)
        assert worker.stats()["waiting"] == 0
        gate.open.set()


def test_a_result_for_our_server(around: StandIn) -> None:
    with around.worker(ok):
        around.job(3, flags=IDEMPOTENT | FROM_PROXY | MORE, hops=2, attempt=1, strikes=1, queued=7, trace=bytes(range(16)))
        info, frames = around.result()
        assert info.flags == IDEMPOTENT | RESULT
        assert (info.id, info.life, info.code, info.hops, info.attempt, info.strikes) == (3, LIFE, 200, 2, 1, 1)
        assert (info.queued, info.trace, info.sequence) == (7, bytes(range(16)), 0)
        assert b"".join(frames) == (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 4\r\n\r\nfine"
        )


def test_what_a_later_version_adds_to_the_info_is_passed_on(around: StandIn) -> None:
    longer = bytearray(RequestInfo(id=1, time_stamp=5, extended=True, life=LIFE).to_bytes() + b"later")
    longer[12 + 4] = 2
    longer[12 + 5] += 5
    with around.worker(ok):
        around.job(1, info=bytes(longer))
        info = received(around.loopback)[0]
        assert len(info) == len(longer)
        assert info[-5:] == b"later"


def test_a_big_body_is_a_frame_of_its_own(around: StandIn) -> None:
    body = os.urandom(1 << 20)
    with around.worker(lambda job: Response(200, body)):
        around.job(1)
        result = around.result()
        assert result.frames[1] == body
        around.bare_job(2)
        assert len(around.result().frames) == 1


def test_tells_when_the_proxy_has_been_restarted(around: StandIn) -> None:
    with around.worker(ok) as worker:
        around.hello(1)
        around.hello(1)
        around.hello(2)
        around.job(1)
        around.result()
        assert worker.stats()["proxy_restarts"] == 1


def test_names_what_is_not_lost_with_its_proxy(staged: StandIn) -> None:
    """What it runs, and what it has handed on."""
    begun, done = threading.Event(), threading.Event()

    def work(job: Job) -> Any:
        if job.request.method == "POST":
            begun.set()
            assert done.wait(PATIENCE / 1000)
        return job.forward(b"x")

    with staged.worker(work):
        staged.hello(1)
        staged.carry([1], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        staged.job(2, b"POST / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert begun.wait(PATIENCE / 1000)
        staged.hello(2)
        (frame,) = received(staged.loopback)
        done.set()
    assert frame[:24] == struct.pack("<4sB3xQQ", b"PRSL", 1, 1, 2)
    assert frame[24:] == struct.pack("<QQQQ", LIFE, key(2), LIFE, key(1))


# --- what a work function may do ---------------------------------------------------------------------------------------------------------


def raises(error: BaseException) -> Callable[[Job], Any]:
    def work(job: Job) -> Any:
        raise error

    return work


@pytest.mark.parametrize(
    ("work", "status", "body", "logged"),
    [
        (raises(ValueError("secret")), 500, b"Internal Server Error", "secret"),
        (raises(ProtocolError("no such thing", 404)), 404, b"no such thing", "no such thing"),
        (raises(ProtocolError("wrong", 200)), 500, b"Internal Server Error", "wrong"),
        (raises(Interrupted("not at all")), 500, b"Internal Server Error", "not at all"),
        (lambda job: None, 500, b"Internal Server Error", "NoneType"),
        (lambda job: 7, 500, b"Internal Server Error", "int"),
        (lambda job: b"bytes", 500, b"Internal Server Error", "bytes"),
        (lambda job: "text", 500, b"Internal Server Error", "str"),
        (lambda job: Response(100), 500, b"Internal Server Error", "100"),
        (lambda job: job.forward(b"x"), 500, b"Internal Server Error", "no next stage"),
        (lambda: None, 500, b"Internal Server Error", "argument"),
    ],
)
@pytest.mark.parametrize("bare", [False, True])
def test_what_is_no_result_is_answered_and_logged(
    around: StandIn, caplog: pytest.LogCaptureFixture, work: Any, status: int, body: bytes, logged: str, bare: bool
) -> None:
    with caplog.at_level(logging.INFO, "prime_server"), around.worker(work) as worker:
        (around.bare_job if bare else around.job)(1)
        result = around.result()
        assert (result.status, result.info.code, result.body) == (status, status, body)
        assert around.report().finished == [key(1)]
        assert worker.stats()["failed"] == 1
        assert len(caplog.records) == 1
        assert logged in caplog.text
        assert "Traceback" in caplog.text


@pytest.mark.parametrize("flag", [NETSTRING, RAW])
@pytest.mark.parametrize("answer", ["né", "né".encode(), bytearray("né".encode()), Response(200, "né")])
def test_bare_protocols_take_bare_answers(around: StandIn, flag: int, answer: Any) -> None:
    with around.worker(lambda job: answer):
        around.job(1, b"x", flags=flag)
        assert b"".join(around.result().frames) == (b"3:n\xc3\xa9," if flag == NETSTRING else b"n\xc3\xa9")


def test_an_exception_that_ends_programs_ends_the_worker_after_an_answer(around: StandIn) -> None:
    with around.worker(raises(KeyboardInterrupt())):
        around.hello()
        around.job(1)
        around.job(2)
        assert around.result().status == 500
        reports = around.reports_until(finished=1)
        while not reports[-1].flags & LEAVING:
            reports.append(around.report())
    assert isinstance(around.error, KeyboardInterrupt)


class UnspeakableError(Exception):
    @property
    def status(self) -> int:
        raise RuntimeError("no status")

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Refuses(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("no room for a record")


@pytest.mark.parametrize("error", [ValueError("x"), UnspeakableError(), type("Worded", (UnspeakableError,), {"status": 503})()])
def test_neither_what_an_exception_does_nor_the_log_stops_a_worker(around: StandIn, error: Exception) -> None:
    handler = Refuses()
    logging.getLogger("prime_server").addHandler(handler)
    try:
        with around.worker(raises(error), cleanup=raises(error)):  # type: ignore[arg-type]
            around.proxy.send_multipart([around.worker_id, b"malformed"])
            for number in (1, 2):
                around.job(number)
                assert around.result().status == (503 if error.__class__.__name__ == "Worded" else 500)
                around.report()
    finally:
        logging.getLogger("prime_server").removeHandler(handler)


def test_a_heartbeat_is_bytes_like(around: StandIn) -> None:
    def work(job: Job) -> Response:
        job.heartbeat = "text"  # type: ignore[assignment]
        return Response(200)

    with around.worker(work):
        around.job(1)
        assert around.result().status == 500


def test_cleanup_runs_after_each_job(around: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    def work(job: Job) -> Response:
        calls.append("work")
        return Response(200)

    def cleanup() -> None:
        calls.append("cleanup")
        raise RuntimeError("untidy")

    with around.worker(work, cleanup=cleanup):
        for number in (1, 2):
            around.job(number)
            around.result()
            around.report()
    assert calls == ["work", "cleanup"] * 2
    assert caplog.text.count("RuntimeError: untidy") == 2


def test_a_job_may_set_the_heartbeat(around: StandIn) -> None:
    def work(job: Job) -> Response:
        job.heartbeat = b"region %d" % job.info.id
        return Response(200)

    with around.worker(work, heartbeat=b"none"):
        assert around.first.heartbeat == b"none"
        for number in (1, 2):
            around.job(number)
            assert around.report().heartbeat == b"region %d" % number


def test_a_kept_job_stays_what_it_is(around: StandIn) -> None:
    kept: list[Job] = []

    def work(job: Job) -> Response:
        kept.append(job)
        return Response(200)

    with around.worker(work):
        around.hello()
        for number in range(100):
            around.job(number, b"GET /%d HTTP/1.1\r\n\r\n" % number, b"x" * number)
            around.reports_until(finished=1)
    around.close()
    assert [job.request.path for job in kept] == [f"/{number}" for number in range(100)]
    assert [len(job.frames[1]) for job in kept] == list(range(100))
    kept[0].check()


# --- zero copy, forwarding --------------------------------------------------------------------------------------------------------------------


def test_a_jobs_buffer_is_the_messages_memory(around: StandIn) -> None:
    data = os.urandom(1 << 20)
    seen = []

    def work(job: Job) -> Response:
        assert memoryview(job.frames[0]).readonly
        seen.append((job.frames[0].address, bytes(job.frames[0])))
        return Response(200)

    with around.worker(work):
        info = RequestInfo(id=1, time_stamp=5).to_bytes()
        around.proxy.send_multipart([around.worker_id, info, zmq.Frame(data, copy=False)], copy=False)
        around.result()
    assert seen == [(ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value, data)]


def test_forwards_to_the_next_stage(staged: StandIn) -> None:
    with staged.worker(lambda job: job.forward(b"a", bytearray(b"b"), *job.frames)):
        staged.job(1, b"in", flags=IDEMPOTENT | FROM_PROXY, time_left=10_000_000)
        _, info, *payload = received(staged.stages["only"])
        told = RequestInfo.from_bytes(info)
        assert payload == [b"a", b"b", b"in"]
        assert (told.flags, told.hops, told.code) == (IDEMPOTENT, 1, 0)
        assert 0 < told.time_left < 10_000_000
        assert staged.report().finished == [key(1)]
        staged.bare_job(2, b"in")
        _, info, *payload = received(staged.stages["only"])
        assert info == struct.pack("<IIHH", 2, 5, 1, 0)


def test_forwards_big_frames_without_a_copy(staged: StandIn) -> None:
    addresses = []

    def work(job: Job) -> Any:
        addresses.append(job.frames[0].address)
        return job.forward(*job.frames)

    with staged.worker(work):
        staged.job(1, bytes(1 << 20))
        assert staged.stages["only"].poll(PATIENCE)
        frames = receive_frames(staged.stages["only"])
        assert frames is not None
        assert frames[2].address == addresses[0]


def test_forwards_by_name() -> None:
    around = StandIn(stages=("left", "right"))
    try:
        with around.worker(lambda job: job.forward(b"x", to=bytes(job.frames[0]).decode() or None)):
            for number, name in enumerate(["right", "left", "right"]):
                around.job(number, name.encode())
                assert RequestInfo.from_bytes(received(around.stages[name])[1]).id == number
            for number, name in enumerate(["middle", ""]):
                around.job(number, name.encode())
                assert around.result().status == 500
    finally:
        around.close()


def test_what_cant_be_forwarded_yet_waits(tmp_path: Path) -> None:
    around = StandIn()
    around.downstream = f"ipc://{tmp_path}/later"
    try:
        with around.worker(lambda job: job.forward(b"x")) as worker:
            around.hello()
            for number in range(1, 4):
                around.job(number)
            around.job(4, time_left=1000)
            while worker.stats()["unsent"] < 3:
                pass
            early = [] if around.quiet(around.proxy) else around.report().finished
            assert early in ([], [key(4)])  # whose time may be over already
            around.say_interrupted(2)
            stage = around.context.socket(zmq.ROUTER)
            stage.linger = 0
            stage.bind(around.downstream)
            assert {RequestInfo.from_bytes(received(stage)[1]).id for _ in range(2)} <= {1, 2, 3}
            around.reports_until(finished=4 - len(early))
    finally:
        around.close()


def test_passes_refusals_on(staged: StandIn) -> None:
    with staged.worker(lambda job: job.forward(b"x")) as worker:
        staged.job(1)
        sender, info, _ = received(staged.stages["only"])
        staged.stages["only"].send_multipart([sender, struct.pack("<4sIQ", b"PRSH", 1, 9)])
        staged.stages["only"].send_multipart([sender, b"nonsense"])
        staged.stages["only"].send_multipart([sender, info])
        refusal = RequestInfo(id=1, time_stamp=5, extended=True, life=LIFE, flags=REFUSAL, code=503).to_bytes()
        staged.stages["only"].send_multipart([sender, refusal])
        assert received(staged.loopback) == [refusal]
        assert worker.stats()["refused"] == 1
        assert worker.stats()["malformed"] == 2


def test_tells_the_next_stages_proxy_of_a_client_that_has_left(staged: StandIn) -> None:
    stage = staged.stages["only"]
    with staged.worker(lambda job: job.forward(b"x")) as worker:

        def until_heard(count: int) -> None:
            deadline = time.monotonic() + PATIENCE / 1000
            while worker.stats()["malformed"] < count:
                assert time.monotonic() < deadline

        for number in (1, 2, 3):
            staged.job(number)
        sender, *_ = [received(stage)[0] for _ in range(3)]
        staged.say_interrupted(1)  # while the proxy may be one of the original's
        staged.interrupt.send(b"nonsense"[:7])
        until_heard(1)
        stage.send_multipart([sender, struct.pack("<4sIQ", b"PRSH", 1, 9)])
        stage.send_multipart([sender, b"nonsense"])
        until_heard(2)
        for number in (9, 3, 3, 2):  # 9 has not come by here
            staged.say_interrupted(number)
        for number in (3, 2):
            _, cancel = received(stage)
            assert RequestInfo.from_bytes(cancel) == RequestInfo(id=number, time_stamp=5, version=0, extended=True, life=LIFE, flags=CANCEL)
        assert staged.quiet(stage)


# --- malformed messages ---------------------------------------------------------------------------------------------------------------------


def test_malformed_messages_are_dropped_with_a_warning(around: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    good = RequestInfo(id=9, time_stamp=5, extended=True, life=LIFE).to_bytes()
    lying = bytearray(good)
    lying[12 + 5] = 255
    junk: list[list[bytes]] = [
        [b""],
        [b"", b""],
        [b"short"],
        [b"short", GET],
        [bytes(5000), GET],
        [bytes(lying), GET],
        [good],
        [b"PRSH"],
        [good, *[b"x"] * 300],
    ]
    with around.worker(ok) as worker:
        around.hello()
        for frames in junk:
            around.proxy.send_multipart([around.worker_id, *frames])
        around.interrupt.send(b"tiny")
        around.interrupt.send(b"")
        around.job(1)
        assert around.result().info.id == 1
        told = [one for report in around.reports_until(finished=3) for one in report.finished]
        assert told == [key(9), key(9), key(1)]
        while worker.stats()["malformed"] < len(junk) + 2:
            pass
    assert all("malformed" in record.getMessage() for record in caplog.records)
    assert 1 <= len(caplog.records) <= 3


# --- interrupts and deadlines --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("life", [LIFE, None])
@pytest.mark.parametrize("hello", [False, True])
def test_a_running_job_learns_that_its_client_has_left(around: StandIn, life: int | None, hello: bool) -> None:
    work = UntilInterrupted()
    with around.worker(work) as worker:
        if hello:
            around.hello()
        around.job(1)
        assert work.entered.wait(PATIENCE / 1000)
        around.say_interrupted(2, life)
        around.say_interrupted(1, life)
        said = time.monotonic()
        assert work.told.wait(PATIENCE / 1000)
        assert work.why == "the client has left"
        assert work.at - said < 0.5  # 10 ms, on a machine with nothing else to do
        assert key(1) in around.reports_until(finished=1)[-1].finished
        around.job(3)
        assert around.result().info.id == 3
        assert worker.stats()["interrupted"] == 1
        assert worker.stats()["answered"] == 1


def test_an_interrupt_of_another_life_means_another_job(around: StandIn) -> None:
    gate = Gate()
    with around.worker(gate) as worker:
        around.job(1)
        assert gate.entered.wait(PATIENCE / 1000)
        around.say_interrupted(1, LIFE + 1)
        gate.open.set()
        assert around.result().info.id == 1
        assert worker.stats()["interrupted"] == 0


def test_what_an_interrupted_job_answers_is_not_sent(around: StandIn) -> None:
    entered, done = threading.Event(), threading.Event()

    def work(job: Job) -> Response:
        if job.info.id == 1:
            entered.set()
            while not job.interrupted:
                pass
            done.set()
        return Response(200)

    with around.worker(work):
        around.job(1)
        assert entered.wait(PATIENCE / 1000)
        around.say_interrupted(1)
        assert done.wait(PATIENCE / 1000)
        around.job(2)
        assert around.result().info.id == 2


def test_jobs_are_dropped_that_were_interrupted_before_they_came(around: StandIn) -> None:
    gate = Gate()
    with around.worker(gate, window=8) as worker:
        for number in (2, 3):
            around.say_interrupted(number)
        around.say_interrupted(4, None)
        around.job(1)
        assert gate.entered.wait(PATIENCE / 1000)
        for number in (2, 3, 4, 5):
            around.job(number)
        gate.open.set()
        assert [around.result().info.id for _ in range(2)] == [1, 5]
        assert [one for report in around.reports_until(finished=5) for one in report.finished] == [key(number) for number in range(1, 6)]
        assert worker.stats()["interrupted"] == 3
    assert gate.seen == [1, 5]


def test_a_flood_of_interrupts_is_heard_to_its_end(around: StandIn) -> None:
    with around.worker(ok) as worker:
        for number in range(10_001):
            around.say_interrupted(number)
        around.interrupt.send(b"the end")
        deadline = time.monotonic() + PATIENCE / 1000
        while worker.stats()["malformed"] == 0:
            assert time.monotonic() < deadline
        around.job(10_000)
        around.job(10_001)
        assert around.result().info.id == 10_001


def test_a_running_job_learns_that_its_deadline_has_passed(around: StandIn) -> None:
    work = UntilInterrupted()
    with around.worker(work):
        around.job(1, time_left=30_000)
        assert work.told.wait(PATIENCE / 1000)
        assert work.why == "the deadline has passed"
        around.job(2, time_left=-1)
        around.job(3, time_left=60_000_000)
        assert around.result().info.id == 3
    assert work.seen == [1, 3]


def test_a_job_sees_its_deadline(around: StandIn) -> None:
    seen: list[Any] = []

    def work(job: Job) -> Response:
        seen.append((job.deadline, job.time_left()))
        return Response(200)

    with around.worker(work):
        before = time.monotonic()
        around.job(1, time_left=60_000_000)
        around.result()
        around.job(2)
        around.result()
        assert before + 59 <= seen[0][0] <= time.monotonic() + 60  # by the clock that the worker last looked at
        assert 0 < seen[0][1] <= 60
        assert seen[1] == (None, None)


# --- the guardian ------------------------------------------------------------------------------------------------------------------------------


def hold_gil(seconds: float) -> None:
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


def test_hands_back_what_waits_behind_a_job_that_holds_the_gil(around: StandIn) -> None:
    lent, held = threading.Event(), threading.Event()

    def work(job: Job) -> Response:
        if job.info.id == 1:
            assert lent.wait(PATIENCE / 1000)
            for number in (2, 3, 4):
                around.job(number)
            # None but the guardian can run from here on.
            hold_gil(0.3)
            held.set()
        return Response(200)

    with around.worker(work):
        around.hello()
        around.carry(range(50, 60))
        around.job(1)
        lent.set()  # the proxy's socket is the work function's until `held`
        assert held.wait(PATIENCE / 1000)
        reports = around.reports_until(finished=1, returned=3)
        assert [one for report in reports for one in report.returned] == [key(number) for number in (2, 3, 4)]
        busy = next(report for report in reports if report.returned)
        assert busy.running == key(1)
        assert busy.busy >= 1000
        assert busy.window == 1
        assert not busy.flags & IDLE
        assert busy.finished == []


def test_says_that_it_is_busy(around: StandIn) -> None:
    gate = Gate()
    with around.worker(gate):
        around.hello()
        around.job(1)
        first, second = around.report(), around.report()
        assert first.running == second.running == key(1)
        assert 0 < first.busy < second.busy
        assert not first.flags & IDLE
        around.job(2)
        assert around.reports_until(returned=1)[-1].returned == [key(2)]
        gate.open.set()
        assert around.reports_until(finished=1)[-1].finished == [key(1)]
    assert gate.seen == [1]


def test_returns_nothing_for_which_nobody_waits(around: StandIn) -> None:
    gate = Gate()
    with around.worker(gate):
        around.hello()
        around.say_interrupted(2)
        around.job(1)
        assert gate.entered.wait(PATIENCE / 1000)
        around.job(2)
        reports = around.reports_until(finished=1)
        assert reports[-1].finished == [key(2)]
        assert not any(report.returned for report in reports)
        gate.open.set()


def guardian_switches() -> int:
    """How often the guardian has slept: it is the one thread of ours that was made last."""
    task = max(Path("/proc/self/task").iterdir(), key=lambda path: int(path.name))
    return next(int(line.split()[1]) for line in (task / "status").read_text().splitlines() if line.startswith("voluntary"))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts context switches in /proc")
def test_an_idle_worker_costs_nothing(around: StandIn) -> None:
    with around.worker(ok):
        around.job(1)
        around.report()
        around.report()  # a second later
        before = guardian_switches()
        around.report()
        assert guardian_switches() - before < 100  # it would be about a thousand


# --- the end -----------------------------------------------------------------------------------------------------------------------------------


def test_hands_back_and_leaves(around: StandIn) -> None:
    gate = Gate()
    with around.worker(gate) as worker:
        around.hello()
        around.job(1)
        assert gate.entered.wait(PATIENCE / 1000)
        worker.stop()
        around.job(2)
        gate.open.set()
        assert around.result().info.id == 1
        reports = around.reports_until(finished=1, returned=1)
        while not reports[-1].flags & LEAVING:
            reports.append(around.report())
        assert sorted(one for report in reports for one in report.returned) == [key(2)]
        assert not reports[-1].flags & IDLE
        around.hello()


def test_returns_what_crosses_its_leaving(around: StandIn) -> None:
    with around.worker(ok) as worker:
        around.hello()
        around.job(1)
        around.reports_until(finished=1)
        worker.stop()
        reports = [around.report()]
        while not reports[-1].flags & LEAVING:
            reports.append(around.report())
        around.job(2)
        around.hello()
        assert around.reports_until(returned=1)[-1].returned == [key(2)]


@pytest.mark.parametrize(("flags", "outcome"), [(IDEMPOTENT, "returned"), (0, "answered")])
def test_stopping_may_interrupt_the_running_job(around: StandIn, flags: int, outcome: str) -> None:
    work = UntilInterrupted()
    with around.worker(work) as worker:
        around.hello()
        around.job(1, flags=flags)
        assert work.entered.wait(PATIENCE / 1000)
        worker.stop(interrupt=True)
        assert work.told.wait(PATIENCE / 1000)
        assert work.why == "the worker is shutting down"
        if outcome == "returned":
            assert around.reports_until(returned=1)[-1].returned == [key(1)]
            assert around.quiet(around.loopback)
        else:
            assert around.result().status == 503


def test_stop_before_work_and_the_end_of_a_context() -> None:
    context = zmq.Context()
    ends = [f"inproc://nowhere-{number}" for number in range(3)]
    with Worker(context, ends[0], None, ends[1], ends[2], ok) as worker:
        worker.stop()
        worker.work()
    with Worker(context, ends[0], None, ends[1], ends[2], ok) as worker:
        thread = threading.Thread(target=worker.work)
        thread.start()
        worker.stop()
        thread.join(PATIENCE / 1000)
        assert not thread.is_alive()
    context.destroy(linger=0)


def test_leaves_no_descriptor_and_no_thread_behind(tmp_path: Path) -> None:
    def once() -> None:
        around = StandIn("ipc", tmp_path)
        with around.worker(ok):
            around.job(1)
            around.result()
        around.close()

    def count() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), len(list(Path("/proc/self/task").iterdir()))

    once()
    before = count()
    for _ in range(5):
        once()
    assert count() == before


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"window": 0}, ValueError),
        ({"window": 1025}, ValueError),
        ({"cleanup": 1}, TypeError),
        ({"work": None}, TypeError),
        ({"heartbeat": "text"}, TypeError),
        ({"upstream": "nonsense"}, zmq.ZMQError),
    ],
)
def test_wrong_arguments(options: dict[str, Any], error: type[Exception]) -> None:
    context = zmq.Context()
    arguments = {"upstream": "inproc://a", "downstream": None, "loopback": "inproc://b", "interrupt": "inproc://c", "work": ok} | options
    with pytest.raises(error):
        Worker(context, **arguments)
    context.destroy(linger=0)


def test_a_worker_works_once_at_a_time(around: StandIn) -> None:
    with around.worker(ok) as worker, pytest.raises(RuntimeError):
        worker.work()
