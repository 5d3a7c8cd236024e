"""Stand-ins for the parts of the original C++ `prime_server` 0.12, to see that ours and its parts work together.

Each does on the wire what the original does and no more, in plain pyzmq, on a thread of its own:

* the server numbers requests with 12 bytes of info (8 under netstring), encodes targets as libcurl does, passes chunked bodies on de-chunked with
  `Transfer-Encoding` still among the fields, sends a result's one frame to its client in whatever order results come, and publishes 8 bytes for each
  request that nobody waits for any more;
* the proxy takes whatever a worker says for "I am idle", looks at the first frame alone, and hands it one job for that;
* the worker takes whatever comes from its proxy for a job, repeats its heartbeat every second while it is idle, answers in one frame, and reads 8
  bytes of each interrupt;
* server and worker never read what the proxies they send to may have to say.

What one of the originals would misread is a fault: it is noted, and `close` raises it.
"""

import itertools
import os
import re
import select
import socket
import struct
import threading
import time
import urllib.parse
from collections.abc import Callable
from typing import Any, Self

import zmq

HELLO = b"PRSH"  # how the messages begin that ours say to each other alone
REPORT = b"PRSR"
IDLE, LEAVING = 1, 2

Frames = list[bytes]
Choose = Callable[[list[bytes], Frames], int]


class Part:
    """A thread around one poll; `sockets` are its own."""

    def __init__(self, context: zmq.Context[Any] | None = None) -> None:
        self.own_context = context is None
        self.context: zmq.Context[Any] = zmq.Context() if context is None else context
        self.sockets: list[zmq.Socket[bytes]] = []
        self.faults: list[str] = []
        self.poller = zmq.Poller()
        self.stopped, self.stopping = os.pipe()
        self.poller.register(self.stopped, zmq.POLLIN)
        self.thread = threading.Thread(target=self.loop, name=type(self).__name__)

    def socket(self, kind: int, *, bind: str | None = None, connect: str | None = None, polled: bool = True) -> zmq.Socket[bytes]:
        made: zmq.Socket[bytes] = self.context.socket(kind)
        self.sockets.append(made)
        made.linger = 0
        made.sndhwm = made.rcvhwm = 0
        made.ipv6 = True
        if bind is not None:
            made.bind(bind)
        if connect is not None:
            made.connect(connect)
        if polled:
            self.poller.register(made, zmq.POLLIN)
        return made

    def fault(self, what: str) -> None:
        self.faults.append(f"{type(self).__name__}: {what}")

    def loop(self) -> None:
        try:
            while True:
                ready = dict(self.poller.poll(self.timeout()))
                if self.stopped in ready:
                    return
                self.turn(ready)
        except Exception as error:  # told by close
            self.fault(f"{type(error).__name__}: {error}")

    def timeout(self) -> int:
        return 1000

    def turn(self, ready: dict[Any, int]) -> None:
        raise NotImplementedError

    def end(self) -> None:
        """When the thread has ended."""

    def unread(self, towards_proxy: zmq.Socket[bytes]) -> None:
        """What has come where the original never looks: of ours one hello at most, which there may be no way to know that nobody reads it."""
        heard = []
        while towards_proxy.poll(0):
            heard.append(towards_proxy.recv_multipart())
        if len(heard) > 1 or any(len(message) != 1 or not message[0].startswith(HELLO) for message in heard):
            self.fault(f"nobody reads what its proxy said: {heard!r}")

    def close(self) -> None:
        os.write(self.stopping, b"x")
        self.thread.join()
        self.end()
        for made in self.sockets:
            made.close()
        if self.own_context:
            self.context.term()
        os.close(self.stopped)
        os.close(self.stopping)
        if self.faults:
            raise AssertionError("\n".join(self.faults))

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            self.close()
        except AssertionError:
            if kind is None:
                raise


