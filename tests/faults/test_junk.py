"""31 kinds of junk on every socket between the parts, by peers that speak ZeroMQ, and bytes by peers that don't: nothing crashes, nothing grows by
more than 10 MB, and what is asked next is answered right."""

import random
import socket
import struct
from pathlib import Path

import pytest
import zmq
from conftest import PATIENCE, Start
from faulting import Rig, resident

KEY = struct.pack("<II", 7, 1_700_000_000)
INFO = KEY + struct.pack("<HH", 1, 0)
EXTENSION = struct.pack("<4sBBHIQqBBHII", b"PRSI", 1, 60, 1, 0, 77, 10**6, 0, 0, 0, 0, 0) + bytes(20)
REPORT = struct.pack("<4sBBHHHIqQQ8x", b"PRSR", 1, 1, 64, 0, 0, 1, 0, 0, 0)
HELLO = struct.pack("<4sB3xQ", b"PRSH", 1, 99)
RESTART = struct.pack("<4sB3xQQ", b"PRSL", 1, 98, 99)
FULL = INFO + EXTENSION


def flagged(flags: int, **parts: bytes) -> bytes:
    return FULL[:18] + struct.pack("<H", flags) + FULL[20:]


JUNK: dict[str, list[bytes]] = {
    "nothing": [b""],
    "empty frames": [b""] * 3,
    "one byte": [b"x"],
    "seven bytes": [b"1234567"],
    "a bare key": [KEY],
    "a key and an empty frame": [KEY, b""],
    "eleven bytes": [INFO[:11], b"payload"],
    "an info without a payload": [INFO],
    "an info and an empty payload": [INFO, b""],
    "a job that is no HTTP": [INFO, b"\xff" * 100],
    "a cut request line": [INFO, b"GET "],
    "a target that decodes to nonsense": [INFO, b"GET %2f%zz%%%3f HTTP/1.1\r\n\r\n"],
    "a job of zeros": [bytes(12), b"GET /?n=1 HTTP/1.1\r\n\r\n"],
    "a key full of ones": [b"\xff" * 12, b"x"],
    "an info that is too long": [INFO + b"x" * 5000, b"x"],
    "a cut extension": [FULL[:20], b"x"],
    "an extension whose length is a lie": [FULL[:17] + b"\xff" + FULL[18:], b"x"],
    "an extension of a later version": [FULL[:16] + b"\xff\xff" + FULL[18:] + bytes(195), b"x"],
    "all flags": [flagged(0xFFFF), b"x"],
    "a refusal of nobody": [flagged(0x40)],
    "a cancellation": [flagged(0x800)],
    "the end of a life": [bytes(8) + flagged(0x800)[8:]],
    "a time that has no end": [FULL[:32] + struct.pack("<q", 2**63 - 1) + FULL[40:], b"x"],
    "a time before the beginning": [FULL[:32] + struct.pack("<q", -(2**63)) + FULL[40:], b"x"],
    "a heartbeat of 1 MB": [b"h" * 1_000_000],
    "a report": [b"", REPORT],
    "a report of keys that are not there": [b"", REPORT[:8] + struct.pack("<HH", 65535, 65535) + REPORT[12:]],
    "a report of keys that nobody knows": [b"", REPORT[:8] + struct.pack("<HH", 1, 1) + REPORT[12:] + b"k" * 32],
    "a cut report": [b"", REPORT[:20]],
    "a hello": [HELLO],
    "a restart, and a key and a half": [RESTART + b"k" * 24],
    "300 frames": [INFO, *[b"x"] * 299],
}

SOCKETS = {"up0": zmq.DEALER, "down0": zmq.DEALER, "loopback": zmq.PUSH, "interrupt": zmq.XSUB}


def throw(rig: Rig, kinds: list[list[bytes]]) -> None:
    for name, kind in SOCKETS.items():
        for frames in kinds:
            with rig.context.socket(kind) as thrower:
                thrower.linger = 1000
                thrower.immediate = True
                thrower.sndtimeo = int(1000 * PATIENCE)
                thrower.connect(rig.endpoint(name))
                thrower.send_multipart(frames)


def test_there_are_32_kinds() -> None:
    assert len(JUNK) == 32


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_junk_for_proxy_and_server(start: Start, directory: Path, transport: str) -> None:
    with Rig(start, directory, transport) as rig:
        rig.run_all(workers=2)
        rig.ask(100)
        throw(rig, list(JUNK.values()))
        rig.ask(200)
        before = {process: resident(process) for process in rig.processes}
        for _ in range(3):
            throw(rig, list(JUNK.values()))
        rig.ask(200)
        for process, size in before.items():
            assert process.popen.poll() is None
            assert resident(process) - size <= 10_000_000


def test_bytes_that_are_no_zeromq(start: Start, directory: Path) -> None:
    chance = random.Random(3)
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(48)
    with Rig(start, directory, "tcp") as rig:
        rig.run_all(workers=2)
        rig.ask(100)
        for name in SOCKETS:
            port = int(rig.endpoint(name).rsplit(":", 1)[1])
            request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
            for data in (b"", request, b"\xff" * 1000, greeting, greeting + chance.randbytes(200), chance.randbytes(5000)):
                with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
                    connection.sendall(data)
        rig.ask(200)
        assert all(process.popen.poll() is None for process in rig.processes)


@pytest.mark.parametrize("function", ["work", "prime_server.primes:work", "prime_server.primes:compute"])
def test_junk_for_a_worker(start: Start, directory: Path, function: str) -> None:
    """From something that took the place of its proxy, and of the server's interrupts."""
    with (
        Rig(start, directory) as rig,
        rig.context.socket(zmq.ROUTER) as proxy,
        rig.context.socket(zmq.XPUB) as interrupt,
        rig.context.socket(zmq.PULL) as loopback,
    ):
        for bound, name in ((proxy, "down0"), (interrupt, "interrupt"), (loopback, "loopback")):
            bound.linger = 0
            bound.bind(rig.endpoint(name))
        (worker,) = rig.work(function=function)
        assert proxy.poll(1000 * PATIENCE)
        peer = proxy.recv_multipart()[0]
        assert interrupt.poll(1000 * PATIENCE)
        for frames in JUNK.values():
            proxy.send_multipart([peer, *frames])
            interrupt.send_multipart(frames)
        # It goes on: a job is answered.
        proxy.send_multipart([peer, struct.pack("<IIHH", 5, 5, 1, 0), b"GET /?n=5 HTTP/1.1\r\nHost: a\r\n\r\n"])
        answered = b""
        while answered != struct.pack("<II", 5, 5):
            assert loopback.poll(1000 * PATIENCE)
            answered = loopback.recv_multipart()[0][:8]
        assert worker.popen.poll() is None
