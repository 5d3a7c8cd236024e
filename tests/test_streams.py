"""Answers in parts, through whole pipelines and over real sockets: what leaves when, whose pace holds, and how it ends."""

import http.client
import itertools
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from asking import address_of
from conftest import PATIENCE
from pipelines import wait_until

from prime_server import Interrupted, Job, Response, Threads


def get(target: str = "/", version: str = "1.1", *fields: str) -> bytes:
    return "\r\n".join([f"GET {target} HTTP/{version}", "Host: x", *fields, "", ""]).encode()


class Connection:
    """A client that sees every byte."""

    def __init__(self, stack: ExitStack, address: tuple[str, int], request: bytes) -> None:
        self.socket = stack.enter_context(socket.create_connection(address, timeout=PATIENCE))
        self.socket.sendall(request)
        self.seen = b""

    def until(self, end: bytes) -> bytes:
        """What has come up to these bytes, which are at the end of it."""
        while end not in self.seen:
            piece = self.socket.recv(65536)
            assert piece, f"it ended with {self.seen[-200:]!r}"
            self.seen += piece
        before, _, self.seen = self.seen.partition(end)
        return before + end

    def rest(self) -> bytes:
        """All to the end of the connection."""
        while piece := self.socket.recv(65536):
            self.seen += piece
        return self.seen


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes the sockets of a test's clients."""
    with ExitStack() as made:
        yield made


def connect(stack: ExitStack, address: tuple[str, int]) -> http.client.HTTPConnection:
    return stack.enter_context(closing(http.client.HTTPConnection(*address, timeout=PATIENCE)))


class Steps:
    """A work function whose answer's parts leave when they are told to."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.closed = threading.Event()
        self.why: BaseException | None = None

    def __call__(self, job: Job) -> Iterator[str]:
        try:
            for number in itertools.count():
                yield f"part {number}"
                assert self.go.acquire(timeout=PATIENCE)
        except BaseException as error:
            self.why = error
            raise
        finally:
            self.closed.set()


def serve(work: Callable[[Job], Any], workers: int = 1, **options: Any) -> Threads:
    return Threads("tcp://127.0.0.1:0", [work], workers, drain_seconds=1.0, **options)


def test_each_part_leaves_as_soon_as_it_is_there(stack: ExitStack) -> None:
    steps = Steps()
    with serve(steps) as pipeline:
        client = Connection(stack, address_of(pipeline), get())
        head = client.until(b"\r\n\r\n").lower()
        assert b"transfer-encoding: chunked" in head
        assert b"content-type: text/plain; charset=utf-8" in head
        assert b"content-length" not in head
        assert client.until(b"\r\n6\r\npart 0\r\n"[2:]) == b"6\r\npart 0\r\n"
        for number in range(1, 4):
            steps.go.release()
            assert client.until(b"\r\n6\r\npart %d\r\n"[2:] % number) == b"6\r\npart %d\r\n" % number
        client.socket.close()

        def closed() -> bool:
            steps.go.release()
            return steps.closed.is_set()

        wait_until(closed)
        assert isinstance(steps.why, GeneratorExit)


PARTS = {
    "generator": lambda: (part for part in ("a", b"b", bytearray(b"c"), memoryview(b"d"), "\u00e9")),
    "list": lambda: ["a", b"b", b"cd", "\u00e9"],
    "empty parts": lambda: iter(["", b"", "ab", b"", memoryview(b""), "cd\u00e9", ""]),
    "one": lambda: iter(["abcd\u00e9"]),
}


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_what_it_is_made_of(stack: ExitStack, parts: Callable[[], Any], version: str) -> None:
    with serve(lambda job: Response(200, parts(), headers={"X-A": "b"}, content_type="text/x")) as pipeline:
        client = Connection(stack, address_of(pipeline), get("/", version, "Connection: keep-alive"))
        head = client.until(b"\r\n\r\n")
        assert b"X-A: b\r\n" in head
        assert b"Content-Type: text/x\r\n" in head
        if version == "1.0":
            assert b"Connection: close\r\n" in head
            assert b"chunked" not in head
            assert client.rest() == "abcd\u00e9".encode()
            return
        client.socket.close()
        connection = connect(stack, address_of(pipeline))
        for _ in range(2):  # over the same connection
            connection.request("GET", "/")
            assert connection.getresponse().read() == "abcd\u00e9".encode()


def test_answers_without_a_body(stack: ExitStack) -> None:
    steps = Steps()

    def work(job: Job) -> Any:
        if job.request.path == "/empty":
            return iter([b"", ""])
        return Response(int(job.request.path[1:]), steps(job))

    with serve(work) as pipeline:
        connection = connect(stack, address_of(pipeline))
        connection.request("HEAD", "/200")
        answer = connection.getresponse()
        assert (answer.read(), answer.getheader("Transfer-Encoding")) == (b"", "chunked")
        assert steps.closed.wait(PATIENCE)
        for path, status, length in (("/204", 204, None), ("/304", 304, None), ("/205", 205, "0"), ("/empty", 200, "0")):
            connection.request("GET", path)
            answer = connection.getresponse()
            assert (answer.status, answer.read(), answer.getheader("Content-Length")) == (status, b"", length)
            assert answer.getheader("Transfer-Encoding") is None


def test_a_length_that_is_known(stack: ExitStack, caplog: pytest.LogCaptureFixture) -> None:
    """Instead of chunks; what doesn't keep it is an error, before the first part by itself and midway by the end of the connection."""
    sizes = {"/whole": [1000] * 5, "/one": [5000], "/large": [4_000_000], "/none": [], "/less": [1000] * 3, "/less at once": [], "/more": [3000] * 2}

    def work(job: Job) -> Response:
        path = job.request.path
        buffer = bytearray(4_000_000)

        def parts() -> Iterator[Any]:
            for number, size in enumerate(sizes[path]):
                buffer[:size] = bytes([number]) * size
                yield memoryview(buffer)[:size]
                yield ""

        return Response(200, parts(), length={"/none": 0, "/large": 4_000_000}.get(path, 5000))

    with serve(work) as pipeline:
        connection = connect(stack, address_of(pipeline))
        for path in ("/whole", "/one", "/large", "/none"):
            for method in ("GET", "HEAD"):
                connection.request(method, path)
                answer = connection.getresponse()
                assert (answer.getheader("Content-Length"), answer.getheader("Transfer-Encoding")) == (str(sum(sizes[path])), None)
                body = b"".join(bytes([number]) * size for number, size in enumerate(sizes[path]))
                assert answer.read() == (body if method == "GET" else b"")
        old = Connection(stack, address_of(pipeline), get("/whole", "1.0", "Connection: keep-alive"))
        assert b"Content-Length: 5000\r\n" in old.until(b"\r\n\r\n")
        assert len(old.rest()) == 5000
        connection.request("GET", "/less%20at%20once")
        assert connection.getresponse().status == 500
        assert pipeline.stats()["streams_broken"] == 0
        for path, came in (("/less", 3000), ("/more", 3000)):
            cut = Connection(stack, address_of(pipeline), get(path))
            cut.until(b"\r\n\r\n")
            assert len(cut.rest()) == came
        assert pipeline.stats()["streams_broken"] == 2
        assert "was to have 5000 bytes and ended after 3000" in caplog.text
        assert "was to have 5000 bytes and has more" in caplog.text