class Proxy(Part):
    """`proxy_t`: ROUTER to ROUTER, and a queue of those who have said something."""

    def __init__(self, upstream: str, downstream: str, *, choose: Choose | None = None, context: zmq.Context[Any] | None = None) -> None:
        super().__init__(context)
        self.upstream = self.socket(zmq.ROUTER, bind=upstream, polled=False)
        self.downstream = self.socket(zmq.ROUTER, bind=downstream)
        self.choose = choose
        self.idle: dict[bytes, bytes] = {}  # who, and what it favours, in the order in which they came
        self.taken: dict[bytes, int] = {}

    def turn(self, ready: dict[Any, int]) -> None:
        if self.downstream in ready:
            worker, heartbeat, *rest = self.downstream.recv_multipart()
            if rest:
                self.check_report(rest)
            self.idle[worker] = heartbeat
        if self.upstream in ready and self.idle:
            _, *job = self.upstream.recv_multipart()
            check_job(self, job)
            worker = list(self.idle)[self.choose(list(self.idle.values()), job[1:]) if self.choose else 0]
            del self.idle[worker]
            self.taken[worker] = self.taken.get(worker, 0) + 1
            self.downstream.send_multipart([worker, *job])
        # Without workers jobs stay where they are.
        if self.idle and self.upstream not in self.poller:
            self.poller.register(self.upstream, zmq.POLLIN)
        elif not self.idle and self.upstream in self.poller:
            self.poller.unregister(self.upstream)

    def check_report(self, rest: Frames) -> None:
        report = rest[0]
        if len(rest) > 1 or not report.startswith(REPORT) or len(report) < 48:
            self.fault(f"neither a heartbeat nor ours: {rest!r}")
            return
        flags, _window, _finished, returned, _service, busy = struct.unpack_from("<BHHHIq", report, 5)
        if not flags & IDLE or flags & LEAVING or returned or busy:
            self.fault(f"taken for idle, but flags are {flags}, {returned} jobs are handed back, it is busy for {busy} us")


def check_job(part: Part, frames: Frames, info_size: int = 8) -> bool:
    """Whether the frames are a job to one of the originals."""
    if len(frames) < 2 or len(frames[0]) < info_size or frames[0].startswith(HELLO):
        part.fault(f"taken for a job: {frames!r}")
        return False
    return True


class Job:
    """What a work function of the original's is given."""

    def __init__(self, worker: "Worker", frames: Frames) -> None:
        self.worker = worker
        self.info = bytearray(frames[0])
        self.frames = frames[1:]

    @property
    def key(self) -> bytes:
        return bytes(self.info[:8])

    def interrupted(self) -> bool:
        """Looks, as the original's interrupt function does, whether an interrupt for this job has come."""
        self.worker.hear_interrupts()
        return self.key in self.worker.interrupted

    def request(self) -> tuple[str, str, dict[str, list[str]], bytes]:
        """Method, path, query and body, as the original's parser makes of the payload."""
        text = b"".join(self.frames)
        head, _, body = text.partition(b"\r\n\r\n")
        method, target, version = head.split(b"\r\n")[0].decode().split(" ")
        assert re.fullmatch(r"HTTP/1\.[01]", version), version
        path, _, query = urllib.parse.unquote(target).partition("?")
        return method, path, urllib.parse.parse_qs(query), body

    def response(self, status: int, body: bytes) -> bytes:
        """A response's text, by the rules of the info, and its status in the info."""
        bits = struct.unpack_from("<H", self.info, 8)[0]
        struct.pack_into("<H", self.info, 8, bits & 0x801F | status << 5)
        lines = [f"HTTP/1.{bits & 7} {status} {'OK' if status == 200 else 'Bad Request'}"]
        if bits & 0x08:
            lines.append("Connection: Keep-Alive")
        if bits & 0x10:
            lines.append("Connection: Close")
        lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode() + body


Work = Callable[[Job], tuple[str, bytes | Frames]]


