"""Server-sent events: their text, and streams of them to real clients."""

import http.client
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from conftest import PATIENCE

from prime_server import Interrupted, Job, Threads
from prime_server.events import Event, comment, event_stream


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (Event("one"), "data: one\n\n"),
        (Event("one\ntwo\r\nthree\rfour"), "data: one\ndata: two\ndata: three\ndata: four\n\n"),
        (Event("\u2028 is no line end"), "data: \u2028 is no line end\n\n"),
        (Event(""), "data: \n\n"),
        (Event("x\n"), "data: x\ndata: \n\n"),
        (Event(id="7", retry=1500), "id: 7\nretry: 1500\n\n"),
        (Event("x", event="tick", id="", retry=0), "event: tick\nid: \nretry: 0\ndata: x\n\n"),
    ],
)
def test_the_text_of_an_event(event: Event, text: str) -> None:
    assert bytes(event) == text.encode()


def test_the_text_of_a_comment() -> None:
    assert comment("a\nb") == b": a\n: b\n\n"
    assert comment() == b": \n\n"


@pytest.mark.parametrize(
    ("fields", "error", "why"),
    [
        ({"data": b"x"}, TypeError, "data is a str or None, not bytes"),
        ({"event": "a\nb"}, ValueError, "event is one line"),
        ({"id": "a\rb"}, ValueError, "id is one line"),
        ({"id": "a\0b"}, ValueError, "no NUL"),
        ({"retry": "5"}, TypeError, "milliseconds or None, not str"),
        ({"retry": -5}, ValueError, "not -5"),
    ],
)
def test_what_is_no_event(fields: dict[str, Any], error: type[Exception], why: str) -> None:
    with pytest.raises(error, match=why):
        Event(**fields)


def test_headers_of_ones_own() -> None:
    headers = event_stream([], headers={"cache-control": "no-store", "X-A": "b"}).headers
    assert list(headers.fields()) == [
        ("Content-Type", "text/event-stream"),
        ("cache-control", "no-store"),
        ("X-A", "b"),
        ("X-Accel-Buffering", "no"),
    ]


def test_a_client_gets_each_event_when_it_is_there() -> None:
    go = threading.Semaphore(1)

    def work(job: Job) -> Any:
        def events() -> Iterator[Any]:
            for number in itertools.count():
                assert go.acquire(timeout=PATIENCE)
                yield (Event(str(number), event="tick", id=str(number)), f"{number}", comment("x"))[number % 3]

        return event_stream(events())

    with Threads("tcp://127.0.0.1:0", [work], drain_seconds=1.0) as pipeline:
        address = pipeline.endpoint.removeprefix("tcp://")
        with closing(http.client.HTTPConnection(address, timeout=PATIENCE)) as client:
            client.request("GET", "/", headers={"Accept": "text/event-stream"})
            answer = client.getresponse()
            assert (answer.getheader("Content-Type"), answer.getheader("Cache-Control")) == ("text/event-stream", "no-cache")
            for lines in (["event: tick", "id: 0", "data: 0", ""], ["data: 1", ""], [": x", ""], ["event: tick", "id: 3", "data: 3", ""]):
                assert [answer.readline() for _ in lines] == [f"{line}\n".encode() for line in lines]
                go.release()
            answer.close()
        go.release(1_000_000)


def test_a_client_that_leaves_ends_a_stream_that_is_silent() -> None:
    over = threading.Event()
    ended: list[tuple[type, float]] = []

    def work(job: Job) -> Any:
        def events() -> Iterator[str]:
            try:
                while True:
                    yield "now and then"
                    job.sleep(3600)
            except BaseException as error:
                ended.append((type(error), time.monotonic()))
                raise
            finally:
                over.set()

        return event_stream(events())

    with Threads("tcp://127.0.0.1:0", [work], drain_seconds=1.0) as pipeline:
        with closing(http.client.HTTPConnection(pipeline.endpoint.removeprefix("tcp://"), timeout=PATIENCE)) as client:
            client.request("GET", "/")
            answer = client.getresponse()
            assert answer.readline() == b"data: now and then\n"
            answer.close()
        left = time.monotonic()
        assert over.wait(PATIENCE)
        assert ended[0][0] is Interrupted
        assert ended[0][1] - left < 1.0
        assert pipeline.stats()["workers"][0]["failed"] == 0


def test_sleep() -> None:
    job = Job(b"x")
    start = time.monotonic()
    job.sleep(0.03)
    assert time.monotonic() - start >= 0.03
    job.sleep(0)
    for wrong in (-1, float("nan"), 1e10):
        with pytest.raises(ValueError, match="0 or more seconds"):
            job.sleep(wrong)
