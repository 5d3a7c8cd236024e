"""The client against small servers that behave, or don't, in a way of their own each."""

import contextlib
import gc
import itertools
import random
import re
import signal
import socket
import struct
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from prime_server import Client, Job, ProtocolError, Request, Response, Threads
from prime_server._ext.info import RequestInfo
from prime_server._ext.response import response_frames

if TYPE_CHECKING:
    from typing_extensions import Buffer

Script = Callable[["Peer"], object]


class Peer:
    """One accepted connection, as a script sees it."""

    def __init__(self, connection: socket.socket, number: int, over: threading.Event) -> None:
        self.connection = connection
        self.number = number
        self.over = over
        self.kept = b""

    def requests(self) -> Iterator[bytes]:
        """Each request's text, whose bodies are as long as Content-Length says."""
        while True:
            head, end, rest = self.kept.partition(b"\r\n\r\n")
            if end:
                length = 0
                for line in head.split(b"\r\n")[1:]:
                    name, _, value = line.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                if len(rest) >= length:
                    self.kept = rest[length:]
                    yield head + end + rest[:length]
                    continue
            data = self.connection.recv(65_536)
            if not data:
                return
            self.kept += data

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


class Scripted:
    def __init__(self, script: Script, listener: socket.socket) -> None:
        self.script = script
        self.listener = listener
        self.accepted = 0
        self.errors: list[BaseException] = []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.accept)]
        self.threads[0].start()

    def accept(self) -> None:
        while True:
            connection, _ = self.listener.accept()
            if self.over.is_set():
                connection.close()
                return
            if connection.family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self.serve, args=(Peer(connection, self.accepted, self.over),))
            self.accepted += 1
            self.threads.append(thread)
            thread.start()

    def serve(self, peer: Peer) -> None:
        with peer.connection:
            try:
                self.script(peer)
            except (ConnectionError, TimeoutError):
                pass  # the client has left
            except BaseException as error:
                self.errors.append(error)

    def stop(self) -> None:
        self.over.set()
        with contextlib.suppress(OSError), socket.socket(self.listener.family) as knock:
            knock.connect(self.listener.getsockname())
        for thread in self.threads:
            thread.join(10)
        self.listener.close()
        assert not self.errors


Serve = Callable[..., tuple[str, Scripted]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    started: list[Scripted] = []

    def start(script: Script, path: Path | None = None, host: str = "127.0.0.1") -> tuple[str, Scripted]:
        if path is not None:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(path))
            listener.listen()
            endpoint = f"unix:{path}"
        else:
            listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
            port = listener.getsockname()[1]
            endpoint = f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
        scripted = Scripted(script, listener)
        started.append(scripted)
        return endpoint, scripted

    yield start
    gc.collect()  # iterators that were left early close their connections
    for scripted in started:
        scripted.stop()


def ok(body: bytes, *fields: bytes) -> bytes:
    return b"".join((b"HTTP/1.1 200 OK\r\n", *(field + b"\r\n" for field in fields), b"Content-Length: %d\r\n\r\n" % len(body), body))


def echo(peer: Peer) -> None:
    """Answers each request with its target."""
    for request in peer.requests():
        peer.send(ok(request.split(b" ", 2)[1]))


def targets(count: int) -> Iterator[Request]:
    return (Request(target=f"/{index}") for index in range(count))


def wanted(count: int) -> list[bytes]:
    return [b"/%d" % index for index in range(count)]


@pytest.mark.parametrize(("batch_size", "connections"), [(1, 1), (2, 2), (7, 3), (64, 1), (4096, 1), (4096, 4)])
def test_in_order(serve: Serve, batch_size: int, connections: int) -> None:
    endpoint, server = serve(echo)
    with Client(None, endpoint, batch_size=batch_size, connections=connections) as client:
        assert [response.body for response in client.fetch(targets(3000))] == wanted(3000)
        assert [response.body for response in client.fetch(targets(5))] == wanted(5)
        assert list(client.fetch([])) == []
    assert server.accepted == connections  # kept from one call to the next