class Worker(Part):
    """`worker_t`. `work` returns ("answer", the response's text) or ("forward", frames)."""

    def __init__(
        self,
        upstream: str,
        downstream: str | None,
        loopback: str,
        interrupt: str,
        work: Work,
        *,
        heartbeat: bytes = b"",
        info_size: int = 12,
        context: zmq.Context[Any] | None = None,
    ) -> None:
        super().__init__(context)
        self.upstream = self.socket(zmq.DEALER, connect=upstream)
        self.downstream = self.socket(zmq.DEALER, connect=downstream, polled=False)
        self.loopback = self.socket(zmq.PUSH, connect=loopback, polled=False)
        self.interrupts = self.socket(zmq.SUB, connect=interrupt)
        self.interrupts.subscribe(b"")
        self.work = work
        self.heartbeat = heartbeat
        self.info_size = info_size
        self.interrupted: set[bytes] = set()
        self.jobs = self.dropped = 0
        self.upstream.send(heartbeat)
        self.said = time.monotonic()

    def timeout(self) -> int:
        return max(0, int(1000 * (self.said + 1.0 - time.monotonic())) + 1)

    def turn(self, ready: dict[Any, int]) -> None:
        self.hear_interrupts()
        if self.upstream in ready:
            frames = self.upstream.recv_multipart()
            if check_job(self, frames, self.info_size):
                job = Job(self, frames)
                if job.key in self.interrupted:
                    self.dropped += 1
                else:
                    self.jobs += 1
                    what, result = self.work(job)
                    if what == "forward":
                        assert isinstance(result, list)
                        self.downstream.send_multipart([bytes(job.info), *result])
                    elif what == "answer":
                        assert isinstance(result, bytes)
                        self.loopback.send_multipart([bytes(job.info), result])
        elif time.monotonic() < self.said + 1.0:
            return
        self.upstream.send(self.heartbeat)
        self.said = time.monotonic()

    def hear_interrupts(self) -> None:
        while self.interrupts.poll(0):
            frames = self.interrupts.recv_multipart()
            for frame in frames:
                if len(frame) < 8:
                    self.fault(f"8 bytes are read off each interrupt: {frames!r}")
                self.interrupted.add(frame[:8])

    def end(self) -> None:
        self.unread(self.downstream)


class Client:
    """A connection of the stand-in server's."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.received = b""
        self.asked: dict[bytes, bool] = {}  # keys, and whether the connection goes on after the answer


class Server(Part):
    """`http_server_t`, and with `netstring` the other one. `endpoint` is where clients connect to."""

    def __init__(
        self, proxy: str, loopback: str, interrupt: str, *, netstring: bool = False, timeout: float = 0.0, context: zmq.Context[Any] | None = None
    ) -> None:
        super().__init__(context)
        self.proxy = self.socket(zmq.DEALER, connect=proxy, polled=False)
        self.loopback = self.socket(zmq.PULL, bind=loopback)
        self.interrupt = self.socket(zmq.PUB, bind=interrupt, polled=False)
        self.netstring = netstring
        self.seconds = timeout
        self.ids = itertools.count()
        self.waiting: dict[bytes, tuple[Client, float]] = {}
        self.late = 0
        self.clients: dict[int, Client] = {}
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.poller.register(self.listener.fileno(), zmq.POLLIN)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.listener.getsockname()
        return host, port

    def timeout(self) -> int:
        return 20 if self.seconds else 1000

    def turn(self, ready: dict[Any, int]) -> None:
        if self.listener.fileno() in ready:
            connection, _ = self.listener.accept()
            self.clients[connection.fileno()] = Client(connection)
            self.poller.register(connection.fileno(), zmq.POLLIN)
        for descriptor in [descriptor for descriptor in ready if descriptor in self.clients]:
            self.read(self.clients[descriptor])
        while self.loopback.poll(0):
            self.answer(self.loopback.recv_multipart())
        for key, (client, since) in list(self.waiting.items()):
            if self.seconds and time.monotonic() - since >= self.seconds:
                self.interrupt.send(key)
                self.send(key, client, b"HTTP/1.1 504 Gateway Time-out\r\nContent-Length: 0\r\n\r\n")

    def read(self, client: Client) -> None:
        try:
            data = client.connection.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.drop(client)
            return
        client.received += data
        while job := (self.next_netstring(client) if self.netstring else self.next_request(client)):
            info, payload, keep = job
            client.asked[info[:8]] = keep
            self.waiting[info[:8]] = client, time.monotonic()
            self.proxy.send_multipart([info, payload])

    def drop(self, client: Client) -> None:
        for key in client.asked:
            del self.waiting[key]
            self.interrupt.send(key)
        descriptor = client.connection.fileno()
        del self.clients[descriptor]
        self.poller.unregister(descriptor)
        client.connection.close()

    def next_netstring(self, client: Client) -> tuple[bytes, bytes, bool] | None:
        size, colon, rest = client.received.partition(b":")
        if not colon or len(rest) <= int(size):
            return None
        client.received = rest[int(size) + 1 :]
        return struct.pack("<II", next(self.ids), int(time.time())), rest[: int(size)], True

    def next_request(self, client: Client) -> tuple[bytes, bytes, bool] | None:
        head, end, rest = client.received.partition(b"\r\n\r\n")
        if not end:
            return None
        start, *fields = head.decode("latin-1").split("\r\n")
        named = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        chunked = named.get("transfer-encoding", "").lower() == "chunked"
        if chunked:
            found = unchunk(rest)
            if found is None:
                return None
            body, rest = found
        else:
            size = int(named.get("content-length", 0))
            if len(rest) < size:
                return None
            body, rest = rest[:size], rest[size:]
        client.received = rest
        method, target, version = start.split(" ")
        path, mark, query = target.partition("?")
        decoded = urllib.parse.unquote(path) + mark + "&".join(f"{name}={value}" for name, value in urllib.parse.parse_qsl(query))
        if chunked:
            fields.append(f"Content-Length: {len(body)}")
        text = "\r\n".join([f"{method} {urllib.parse.quote(decoded, safe='')} {version}", *fields, "", ""]).encode("latin-1") + body
        connection = named.get("connection", "").lower()
        minor = int(version[-1])
        bits = minor | (0x08 if connection == "keep-alive" else 0) | (0x10 if connection == "close" else 0)
        keep = connection != "close" if minor else connection == "keep-alive"
        return struct.pack("<IIHH", next(self.ids), int(time.time()), bits, 0), text, keep

    def answer(self, frames: Frames) -> None:
        if len(frames) != 2 or len(frames[0]) < (8 if self.netstring else 12):
            self.fault(f"a result is an info and one frame: {frames!r}")
            return
        key = frames[0][:8]
        if key not in self.waiting:
            self.late += 1
            return
        if not is_whole(frames[1], netstring=self.netstring):
            self.fault(f"sent to a client as it is: {frames[1]!r}")
        self.send(key, self.waiting[key][0], frames[1])

    def send(self, key: bytes, client: Client, text: bytes) -> None:
        keep = client.asked.pop(key)
        del self.waiting[key]
        client.connection.settimeout(5.0)
        client.connection.sendall(text)
        client.connection.settimeout(0.0)
        if not keep:
            self.drop(client)

    def end(self) -> None:
        self.unread(self.proxy)
        for client in list(self.clients.values()):
            client.connection.close()
        self.listener.close()


def unchunk(data: bytes) -> tuple[bytes, bytes] | None:
    """The body and what comes behind it, or None while it isn't all there."""
    body = b""
    while True:
        size, line, data = data.partition(b"\r\n")
        if not line:
            return None
        length = int(size, 16)
        if len(data) < length + 2:
            return None
        body += data[:length]
        data = data[length + 2 :]
        if length == 0:
            return body, data


