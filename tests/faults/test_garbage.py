"""Bad neighbours on the public socket: 5,000 connections of garbage, of resets, of clients that close their side. Nothing crashes, no part grows by
more than 10 MB, and the answers of a well-behaved client stay right, their p99 at most 200 ms."""

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PATIENCE, Start
from faulting import Rig, number, resident

CONNECTIONS = 5_000
REQUEST = f"GET {number(1, wait=0.01).target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


def garbage(client: socket.socket, chance: random.Random) -> None:
    kind = chance.randrange(5)
    if kind == 0:
        client.sendall(chance.randbytes(chance.randrange(2000)))
    elif kind == 1:
        client.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" + chance.randbytes(300))
    elif kind == 2:
        changed = bytearray(REQUEST)
        changed[chance.randrange(len(changed))] = chance.randrange(256)
        client.sendall(changed)
    elif kind == 3:
        client.sendall(b"\0" * chance.randrange(5000))
    else:
        client.sendall(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * chance.randrange(300))


def reset(client: socket.socket, chance: random.Random) -> None:
    client.sendall(REQUEST[: chance.randrange(len(REQUEST) + 1)])
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def half(client: socket.socket, chance: random.Random) -> None:
    """It closes its side in the middle, or right behind the request."""
    client.sendall(REQUEST[: chance.choice((10, 30, len(REQUEST)))])
    client.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("neighbour", [garbage, reset, half])
def test_bad_neighbours(start: Start, directory: Path, neighbour: Callable[[socket.socket, random.Random], None]) -> None:
    def come(first: int) -> None:
        for n in range(first, CONNECTIONS, 4):
            with contextlib.suppress(OSError), socket.create_connection(rig.address, timeout=PATIENCE) as client:
                neighbour(client, random.Random(n))

    with Rig(start, directory) as rig:
        rig.run_all()
        rig.ask(300)
        before = {part: resident(part) for part in rig.processes}
        threads = [threading.Thread(target=come, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        times = []
        while any(thread.is_alive() for thread in threads):
            with rig.load([number(n) for n in range(20)], connections=1) as good:
                pass
            assert good.wrong == []
            times += [answer.seconds for answer in good.answers]
        for thread in threads:
            thread.join()
        assert sorted(times)[int(0.99 * len(times))] <= 0.2
        rig.ask(200)
        time.sleep(0.5)
        for part, size in before.items():
            assert part.popen.poll() is None
            assert resident(part) - size <= 10_000_000