def test_large_and_changing_parts_arrive_as_they_were(stack: ExitStack) -> None:
    whole = bytes(range(256)) * 8192  # 2 MiB, more than the window

    def reusing() -> Iterator[memoryview]:
        buffer = bytearray(100_000)
        for at in range(0, len(whole), len(buffer)):
            part = whole[at : at + len(buffer)]
            buffer[: len(part)] = part
            yield memoryview(buffer)[: len(part)]

    def work(job: Job) -> Response:
        return Response(200, iter([whole]) if job.request.path == "/large" else reusing())

    with serve(work) as pipeline:
        connection = connect(stack, address_of(pipeline))
        for path in ("/large", "/reused"):
            connection.request("GET", path)
            assert connection.getresponse().read() == whole


def test_a_file_leaves_in_blocks_and_is_closed(stack: ExitStack, tmp_path: Path) -> None:
    whole = bytes(range(1, 256)) * 4096  # without a line end that matters
    (tmp_path / "file").write_bytes(whole)
    files: list[Any] = []

    def work(job: Job) -> Any:
        mode = job.request.path[1:]
        path = tmp_path / "file"
        files.append(path.open(encoding="latin-1", newline="") if mode == "r" else path.open("rb"))
        return files[-1] if mode == "r" else Response(200, files[-1], content_type="x/y")

    with serve(work) as pipeline:
        connection = connect(stack, address_of(pipeline))
        for mode, body in (("rb", whole), ("r", whole.decode("latin-1").encode())):
            connection.request("GET", f"/{mode}")
            assert connection.getresponse().read() == body
            wait_until(lambda: files[-1].closed)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_what_fails_midway_cuts_the_answer_off(stack: ExitStack, caplog: pytest.LogCaptureFixture, version: str) -> None:
    def work(job: Job) -> Iterator[Any]:
        yield "one"
        if job.request.path == "/type":
            yield 5
        raise LookupError("midway")

    with serve(work) as pipeline, caplog.at_level(logging.ERROR, "prime_server"):
        for path, why in (("/", "LookupError: midway"), ("/type", "TypeError: a part of an answer is a str or bytes-like, not int")):
            answer = Connection(stack, address_of(pipeline), get(path, version)).rest()
            assert answer.endswith(b"3\r\none\r\n" if version == "1.1" else b"\r\n\r\none")
            assert why in caplog.text
        assert pipeline.stats()["streams_broken"] == 2
        # The worker lives on.
        assert Connection(stack, address_of(pipeline), get("/", version)).until(b"one")


