"""What a work function may do, and what becomes of a worker by it: nothing."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from stage_standin import (
    LEAVING,
    NETSTRING,
    RAW,
    StandIn,
    key,
)

from prime_server import Interrupted, Job, ProtocolError, Response


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
        with around.worker(raises(error), cleanup=raises(error)):
            around.proxy.send_multipart([around.worker_id, b"malformed"])
            for number in (1, 2):
                around.job(number)
                assert around.result().status == (503 if error.__class__.__name__ == "Worded" else 500)
                around.report()
    finally:
        logging.getLogger("prime_server").removeHandler(handler)


def test_a_heartbeat_is_bytes_like(around: StandIn) -> None:
    text: Any = "text"

    def work(job: Job) -> Response:
        job.heartbeat = text
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