def test_however_the_bytes_are_cut(serve: Serve) -> None:
    whole = b"".join(
        (
            b"HTTP/1.1 100 Continue\r\n\r\n",
            ok(b"first", b"A: 1", b"a: 2"),
            b"HTTP/1.1 404 Gone fishing\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nsec\r\n3;x=y\r\nond\r\n0\r\nT: u\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",  # to HEAD
            b"HTTP/1.1 204 \r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n",
            ok(b"last"),
        )
    )

    def script(peer: Peer) -> None:
        for step in (1, 2, 3, 17, len(whole)):
            for _ in itertools.islice(peer.requests(), 6):
                pass
            for at in range(0, len(whole), step):
                peer.send(whole[at : at + step])

    endpoint, _ = serve(script)
    requests: list[Request | Buffer] = [Request(), Request(), Request("HEAD"), Request(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", Request()]
    with Client(None, endpoint) as client:
        for _ in range(5):
            responses = list(client.fetch(requests))
            assert [(response.status, response.reason, response.body) for response in responses] == [
                (200, "OK", b"first"),
                (404, "Gone fishing", b"second"),
                (200, "OK", b""),
                (204, "", b""),
                (304, "Not Modified", b""),
                (200, "OK", b"last"),
            ]
            assert responses[0].headers.get_all("a") == ["1", "2"]
            assert responses[1].text == "second"


def test_what_is_sent(serve: Serve) -> None:
    seen: list[bytes] = []

    def script(peer: Peer) -> None:
        for request in peer.requests():
            seen.append(request)
            peer.send(ok(b""))

    endpoint, _ = serve(script)
    raw = b"GET /raw HTTP/1.1\r\nHost: other\r\n\r\n"
    requests: list[Request | Buffer] = [
        Request("POST", "/a?b=%20", headers={"X": "y"}, body="caf\u00e9"),
        Request(headers={"hOST": "given"}),
        raw,
        bytearray(raw),
        memoryview(raw),
    ]
    with Client(None, endpoint) as client:
        assert [response.status for response in client.fetch(requests)] == [200] * 5
    host = endpoint.removeprefix("tcp://").encode()
    assert seen == [
        b"POST /a?b=%20 HTTP/1.1\r\nHost: " + host + b"\r\nX: y\r\nContent-Length: 5\r\n\r\ncaf\xc3\xa9",
        b"GET / HTTP/1.1\r\nhOST: given\r\n\r\n",
        raw,
        raw,
        raw,
    ]


@pytest.mark.parametrize(("host", "authority"), [("::1", b"[::1]"), ("127.0.0.1", b"127.0.0.1")])
def test_tcp_endpoints(serve: Serve, host: str, authority: bytes) -> None:
    endpoint, _ = serve(lambda peer: [peer.send(ok(request)) for request in peer.requests()], host=host)
    with Client(None, endpoint) as client:
        [response] = client.fetch([Request()])
    assert b"Host: " + authority + b":" in response.body


@pytest.mark.parametrize("scheme", ["unix:", "unix://", "ipc://"])
def test_unix_endpoints(serve: Serve, tmp_path: Path, scheme: str) -> None:
    path = tmp_path / "socket"
    serve(lambda peer: [peer.send(ok(request)) for request in peer.requests()], path)
    with Client(None, f"{scheme}{path}") as client:
        [response] = client.fetch([Request()])
    assert b"Host: localhost\r\n" in response.body


def test_both_directions_at_once(serve: Serve) -> None:
    """A server that reads nothing while it can't write: the client has to read while it has more to send than fits anywhere."""
    body = b"x" * 1_000_000
    endpoint, _ = serve(lambda peer: [peer.send(ok(body)) for _ in peer.requests()])
    with Client(None, endpoint, batch_size=30) as client:
        sizes = [len(response.body) for response in client.fetch(Request("POST", body=body) for _ in range(30))]
    assert sizes == [1_000_000] * 30


def test_reads_no_further_ahead_than_it_may(serve: Serve) -> None:
    taken = asked = most = 0

    def requests() -> Iterator[Request]:
        nonlocal asked, most
        for request in targets(1000):
            asked += 1
            most = max(most, asked - taken)
            yield request

    endpoint, _ = serve(echo)
    with Client(None, endpoint, batch_size=50) as client:
        for _ in client.fetch(requests()):
            taken += 1
    assert (taken, asked) == (1000, 1000)
    assert 25 < most <= 51  # the one that the loop has in its hands isn't counted as taken yet


def take(responses: Iterator[Response], count: int) -> list[bytes]:
    return [bytes(response.body) for response in itertools.islice(responses, count)]


def answering(count: int, then: Script) -> Script:
    """Answers so many requests of ten, all of which have come, and then does as told."""

    def script(peer: Peer) -> None:
        requests = list(itertools.islice(peer.requests(), 10))
        for request in requests[:count]:
            peer.send(ok(request.split(b" ", 2)[1]))
        then(peer)

    return script


def wait_for_the_end(peer: Peer) -> None:
    peer.connection.recv(1)


@pytest.mark.parametrize(
    ("count", "then", "error", "says"),
    [
        (3, lambda _: None, ConnectionError, "closed the connection: 3 of 10"),
        (0, lambda _: None, ConnectionError, "closed the connection: 0 of 10"),
        (3, lambda peer: peer.send(b"HTTP/1.1 200 OK\r\nContent-Le"), ConnectionError, "middle of a response: 3 of 10"),
        (3, lambda peer: peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), ConnectionError, "middle of a response: 3 of 10"),
        (3, lambda peer: peer.send(b"nonsense\r\n\r\n"), ProtocolError, "no response .*: 3 of 10"),
        (0, lambda peer: peer.send(b"5:hello,"), ProtocolError, "no response .*: 0 of 10"),
        (3, lambda peer: peer.send(ok(b"x" * 2000)), ProtocolError, "no response .*: 3 of 10"),
        (3, wait_for_the_end, TimeoutError, "nothing came from the server for 0.2 s: 3 of 10"),
    ],
)
def test_what_goes_wrong_is_told_after_the_responses_before_it(
    serve: Serve, count: int, then: Script, error: type[Exception], says: str
) -> None:
    endpoint, _ = serve(answering(count, then))
    with Client(None, endpoint, timeout=0.2 if error is TimeoutError else 20, max_response=1000) as client:
        responses = client.fetch(targets(10))
        assert take(responses, count) == wanted(count)
        with pytest.raises(error, match=says):
            next(responses)
        with pytest.raises(StopIteration):
            next(responses)


def test_a_response_too_many_is_told(serve: Serve) -> None:
    def script(peer: Peer) -> None:
        next(peer.requests())
        peer.send(ok(b"asked for") + ok(b"not asked for"))
        wait_for_the_end(peer)

    endpoint, _ = serve(script)
    with Client(None, endpoint, batch_size=1) as client:
        responses = client.fetch(targets(2))
        assert take(responses, 1) == [b"asked for"]
        with pytest.raises(ProtocolError, match="nobody asked for: 1 of 1"):
            next(responses)


def test_a_reset_is_told(serve: Serve) -> None:
    endpoint, _ = serve(answering(0, Peer.reset))
    with Client(None, endpoint) as client, pytest.raises(ConnectionResetError, match="0 of 10 requests were answered"):
        list(client.fetch(targets(10)))


def test_a_server_that_says_close_is_believed(serve: Serve) -> None:
    def script(peer: Peer) -> None:
        list(itertools.islice(peer.requests(), 10))
        peer.send(ok(b"1") + ok(b"2", b"Connection: close") + ok(b"3"))

    endpoint, _ = serve(script)
    with Client(None, endpoint) as client:
        responses = client.fetch(targets(10))
        assert take(responses, 2) == [b"1", b"2"]
        with pytest.raises(ConnectionError, match="2 of 10"):
            next(responses)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
    ],
)
def test_one_connection_for_each_request(serve: Serve, head: bytes) -> None:
    def script(peer: Peer) -> None:
        next(peer.requests())
        peer.send(head + b"%d" % (peer.number % 10))

    endpoint, server = serve(script)
    with Client(None, endpoint, batch_size=1) as client:
        assert take(client.fetch(targets(12)), 12) == [b"%d" % (index % 10) for index in range(12)]
    assert server.accepted == 12


