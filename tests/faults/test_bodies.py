"""A body just under the limit of 32 MB, by length and by chunks: the server's peak is 2.5 bodies at most, the proxy's 2. One over it is answered 413,
and the client, which is still sending, can read that; a header section without an end is answered 431."""

import http.client
import os
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE, Start
from faulting import Rig, resident

LIMIT = 32 << 20


def pieces(body: bytes) -> Iterator[bytes]:
    for at in range(0, len(body), 60_000):
        yield body[at : at + 60_000]


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
@pytest.mark.parametrize("chunked", [False, True], ids=["by length", "by chunks"])
def test_a_body_just_under_the_limit(start: Start, directory: Path, transport: str, chunked: bool) -> None:
    with Rig(start, directory, transport) as rig:
        rig.serve(max_request="32M")
        rig.forward()
        rig.work(function="prime_server.echo:echo")
        rig.wait()
        body = os.urandom(LIMIT - 100)
        connection = http.client.HTTPConnection(*rig.address, timeout=PATIENCE)
        connection.request("POST", "/", b"all has been in use once")
        assert connection.getresponse().read() == b"all has been in use once"
        before = {part: resident(part) for part in (rig.server, rig.proxy)}
        for _ in range(2):
            if chunked:
                connection.request("POST", "/", pieces(body), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
            else:
                connection.request("POST", "/", body)
            assert connection.getresponse().read() == body
        connection.close()
        assert resident(rig.server, "VmHWM") - before[rig.server] <= 2.5 * LIMIT
        assert resident(rig.proxy, "VmHWM") - before[rig.proxy] <= 2 * LIMIT


@pytest.mark.parametrize(
    ("head", "piece", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (LIMIT + 1), b"x" * 65536, b"413"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n", b"413"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"X-Endless: " + b"y" * 1000 + b"\r\n", b"431"),
    ],
    ids=["length", "chunks", "head"],
)
def test_what_is_too_much_is_refused_and_its_client_can_read_that(start: Start, directory: Path, head: bytes, piece: bytes, status: bytes) -> None:
    with Rig(start, directory) as rig:
        rig.serve(max_request="32M")
        rig.forward()
        rig.work()
        rig.wait()
        before = resident(rig.server)
        since = time.monotonic()
        with socket.create_connection(rig.address, timeout=PATIENCE) as client:
            client.sendall(head)
            # It sends on and on, and looks only then: the server reads until it has had its answer.
            left, answered = piece, b""
            client.setblocking(False)
            while not answered and time.monotonic() - since < 5:
                readable, writable, _ = select.select([client], [client], [], 5)
                if readable:
                    answered = client.recv(4096)
                elif writable:
                    left = left[client.send(left) :] or piece
        assert answered.startswith(b"HTTP/1.1 " + status)
        assert time.monotonic() - since <= 5
        assert resident(rig.server, "VmHWM") - before <= 2.5 * LIMIT
        rig.ask(20)
