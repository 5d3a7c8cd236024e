"""SIGTERM under load, on 8 and 64 keep-alive connections with new ones arriving meanwhile: whatever was accepted is answered right, new connections
are refused or told to close, and every part exits with status 0, as soon as all is answered: within 3 s here, though it may drain for 10."""

import contextlib
import http.client
import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from conftest import PATIENCE, Process, Start
from faulting import APPLICATION, NATIVE, PLAIN, PYTHON, QUESTIONS, Question, Rig, number

DRAIN = "10"
PROMPTLY = 3.0


class Callers:
    """Clients that ask one question after the other until they are refused: `keeping` on connections that they keep, 4 each on a new one."""

    def __init__(self, address: tuple[str, int], questions: Iterator[Question], *, keeping: int) -> None:
        self.address = address
        self.questions = questions
        self.lock = threading.Lock()
        self.right = 0
        self.given_up = False
        self.wrong: list[str] = []
        self.threads = [threading.Thread(target=self._call, args=(number < keeping,)) for number in range(keeping + 4)]

    def _call(self, keeping: bool) -> None:
        with contextlib.closing(http.client.HTTPConnection(*self.address, timeout=PATIENCE)) as connection:
            self._ask_on(connection, keeping)

    def _ask_on(self, connection: http.client.HTTPConnection, keeping: bool) -> None:
        headers = {} if keeping else {"Connection": "close"}
        while not self.given_up:
            with self.lock:
                question = next(self.questions)
            try:
                if connection.sock is None:
                    connection.connect()
            except ConnectionRefusedError:
                return
            except OSError as error:
                self.wrong.append(f"{question.target}: connecting: {error!r}")
                return
            try:
                connection.request("GET", question.target, headers=headers)
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(f"{question.target}: {error!r}")
                connection.close()
                continue
            if (response.status, body) == (200, question.answer):
                self.right += 1
            else:
                self.wrong.append(f"{question.target}: {response.status} {body!r}")

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.right < count:
            assert time.monotonic() < deadline, (self.right, self.wrong)
            time.sleep(0.002)

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.given_up = kind is not None
        for thread in self.threads:
            thread.join()


def end(parts: list[Process], within: float = PROMPTLY) -> None:
    """SIGTERM to all at once."""
    since = time.monotonic()
    for part in parts:
        part.signal(signal.SIGTERM)
    assert [part.finish() for part in parts] == [0] * len(parts)
    assert time.monotonic() - since <= within


@pytest.mark.parametrize("keeping", [8, 64])
@pytest.mark.parametrize("command", ["prime_serverd", "prime_server run"])
def test_the_whole_pipeline_in_one_command(start: Start, directory: Path, command: str, keeping: int) -> None:
    (directory / "application.py").write_text(APPLICATION)
    if command == "prime_serverd":
        server, kind = start("prime_serverd", "tcp://127.0.0.1:0", "4", DRAIN, "--log", "none"), NATIVE
    else:
        arguments = ("--listen", "tcp://127.0.0.1:0", "--workers", "4", "--drain", DRAIN)
        server, kind = start("prime_server", "run", "application:work", *arguments, cwd=directory), PYTHON
    with Callers(server.address(), map(QUESTIONS[kind], itertools.count()), keeping=keeping) as callers:
        callers.wait_for(300)
        end([server])
    assert callers.wrong == []


@pytest.mark.parametrize(("transport", "kind", "keeping"), [("ipc", PYTHON, 64), ("tcp", PLAIN, 8)])
def test_the_server_alone(start: Start, directory: Path, transport: str, kind: str, keeping: int) -> None:
    with Rig(start, directory, transport) as rig:
        rig.run_all(kind, health=False)
        with Callers(rig.address, map(QUESTIONS[kind], itertools.count()), keeping=keeping) as callers:
            callers.wait_for(300)
            end([rig.server])
            rig.forget(rig.server)
        assert callers.wrong == []
        rig.serve()  # the others are there still
        rig.wait()
        rig.ask(8, kind)


def conversation(address: tuple[str, int], text: bytes) -> socket.socket:
    connection = socket.create_connection(address, timeout=PATIENCE)
    connection.sendall(text)
    return connection


def rest_of(connection: socket.socket) -> bytes:
    """All that comes until the server has closed its side."""
    received = b""
    while more := connection.recv(65536):
        received += more
    return received


def until_told_to_close(connection: socket.socket) -> None:
    """Asks, and is answered, until the answer says so: the server has begun to drain, and closes this connection."""
    for n in itertools.count():
        connection.sendall(get(number(n)))
        said = b""
        while not said.endswith(b"\r\n\r\n%d" % n):
            said += (more := connection.recv(65536))
            assert more, said
        if b"Connection: close\r\n" in said:
            return