def test_a_kept_connection_that_has_ended_is_made_again(serve: Serve) -> None:
    left = threading.Semaphore(0)

    def script(peer: Peer) -> None:
        for request in itertools.islice(peer.requests(), 3):
            peer.send(ok(request.split(b" ", 2)[1]))
        peer.connection.shutdown(socket.SHUT_RDWR)
        left.release()

    endpoint, server = serve(script)
    with Client(None, endpoint) as client:
        for _ in range(4):
            assert [response.body for response in client.fetch(targets(3))] == wanted(3)
            assert left.acquire(timeout=10)
    assert server.accepted == 4


def test_netstrings(serve: Serve) -> None:
    def script(peer: Peer) -> None:
        kept = b""
        while data := peer.connection.recv(65_536):
            kept += data
            while b":" in kept:
                size, _, rest = kept.partition(b":")
                if len(rest) <= int(size):
                    break
                peer.send(b"%d:%s," % (int(size) + 1, rest[: int(size)] + b"!"))
                kept = rest[int(size) + 1 :]

    endpoint, server = serve(script)
    with Client(None, endpoint, protocol="netstring", batch_size=100) as client:
        strings = [b"", b"a", b"x" * 100_000, *(b"%d" % index for index in range(1000))]
        assert list(client.fetch(strings)) == [string + b"!" for string in strings]
        assert list(client.fetch([b"b"])) == [b"b!"]
        with pytest.raises(TypeError):
            list(client.fetch([Request()]))
    assert server.accepted == 1


