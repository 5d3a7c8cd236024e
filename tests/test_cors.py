"""Cross-origin sharing as browsers see it, by the Fetch standard, and what else a server adds to its answers or takes by an option."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import Answer, address_of, ask, request
from conftest import Start

from prime_server import Cors, Response
from prime_server.run import Threads

APP, OTHER = "https://app.example", "http://localhost:8080"


def work(job: Any) -> Response:
    kind = job.request.query.get("own", [""])[0]
    if job.request.path == "/fails":
        raise RuntimeError("it does")
    headers = {"origin": {"Access-Control-Allow-Origin": "https://own.example", "Vary": "Accept"}, "server": {"Server": "own"}}.get(kind)
    return Response(200, job.request.method, headers=headers)


def serving(**options: Any) -> Any:
    return Threads("tcp://127.0.0.1:0", [work], 1, health_check="/health", drain_seconds=0, **options)


def shares(answer: Answer) -> dict[str, str]:
    """What it says of sharing."""
    start = "access-control-"
    said = {name.removeprefix(start).removeprefix("allow-"): answer.field(name) or "" for name in answer.fields if name.startswith(start)}
    return {**said, **({"vary": answer.field("vary") or ""} if "vary" in answer.fields else {})}


def preflight(origin: str = APP, method: str = "PUT", headers: str = "x-token", path: str = "/") -> bytes:
    fields = [f"Origin: {origin}", f"Access-Control-Request-Method: {method}", f"Access-Control-Request-Headers: {headers}"]
    return request(f"OPTIONS {path} HTTP/1.1", *fields)


@pytest.fixture(scope="module")
def named() -> Iterator[tuple[str, int]]:
    """A server that shares with two origins, with credentials."""
    cors = Cors(origins=[APP, OTHER], methods=["GET", "PUT"], headers=["X-Token"], expose=["X-Count"], max_age=60, credentials=True)
    with serving(cors=cors, methods=["PURGE"], server_header="example/1.0") as server:
        yield address_of(server)


@pytest.fixture(scope="module")
def any_origin() -> Iterator[tuple[str, int]]:
    with serving(cors=Cors()) as server:
        yield address_of(server)


@pytest.mark.parametrize("origin", [APP, OTHER])
@pytest.mark.parametrize("path", ["/", "/fails", "/health", "*"])
def test_a_preflight_is_answered_by_the_server(named: tuple[str, int], origin: str, path: str) -> None:
    [answer], ended = ask(named, preflight(origin, path=path))
    assert (answer.status, answer.body, ended) == (204, b"", False)
    assert shares(answer) == {
        "origin": origin, "credentials": "true", "methods": "GET, PUT, PURGE", "headers": "X-Token", "max-age": "60", "vary": "Origin",
    }  # fmt: skip
    assert answer.field("server") == "example/1.0"


@pytest.mark.parametrize("origin", [f"{APP}.evil", APP[:-1], APP.replace("https", "http"), f"{APP}:1", "null", APP.upper()])
def test_other_origins_are_told_nothing(named: tuple[str, int], origin: str) -> None:
    answers, _ = ask(named, preflight(origin) + request("GET / HTTP/1.1", f"Origin: {origin}"), 2)
    assert [(answer.status, shares(answer)) for answer in answers] == [(204, {"vary": "Origin"}), (200, {"vary": "Origin"})]


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET / HTTP/1.1", 200),
        ("HEAD / HTTP/1.1", 200),
        ("GET /fails HTTP/1.1", 500),
        ("GET /health HTTP/1.1", 200),
        ("OPTIONS / HTTP/1.1", 200),  # nobody asks beforehand: no preflight
        ("PURGE / HTTP/1.1", 200),
    ],
)
def test_every_answer_says_who_may_read_it(named: tuple[str, int], any_origin: tuple[str, int], line: str, status: int) -> None:
    methods = [line.split()[0]]
    [answer], _ = ask(named, request(line, f"Origin:\t{OTHER} "), 1, methods)
    assert (answer.status, shares(answer)) == (status, {"origin": OTHER, "credentials": "true", "expose-headers": "X-Count", "vary": "Origin"})
    [answer], _ = ask(named, request(line), 1, methods)
    assert (answer.status, shares(answer)) == (status, {"vary": "Origin"})
    for fields in ([], [f"Origin: {APP}"]):
        [answer], _ = ask(any_origin, request(line.replace("PURGE", "GET"), *fields), 1, methods)
        assert (answer.status, shares(answer)) == (status, {"origin": "*"})


def test_two_origins_are_told_nothing(named: tuple[str, int]) -> None:
    for fields in ((APP, OTHER), (APP, APP), (OTHER, "null")):
        answers, _ = ask(named, request("GET / HTTP/1.1", *(f"Origin: {origin}" for origin in fields)))
        assert [(answer.status, shares(answer)) for answer in answers] == [(200, {"vary": "Origin"})]


def test_any_origin_may_ask(any_origin: tuple[str, int]) -> None:
    [answer], _ = ask(any_origin, preflight("https://some.example"))
    assert answer.status == 204
    assert shares(answer) == {
        "origin": "*", "methods": "GET, HEAD, POST, PUT, PATCH, DELETE", "headers": "Authorization, Content-Type", "max-age": "600",
    }  # fmt: skip


def test_a_refusal_varies_too(named: tuple[str, int]) -> None:
    [answer], _ = ask(named, request("GET / HTTP/1.1", "Expect: x", f"Origin: {APP}"))
    assert (answer.status, shares(answer), answer.field("server")) == (417, {"vary": "Origin"}, "example/1.0")


def test_an_answer_of_a_work_function_stands(named: tuple[str, int]) -> None:
    [answer], _ = ask(named, request("GET /?own=origin HTTP/1.1", f"Origin: {APP}"))
    assert shares(answer) == {"origin": "https://own.example", "vary": "Accept"}
    [answer], _ = ask(named, request("GET /?own=server HTTP/1.1"))
    assert answer.field("server") == "own"


def test_without_options_nothing_is_added() -> None:
    with serving() as server:
        address = address_of(server)
        answers, _ = ask(address, preflight() + request("GET / HTTP/1.1", f"Origin: {APP}") + request("PURGE / HTTP/1.1"), 3)
        assert [(answer.status, shares(answer), answer.field("server")) for answer in answers] == [(status, {}, None) for status in (200, 200, 501)]
        assert ask(address, request("GET /?a[]=1|2 HTTP/1.1"))[0][0].status == 400
        assert server.stats()["preflights"] == 0


def test_preflights_are_counted_and_no_requests() -> None:
    with serving(cors=Cors(origins=[APP])) as server:
        ask(address_of(server), preflight() + preflight(OTHER), 2)
        stats = server.stats()
        assert (stats["preflights"], stats["requests"], stats["answers"]) == (2, 0, 2)


def test_targets_as_browsers_send_them() -> None:
    with serving(raw_targets=True) as server:
        for status, target in ((200, "/a?b[]=1|2^{3}`"), (400, "/a?b\\c"), (400, "/a%2")):
            assert ask(address_of(server), request(f"GET {target} HTTP/1.1"))[0][0].status == status


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"origins": ["https://app.example/"]}, "without|look like"),
        ({"origins": ["app.example"]}, "look like"),
        ({"origins": ["https://a.example, https://b.example"]}, "look like"),
        ({"origins": ["https://a.example\r\nevil: 1"]}, "look like"),
        ({"origins": ["https://u@a.example"]}, "look like"),
        ({"origins": ["*", "https://a.example"]}, "alone"),
        ({"origins": []}, "empty"),
        ({"credentials": True}, "credentials"),
        ({"origins": [APP], "headers": ["*"], "credentials": True}, "credentials"),
        ({"headers": ["a b"]}, "X-Token"),
        ({"methods": ["GET\r\n"]}, "GET"),
        ({"max_age": -1}, "max_age"),
        ({"max_age": True}, "max_age"),
    ],
)
def test_what_is_no_sharing(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Cors(**options)


def test_origins_are_as_browsers_write_them() -> None:
    written = Cors(origins=["HTTPS://App.Example:443", "http://[::1]:80", "https://a.example:80", "app+x://h", "null"]).origins
    assert written == ("https://app.example", "http://[::1]", "https://a.example:80", "app+x://h", "null")
    assert Cors(origins="https://app.example").origins == (APP,)


def test_other_options_are_checked() -> None:
    for options, error in (({"methods": ["A B"]}, ValueError), ({"methods": "PURGE"}, TypeError), ({"methods": ["A" * 33]}, ValueError)):
        with pytest.raises(error):
            serving(**options)
    for header in ("a\r\nb", "", " a", "\u00e4"):
        with pytest.raises(ValueError, match="Server"):
            serving(server_header=header)
    with pytest.raises(ValueError, match="HTTP"):
        serving(cors=Cors(), protocol="netstring")


def test_the_commands_options(start: Start, tmp_path: Path) -> None:
    (tmp_path / "application.py").write_text("from prime_server import Response\ndef work(job): return Response(200, job.request.method)\n")
    arguments = ["--cors-origin", APP, "--cors-origin", OTHER, "--cors-method", "GET", "--cors-header", "X-Token", "--cors-expose", "X-Count"]
    arguments += ["--cors-max-age", "5", "--cors-credentials", "--method", "PURGE", "--raw-targets", "--server-header", "mine"]
    command = ["prime_server", "run", "application:work", "--listen", "tcp://127.0.0.1:0", *arguments]
    address = start(*command, cwd=tmp_path).address()
    answers, _ = ask(address, preflight(OTHER) + request("PURGE /?a[]=1 HTTP/1.1", f"Origin: {APP}"), 2)
    assert shares(answers[0]) == {
        "origin": OTHER, "credentials": "true", "methods": "GET, PURGE", "headers": "X-Token", "max-age": "5", "vary": "Origin",
    }  # fmt: skip
    assert (answers[1].status, answers[1].body, answers[1].field("server")) == (200, b"PURGE", "mine")
    assert shares(answers[1]) == {"origin": APP, "credentials": "true", "expose-headers": "X-Count", "vary": "Origin"}
