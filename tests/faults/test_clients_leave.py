"""Clients leave without having waited for their answers: of the requests that were unanswered at least 95 % are interrupted, wherever they are, and
server, proxy and workers grow by 10 MB at most. The next ones are answered as if nothing had been, and no processor works for those that left."""

import socket
import struct
import threading
import time
from pathlib import Path

import pytest
import zmq
from conftest import PATIENCE, Start
from faulting import COMPILED, PLAIN, PYTHON, Rig, number, resident
from pipelines import wait_until

from prime_server import Processes

CLIENTS = 20_000

BURNING = """
def work(job):
    while True:
        job.check()
        for _ in range(1000):
            pass
"""


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
            heard: set[bytes] = set()
            while len(heard) < CLIENTS and interrupts.poll(1000):
                heard.add(interrupts.recv()[:8])
        assert len(heard) >= 0.95 * CLIENTS
        for process, size in before.items():
            assert resident(process) - size <= 10_000_000


def worked(pids: tuple[int, ...]) -> float:
    """Seconds of processor time of all threads of some processes."""
    tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) * 1e-9


def test_workers_are_idle_once_their_clients_have_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "burning.py").write_text(BURNING)
    monkeypatch.chdir(tmp_path)
    with Processes("tcp://127.0.0.1:0", ["burning:work"], workers=[4]) as pipeline:
        host, port = pipeline.endpoint.removeprefix("tcp://").split(":")
        clients = [socket.create_connection((host, int(port)), timeout=PATIENCE) for _ in range(16)]
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        pids = tuple(pipeline.pids)
        begun = {pid: worked((pid,)) for pid in pids}
        wait_until(lambda: all(worked((pid,)) - begun[pid] > 0.1 for pid in pids))
        for client in clients:
            client.close()
        time.sleep(0.2)  # that is the bound
        before = worked(pids)
        time.sleep(0.5)
        assert worked(pids) - before <= 0.02  # seconds, of all four in half a second
