"""2,000 idle connections, each after a request: 8 KiB each at most, and 10,000 don't keep anybody from being served. When they have gone, the memory
is given back."""

import contextlib
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Start
from faulting import NATIVE, Rig, number, prime, resident
from pipelines import wait_until


@contextlib.contextmanager
def descriptors(count: int) -> Iterator[None]:
    """As many for this process, and those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"a process may have {hard} descriptors here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_idle_connections(start: Start, directory: Path, count: int) -> None:
    with descriptors(count + 200), Rig(start, directory) as rig, contextlib.ExitStack() as stack:
        rig.run_all(workers=2)
        rig.ask(500)
        before = resident(rig.server)
        idle = []
        for turn in range(count):
            client = stack.enter_context(socket.create_connection(rig.address))
            idle.append(client)
            client.sendall(f"GET {number(turn).target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert client.recv(4096).endswith(b"\r\n%d" % turn)
        grown = resident(rig.server) - before
        assert grown <= 8192 * count
        with rig.load([number(n) for n in range(500)], connections=4) as load:
            pass
        assert load.wrong == []
        assert load.slowest <= 0.5
        for client in idle:  # they live
            client.sendall(f"GET {number(5).target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        for client in idle:
            assert client.recv(4096).endswith(b"\r\n5")
        stack.close()
        rig.ask(100)
        wait_until(lambda: resident(rig.server) - before <= 8_000_000)


@pytest.mark.timing
def test_they_cost_the_others_nothing(start: Start, directory: Path) -> None:
    """With them there are at least 0.9 times as many requests per second, at the best of some turns, with and without them, one after the other; of
    more turns where the machine does other things too."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    with descriptors(2_300), Rig(start, directory) as rig:
        rig.run_all(NATIVE, workers=2)
        for turn in range(32):
            if turn >= 8 and turn % 2 == 0 and max(rates[True]) >= 0.9 * max(rates[False]):
                break
            with contextlib.ExitStack() as stack:
                idle = [stack.enter_context(socket.create_connection(rig.address)) for _ in range(2_000 * (turn % 2))]
                for client in idle:
                    client.sendall(f"GET {prime(turn).target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                for client in idle:
                    assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
                rates[turn % 2 == 1].append(rate(rig.address))
    assert max(rates[True]) >= 0.9 * max(rates[False])


def rate(address: tuple[str, int]) -> float:
    """Requests per second on 32 connections, pipelined so that it is the server's pace."""
    request = f"GET {prime(3).target} HTTP/1.1\r\nHost: a\r\n\r\n".encode() * 8
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(address)) for _ in range(32)]
        answered = 0
        since = time.monotonic()
        while time.monotonic() < since + 0.4:
            for client in clients:
                client.sendall(request)
            for client in clients:
                read = b""
                while read.count(b"HTTP/1.1 200 ") < 8 or not read.endswith(b"\r\n\r\n" + prime(3).answer):
                    read += client.recv(65536)
                answered += 8
        return answered / (time.monotonic() - since)