def test_netstrings_that_are_none(serve: Serve) -> None:
    def script(peer: Peer) -> None:
        peer.connection.recv(6, socket.MSG_WAITALL)
        peer.send((b"3:abc,x:", b"3:abc,5:ab")[peer.number])

    endpoint, _ = serve(script)
    with Client(None, endpoint, protocol="netstring") as client:
        for error, says in ((ProtocolError, "no response .*1 of 2"), (ConnectionError, "middle of a response: 1 of 2")):
            responses = client.fetch([b"", b""])
            assert next(responses) == b"abc"
            with pytest.raises(error, match=says):
                next(responses)


def test_an_iterable_that_raises_ends_it(serve: Serve) -> None:
    def requests() -> Iterator[Request]:
        yield from targets(3)
        raise LookupError("no more of them")

    endpoint, _ = serve(echo)
    with Client(None, endpoint, batch_size=2) as client:
        responses = client.fetch(requests())
        with pytest.raises(LookupError, match="no more"):
            list(responses)
        assert [response.body for response in client.fetch(targets(3))] == wanted(3)


@pytest.mark.parametrize(
    ("item", "error", "says"), [("GET /", TypeError, "not str"), (3, TypeError, "bytes-like"), (b"", ValueError, "never be answered")]
)
def test_what_is_no_request(serve: Serve, item: Any, error: type[Exception], says: str) -> None:
    endpoint, _ = serve(echo)
    with Client(None, endpoint) as client, pytest.raises(error, match=says):
        list(client.fetch([item]))


def test_left_early(serve: Serve) -> None:
    endpoint, server = serve(echo)
    client = Client(None, endpoint)
    responses = client.fetch(targets(1000))
    assert take(responses, 3) == wanted(3)
    assert isinstance(responses, Generator)
    responses.close()
    assert [response.body for response in client.fetch(targets(3))] == wanted(3)
    assert server.accepted == 2  # what was under way on the first can't be told from what comes now
    last = client.fetch(targets(5))
    assert take(last, 1) == wanted(1)
    client.close()
    assert take(last, 9) == wanted(5)[1:]
    with pytest.raises(ValueError, match="closed"):
        client.fetch([])


def test_two_at_once_have_connections_of_their_own(serve: Serve) -> None:
    endpoint, server = serve(echo)
    with Client(None, endpoint, batch_size=4) as client:
        for one, two in zip(client.fetch(targets(50)), client.fetch(targets(50)), strict=True):
            assert one.body == two.body
    assert server.accepted == 2


def test_not_from_within_itself(serve: Serve) -> None:
    def requests() -> Iterator[Request]:
        next(responses)
        yield Request()

    endpoint, _ = serve(echo)
    with Client(None, endpoint) as client:
        responses = client.fetch(requests())
        with pytest.raises(ValueError, match="already"):
            next(responses)


