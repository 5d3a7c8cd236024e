"""The direct way between a hub and a worker process that it has started: small messages take it, and nothing depends on it.

Hub and worker are real ones; between their ends of the way stands a relay that tells what has passed, cuts it off or puts in bytes of its own.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import zmq
from conftest import PATIENCE
from pipelines import wait_until

from prime_server import Hub, Job, Processes, Response, Stage, Worker
from prime_server._ext.direct import receive_packet, send_packet
from prime_server._ext.info import RequestInfo

pytestmark = pytest.mark.skipif(not hasattr(socket, "SOCK_SEQPACKET") or os.uname().sysname != "Linux", reason="there are no such sockets here")

FOR_WORKER, FOR_SESSIONS, FOR_NEXT_STAGE = range(3)
LARGEST = 16384


def packet(kind: int, *frames: bytes) -> bytes:
    """Of one message."""
    return struct.pack(f"={2 + len(frames)}I", kind, len(frames), *map(len, frames)) + b"".join(frames)


def kinds_in(data: bytes) -> list[int]:
    """Of the messages in a packet, which is well-formed."""
    kinds = []
    at = 0
    while at < len(data):
        kind, frames = struct.unpack_from("=2I", data, at)
        sizes = struct.unpack_from(f"={frames}I", data, at + 8)
        at += 8 + 4 * frames + sum(sizes)
        kinds.append(kind)
    assert at == len(data)
    return kinds


class Relay:
    """Stands between the hub's end and the worker's."""

    def __init__(self) -> None:
        self.to_hub, self.hubs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.to_worker, self.workers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.passed: list[int] = []
        self.largest = 0
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        ways = {self.to_hub: self.to_worker, self.to_worker: self.to_hub}
        while True:
            for end in select.select(list(ways), [], [])[0]:
                data = end.recv(2 * LARGEST)
                if not data:
                    ways[end].shutdown(socket.SHUT_RDWR)
                    return
                self.passed += kinds_in(data)
                self.largest = max(self.largest, len(data))
                with contextlib.suppress(OSError):
                    ways[end].send(data)

    def close(self) -> None:
        for end in (self.to_hub, self.to_worker):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        for end in (self.to_hub, self.to_worker, self.workers):
            end.close()


class Tied:
    """A hub on a thread, and a worker on one for each stage, which are tied to it as if they were processes of its own."""

    _numbers = itertools.count()

    def __init__(self, *works: Callable[[Job], Any], window: int = 64) -> None:
        self.stack = contextlib.ExitStack()
        self.context = self.stack.enter_context(zmq.Context())
        name = f"inproc://direct-{next(self._numbers)}"
        loopback, interrupt = f"{name}/loopback", f"{name}/interrupt"
        stages = [Stage(f"{name}/{stage}/up" if stage else None, f"{name}/{stage}/down") for stage in range(len(works))]
        self.hub = self.stack.enter_context(
            Hub(
                self.context, listen="tcp://127.0.0.1:0", stages=stages, whole=True, loopback=loopback, interrupt=interrupt, processes=len(works),
            )
        )  # fmt: skip
        self.relays = [Relay() for _ in works]
        self._run(self.hub.serve, self.hub.stop)
        for stage, (work, relay) in enumerate(zip(works, self.relays, strict=True)):
            self.stack.callback(relay.close)
            downstream = f"{name}/{stage + 1}/up" if stage + 1 < len(works) else None
            worker = self.stack.enter_context(Worker(self.context, f"{name}/{stage}/down", downstream, loopback, interrupt, work, window=window))
            worker.set_direct(relay.workers.fileno(), self.hub.add_direct(stage, stage, relay.hubs))
            self._run(worker.work, worker.stop)

    def _run(self, run: Callable[[], None], stop: Callable[[], None]) -> None:
        thread = threading.Thread(target=run)
        thread.start()
        self.stack.callback(thread.join)
        self.stack.callback(stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self.stack.__exit__(*error)

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", int(self.hub.endpoint.rpartition(":")[2])

    @contextlib.contextmanager
    def client(self) -> Iterator[http.client.HTTPConnection]:
        with contextlib.closing(http.client.HTTPConnection(*self.address, timeout=PATIENCE)) as connection:
            yield connection

    def asks(self, body: bytes = b"", times: int = 1) -> None:
        """Each time the right answer comes: how long the body was, or so many bytes as the query says."""
        with self.client() as client:
            for number in range(times):
                client.request("POST", f"/?n={number}", body)
                response = client.getresponse()
                assert (response.status, response.read()) == (200, b"%d: %d bytes" % (number, len(body)))


def work(job: Job) -> Response:
    query = job.request.query
    if "size" in query:
        return Response(200, bytes(int(query["size"][0])))
    return Response(200, f"{query['n'][0]}: {len(job.request.body)} bytes")


def forward(job: Job) -> object:
    return job.forward(job.frames[0])


def warm(tied: Tied, relays: int = 1) -> None:
    """The first jobs go over ZeroMQ, until both sides know each other."""

    def direct() -> bool:
        tied.asks()
        return all(relay.passed.count(FOR_WORKER) > 1 for relay in tied.relays[:relays])

    wait_until(direct)


def test_small_jobs_and_results_take_it() -> None:
    with Tied(work) as tied:
        warm(tied)
        (relay,) = tied.relays
        before = len(relay.passed)
        tied.asks(b"small", times=100)
        assert relay.passed[before:] == [FOR_WORKER, FOR_SESSIONS] * 100


@pytest.mark.parametrize("size", [LARGEST // 2, LARGEST - 500, LARGEST, LARGEST + 1, 10 * LARGEST, 3_000_000])
def test_what_is_big_goes_over_zeromq(size: int) -> None:
    with Tied(work) as tied:
        warm(tied)
        (relay,) = tied.relays
        before = len(relay.passed)
        tied.asks(bytes(size))
        jobs = relay.passed[before:].count(FOR_WORKER)
        assert jobs == (size < LARGEST - 400) or LARGEST - 600 < size <= LARGEST
        with tied.client() as client:
            client.request("GET", f"/?size={size}")
            assert client.getresponse().read() == bytes(size)
        tied.asks(times=3)
        assert relay.largest <= LARGEST


def test_between_stages() -> None:
    with Tied(forward, work) as tied:
        warm(tied, 2)
        before = [len(relay.passed) for relay in tied.relays]
        tied.asks(b"small", times=20)
        first, second = (relay.passed[begin:] for relay, begin in zip(tied.relays, before, strict=True))
        assert first == [FOR_WORKER, FOR_NEXT_STAGE] * 20
        assert second == [FOR_WORKER, FOR_SESSIONS] * 20
        tied.asks(bytes(1_000_000))


@pytest.mark.parametrize("window", [1, 64])
def test_pipelined_requests_are_answered_in_order(window: int) -> None:
    """As many as a window takes: jobs and results of one moment share a packet."""
    count = 2_000
    with Tied(work, window=window) as tied, socket.create_connection(tied.address, timeout=PATIENCE) as client:
        warm(tied)
        requests = b"".join(b"GET /?n=%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(count))
        sender = threading.Thread(target=client.sendall, args=(requests,))
        sender.start()
        with client.makefile("rb") as answers:
            for number in range(count):
                assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
                fields = http.client.parse_headers(answers)
                assert answers.read(int(fields["Content-Length"])) == b"%d: 0 bytes" % number
        sender.join()


JUNK = [
    b"x",
    bytes(7),
    struct.pack("=2I", FOR_SESSIONS, 0),
    struct.pack("=2I", 3, 1) + bytes(8),
    struct.pack("=2I", FOR_SESSIONS, 7) + bytes(100),
    struct.pack("=2I", FOR_SESSIONS, 2**32 - 1) + bytes(100),
    struct.pack("=3I", FOR_SESSIONS, 1, 2**32 - 1) + bytes(100),
    struct.pack("=4I", FOR_SESSIONS, 2, 8, 2**32 - 8) + bytes(100),
    packet(FOR_SESSIONS, b"info", b"response") + b"and more",
    bytes(LARGEST + 100),
]


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
@pytest.mark.parametrize("to", ["hub", "worker"])
def test_a_malformed_packet_is_dropped(junk: bytes, to: str) -> None:
    with Tied(work) as tied:
        warm(tied)
        (relay,) = tied.relays
        for _ in range(3):
            (relay.to_hub if to == "hub" else relay.to_worker).send(junk)
        before = len(relay.passed)
        tied.asks(b"small", times=20)
        assert relay.passed[before:] == [FOR_WORKER, FOR_SESSIONS] * 20


@pytest.mark.parametrize(
    "message",
    [
        packet(FOR_SESSIONS, b"no info", b"HTTP/1.1 200 OK\r\n\r\n"),
        packet(FOR_SESSIONS, bytes(72), b"HTTP/1.1 200 OK\r\n\r\n"),
        packet(FOR_SESSIONS, b""),
        packet(FOR_NEXT_STAGE, b"", b""),
        packet(FOR_NEXT_STAGE, bytes(72), b"GET / HTTP/1.1\r\n\r\n"),
        packet(FOR_WORKER, bytes(72), b"GET / HTTP/1.1\r\n\r\n"),
    ],
    ids=range(6),
)
def test_nothing_in_a_packet_is_believed(message: bytes) -> None:
    with Tied(forward, work) as tied:
        warm(tied, 2)
        for relay in tied.relays:
            for end in (relay.to_hub, relay.to_worker):
                end.send(message * 3)
        tied.asks(b"small", times=20)
        assert tied.hub.stats()["answers"] > 0


def test_what_is_sent_before_an_end_is_closed_is_read() -> None:
    """Though the one that closes it had something unread, of which the other is told first."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        assert send_packet(theirs.fileno(), [(FOR_SESSIONS, [b"info", b"a result"])])
        assert send_packet(ours.fileno(), [(FOR_WORKER, [b"info", b"a job"])])
        theirs.close()
        assert receive_packet(ours.fileno()) == [(FOR_SESSIONS, [b"info", b"a result"])]
        with pytest.raises(EOFError):
            receive_packet(ours.fileno())


