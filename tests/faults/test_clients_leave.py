"""Clients leave without having waited for their answers: of the requests that were unanswered at least 95 % are interrupted, wherever they are, and
server, proxy and workers grow by 10 MB at most. The next ones are answered as if nothing had been."""

import socket
import struct
import threading
from pathlib import Path

import pytest
import zmq
from conftest import PATIENCE, Start
from faulting import COMPILED, PLAIN, PYTHON, Rig, number, resident

CLIENTS = 20_000


def leave(address: tuple[str, int], clients: range) -> None:
    """Each asks something that takes a second and is gone at once, some by a reset."""
    for n in clients:
        with socket.create_connection(address, timeout=PATIENCE) as connection:
            connection.sendall(f"GET {number(n, wait=1).target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            if n % 3 == 0:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(("transport", "kind"), [("ipc", PYTHON), ("ipc", COMPILED), ("tcp", PLAIN)])
def test_clients_that_leave(start: Start, directory: Path, transport: str, kind: str) -> None:
    with Rig(start, directory, transport) as rig:
        rig.run_all(kind)
        rig.ask(100, kind)  # by then all know each other: a worker that has not joined yet hears of nobody who leaves
        leave(rig.address, range(500))
        rig.ask(100, kind)
        before = {process: resident(process) for process in rig.processes}
        with rig.context.socket(zmq.SUB) as interrupts:
            interrupts.rcvhwm = 0
            interrupts.subscribe(b"")
            interrupts.connect(rig.endpoint("interrupt"))
            while not interrupts.poll(50):  # until it has joined
                leave(rig.address, range(1))
            threads = [threading.Thread(target=leave, args=(rig.address, range(first, CLIENTS, 8))) for first in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            # Jobs that nobody had interrupted would take a second each before these.
            with rig.load([number(n) for n in range(200)]) as load:
                pass
            assert load.wrong == []
            assert load.slowest <= 1.0
            heard = set()
            while len(heard) < CLIENTS and interrupts.poll(1000):
                heard.add(interrupts.recv()[:8])
        assert len(heard) >= 0.95 * CLIENTS
        for process, size in before.items():
            assert resident(process) - size <= 10_000_000
