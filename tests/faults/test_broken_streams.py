"""Hundreds of answers in parts whose clients leave at any point and whose workers are killed meanwhile: whatever a client has got is the beginning of
its own answer, complete only where it is said to be; and afterwards nothing is left of them, in `Threads` and under `prime_server run`."""

import http.client
import os
import random
import signal
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, Start
from faulting import every
from pipelines import wait_until

from prime_server import Job, Processes, Response, Threads

CLIENTS, EACH = 8, 40
SIZES, COUNTS = (1, 100, 20_000, 65_536, 300_000), (1, 3, 40, 400)

APPLICATION = '''
from prime_server import Response


def work(job):
    name, size, count = job.request.path[1:].split("/")
    def parts():
        for number in range(int(count)):
            yield part(name, int(size), number)
    return Response(200, parts())


def part(name, size, number):
    """Like that of no other name and number."""
    return (f"{name}.{number};".encode() * (size // 4 + 1))[:size]
'''

_names: dict[str, Any] = {}
exec(APPLICATION, _names)  # the same functions here
part: Callable[[str, int, int], bytes] = _names["part"]
work: Callable[[Job], Response] = _names["work"]


class Client:
    """Asks for one answer after another and leaves some of them at some point, in some way."""

    def __init__(self, address: tuple[str, int], seed: int) -> None:
        self.random = random.Random(seed)
        self.address = address
        self.seed = seed
        self.whole = self.left = self.broken = 0
        self.wrong: list[str] = []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        for number in range(EACH):
            if self.random.random() < 0.3:
                self.pipelined()
            else:
                self.one(f"{self.seed}-{number}", self.random.choice(SIZES), self.random.choice(COUNTS))

    def one(self, name: str, size: int, count: int) -> None:
        want = self.random.choice([0, 1, 1000, 100_000, 5_000_000, 1 << 30, 1 << 30])
        expected = b"".join(part(name, size, number) for number in range(count))
        got = b""
        with closing(http.client.HTTPConnection(*self.address, timeout=PATIENCE)) as client:
            try:
                client.request("GET", f"/{name}/{size}/{count}")
                answer = client.getresponse()
                if answer.status in (500, 502) and answer.getheader("Content-Length"):
                    self.broken += 1
                    return
                got = answer.read(want) if want < 1 << 30 else answer.read()
                if want >= 1 << 30 and got != expected:
                    self.wrong.append(f"{name}: {len(got)} bytes for {len(expected)}")
                self.whole += got == expected
                self.left += len(got) < len(expected)
            except http.client.IncompleteRead as error:
                got = error.partial
                self.broken += 1
            except (ConnectionError, http.client.HTTPException):
                self.broken += 1
            if not expected.startswith(got):
                self.wrong.append(f"{name}: {len(got)} bytes that are not its own")

    def pipelined(self) -> None:
        """Several requests at once, whose answers are read in part, or not at all."""
        targets = [f"/p{index}/{self.random.choice(SIZES)}/{self.random.choice(COUNTS)}" for index in range(4)]
        with socket.create_connection(self.address, timeout=PATIENCE) as client:
            try:
                client.sendall(b"".join(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for target in targets))
                client.settimeout(0.1)
                for _ in range(self.random.choice([0, 1, 5, 50])):
                    if not client.recv(65536):
                        break
            except TimeoutError:
                pass  # that was all
            except ConnectionError:
                self.broken += 1
            if self.random.random() < 0.5:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset


def run_clients(pipeline: Threads | Processes) -> list[Client]:
    host, port = pipeline.endpoint.removeprefix("tcp://").rsplit(":", 1)
    clients = [Client((host, int(port)), seed) for seed in range(CLIENTS)]
    for client in clients:
        client.thread.join()
        assert client.wrong == []
    return clients


def nothing_left(pipeline: Threads | Processes) -> None:
    wait_until(lambda: pipeline.stats()["streams"] == pipeline.stats()["requests_in_flight"] == 0)
    wait_until(lambda: pipeline.stats()["stages"][0]["held"] == pipeline.stats()["stages"][0]["backlog"] == 0)


def test_clients_leave_at_any_point() -> None:
    with Threads("tcp://127.0.0.1:0", [work], 4) as pipeline:
        clients = run_clients(pipeline)
        assert sum(client.whole for client in clients) > 50
        assert sum(client.left for client in clients) > 20
        assert sum(client.broken for client in clients) == 0
        nothing_left(pipeline)


def test_workers_are_killed_meanwhile(directory: Path, monkeypatch: pytest.MonkeyPatch, start: Start) -> None:
    (directory / "application.py").write_text(APPLICATION)
    monkeypatch.chdir(directory)
    with Processes("tcp://127.0.0.1:0", ["application:work"], 4) as pipeline:
        killed = 0

        def kill_one() -> None:
            nonlocal killed
            if len(pipeline.pids) == 4:
                os.kill(pipeline.pids[killed % 4], signal.SIGKILL)
                killed += 1

        with every(0.3, kill_one):
            clients = run_clients(pipeline)
        assert killed >= 2
        assert sum(client.whole for client in clients) > 50
        nothing_left(pipeline)
        assert pipeline.stats()["processes_died"] >= killed - 1