def test_when_it_is_cut_off_zeromq_remains() -> None:
    with Tied(work) as tied:
        warm(tied)
        (relay,) = tied.relays
        for end in (relay.to_hub, relay.to_worker):
            end.shutdown(socket.SHUT_RDWR)
        before = len(relay.passed)
        tied.asks(b"small", times=20)
        assert len(relay.passed) == before


def test_a_hub_without_a_server_takes_no_results_and_jobs_by_it() -> None:
    """They are the server's to know."""
    stages = [Stage("inproc://up0", "inproc://down0"), Stage("inproc://up1", "inproc://down1")]
    with zmq.Context() as context, Hub(context, stages=stages, processes=1) as hub:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        hub.add_direct(0, 0, ours)
        thread = threading.Thread(target=hub.serve)
        thread.start()
        with theirs:
            info = RequestInfo(id=1, time_stamp=1, extended=True, life=1).to_bytes()
            for kind in (FOR_SESSIONS, FOR_NEXT_STAGE, FOR_WORKER):
                theirs.send(packet(kind, info, b"payload"))
            theirs.shutdown(socket.SHUT_WR)
            assert theirs.recv(100) == b""  # when all of it has been read
        assert hub.stats()["stages"][1]["received"] == 0
        hub.stop()
        thread.join()


