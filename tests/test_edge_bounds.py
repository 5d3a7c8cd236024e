"""Clients that are slow, idle, too many or too greedy: each meets its bound, is told where it can be, and is counted."""

import contextlib
import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from asking import Client, address_of, ask, read_answers, request
from conftest import PATIENCE, Start
from pipelines import wait_until

from prime_server import Limits, Response
from prime_server.run import Threads

GOOD = request()


@contextlib.contextmanager
def serving(work: Any = None, **limits: Any) -> Iterator[tuple[Any, tuple[str, int]]]:
    with Threads("tcp://127.0.0.1:0", [work or (lambda job: Response(200, "fine"))], 1, limits=Limits(**limits), drain_seconds=0) as server:
        yield server, address_of(server)


def rest_of(client: Client) -> bytes:
    """All that comes until the server closes, which it does by itself."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := client.socket.recv(65536):
            received += piece
    return received


def drip(client: Client, pieces: Iterator[bytes], pause: float) -> bytes:
    """Sends a piece at a time until the server answers or closes, and returns what it said."""
    until = time.monotonic() + PATIENCE
    for piece in pieces:
        assert time.monotonic() < until, "it is taken for ever"
        with contextlib.suppress(OSError):
            client.socket.sendall(piece)
        readable, _, _ = select.select([client.socket], [], [], pause)
        if readable:
            break
    return rest_of(client)


def endless(piece: bytes) -> Iterator[bytes]:
    while True:
        yield piece


@pytest.mark.parametrize("start", [b"G", b"GET / HTTP/1.1\r\nHost: x\r\nA: ", GOOD + b"GET /"])
def test_a_head_that_drips_is_answered_408(start: bytes) -> None:
    with serving(header_timeout=0.3) as (server, address), Client(address) as client:
        client.socket.sendall(start)
        before = time.monotonic()
        *_, last = read_answers(drip(client, endless(b"a"), 0.02))
        assert (last.status, last.field("connection")) == (408, "close")
        assert time.monotonic() - before < 10
        assert ask(address, GOOD)[0][0].status == 200
        assert (server.stats()["timeouts_header"], server.stats()["timeouts_body"]) == (1, 0)


@pytest.mark.parametrize(("framing", "start"), [("Content-Length: 100000", b""), ("Transfer-Encoding: chunked", b"ffff\r\n")])
def test_a_body_that_drips_is_answered_408(framing: str, start: bytes) -> None:
    with serving(body_timeout=0.3, min_body_rate=1000) as (server, address), Client(address) as client:
        client.socket.sendall(request("POST / HTTP/1.1", framing, body=start))
        [answer] = read_answers(drip(client, endless(b"a"), 0.02))
        assert answer.status == 408
        assert (server.stats()["timeouts_header"], server.stats()["timeouts_body"]) == (0, 1)


def test_a_body_may_take_long_if_it_comes_fast_enough() -> None:
    """Three times the timeout, at twice the rate."""
    with serving(body_timeout=0.2, min_body_rate=1000) as (server, address), Client(address) as client:
        client.socket.sendall(request("POST / HTTP/1.1", "Content-Length: 6000"))
        for _ in range(60):
            client.socket.sendall(b"a" * 100)
            time.sleep(0.01)
        [answer], _ = client.ask(b"", 1)
        assert answer.status == 200
        assert server.stats()["timeouts_body"] == 0


@pytest.mark.parametrize("first", [b"", b"\r\n", GOOD])
def test_an_idle_connection_is_closed(first: bytes) -> None:
    with serving(keep_alive_timeout=0.3) as (server, address), Client(address) as client:
        client.socket.sendall(first)
        assert len(read_answers(rest_of(client))) == (1 if first == GOOD else 0)
        assert server.stats()["timeouts_idle"] == 1


def test_a_connection_too_many_is_answered_503() -> None:
    gate = threading.Event()
    with serving(lambda job: Response(200, "fine" if gate.wait(PATIENCE) else "late"), max_connections=2) as (server, address):
        with Client(address) as first, Client(address) as second:
            first.socket.sendall(GOOD)
            second.socket.sendall(GOOD)
            wait_until(lambda: server.stats()["requests"] == 2)
            for _ in range(3):
                with Client(address) as third:
                    third.socket.sendall(GOOD)
                    [answer] = read_answers(rest_of(third))
                    assert (answer.status, answer.field("connection"), answer.field("retry-after")) == (503, "close", "1")
            gate.set()
            for client in (first, second):
                assert client.ask(b"", 1)[0][0].body == b"fine"
        wait_until(lambda: ask(address, GOOD)[0][0].status == 200)
        assert server.stats()["connections_refused"] >= 3


def test_an_idle_connection_makes_room() -> None:
    with serving(max_connections=2) as (server, address), Client(address) as oldest, Client(address) as other:
        for client in (oldest, other, other):
            assert client.ask(GOOD, 1)[0][0].status == 200
        # Not at once: it might ask again just now.
        wait_until(lambda: ask(address, GOOD)[0][0].status == 200)
        assert rest_of(oldest) == b""
        assert server.stats()["connections_evicted"] == 1
        assert server.stats()["connections"] <= 2
        assert other.ask(GOOD, 1)[0][0].status == 200


def from_address(host: str, address: tuple[str, int]) -> Client:
    client = Client.__new__(Client)
    client.socket = socket.create_connection(address, timeout=PATIENCE, source_address=(host, 0))
    return client


def test_an_address_has_its_share() -> None:
    with serving(max_connections_per_address=2) as (server, address):
        for _ in range(3):  # what has closed counts no more
            with Client(address) as first, Client(address) as second, Client(address) as third:
                assert first.ask(GOOD, 1)[0][0].status == 200
                assert second.ask(GOOD, 1)[0][0].status == 200
                [answer], ended = third.ask(GOOD, 1)
                assert (answer.status, answer.field("retry-after"), ended) == (429, "1", True)
                with contextlib.suppress(OSError), from_address("127.0.0.2", address) as elsewhere:
                    assert elsewhere.ask(GOOD, 1)[0][0].status == 200
                assert first.ask(GOOD, 1)[0][0].status == 200
            wait_until(lambda: server.stats()["connections"] == 0)
        assert server.stats()["connections_refused_by_address"] == 3


def test_many_addresses_come_and_go_at_once() -> None:
    """The table of addresses grows and shrinks under connections that are refused, served, reset and timed out."""
    with serving(max_connections_per_address=3, max_connections=200, header_timeout=0.1, keep_alive_timeout=0.2) as (server, address):
        try:
            from_address("127.0.1.1", address).socket.close()
        except OSError:
            pytest.skip("only one address here")
        for turn in range(4):
            clients = [from_address(f"127.0.{turn}.{number}", address) for number in range(1, 60) for _ in range(4)]
            for number, client in enumerate(clients):
                with contextlib.suppress(OSError):
                    client.socket.sendall((GOOD, b"GET /", b"", b"x\r\n\r\n")[number // 4 % 4])
                if number % 7 == 0:
                    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                if number % 3 == 0:
                    client.socket.close()
            for client in clients:
                client.socket.close()
        wait_until(lambda: server.stats()["connections"] == 0)
        assert server.stats()["connections_refused_by_address"] > 0
        assert ask(address, GOOD)[0][0].status == 200


def test_requests_in_flight_of_a_connection() -> None:
    """What is over the bound isn't read; it is taken when there is room, and all is answered in order."""
    gate = threading.Semaphore(0)

    def work(job: Any) -> Response:
        gate.acquire(timeout=PATIENCE)
        return Response(200, job.request.path)

    with serving(work, max_pipelined=2) as (server, address), Client(address) as client:
        client.socket.sendall(b"".join(request(f"GET /{number} HTTP/1.1") for number in range(10)))
        wait_until(lambda: server.stats()["requests"] == 2 and server.stats()["connections_paused"] == 1)
        assert server.stats()["requests_in_flight"] == 2
        gate.release()
        wait_until(lambda: server.stats()["requests"] == 3)
        gate.release(9)
        assert [answer.body for answer in client.ask(b"", 10)[0]] == [b"/%d" % number for number in range(10)]


