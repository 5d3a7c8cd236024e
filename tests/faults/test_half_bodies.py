"""60 clients that send the first 9 MB of a body and no more: the server holds 256 MB of them, its bound of bytes in all, and refuses the others by
503. A well-behaved client's body comes through, as the slowest make room for it, and when they have all gone the memory is given back."""

import contextlib
import http.client
import select
import socket
import threading
import time
from pathlib import Path

import pytest
from conftest import PATIENCE, Start
from faulting import Rig, resident
from pipelines import wait_until

MB = 1_000_000
COUNT = 60
SENT = 9 * MB
BOUND = 256 << 20


def send_half(address: tuple[str, int], chunked: bool, keep: list[socket.socket]) -> None:
    """A client may be refused in the middle."""
    client = socket.create_connection(address, timeout=PATIENCE)
    keep.append(client)
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 10000000"
    with contextlib.suppress(OSError):
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n%s" % (framing, b"989680\r\n" if chunked else b"") + bytes(SENT))


@pytest.mark.parametrize("chunked", [False, True], ids=["by length", "by chunks"])
def test_half_bodies(start: Start, directory: Path, chunked: bool) -> None:
    with Rig(start, directory) as rig, contextlib.ExitStack() as stack:
        rig.serve()
        rig.forward()
        rig.work(function="prime_server.echo:echo")
        rig.wait()
        assert echoed(rig.address, b"once") == (200, b"once")
        before = resident(rig.server)
        clients: list[socket.socket] = []
        def close() -> None:
            for client in clients:
                client.close()

        stack.callback(close)
        threads = [threading.Thread(target=send_half, args=(rig.address, chunked, clients)) for _ in range(COUNT)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert resident(rig.server, "VmHWM") - before <= 1.2 * BOUND
        wait_until(lambda: len(told_503(clients)) >= COUNT - BOUND // SENT - 1)
        time.sleep(1.1)  # from then on the others are slow
        body = bytes(range(250)) * 20_000
        since = time.monotonic()
        assert echoed(rig.address, body) == (200, body)
        assert time.monotonic() - since <= 1.0
        assert resident(rig.server, "VmHWM") - before <= 1.2 * BOUND
        stack.close()
        wait_until(lambda: resident(rig.server) - before <= 32 * MB)


def told_503(clients: list[socket.socket]) -> list[socket.socket]:
    told = []
    for client in select.select(clients, [], [], 0)[0]:
        with contextlib.suppress(ConnectionResetError):
            if client.recv(100, socket.MSG_PEEK).startswith(b"HTTP/1.1 503 "):
                told.append(client)
    return told


def echoed(address: tuple[str, int], body: bytes) -> tuple[int, bytes]:
    with contextlib.closing(http.client.HTTPConnection(*address, timeout=PATIENCE)) as connection:
        connection.request("POST", "/", body)
        response = connection.getresponse()
        return response.status, response.read()
