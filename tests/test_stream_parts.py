"""Answers in parts where the parts are of different kinds and in processes of their own, and where these end."""

import http.client
import signal
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from asking import address_of
from conftest import PATIENCE, Process, Start
from pipelines import OURS, THEIRS, Pipeline, endpoints_over, wait_until

from prime_server import Job, Limits, RequestInfo, Response, Threads

WHOLE = "".join(f"part {number};" for number in range(1000)).encode()


@pytest.fixture(params=["ipc", "tcp"])
def pipeline(request: pytest.FixtureRequest, directory: Path) -> Iterable[Pipeline]:
    with Pipeline(endpoints_over(request.param, directory)) as made:
        yield made


def in_parts(job: Job, length: int | None = None) -> Response:
    return Response(200, (f"part {number};" for number in range(1000)), length=length)


def asked(address: tuple[str, int], path: str = "/", method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
    with closing(http.client.HTTPConnection(*address, timeout=PATIENCE)) as client:
        client.request(method, path)
        answer = client.getresponse()
        return answer, answer.read()


@pytest.mark.parametrize("proxy", [OURS, THEIRS])
def test_over_the_wire(pipeline: Pipeline, proxy: str) -> None:
    pipeline.start_server(OURS)
    pipeline.start_proxy(proxy)
    pipeline.start_worker(OURS, lambda job: in_parts(job, len(WHOLE) if job.request.path == "/known" else None))
    answer, body = asked(pipeline.address)
    assert body == WHOLE
    assert answer.getheader("Transfer-Encoding") == "chunked"
    answer, body = asked(pipeline.address, "/known")
    assert (body, answer.getheader("Content-Length")) == (WHOLE, str(len(WHOLE)))


def test_a_later_stage_answers_in_parts(pipeline: Pipeline) -> None:
    pipeline.start_server(OURS)
    for stage, work in enumerate((lambda job: job.forward(b"on"), in_parts)):
        pipeline.start_proxy(OURS, stage)
        pipeline.start_worker(OURS, work, stage)
    assert asked(pipeline.address)[1] == WHOLE


def test_the_originals_server_gets_it_joined(pipeline: Pipeline) -> None:
    closed = threading.Event()

    def work(job: Job) -> Any:
        def endless() -> Iterator[bytes]:
            try:
                while True:
                    yield bytes(1 << 20)
            finally:
                closed.set()

        return Response(200, endless()) if job.request.path == "/endless" else in_parts(job)

    pipeline.start_server(THEIRS)
    pipeline.start_proxy(OURS)
    pipeline.start_worker(OURS, work)
    answer, body = asked(pipeline.address)
    assert (answer.getheader("Content-Length"), body) == (str(len(WHOLE)), WHOLE)
    assert asked(pipeline.address, "/endless")[0].status == 500
    assert closed.is_set()


@pytest.mark.parametrize("server", [OURS, THEIRS])
def test_a_netstring_is_joined(directory: Path, server: str) -> None:
    with Pipeline(endpoints_over("ipc", directory), netstring=True) as pipeline:
        pipeline.start_server(server)
        pipeline.start_proxy(OURS)
        pipeline.start_worker(OURS, lambda job: (part for part in ("a", b"b", bytearray(b"c"))))
        with socket.create_connection(pipeline.address, timeout=PATIENCE) as client:
            client.sendall(b"1:x,")
            assert client.recv(100) == b"3:abc,"


class Lines:
    """A protocol of lines."""

    def feed(self, connection: Any, data: bytes) -> list[bytes]:
        return data.splitlines()

    def serialize(self, request: bytes) -> list[bytes]:
        return [request]

    def reject(self, error: Exception) -> bytes:
        return b"no\n"

    def timeout(self) -> bytes:
        return b"late\n"

    def keep_alive(self, info: RequestInfo) -> bool:
        return True


def test_a_protocol_of_ones_own_gets_the_parts_as_they_are(pipeline: Pipeline) -> None:
    go = threading.Event()

    def work(job: Job) -> Iterator[bytes]:
        yield b"one,"
        assert go.wait(PATIENCE)
        yield b"two\n"

    pipeline.start_server(OURS, protocol=Lines())
    pipeline.start_proxy(OURS)
    pipeline.start_worker(OURS, work)
    with socket.create_connection(pipeline.address, timeout=PATIENCE) as client:
        client.sendall(b"x\n")
        assert client.recv(100) == b"one,"
        go.set()
        assert client.recv(100) == b"two\n"
        client.sendall(b"y\n")  # over the same connection
        assert client.recv(100).startswith(b"one,")


def test_a_deadline_ends_with_the_first_part() -> None:
    closed = threading.Event()

    def work(job: Job) -> Iterator[str]:
        try:
            if job.request.path == "/late":
                job.sleep(3600)
            assert job.deadline is not None
            yield "one"
            assert job.deadline is None
            assert job.time_left() is None
            time.sleep(0.5)
            yield "two"
        finally:
            closed.set()

    with Threads("tcp://127.0.0.1:0", [work], limits=Limits(request_timeout=0.2)) as pipeline:
        assert asked(address_of(pipeline), "/late")[0].status == 504
        assert closed.wait(PATIENCE)
        assert asked(address_of(pipeline))[1] == b"onetwo"


def test_a_worker_that_stops_cuts_its_answer_off() -> None:
    seen: list[BaseException] = []

    def work(job: Job) -> Iterator[bytes]:
        try:
            while True:
                yield b"x"
                job.sleep(0.01)
        except BaseException as error:
            seen.append(error)
            raise

    pipeline = Threads("tcp://127.0.0.1:0", [work], drain_seconds=0.2)
    with pipeline:
        client = http.client.HTTPConnection(*address_of(pipeline), timeout=PATIENCE)
        client.request("GET", "/")
        answer = client.getresponse()
        assert answer.read(1) == b"x"
    assert seen
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        answer.read()
    client.close()


APPLICATION = """
import os, time

from prime_server import Response


def work(job):
    path = job.request.path
    def note(what):
        with open("notes", "a") as file:
            file.write(what + " ")
    def parts():
        note("begun")
        try:
            yield str(os.getpid())
            if path == "/die":
                yield bytes(300_000)
                time.sleep(0.1)
                os.kill(os.getpid(), 9)
            while path == "/endless":
                yield b"x"
                job.sleep(0.01)
        finally:
            note("closed")
    return Response(200, "plain") if path == "/plain" else parts()
"""


@pytest.fixture
def server(start: Start, directory: Path) -> Process:
    (directory / "app.py").write_text(APPLICATION)
    return start("prime_server", "run", "app:work", "--listen", "tcp://127.0.0.1:0", "--workers", "2", "--drain", "1", cwd=directory)


def notes(directory: Path) -> list[str]:
    try:
        return (directory / "notes").read_text().split()
    except FileNotFoundError:
        return []


def test_a_worker_that_dies_midway_leaves_its_answer_incomplete(server: Process, directory: Path) -> None:
    """It isn't begun again elsewhere, be the request idempotent, and the client knows at once."""
    address = server.address()
    start = time.monotonic()
    with pytest.raises(http.client.IncompleteRead) as caught:
        asked(address, "/die")
    assert time.monotonic() - start < 5
    pid, rest = caught.value.partial[:-300_000], caught.value.partial[-300_000:]
    assert rest == bytes(300_000)
    assert int(pid) > 0
    for _ in range(10):
        assert asked(address, "/plain")[1] == b"plain"
    assert notes(directory) == ["begun"]


def test_a_process_that_drains_closes_what_does_not_end(server: Process, directory: Path) -> None:
    address = server.address()
    with socket.create_connection(address, timeout=PATIENCE) as client:
        client.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: notes(directory) == ["begun"])
        server.signal(signal.SIGTERM)
        assert server.finish(10) == 0, server.stderr.decode()
        received = b""
        while piece := client.recv(65536):
            received += piece
        assert not received.endswith(b"0\r\n\r\n")
    assert notes(directory) == ["begun", "closed"]
    assert b"killed" not in server.stderr


def test_a_worker_alone_that_drains_cuts_its_answer_off(start: Start, directory: Path) -> None:
    (directory / "app.py").write_text(APPLICATION)
    with Pipeline(endpoints_over("ipc", directory)) as pipeline:
        pipeline.start_server(OURS)
        pipeline.start_proxy(OURS)
        ends = [pipeline.endpoint(name) for name in ("down0", "up1", "loopback", "interrupt")]
        worker = start("prime_workerd", ends[0], "-", *ends[2:], "1", "--work", "app:work", cwd=directory)
        with socket.create_connection(pipeline.address, timeout=PATIENCE) as client:
            client.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_until(lambda: notes(directory) == ["begun"])
            worker.signal(signal.SIGTERM)
            assert worker.finish(10) == 0, worker.stderr.decode()
            received = b""
            while piece := client.recv(65536):
                received += piece
            assert received.endswith(b"1\r\nx\r\n")
        assert notes(directory) == ["begun", "closed"]