def test_a_signal_is_seen_while_waiting(serve: Serve) -> None:
    class RangError(Exception):
        pass

    def ring(*_: object) -> None:
        raise RangError

    endpoint, _ = serve(lambda peer: list(peer.requests()))
    before = signal.signal(signal.SIGALRM, ring)
    try:
        with Client(None, endpoint, timeout=None) as client:
            responses = client.fetch([Request()])
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(RangError):
                next(responses)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    with Client(None, endpoint) as client, pytest.raises(ConnectionRefusedError):
        next(client.fetch([Request()]))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"server": "tcp://127.0.0.1"}, "endpoint to connect to"),
        ({"server": "tcp://*:8002"}, "endpoint to connect to"),
        ({"server": "tcp://127.0.0.1:0"}, "endpoint to connect to"),
        ({"server": "http://127.0.0.1:80"}, "endpoint to connect to"),
        ({"protocol": "gopher"}, "'http' or 'netstring'"),
        ({"batch_size": 0}, "batch_size is 1 to"),
        ({"batch_size": 2, "connections": 3}, "1 to batch_size"),
        ({"connections": 0}, "1 to batch_size"),
        ({"timeout": 0}, "above 0"),
        ({"timeout": float("nan")}, "above 0"),
        ({"max_response": 0}, "1 byte or more"),
    ],
)
def test_wrong_options(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Client(None, **{"server": "tcp://127.0.0.1:1", **arguments})


def test_a_response_can_be_handed_on(serve: Serve) -> None:
    """What a client got is what a work function may answer with: without the fields that framed it."""
    fields = (b"X: \xe9", b"Date: now", b"Set-Cookie: a", b"Set-Cookie: b", b"Keep-Alive: 3")
    endpoint, _ = serve(lambda peer: [peer.send(ok(b"x" * 70_000, *fields)) for _ in peer.requests()])
    with Client(None, endpoint) as client:
        [response] = client.fetch([Request()])
    frames = [bytes(frame) for frame in response_frames(response, RequestInfo(id=1, time_stamp=2, extended=True).to_bytes())]
    assert frames == [b"HTTP/1.1 200 OK\r\nX: \xe9\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 70000\r\n\r\n", b"x" * 70_000]
    assert (response.status, response.reason, response.headers["x"], len(response.body)) == (200, "OK", "\u00e9", 70_000)


def test_two_clients_in_parallel_over_the_whole_pipeline() -> None:
    count = 100_000
    results: list[int] = []

    def ask(server: str, first: int, batch_size: int) -> None:
        numbers = range(first, first + count)
        with Client(None, server, batch_size=batch_size) as client:
            answers = client.fetch(Request(target=f"/?n={number}") for number in numbers)
            results.append(sum(answer.status == 200 and answer.body == b"%d" % number for number, answer in zip(numbers, answers, strict=True)))

    def work(job: Job) -> Response:
        return Response(200, job.request.query["n"][0])

    with Threads("tcp://127.0.0.1:0", [work], 2) as pipeline:
        clients = [threading.Thread(target=ask, args=(pipeline.endpoint, first, batch_size)) for first, batch_size in ((0, 4096), (10**6, 300))]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    assert results == [count, count]


def test_netstrings_over_the_whole_pipeline() -> None:
    strings = [b"", b"x" * 100_000, *(b"%d" % number for number in range(2000))]
    with (
        Threads("tcp://127.0.0.1:0", [lambda job: Response(200, job.frames[0])], 2, protocol="netstring") as pipeline,
        Client(None, pipeline.endpoint, protocol="netstring") as client,
    ):
        assert list(client.fetch(strings)) == strings


def test_any_bytes_give_responses_or_our_errors(serve: Serve) -> None:
    """The fuzz invariant: a response, `ProtocolError` or `ConnectionError`, nothing else."""
    chance = random.Random(3)
    pieces = [b"HTTP/1.1 200 OK\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"abc"]

    def script(peer: Peer) -> None:
        for _ in itertools.islice(peer.requests(), 5):
            pass
        peer.send(b"".join(chance.choices(pieces, k=chance.randrange(12))) + chance.randbytes(chance.randrange(3)))

    endpoint, _ = serve(script)
    with Client(None, endpoint) as client:
        for _ in range(200):
            try:
                responses = list(client.fetch(targets(5)))
            except (ProtocolError, ConnectionError) as error:
                assert "of 5 requests were answered" in str(error)
            else:
                assert len(responses) == 5


@pytest.mark.parametrize("where", ["unix:/nowhere/at/all", "tcp://nowhere.invalid:80", "tcp://127.0.0.1:1"])
def test_what_cant_be_reached_is_a_connection_error_that_names_it(where: str) -> None:
    with Client(None, where) as client, pytest.raises(ConnectionError, match=re.escape(where)):
        list(client.fetch(targets(1)))