def get(question: Question) -> bytes:
    return b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % question.target.encode()


@pytest.fixture
def server(start: Start, directory: Path) -> Process:
    """Two workers, and a drain of a second."""
    (directory / "application.py").write_text(APPLICATION)
    return start("prime_server", "run", "application:work", "--listen", "tcp://127.0.0.1:0", "--workers", "2", "--drain", "1", cwd=directory)


def begun(directory: Path) -> Question:
    """A question that takes longer than the drain, and writes a byte into the directory's FIFO `begun` before."""
    os.mkfifo(directory / "begun")
    return number(1, write=directory / "begun", wait=30)


def test_what_is_unanswered_at_the_end_of_the_drain(server: Process, directory: Path) -> None:
    """It is answered 503, whether it is with a worker, waits for one or for its turn, or has half come; and all within the drain and 2 s."""
    address = server.address()
    texts = [
        get(begun(directory)) + get(number(5, size=40_000_000)),  # to be asked for again at its turn
        get(number(2, wait=30)),
        get(number(3)) * 3,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc",
        b"GET /",
    ]
    connections = [conversation(address, texts[0])]
    (directory / "begun").read_bytes()
    connections += [conversation(address, text) for text in texts[1:]]
    since = time.monotonic()
    server.signal(signal.SIGTERM)
    for connection, expected in zip(connections, (2, 1, 3, 1, 1), strict=True):
        with connection:
            said = rest_of(connection)
        assert said.count(b"HTTP/1.1 503 Service Unavailable\r\n") == said.count(b"Retry-After: ") == expected, said
        assert said.count(b"Connection: close\r\n") == 1
    assert time.monotonic() - since >= 0.9
    assert server.finish() == 0
    assert time.monotonic() - since <= 3


def test_connections_that_are_idle(server: Process) -> None:
    """What comes on one during the drain is answered, and told to close; another one is closed by a FIN, whatever it sends later."""
    with conversation(server.address(), get(number(1))) as asks, conversation(server.address(), get(number(2))) as idle:
        for connection in (asks, idle):
            assert b"Connection: close" not in connection.recv(65536)
        server.signal(signal.SIGTERM)
        until_told_to_close(asks)
        assert asks.recv(1) == idle.recv(1) == b""
        idle.sendall(get(number(4)))
        assert idle.recv(1) == b""
    assert server.finish() == 0


def test_a_second_signal_ends_it_at_once(server: Process, directory: Path) -> None:
    with conversation(server.address(), get(begun(directory))), conversation(server.address(), b"") as other:
        (directory / "begun").read_bytes()
        server.signal(signal.SIGTERM)
        until_told_to_close(other)
        since = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.finish() == 128 + signal.SIGTERM
        assert time.monotonic() - since <= 0.5


def test_whoever_ends_before_all_is_loaded_never_says_that_it_listens(start: Start, directory: Path) -> None:
    os.mkfifo(directory / "loading")
    (directory / "application.py").write_text("open('loading', 'rb').read()\ndef work(job): ...\n")
    server = start("prime_server", "run", "application:work", "--listen", "tcp://127.0.0.1:0", cwd=directory)
    with open(directory / "loading", "wb"):
        server.signal(signal.SIGTERM)
        assert (server.finish(), server.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("transport", "kind", "order"),
    [("ipc", PYTHON, "all at once"), ("tcp", NATIVE, "all at once"), ("tcp", PYTHON, "workers first"), ("ipc", PYTHON, "server last")],
)
def test_all_parts(start: Start, directory: Path, transport: str, kind: str, order: str) -> None:
    """In whatever order the signal reaches them: what is not told to end yet goes on until 100 more are answered."""
    with Rig(start, directory, transport) as rig:
        rig.run_all(kind, health=False)
        early = {"all at once": [], "workers first": rig.workers, "server last": [rig.proxy, *rig.workers]}[order]
        with Callers(rig.address, map(QUESTIONS[kind], itertools.count()), keeping=8) as callers:
            callers.wait_for(300)
            for part in early:
                part.signal(signal.SIGTERM)
            callers.wait_for(callers.right + 100)
            end([part for part in rig.processes if part not in early])
            assert [part.finish(PROMPTLY) for part in early] == [0] * len(early)
            for part in list(rig.processes):
                rig.forget(part)
        assert callers.wrong == []


def test_all_parts_of_two_stages(start: Start, directory: Path) -> None:
    with Rig(start, directory) as rig:
        rig.run_two_stages(health=False)
        with Callers(rig.address, map(QUESTIONS[PYTHON], itertools.count()), keeping=8) as callers:
            callers.wait_for(100)
            end(list(rig.processes))
        assert callers.wrong == []