def test_over_what_all_leave_unread_the_slowest_is_closed() -> None:
    size = 1_000_000
    with serving(lambda job: Response(200, bytes(size)), max_unread_in_all=size) as (server, address), Client(address) as slow:
        slow.socket.sendall(GOOD * 20)  # more than the kernel holds

        def others_come() -> bool:
            ask(address, request("HEAD / HTTP/1.1"), 1, ["HEAD"])
            return bool(server.stats()["connections_slowest_closed"])

        wait_until(others_come)
        assert server.stats()["connections_slowest_closed"] == 1
        assert len(rest_of(slow)) < 20 * size
        assert ask(address, GOOD)[0][0].status == 200
        assert server.stats()["timeouts_reader"] == 0


def test_an_endless_head_is_answered_431() -> None:
    with serving() as (_, address), Client(address) as client:
        client.socket.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        before = time.monotonic()
        [answer] = read_answers(drip(client, endless(b"A: " + b"b" * 1000 + b"\r\n"), 0.0))
        assert answer.status == 431
        assert time.monotonic() - before < 5


@pytest.mark.timing
def test_many_that_drip_hold_up_nobody() -> None:
    with serving(header_timeout=1.0, request_timeout=5.0) as (server, address), contextlib.ExitStack() as stack:
        slow = [stack.enter_context(Client(address)) for _ in range(300)]
        for client in slow:
            client.socket.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nA: ")
        times = []
        good = stack.enter_context(Client(address))
        until = time.monotonic() + PATIENCE
        while server.stats()["timeouts_header"] < 300:
            assert time.monotonic() < until
            before = time.monotonic()
            assert good.ask(GOOD, 1)[0][0].status == 200
            times.append(time.monotonic() - before)
            for client in slow[:: max(1, len(slow) // 20)]:
                with contextlib.suppress(OSError):
                    client.socket.send(b"a")
        times.sort()
        assert times[int(len(times) * 0.99)] < 0.1


def test_the_commands_options(start: Start) -> None:
    options = ["--header-timeout", "0.2", "--max-connections-per-address", "1", "--max-head", "1K", "--max-fields", "3", "--max-target", "64"]
    address = start("prime_serverd", "tcp://127.0.0.1:0", "1", "0", *options).address()
    with Client(address) as client:
        client.socket.sendall(b"G")
        assert ask(address, GOOD)[0][0].status == 429
        assert read_answers(rest_of(client))[0].status == 408
    # The connection before may not have been seen to end yet.
    wait_until(lambda: ask(address, request("GET /none HTTP/1.1"))[0][0].status == 404)
    wait_until(lambda: ask(address, request("GET /" + "a" * 64 + " HTTP/1.1"))[0][0].status == 414)
    for fields in (["A: b"] * 3, ["A: " + "b" * 1024]):
        wait_until(lambda fields=fields: ask(address, request("GET / HTTP/1.1", *fields))[0][0].status == 431)