def test_what_fails_before_the_first_part_is_an_answer_of_its_own(stack: ExitStack, caplog: pytest.LogCaptureFixture) -> None:
    class TeapotError(Exception):
        status = 418

    def work(job: Job) -> Iterator[bytes]:
        if job.request.path == "/418":
            raise TeapotError("short and stout")
        yield b""
        raise LookupError("early")

    with serve(work) as pipeline:
        connection = connect(stack, address_of(pipeline))
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (500, b"Internal Server Error")
        assert "LookupError: early" in caplog.text
        connection.request("GET", "/418")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (418, b"short and stout")


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_client_that_leaves_closes_the_iterator(stack: ExitStack, size: int) -> None:
    """While it yields all the time, and while it is held back by a client that doesn't read."""
    closed = threading.Event()
    seen: list[type] = []

    def work(job: Job) -> Iterator[bytes]:
        try:
            while True:
                yield bytes(size)
        except BaseException as error:
            seen.append(type(error))
            raise
        finally:
            closed.set()

    with serve(work) as pipeline:
        client = Connection(stack, address_of(pipeline), get())
        client.until(b"\r\n\r\n")
        if size > 10:
            wait_until(lambda: pipeline.stats()["workers"][0]["stalled"])
        client.socket.close()
        assert closed.wait(PATIENCE)
        assert seen == [GeneratorExit]
        wait_until(lambda: pipeline.stats()["streams"] == 0)
        wait_until(lambda: pipeline.stats()["stages"][0]["idle"] == 1)


def test_check_inside_raises_when_the_client_leaves(stack: ExitStack) -> None:
    why: list[BaseException] = []
    over = threading.Event()

    def work(job: Job) -> Iterator[str]:
        yield "one"
        try:
            while True:
                job.check()
        except Interrupted as error:
            why.append(error)
            raise
        finally:
            over.set()

    with serve(work) as pipeline:
        client = Connection(stack, address_of(pipeline), get())
        client.until(b"one")
        client.socket.close()
        assert over.wait(PATIENCE)
        assert str(why[0]) == "the client has left"
        wait_until(lambda: pipeline.stats()["stages"][0]["idle"] == 1)


def test_a_slow_reader_holds_the_iterator_back_and_nobody_else(stack: ExitStack) -> None:
    given = 0

    def work(job: Job) -> Any:
        if job.request.path == "/quick":
            return Response(200, "quick")

        def parts() -> Iterator[bytes]:
            nonlocal given
            for _ in range(1000):
                given += 1
                yield bytes(65536)

        return Response(200, parts())

    with serve(work, 2, window=64) as pipeline:
        address = address_of(pipeline)
        slow = stack.enter_context(socket.socket())
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        slow.settimeout(PATIENCE)
        slow.connect(address)
        slow.sendall(get("/slow"))
        wait_until(lambda: any(worker["stalled"] for worker in pipeline.stats()["workers"]))
        connection = connect(stack, address)
        for _ in range(200):
            connection.request("GET", "/quick")
            assert connection.getresponse().read() == b"quick"
        # What the kernel holds is its own: some MiB at the most.
        held_back = given
        assert held_back < 200
        received = 0
        while received < 1000 * 65536:
            piece = slow.recv(1 << 20)
            assert piece
            received += len(piece)
        assert given == 1000


def test_requests_behind_a_stream_are_answered_in_order(stack: ExitStack) -> None:
    def work(job: Job) -> Response:
        path = job.request.path
        return Response(200, (f"{path}{number};" for number in range(300)) if path.startswith("/s") else path)

    with serve(work, 4) as pipeline:
        targets = ["/s1", "/a", "/s2", "/b", "/s3", "/c"]
        client = Connection(stack, address_of(pipeline), b"".join(get(target) for target in targets[:-1]) + get("/c", "1.1", "Connection: close"))
        answers = http_bodies(client.rest())
        assert answers == ["".join(f"{path}{n};" for n in range(300)) if path.startswith("/s") else path for path in targets]


def http_bodies(data: bytes) -> list[str]:
    bodies = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        body = b""
        if b"chunked" in head:
            while True:
                size, _, data = data.partition(b"\r\n")
                body += data[: int(size, 16)]
                assert data[int(size, 16) :][:2] == b"\r\n"
                data = data[int(size, 16) + 2 :]
                if int(size, 16) == 0:
                    break
        else:
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            body, data = data[:length], data[length:]
        bodies.append(body.decode())
    return bodies
