"""500 clients that drip a byte a second, in the header section or in a body: at least 95 % of them are closed within 30 s, each has been told why by
408, and the p99 of well-behaved clients meanwhile is 100 ms at most.

With the timeouts that a server has by default, 10 s, it takes as long; so there is a quick one too.
"""

import contextlib
import itertools
import select
import socket
import time
from pathlib import Path

import pytest
from conftest import Start
from faulting import COMPILED, PLAIN, PYTHON, Rig, number, resident

COUNT = 500
HEAD = b"GET /?n=1 HTTP/1.1\r\nHost: a\r\nX-Slow: "
BODY = b"POST /?n=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"


def drip(clients: list[socket.socket], until: float) -> list[bytes]:
    """Each sends a byte a second until it is answered and closed. What they were told, of those who were closed."""
    told = dict.fromkeys(clients, b"")
    closed = []
    next_byte = time.monotonic()
    while told and time.monotonic() < until:
        if time.monotonic() >= next_byte:
            next_byte += 1.0
            for client in told:
                with contextlib.suppress(OSError):
                    client.send(b"x")
        for client in select.select(list(told), [], [], 0.05)[0]:
            try:
                more = client.recv(4096)
            except ConnectionResetError:
                more = b""
            told[client] += more
            if not more:
                closed.append(told.pop(client))
    return closed


@pytest.mark.parametrize(
    ("seconds", "kind"), [(2, PYTHON), (2, COMPILED), (2, PLAIN), pytest.param(10, PYTHON, marks=pytest.mark.slow)], ids=lambda value: str(value)
)
def test_slow_writers(start: Start, directory: Path, seconds: int, kind: str) -> None:
    with Rig(start, directory) as rig, contextlib.ExitStack() as stack:
        rig.serve(*([] if seconds == 10 else ["--header-timeout", str(seconds), "--body-timeout", str(seconds)]))
        rig.forward()
        rig.work(kind, 2)
        rig.wait()
        rig.ask(200, kind)
        before = resident(rig.server)
        clients = [stack.enter_context(socket.create_connection(rig.address)) for _ in range(COUNT)]
        for n, client in enumerate(clients):
            client.sendall(BODY if n % 2 else HEAD)
        going_on = [True]
        with rig.load(map(number, itertools.takewhile(lambda _: going_on[0], itertools.count())), connections=2) as good:
            closed = drip(clients, time.monotonic() + 3 * seconds)
            going_on[0] = False
        assert len(closed) >= 0.95 * COUNT
        assert sum(told.startswith(b"HTTP/1.1 408 ") for told in closed) >= 0.95 * COUNT
        assert good.wrong == []
        assert sorted(answer.seconds for answer in good.answers)[int(0.99 * len(good.answers))] <= 0.1
        assert resident(rig.server) - before <= 10_000_000
        rig.ask(20, kind)