def test_what_the_loop_has_not_seen_is_closed() -> None:
    with zmq.Context() as context:
        with Hub(context, stages=[Stage("inproc://a", "inproc://b")], processes=1) as hub:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            hub.add_direct(0, 0, ours)
        with theirs:
            assert theirs.recv(100) == b""


def test_a_worker_with_several_next_stages_has_none() -> None:
    with zmq.Context() as context:
        ends = {"one": "inproc://one", "two": "inproc://two"}
        with (
            Worker(context, "inproc://up", ends, "inproc://loopback", "inproc://interrupt", work) as worker,
            pytest.raises(ValueError, match="one next stage, not 2"),
        ):
            worker.set_direct(0, 1)


def test_a_place_for_a_process_is_checked() -> None:
    with zmq.Context() as context, Hub(context, stages=[Stage("inproc://a", "inproc://b")], processes=2) as hub:
        for index, stage in ((2, 0), (-1, 0), (0, 1)):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with ours, theirs, pytest.raises(ValueError, match="no place"):
                hub.add_direct(index, stage, ours)


LAST_WORDS = '''
import os, threading, time

from prime_server import Response


def work(job):
    threading.Timer(0.1, os.kill, (os.getpid(), 9)).start()
    return Response(200, "done")
'''


def test_what_a_process_has_sent_before_its_end_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a request that must not be repeated; and the process in its place has a way of its own."""
    (tmp_path / "last_words.py").write_text(LAST_WORDS)
    monkeypatch.chdir(tmp_path)
    with Processes("tcp://127.0.0.1:0", ["last_words:work"]) as pipeline:
        address = "127.0.0.1", int(pipeline.endpoint.rpartition(":")[2])
        for number in range(1, 4):
            with contextlib.closing(http.client.HTTPConnection(*address, timeout=PATIENCE)) as client:
                client.request("POST", "/", b"")
                response = client.getresponse()
                assert (response.status, response.read()) == (200, b"done")
            wait_until(lambda number=number: pipeline.stats()["processes_died"] == number)
