"""200 connections offer 20,000 requests/s to workers that do 80/s. Server and proxy grow by 100 MB at most, the workers stay busy, the health check
stays fast, a newcomer is answered although the others have thousands of requests waiting; and when they stop, all is normal at once and the memory is
given back. Who is refused is told when to come again, by the backlog and how fast it has been worked off of late."""

import contextlib
import http.client
import json
import select
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import PATIENCE, Start
from faulting import COMPILED, PLAIN, PYTHON, Rig, number, resident
from pipelines import wait_until

WORKERS, WORK = 4, 0.05


def ask(address: tuple[str, int], target: str = number(7).target) -> tuple[int, float, int]:
    """A new client's status, the seconds that it took, and its `Retry-After`."""
    since = time.monotonic()
    with contextlib.closing(http.client.HTTPConnection(*address, timeout=20)) as connection:
        connection.request("GET", target)
        with connection.getresponse() as response:
            response.read()
            return response.status, time.monotonic() - since, int(response.headers.get("Retry-After", 0))


def seconds_for(address: tuple[str, int], target: str = number(7).target) -> float:
    """Until a new client has its answer, which is right."""
    status, seconds, _ = ask(address, target)
    assert status == 200
    return seconds


@pytest.mark.parametrize(
    ("seconds", "transport", "kind"),
    [(3.0, "tcp", COMPILED), (3.0, "tcp", PLAIN), pytest.param(20.0, "ipc", PYTHON, marks=pytest.mark.slow)],
)
def test_a_flood(start: Start, directory: Path, seconds: float, transport: str, kind: str) -> None:
    with Rig(start, directory, transport) as rig:
        rig.run_all(kind, WORKERS, timeout=60)
        rig.ask(200, kind)
        before = {process: resident(process) for process in (rig.server, rig.proxy)}
        command = [sys.executable, str(Path(__file__).with_name("flood.py")), *map(str, rig.address), "200", "20000", str(seconds)]
        with subprocess.Popen([*command, number(1, wait=WORK).target, "stay"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as flood:
            assert flood.stdin
            assert flood.stdout
            assert flood.stdout.readline() == b"flooding\n"
            newcomer: list[float] = []
            thread = threading.Thread(target=lambda: newcomer.append(seconds_for(rig.address)))
            thread.start()
            health = []
            grown = 0
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                health.append(seconds_for(rig.address, "/health"))
                grown = max(grown, sum(resident(process) - size for process, size in before.items()))
                time.sleep(0.01)
            assert flood.stdout.readline() == b"staying\n"
            # What they have asked still waits, 60 s of work, and they for it.
            assert seconds_for(rig.address) <= 2.0
            flood.stdin.write(b"\n")
            flood.stdin.flush()
            told = json.loads(flood.stdout.readline())
            thread.join()
        assert seconds_for(rig.address) <= 1.0
        rig.ask(100, kind)
        assert told["offered"] >= 10_000 * seconds
        assert told["told"]["200"] >= 0.7 * seconds * WORKERS / WORK
        assert grown <= 100_000_000
        assert sorted(health)[int(0.99 * len(health))] <= 0.1
        assert newcomer[0] <= 6.0  # as all 200 begin with a first request, this one waits for about as many
        for process, size in before.items():
            wait_until(lambda process=process, size=size: resident(process) - size <= 6_000_000)


@pytest.mark.parametrize("bound", ["server", "proxy", "deadline"])
def test_who_is_refused_is_told_when_to_come_again(start: Start, directory: Path, bound: str) -> None:
    """More than 64 requests are too many where 4 workers do 16/s: it takes them 4 s."""
    with Rig(start, directory) as rig:
        rig.serve(*(["--max-in-flight", "64"] if bound == "server" else []), timeout=4 if bound == "deadline" else 20)
        rig.forward(0, *(["--max-backlog", "60"] if bound == "proxy" else []))
        rig.work(count=4)
        rig.wait()
        request = f"GET {number(5, wait=0.25).target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        with contextlib.ExitStack() as crowd:
            clients = [crowd.enter_context(socket.create_connection(rig.address)) for _ in range(90)]
            waiting, others, more = clients[:50], clients[50:66], clients[66:]
            for client in waiting:
                client.sendall(request)
            # Where one has its answer another one asks, until it is known how fast that goes.
            for client in others:
                served, _, _ = select.select(waiting, [], [], PATIENCE)
                assert served[0].recv(65536).startswith(b"HTTP/1.1 200 ")
                waiting.remove(served[0])
                waiting.append(client)
                client.sendall(request)
            for client in more:
                client.sendall(request)
            status, seconds, again = ask(rig.address, number(5, wait=0.25).target)
        assert status == 503
        assert seconds <= 0.5
        assert 2 <= again <= 6
        rig.ask(10)
