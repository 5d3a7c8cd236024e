"""What is around a worker, in plain pyzmq: its proxy, the server's loopback and interrupt, the proxies of next stages.

The proxy is one of the original's until `hello` is called.
"""

import itertools
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import zmq

from prime_server import Interrupted, Job, Response, Worker
from prime_server._ext.info import RequestInfo

PATIENCE = 20_000  # ms that anything may take at worst
GET = b"GET /is_prime?possible_prime=7 HTTP/1.1\r\nHost: a\r\n\r\n"
IDLE, LEAVING = 1, 2
LIFE = 77
IDEMPOTENT, HEAD, RESULT, MORE, REFUSAL, FROM_PROXY, NETSTRING, RAW, CANCEL = 0x1, 0x4, 0x10, 0x20, 0x40, 0x80, 0x100, 0x200, 0x800


class Report(NamedTuple):
    heartbeat: bytes
    flags: int
    window: int
    finished: list[int]
    returned: list[int]
    busy: int
    running: int

    @classmethod
    def of(cls, frames: list[bytes]) -> "Report":
        heartbeat, report = frames
        magic, _, flags, window, finished, returned, _, busy, _, running = struct.unpack_from("<4sBBHHHIqQQ", report)
        assert magic == b"PRSR"
        assert len(report) == 48 + 16 * (finished + returned)
        keys = [struct.unpack_from("<QQ", report, 48 + 16 * index)[1] for index in range(finished + returned)]
        return cls(heartbeat, flags, window, keys[:finished], keys[finished:], busy, running)


class Result(NamedTuple):
    info: RequestInfo
    frames: list[bytes]

    @property
    def status(self) -> int:
        return int(self.frames[0].split(b" ")[1])

    @property
    def body(self) -> bytes:
        return b"".join(self.frames).partition(b"\r\n\r\n")[2]


def received(socket: zmq.Socket[bytes], patience: int = PATIENCE) -> list[bytes]:
    assert socket.poll(patience), "nothing came"
    return socket.recv_multipart(zmq.DONTWAIT)


def key(number: int) -> int:
    return number | 5 << 32


class StandIn:
    _numbers = itertools.count()

    def __init__(self, transport: str = "inproc", directory: object = None, stages: tuple[str, ...] | bool = ()) -> None:
        self.context = zmq.Context()
        self._base = {
            "inproc": f"inproc://worker-test-{next(self._numbers)}-",
            "ipc": f"ipc://{directory}/",
            "tcp": "tcp://127.0.0.1:*",
            "tcp6": "tcp://[::1]:*",
        }[transport]
        self.proxy = self._bound(zmq.ROUTER, "proxy")
        self.loopback = self._bound(zmq.PULL, "loopback")
        self.interrupt = self._bound(zmq.XPUB, "interrupt")  # an XPUB is a PUB that tells who has subscribed
        names = ("only",) if stages is True else stages or ()
        self.stages = {name: self._bound(zmq.ROUTER, f"stage-{name}") for name in names}
        ends = {name: self.endpoint(socket) for name, socket in self.stages.items()}
        self.downstream: Any = ends["only"] if stages is True else ends or None
        self.worker_id = b""
        self.joined = False
        self.error: BaseException | None = None

    def _bound(self, kind: int, name: str) -> zmq.Socket[bytes]:
        socket = self.context.socket(kind)
        socket.linger = 0
        socket.set_hwm(0)
        socket.ipv6 = True
        socket.bind(self._base if "*" in self._base else self._base + name)
        return socket

    @staticmethod
    def endpoint(socket: zmq.Socket[bytes]) -> str:
        end = socket.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(end, bytes)
        return end.rstrip(b"\0").decode()

    @contextmanager
    def worker(self, work: Any, **options: Any) -> Iterator[Worker]:
        """A worker on a thread, which has said that it is idle and hears interrupts."""
        ends = (self.endpoint(self.proxy), self.downstream, self.endpoint(self.loopback), self.endpoint(self.interrupt))
        with Worker(self.context, *ends, work, **options) as worker:
            thread = threading.Thread(target=self._run, args=(worker,))
            thread.start()
            try:
                self.first = self.report()
                assert received(self.interrupt) == [b"\1"]
                yield worker
            finally:
                worker.stop(interrupt=True)
                thread.join(PATIENCE / 1000)
                assert not thread.is_alive()

    def _run(self, worker: Worker) -> None:
        try:
            worker.work()
        except BaseException as error:
            self.error = error

    def report(self) -> Report:
        self.worker_id, *frames = received(self.proxy)
        return Report.of(frames)

    def reports_until(self, *, finished: int = 0, returned: int = 0) -> list[Report]:
        """Reports, until they name that many jobs."""
        reports: list[Report] = []
        while sum(len(r.finished) for r in reports) < finished or sum(len(r.returned) for r in reports) < returned:
            reports.append(self.report())
            assert len(reports) < 10_000
        return reports

    def carry(self, numbers: Iterable[int], *payload: bytes) -> list[Report]:
        """Has jobs done, as a proxy does: what the worker hands back it gets again. On a busy machine any job may look like a long one."""
        missing = {key(number) for number in numbers}
        for number in sorted(missing):
            self.job(number & 0xFFFFFFFF, *payload)
        reports: list[Report] = []
        while missing:
            reports.append(self.report())
            missing -= set(reports[-1].finished)
            for number in reports[-1].returned:
                self.job(number & 0xFFFFFFFF, *payload)
        return reports

    def hello(self, life: int = 1) -> None:
        self.proxy.send_multipart([self.worker_id, struct.pack("<4sIQ", b"PRSH", 1, life)])

    def job(self, number: int, *payload: bytes, info: bytes | None = None, **fields: Any) -> None:
        if info is None:
            fields = {"id": number, "time_stamp": 5, "extended": True, "life": LIFE} | fields
            info = RequestInfo(**fields).to_bytes()
        self.proxy.send_multipart([self.worker_id, info, *(payload or (GET,))])

    def bare_job(self, number: int, *payload: bytes, bits: int = 1) -> None:
        """As the original's server makes it."""
        self.job(number, *payload, info=struct.pack("<IIHH", number, 5, bits, 0))

    def result(self) -> Result:
        info, *frames = received(self.loopback)
        return Result(RequestInfo.from_bytes(info), frames)

    def say_interrupted(self, number: int, life: int | None = LIFE) -> None:
        self.interrupt.send(struct.pack("<Q", key(number)) + (b"" if life is None else struct.pack("<Q", life)))

    def quiet(self, socket: zmq.Socket[bytes], ms: int = 0) -> bool:
        return not socket.poll(ms)

    def close(self) -> None:
        self.context.destroy(linger=0)


# --- work functions ---------------------------------------------------------------------------------------------------------------------


def ok(job: Job) -> Response:
    return Response(200, "fine")


class Gate:
    """A work function that lets each job of a gated request wait until it is told to go on."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.seen: list[int] = []

    def __call__(self, job: Job) -> Response:
        self.seen.append(job.info.id)
        if job.info.id == 1:
            self.entered.set()
            assert self.open.wait(PATIENCE / 1000)
        return Response(200, str(job.info.id))


class UntilInterrupted(Gate):
    """Its first job checks until it is interrupted, for ever if need be."""

    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Event()
        self.why = ""
        self.at = 0.0

    def __call__(self, job: Job) -> Response:
        self.seen.append(job.info.id)
        if job.info.id == 1:
            self.entered.set()
            try:
                while True:
                    job.check()
            except Interrupted as error:
                self.at = time.monotonic()
                self.why = str(error)
                self.told.set()
                raise
        return Response(200, str(job.info.id))