def is_whole(text: bytes, *, netstring: bool) -> bool:
    """Whether a client that is sent the text gets exactly one answer of it."""
    if netstring:
        size, _, rest = text.partition(b":")
        return len(rest) == int(size) + 1 and rest.endswith(b",")
    head, end, body = text.partition(b"\r\n\r\n")
    found = re.search(rb"(?im)^content-length: *(\d+)\r?$", head)
    return bool(end) and re.match(rb"HTTP/1\.[01] \d{3} ", head) is not None and found is not None and len(body) in (0, int(found[1]))


def ask(address: tuple[str, int] | str, requests: list[bytes], *, netstring: bool = False) -> list[bytes]:
    """Sends the requests over one connection, each when the one before is answered, and returns the answers' bodies."""
    answers = []
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as connection:
        connection.settimeout(30.0)
        connection.connect(address)
        left = b""
        for request in requests:
            connection.sendall(request)
            found = take(left, netstring)
            while found is None:
                more = connection.recv(65536)
                assert more, f"the connection ended before {request!r} was answered; got {left!r}"
                left += more
                found = take(left, netstring)
            answers.append(found[0])
            left = found[1]
        assert not select.select([connection], [], [], 0)[0], "more than was asked for"
    return answers


def take(data: bytes, netstring: bool) -> tuple[bytes, bytes] | None:
    """The first answer's body, and what comes behind it."""
    if netstring:
        digits, colon, rest = data.partition(b":")
        return (rest[: int(digits)], rest[int(digits) + 1 :]) if colon and len(rest) > int(digits) else None
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return None
    found = re.search(rb"(?im)^content-length: *(\d+)\r?$", head)
    size = int(found[1]) if found else 0
    return (rest[:size], rest[size:]) if len(rest) >= size else None
