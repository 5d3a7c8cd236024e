"""The worker against stand-ins of its proxy and server, over real sockets: what it takes, answers and reports."""

import os
import re
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import zmq
from stage_standin import FROM_PROXY, GET, IDEMPOTENT, IDLE, LIFE, MORE, PATIENCE, RESULT, Gate, StandIn, key, ok, received

from prime_server import Job, Response, Worker
from prime_server._ext.info import RequestInfo

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


# --- options ------------------------------------------------------------------------------------------------------------------------------


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
