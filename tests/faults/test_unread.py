"""A client asks for 320 MB, in one response or in many, and reads nothing of them: the server grows by 128 MB at most, others are served as if
nothing was, and if it reads after all it gets every byte."""

import contextlib
import hashlib
import socket
import time
from pathlib import Path
from typing import BinaryIO

import pytest
from conftest import PATIENCE, Start
from faulting import PLAIN, PYTHON, Rig, number, resident
from pipelines import wait_until

MB = 1_000_000
GROWTH = 128 * MB


def asks(rig: Rig, size: int, count: int) -> socket.socket:
    client = socket.create_connection(rig.address, timeout=PATIENCE)
    client.sendall(f"GET /?n={size}&size={size} HTTP/1.1\r\nHost: a\r\n\r\n".encode() * count)
    return client


@pytest.mark.parametrize("size", [320 * MB, 40 * MB, 5 * MB, MB // 2], ids=lambda size: f"{320 * MB // size} of {size / MB} MB")
def test_what_is_left_unread(start: Start, directory: Path, size: int) -> None:
    with Rig(start, directory) as rig:
        rig.run_all(PYTHON)
        rig.ask(200)
        before = resident(rig.server)
        with asks(rig, size, 320 * MB // size) as client:
            # Meanwhile others are served, and it is until nothing more comes for the one that doesn't read.
            peak = 0
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                with rig.load([number(n) for n in range(100)], connections=4) as others:
                    pass
                assert others.wrong == []
                assert others.slowest <= 0.5
                peak = max(peak, resident(rig.server) - before)
            assert peak <= GROWTH
            right = hashlib.sha256(bytes(range(250)) * (size // 250)).digest()
            # Those behind it have not kept their workers waiting: they are asked for when it is their turn.
            with client.makefile("rb") as answers:
                for _ in range(3 if size == 40 * MB else 1):
                    assert next_body(answers) == right
        rig.ask(100)
        assert resident(rig.server, "VmHWM") - before <= GROWTH
        wait_until(lambda: resident(rig.server) - before <= 16 * MB)


def test_answers_that_come_whole_wait_for_their_turn_with_their_workers(start: Start, directory: Path) -> None:
    """Those of the original's workers do: of what can't be held any more the rest is asked for again when it is its turn."""
    with Rig(start, directory) as rig:
        rig.run_all(PLAIN)
        rig.ask(200)
        before = resident(rig.server)
        with asks(rig, 10 * MB, 32) as client:
            rig.ask(2000)
            assert resident(rig.server, "VmHWM") - before <= GROWTH
            right = hashlib.sha256(bytes(range(250)) * (10 * MB // 250)).digest()
            with client.makefile("rb") as answers:
                assert [next_body(answers) for _ in range(32)] == [right] * 32
        rig.ask(100)


def test_over_the_bound_in_all_who_takes_nothing_is_closed(start: Start, directory: Path) -> None:
    with Rig(start, directory) as rig:
        rig.serve("--max-unread-in-all", "16M")
        rig.forward()
        rig.work(count=2)
        rig.wait()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(asks(rig, MB // 2, 20)) for _ in range(8)]
            for client in clients:
                client.recv(1)  # its answer is there
            end = time.monotonic() + 1.2
            while time.monotonic() < end:
                rig.ask(10)
            late = stack.enter_context(asks(rig, MB // 2, 20))
            assert reads_all(late, 10 * MB)
            kept = sum(reads_all(client, 10 * MB) for client in clients)
        assert 1 <= kept <= 7


def next_body(answers: BinaryIO) -> bytes:
    """The digest of the next answer's body."""
    size = 0
    while (line := answers.readline()) != b"\r\n":
        if line.startswith(b"Content-Length: "):
            size = int(line.split()[1])
    return hashlib.sha256(answers.read(size)).digest()


def reads_all(client: socket.socket, size: int) -> bool:
    read = 0
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(262144):
            read += len(piece)
            if read >= size:
                return True
    return False


APPLICATION = """
from prime_server import Response

def work(job):
    return Response(200, bytes(int(job.request.query["size"][0])))
"""


def test_clients_that_keep_every_worker_waiting_give_way(start: Start, directory: Path) -> None:
    """As many as there are workers ask for more than is under way at once, and read nothing. Where no job waits for a worker they are let be."""
    (directory / "big.py").write_text(APPLICATION)
    server = start("prime_server", "run", "big:work", "--listen", "tcp://127.0.0.1:0", "--workers", "2", cwd=directory)
    address = server.address()

    def ask(size: int, patience: float = PATIENCE) -> socket.socket:
        client = socket.create_connection(address, timeout=patience)
        client.sendall(f"GET /?size={size} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        return client

    with ask(80 * MB) as one, ask(80 * MB) as other:
        for client in (one, other):
            client.recv(1)  # its answer is there
        time.sleep(3.0)  # longer than they would be borne with
        since = time.monotonic()
        with ask(10) as good:
            assert reads_all(good, 10)
        assert time.monotonic() - since <= 1.0
        assert sorted(reads_all(client, 80 * MB) for client in (one, other)) == [False, True]
