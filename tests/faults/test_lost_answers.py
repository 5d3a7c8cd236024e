"""A worker dies that its proxy knows to be done, while an answer of its is still on the way: the client is cut off behind what has come, within a
second or two of the end of the worker's connection to the server; what had come whole is answered, and so is what others send."""

import socket
import sys
import time
from pathlib import Path

import pytest
from conftest import PATIENCE, Process, Start
from faulting import Rig
from sender import HEAD, PART


def sender(rig: Rig) -> Process:
    ends = [rig.endpoint(name) for name in ("down0", "loopback")]
    return rig.stack.enter_context(Sender([sys.executable, str(Path(__file__).with_name("sender.py")), *ends]))


class Sender(Process):
    def __enter__(self) -> "Sender":
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()


def everything(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(1 << 20), b""))


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_a_worker_dies_behind_its_last_report(start: Start, directory: Path, transport: str) -> None:
    with Rig(start, directory, transport) as rig:
        rig.serve()
        rig.forward()
        rig.wait()
        for _ in range(2):  # the next worker's connection may have the descriptor of the one before
            worker = sender(rig)
            clients = {path: socket.create_connection(rig.address, timeout=PATIENCE) for path in ("/whole", "/1", "/2")}
            for count, (path, client) in enumerate(clients.items(), 1):
                client.sendall(b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % path.encode())
                worker.wait_for(b"(sent\n){%d}" % count)
            got = {path: client.recv(len(HEAD)) for path, client in clients.items()}
            worker.kill()
            since = time.monotonic()
            for path, client in clients.items():
                with client:
                    got[path] += everything(client)
            assert time.monotonic() - since < 2
            bodies = {path: answer.partition(b"\r\n\r\n")[2] for path, answer in got.items()}
            assert bodies == {"/whole": b"x" * 2 * PART, "/1": b"x" * PART, "/2": b"x" * PART}
        rig.work()
        rig.ask(20)
