"""What a client sees of a whole server, over a socket: who is answered with what, when the connection ends, and that each answer is in form."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from asking import Client, address_of, ask, read_answers, request

from prime_server import Response
from prime_server.primes import work as primes
from prime_server.run import Threads


def echo(job: Any) -> Response:
    """Tells what it was asked, or answers as it is asked to."""
    request = job.request
    query = request.query
    if request.path == "/answer":
        status = int(query.get("status", ["200"])[0])
        headers = [(name, value) for name, value in query.pairs() if name not in ("status", "reason", "type", "body")]
        options = {name: query[key][0] for name, key in (("reason", "reason"), ("content_type", "type")) if key in query}
        return Response(status, query.get("body", ["body"])[0], headers=headers, **options)
    said = {
        "method": request.method,
        "target": request.target.decode("latin-1"),
        "path": request.path,
        "query": request.query.pairs(),
        "fields": request.headers.fields(),
        "body": bytes(request.body).decode("latin-1"),
    }
    return Response(200, json.dumps(said), content_type="application/json")


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    with Threads("tcp://127.0.0.1:0", [echo], 2, health_check="/health", drain_seconds=0) as server:
        yield address_of(server)


@pytest.fixture(scope="module")
def demo() -> Iterator[tuple[str, int]]:
    with Threads("tcp://127.0.0.1:0", [primes], 1) as server:
        yield address_of(server)


def asked(address: tuple[str, int], *arguments: str, **options: Any) -> dict[str, Any]:
    """What the worker was asked by one request."""
    [answer], _ = ask(address, request(*arguments, **options))
    said: dict[str, Any] = json.loads(answer.body)
    return said


# --- errors --------------------------------------------------------------------------------------------------------------------------------

GOOD = request()
REFUSED = [
    (request("GET / http/1.1"), 400),
    (request("GET / HTTP/1.1", "A : b"), 400),
    (request("GET / HTTP/1.1", "A: b", " c"), 400),
    (request("GET / HTTP/1.1", "A: \0"), 400),
    (request("GET / HTTP/1.1", host=None), 400),
    (request("GET / HTTP/1.1", "Expect: 100-continue, x"), 417),
    (request("GET / HTTP/1.1", "A: " + "b" * 100_000), 431),
    (request("GET /" + "a" * 100_000 + " HTTP/1.1"), 414),
    (request("GET / HTTP/2.0"), 505),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    (request("Get / HTTP/1.1"), 501),
    (request("POST / HTTP/1.1", "Transfer-Encoding: gzip, chunked"), 501),
    (request("POST / HTTP/1.1", "Content-Length: 5, 6"), 400),
    (request("POST / HTTP/1.1", "Content-Length: 3", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
    (request("POST / HTTP/1.0", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
    (request("POST / HTTP/1.1", "Transfer-Encoding: chunked", body=b"zz\r\n"), 400),
    (request("POST / HTTP/1.1", "Transfer-Encoding: chunked", body=b"1\r\n77\r\n"), 400),
    (request("POST / HTTP/1.1", "Content-Length: 99999999999"), 413),
]


@pytest.mark.parametrize(("bad", "status"), REFUSED)
def test_a_refusal_comes_in_its_turn_and_is_the_end(address: tuple[str, int], bad: bytes, status: int) -> None:
    for good in (0, 3):
        answers, ended = ask(address, good * GOOD + bad + GOOD, good + 1)
        assert [answer.status for answer in answers] == good * [200] + [status]
        assert ended
        assert [answer.field("connection") for answer in answers] == good * [None] + ["close"]
        assert answers[-1].field("content-type") == "text/plain; charset=utf-8"
        assert answers[-1].body


@pytest.mark.parametrize(("bad", "status"), [(b"HEAD" + bad[bad.index(b" ") :], status) for bad, status in REFUSED if bad[:4] in (b"GET ", b"POST")])
def test_a_refused_head_gets_no_body(address: tuple[str, int], bad: bytes, status: int) -> None:
    [answer], ended = ask(address, bad, 1, ["HEAD"])  # a body would be read as another answer
    assert (answer.status, answer.field("connection"), ended) == (status, "close", True)
    assert int(answer.field("content-length") or 0) > 0


def test_what_is_refused_behind_a_head_has_a_body(address: tuple[str, int]) -> None:
    for bad in (b"\r\r\n", b"GET\t/", request("Head / HTTP/1.1")):
        answers, _ = ask(address, request("HEAD / HTTP/1.1") + bad, 2, ["HEAD"])
        assert answers[0].status == 200
        assert answers[1].body


# --- connections ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "fields", "said", "ends"),
    [
        ("GET / HTTP/1.1", [], None, False),
        ("GET / HTTP/1.1", ["Connection: keep-alive"], None, False),
        ("GET / HTTP/1.1", ["Connection: closed"], None, False),
        ("GET / HTTP/1.1", ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"], None, False),
        ("GET / HTTP/1.1", ["Connection: close"], "close", True),
        ("GET / HTTP/1.1", ["Connection: x,\tCLOSE ,y"], "close", True),
        ("GET / HTTP/1.1", ["Connection: keep-alive", "A: b", "connection: Close"], "close", True),
        ("GET / HTTP/1.0", [], "close", True),
        ("GET / HTTP/1.0", ["Connection: Keep-Alive"], "keep-alive", False),
        ("GET / HTTP/1.0", ["Connection: keep-alive, close"], "close", True),
        ("GET / HTTP/1.2", [], None, False),
    ],
)
def test_when_the_connection_ends(address: tuple[str, int], line: str, fields: list[str], said: str | None, ends: bool) -> None:
    answers, ended = ask(address, 2 * request(line, *fields), 2)
    assert (len(answers), ended) == (1 if ends else 2, ends)
    assert [answer.field("connection") for answer in answers] == [said] * len(answers)


@pytest.mark.parametrize("coding", ["Content-Length: 3", "Transfer-Encoding: chunked"])
def test_100_continue_comes_when_the_body_is_waited_for(address: tuple[str, int], coding: str) -> None:
    body = b"abc" if coding.startswith("Content") else b"3\r\nabc\r\n0\r\n\r\n"
    with Client(address) as client:
        client.socket.sendall(GOOD + request("PUT / HTTP/1.1", "Expect: 100-Continue", coding))
        received = b""
        while not received.endswith(b"HTTP/1.1 100 Continue\r\n\r\n"):
            received += client.socket.recv(65536)
        assert [answer.status for answer in read_answers(received)] == [200, 100]
        [answer], _ = client.ask(body, 1)
        assert json.loads(answer.body)["body"] == "abc"
        # With the body there already, and under 1.0, nobody waits for it.
        [answer], _ = client.ask(request("PUT / HTTP/1.1", "Expect: 100-continue", coding, body=body), 1)
        assert json.loads(answer.body)["body"] == "abc"
        if coding.startswith("Content"):
            client.socket.sendall(request("PUT / HTTP/1.0", "Expect: 100-continue", coding))
            [answer], _ = client.ask(body, 1)
            assert json.loads(answer.body)["body"] == "abc"


# --- methods and targets -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_known_methods_go_to_the_work_function(address: tuple[str, int], method: str) -> None:
    assert asked(address, f"{method} /a HTTP/1.1")["method"] == method


def test_head_has_the_fields_of_get(address: tuple[str, int]) -> None:
    for target in ("/answer?body=abc&X-Y=z", "/answer?status=404", "/answer?status=204", "/answer?status=304", "/answer?status=9", "/health"):
        answers, _ = ask(address, request(f"HEAD {target} HTTP/1.1") + request(f"GET {target} HTTP/1.1"), 2, ["HEAD"])
        head, get = answers
        assert (head.status, head.fields | {"date": []}) == (get.status, get.fields | {"date": []})


def test_no_tunnel_is_made(address: tuple[str, int]) -> None:
    """A 2xx to CONNECT would say that one was."""
    [answer], _ = ask(address, request("CONNECT x:80 HTTP/1.1"))
    assert answer.status == 501


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/a?x=1&y=&x=2&z&=w&&x=%41", "/a", [["x", "1"], ["y", ""], ["x", "2"], ["z", ""], ["", "w"], ["x", "A"]]),
        ("/%61%2Fb%2541", "/a/b%41", []),
        ("/%C3%A4?%c3%a4=+%2B", "/ä", [["ä", " +"]]),
        ("/%00?a=%00b", "/\0", [["a", "\0b"]]),
        ("/%c0%af%ff", "/\udcc0\udcaf\udcff", []),
        ("/a/../b//c/.?x=/?&y=a=b;c", "/a/../b//c/.", [["x", "/?"], ["y", "a=b;c"]]),
        ("http://h:1/a%20b?x=1", "/a b", [["x", "1"]]),
        ("HTTPS://h?x=1", "/", [["x", "1"]]),
    ],
)
def test_a_target_is_decoded_once_and_kept_as_it_came(address: tuple[str, int], target: str, path: str, query: list[list[str]]) -> None:
    said = asked(address, f"GET {target} HTTP/1.1")
    assert (said["target"], said["path"], said["query"]) == (target, path, query)


def test_the_asterisk(address: tuple[str, int]) -> None:
    assert asked(address, "OPTIONS * HTTP/1.1")["target"] == "*"


def test_values_are_trimmed(address: tuple[str, int]) -> None:
    said = asked(address, "POST / HTTP/1.1", "A: \t b\tc \t ", "Content-Length:\t3\t", host="Host:\tx ", body=b"abc")
    assert ["A", "b\tc"] in said["fields"]
    assert said["body"] == "abc"


def test_the_health_check_is_a_path(address: tuple[str, int]) -> None:
    for target in ("/health", "/health?probe=1", "http://x/health", "HTTP://[::1]:80/health?probe=1"):
        assert ask(address, request(f"GET {target} HTTP/1.1"))[0][0].body == b"OK\n"
    for target in ("/healthy", "/health/", "/?/health", "http://health", "http://x//health", "http://x/?/health", "http://x"):
        assert ask(address, request(f"GET {target} HTTP/1.1"))[0][0].body != b"OK\n"


# --- what work functions answer --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["a%0d%0aevil:%201", "a%0aevil:%201", "a%0devil:1", "a%00b", "%7f", "%e2%82%ac"])
@pytest.mark.parametrize("place", ["X-Y=%s", "reason=%s", "type=%s", "X%s=y"])
def test_no_line_of_a_clients_gets_out(address: tuple[str, int], place: str, value: str) -> None:
    [answer], _ = ask(address, request(f"GET /answer?{place % value} HTTP/1.1"))
    assert answer.status == 500
    assert "evil" not in answer.fields


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Connection", "Keep-Alive", "Date", "Upgrade"])
def test_fields_that_are_the_servers_to_set(address: tuple[str, int], name: str) -> None:
    [answer], _ = ask(address, request(f"GET /answer?{name}=1 HTTP/1.1"))
    assert answer.status == 500


@pytest.mark.parametrize("status", [200, 204, 205, 299, 304, 418, 599, -1, 0, 100, 101, 199, 600, 999, 1000])
def test_statuses(address: tuple[str, int], status: int) -> None:
    answers, _ = ask(address, request(f"GET /answer?status={status} HTTP/1.1") + GOOD, 2)
    assert [answer.status for answer in answers] == [status if 200 <= status <= 599 else 500, 200]
    assert bool(answers[0].body) == (status not in (204, 205, 304))


# --- the demonstration -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "status", "allow"),
    [
        *((f"{method} /is_prime HTTP/1.1", 405, "GET, HEAD, POST") for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE")),
        ("OPTIONS * HTTP/1.1", 405, "GET, HEAD, POST"),
        ("CONNECT x:80 HTTP/1.1", 405, "GET, HEAD, POST"),
        ("GET /nowhere HTTP/1.1", 404, None),
        ("POST / HTTP/1.1", 404, None),
        ("GET /is%5Fprime?possible%5fprime=%37 HTTP/1.1", 200, None),
        ("GET http://x/is_prime?possible_prime=7 HTTP/1.1", 200, None),
        ("GET /is_prime?possible_prime=7%00 HTTP/1.1", 400, None),
    ],
)
def test_the_demonstration(demo: tuple[str, int], line: str, status: int, allow: str | None) -> None:
    [answer], ended = ask(demo, request(line))
    assert (answer.status, answer.field("allow"), ended) == (status, allow, False)
    assert (b"requests should look like" in answer.body) == (status != 200)
