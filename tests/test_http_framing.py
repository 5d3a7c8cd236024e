"""The strict request parser: where a request ends, whether its connection persists, and what is too much."""

import time
from typing import Any

import pytest
from feeding import by_any_cut, fed
from test_http import NEXT, outcome, request, status_of

from prime_server._ext.parsers import RequestParser

CHUNKED = b"Transfer-Encoding: chunked"


def chunked(body: bytes, *fields: bytes, line: bytes = b"POST / HTTP/1.1") -> bytes:
    return request(line, CHUNKED, *fields, body=body)


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (b"0", None),
        (b"000", None),
        (b" \t0\t ", None),
        (b"", 400),
        (b"+0", 400),
        (b"-1", 400),
        (b"0x0", 400),
        (b"1_0", 400),
        (b"0 0", 400),
        (b"0,0", 400),
        (b"0, 0", 400),
        (b"0.0", 400),
        (b"0;", 400),
        (b"\xb2", 400),
        (b"a", 400),
        (b"1048577", 413),
        (b"18446744073709551615", 413),
        (b"18446744073709551616", 413),
        (b"18446744073709551617", 413),
        (b"9" * 60, 413),
    ],
)
def test_content_length(value: bytes, status: int | None) -> None:
    assert status_of(request(b"POST / HTTP/1.1", b"Content-Length:%b" % value), max_body=1048576) == status
    assert status_of(request(b"POST / HTTP/1.0", b"CONTENT-LENGTH:%b" % value), max_body=1048576) == status


@pytest.mark.parametrize("other", [b"0", b"1", b"00", b""])
def test_content_length_once(other: bytes) -> None:
    assert status_of(request(b"POST / HTTP/1.1", b"Content-Length: 0", b"X: y", b"content-length: %b" % other)) == 400


@pytest.mark.parametrize("size", [1, 2, 15, 16, 33, 200])
def test_bodies_of_known_length(size: int) -> None:
    body = b"GET / HTTP/1.1\r\n" * (size // 16 + 1)
    body = body[:size]
    data = request(b"PUT /a HTTP/1.1", b"Content-Length: %d" % size, body=body)
    assert outcome(data + NEXT + data) == (
        [("PUT", b"/a", "1.1", True, body), ("DELETE", b"/next", "1.1", True, b""), ("PUT", b"/a", "1.1", True, body)],
        None,
    )


def test_a_body_may_be_put_straight_to_its_place() -> None:
    parser = RequestParser()
    assert parser.room == 0
    assert parser.feed(request(b"PUT / HTTP/1.1", b"Content-Length: 10", body=b"abc")) == []
    assert (parser.room, parser.in_body, parser.idle) == (7, True, False)
    assert parser.fill(b"") == []
    assert parser.fill(b"defg") == []
    with pytest.raises(ValueError, match="3 bytes"):
        parser.fill(b"hijk")
    assert parser.room == 3
    (found,) = parser.fill(b"hij")
    assert bytes(found.body) == b"abcdefghij"
    assert (parser.room, parser.in_body, parser.idle) == (0, False, True)
    assert [one.method for one in parser.feed(NEXT)] == ["DELETE"]
    parser.feed(chunked(b"5\r\na"))
    assert (parser.room, parser.in_body) == (0, True)
    with pytest.raises(ValueError, match="0 bytes"):
        parser.fill(b"bcde")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([b"Transfer-Encoding: chunked"], None),
        ([b"transfer-encoding:\tCHUNKED "], None),
        ([b"Transfer-Encoding: , chunked,"], None),
        ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: "], None),
        ([b"Transfer-Encoding: "], 400),
        ([b"Transfer-Encoding: identity"], 400),
        ([b"Transfer-Encoding: gzip"], 400),
        ([b"Transfer-Encoding: chunked, gzip"], 400),
        ([b"Transfer-Encoding: chunked, identity"], 400),
        ([b"Transfer-Encoding: chunked, chunked"], 400),
        ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"], 400),
        ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: x"], 400),
        ([b"Transfer-Encoding: chunked, gzip, chunked"], 400),
        ([b"Transfer-Encoding: chunked;q=1"], 400),
        ([b"Transfer-Encoding: xchunked"], 400),
        ([b"Transfer-Encoding: chunkedx"], 400),
        ([b"Transfer-Encoding: chunked\x0b"], 400),
        ([b'Transfer-Encoding: "chunked"'], 400),
        ([b"Transfer-Encoding: gzip, chunked"], 501),
        ([b"Transfer-Encoding: gzip", b"X: y", b"Transfer-Encoding: chunked"], 501),
        ([b"Transfer-Encoding: foo;a=b, chunked"], 501),
        ([b"Transfer-Encoding: chunked", b"Content-Length: 5"], 400),
        ([b"Content-Length: 5", b"Transfer-Encoding: chunked"], 400),
        ([b"Content-Length: 5", b"Transfer-Encoding: gzip, chunked"], 400),
        ([b"Content-Length: 0", b"Transfer-Encoding: identity"], 400),
    ],
)
def test_transfer_encoding(fields: Any, status: int | None) -> None:
    assert status_of(request(b"POST / HTTP/1.1", *fields, body=b"0\r\n\r\n")) == status
    assert status_of(request(b"POST / HTTP/1.3", *fields, body=b"0\r\n\r\n")) == status
    assert outcome(request(b"POST / HTTP/1.0", *fields, body=b"0\r\n\r\n")) == ([], 400)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"0\r\n\r\n", b""),
        (b"0000\r\n\r\n", b""),
        (b"1\r\na\r\n0\r\n\r\n", b"a"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"a\r\n0123456789\r\n00\r\n\r\n", b"0123456789"),
        (b"00000000000000000000000001\r\na\r\n0\r\n\r\n", b"a"),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
        (b"1;\ta\r\nx\r\n0\r\n\r\n", b"x"),
        (b"1;a=b\r\nx\r\n0\r\n\r\n", b"x"),
        (b"1 ; a = b ;c\r\nx\r\n0;d\r\n\r\n", b"x"),
        (b'1;a="b;\\" \t\\\\\xff"\r\nx\r\n0\r\n\r\n', b"x"),
        (b'1;a="";b="c" ; d\r\nx\r\n0\r\n\r\n', b"x"),
        (b"1;a1!#=b\r\nx\r\n0\r\n\r\n", b"x"),
        (b"0\r\nTrailer: x\r\n\r\n", b""),
        (b"0\r\nA:\r\nB: c \r\nContent-Length: 7\r\nHost: a b\r\nTransfer-Encoding: x\r\n\r\n", b""),
        (b"", None),
        (b"\r\n", 400),
        (b"g\r\n", 400),
        (b" 1\r\na\r\n", 400),
        (b"1 \r\na\r\n", 400),
        (b"1\t\r\na\r\n", 400),
        (b"+1\r\na\r\n", 400),
        (b"-1\r\n", 400),
        (b"0x1\r\na\r\n", 400),
        (b"1h\r\na\r\n", 400),
        (b"1.0\r\na\r\n", 400),
        (b"1\na\r\n", 400),
        (b"1\ra\r\n", 400),
        (b"1\r\r\na\r\n", 400),
        (b"1\r\nab\r\n", 400),
        (b"1\r\na\n0\r\n\r\n", 400),
        (b"1\r\na\r0\r\n\r\n", 400),
        (b"1\r\na0\r\n\r\n", 400),
        (b"1\r\na\r\n\r\n", 400),
        (b"1;\r\na\r\n", 400),
        (b"1;;a\r\na\r\n", 400),
        (b"1;=b\r\na\r\n", 400),
        (b"1;a=\r\na\r\n", 400),
        (b"1;a=b=c\r\na\r\n", 400),
        (b"1;a b\r\na\r\n", 400),
        (b"1;a=b c\r\na\r\n", 400),
        (b"1;a \r\na\r\n", 400),
        (b"1;a=b \r\na\r\n", 400),
        (b'1;a="b\r\na\r\n', 400),
        (b'1;a="b"c\r\na\r\n', 400),
        (b'1;a="b" \r\na\r\n', 400),
        (b'1;a="\x00"\r\na\r\n', 400),
        (b'1;a="\\\x01"\r\na\r\n', 400),
        (b'1;"a"\r\na\r\n', 400),
        (b"1;\xe9\r\na\r\n", 400),
        (b"1;a\x00\r\na\r\n", 400),
        (b"1;a\nb\r\na\r\n", 400),
        (b"1 a\r\na\r\n", 400),
        (b"1,a\r\na\r\n", 400),
        (b"0\r\n X: y\r\n\r\n", 400),
        (b"0\r\nA: b\r\n c\r\n\r\n", 400),
        (b"0\r\nA : b\r\n\r\n", 400),
        (b"0\r\nA\r\n\r\n", 400),
        (b"0\r\nA: \x00\r\n\r\n", 400),
        (b"0\r\nA: b\n\r\n", 400),
        (b"0\r\n\n", 400),
        (b"0\r\n\rx", 400),
        (b"fffffffffffffffff\r\n", 413),
        (b"10000000000000000\r\n", 413),
        (b"10000000000000001\r\n", 413),
        (b"ffffffffffffffff\r\n", 413),
        (b"8000000000000000\r\n", 413),
    ],
)
def test_chunks(body: bytes, expected: Any) -> None:
    found, status = outcome(chunked(body))
    if isinstance(expected, bytes):
        assert (found, status) == ([("POST", b"/", "1.1", True, expected)], None)
        assert len(outcome(chunked(body) + NEXT)[0]) == 2
    else:
        assert (found, status) == ([], expected)


@pytest.mark.parametrize(
    ("version", "fields", "persists", "bits"),
    [
        (b"1.1", [], True, 0x01),
        (b"1.2", [], True, 0x01),
        (b"1.0", [], False, 0x00),
        (b"1.1", [b"Connection: close"], False, 0x11),
        (b"1.1", [b"connection: CLOSE"], False, 0x11),
        (b"1.1", [b"Connection: foo, Close ,bar"], False, 0x11),
        (b"1.1", [b"Connection:foo,close"], False, 0x11),
        (b"1.1", [b"Connection: ,,close,"], False, 0x11),
        (b"1.1", [b"Connection: foo", b"X: y", b"Connection: close"], False, 0x11),
        (b"1.1", [b"Connection: close", b"Connection: keep-alive"], False, 0x19),
        (b"1.1", [b"Connection: keep-alive"], True, 0x09),
        (b"1.1", [b"Connection: Upgrade, HTTP2-Settings"], True, 0x01),
        (b"1.1", [b"Connection: closed"], True, 0x01),
        (b"1.1", [b"Connection: xclose"], True, 0x01),
        (b"1.1", [b"Connection: clos"], True, 0x01),
        (b"1.1", [b"Connection: close;x"], True, 0x01),
        (b"1.1", [b'Connection: "close"'], True, 0x01),
        (b"1.1", [b"Connection:"], True, 0x01),
        (b"1.1", [b"Connection: a close"], True, 0x01),
        (b"1.1", [b"XConnection: close", b"Connections: close", b"Proxy-Connection: close"], True, 0x01),
        (b"1.0", [b"Connection: keep-alive"], True, 0x08),
        (b"1.0", [b"Connection: Keep-Alive"], True, 0x08),
        (b"1.0", [b"Connection: foo,KEEP-ALIVE"], True, 0x08),
        (b"1.0", [b"Connection: foo", b"Connection: keep-alive"], True, 0x08),
        (b"1.0", [b"Connection: keep-alive, close"], False, 0x18),
        (b"1.0", [b"Connection: close"], False, 0x10),
        (b"1.0", [b"Connection: keep alive"], False, 0x00),
        (b"1.0", [b"Keep-Alive: timeout=5"], False, 0x00),
    ],
)
def test_keep_alive(version: Any, fields: Any, persists: Any, bits: int) -> None:
    data = request(b"GET / HTTP/" + version, *fields)
    found, status = by_any_cut(RequestParser, data + data, lambda one: (one.keep_alive, one.bits))
    assert status is None and found == [(persists, bits)] * 2


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([b"Expect: 100-continue"], None),
        ([b"EXPECT: 100-Continue"], None),
        ([b"Expect: 100-continue, 100-continue"], None),
        ([b"Expect:"], None),
        ([b"Expect: 100-continues"], 417),
        ([b"Expect: 100-continue;a=b"], 417),
        ([b"Expect: 200-ok"], 417),
        ([b"Expect: 100-continue, x"], 417),
        ([b"Expect: 100-continue", b"Expect: x"], 417),
        ([b"Expect: x=y"], 417),
    ],
)
def test_expectations(fields: Any, status: int | None) -> None:
    assert status_of(request(b"POST / HTTP/1.1", *fields)) == status
    assert status_of(request(b"POST / HTTP/1.0", *fields)) == status
    assert status_of(request(b"POST / HTTP/1.1", *fields, b"Content-Length: 3", body=b"abc")) == status
    assert status_of(chunked(b"3\r\nabc\r\n0\r\n\r\n", *fields)) == status


def test_who_waits_for_100_continue() -> None:
    expects = b"Expect: 100-continue"

    def asks(data: bytes, *more: bytes) -> Any:
        parser = RequestParser()
        for piece in (data, *more):
            parser.feed(piece)
        assert parser.error is None
        return parser.wants_continue

    with_length = request(b"PUT / HTTP/1.1", expects, b"Content-Length: 3")
    assert asks(with_length)
    assert asks(with_length[:-10], with_length[-10:])
    assert asks(request() + with_length)
    assert not asks(with_length + b"a")
    assert not asks(with_length, b"a")
    assert asks(chunked(b"", expects))
    assert not asks(chunked(b"1", expects))
    assert not asks(with_length[:-1])
    assert not asks(request(b"PUT / HTTP/1.0", expects, b"Content-Length: 3"))
    assert not asks(request(b"PUT / HTTP/1.1", expects, b"Content-Length: 0"))
    assert not asks(request(b"PUT / HTTP/1.1", expects))
    assert not asks(request(b"PUT / HTTP/1.1", b"Content-Length: 3"))
    parser = RequestParser()
    assert parser.feed(with_length) == [] and parser.wants_continue and parser.in_body and parser.room == 3
    (found,) = parser.feed(b"abc")
    assert bytes(found.body) == b"abc" and not parser.wants_continue


def test_limits_are_met_to_the_byte() -> None:
    for size in (1, 20, 500):
        line = b"GET /%b HTTP/1.1" % (b"a" * (size - 1))
        assert outcome(request(line), max_target=size)[1] is None
        assert outcome(request(line), max_target=size - 1) == ([], 414)
    data = request(b"GET / HTTP/1.1", b"A: b", b"C: d")
    assert outcome(data, max_head=len(data)) == ([("GET", b"/", "1.1", True, b"")], None)
    for less in range(len(data)):
        assert outcome(data, max_head=less)[1] in (431, 414)
    assert status_of(data, max_fields=3) is None
    assert status_of(data, max_fields=2) == 431
    assert outcome(request(host=False), max_fields=0) == ([], 400)
    put = request(b"PUT / HTTP/1.1", b"Content-Length: 10", body=b"a" * 10)
    assert status_of(put, max_body=10) is None
    assert status_of(put, max_body=9) == 413
    assert status_of(put[:-10], max_body=0) == 413
    for chunks in (b"a\r\n0123456789\r\n", b"5\r\n01234\r\n5\r\n56789\r\n", b"1\r\na\r\n" * 10):
        assert status_of(chunked(chunks + b"0\r\n\r\n"), max_body=10) is None
        assert status_of(chunked(chunks + b"0\r\n\r\n"), max_body=9) == 413


def test_what_is_too_much_is_refused_while_it_comes() -> None:
    def bytes_taken(status: int, start: bytes, piece: bytes, **limits: Any) -> int:
        parser, taken = RequestParser(**limits), 0
        parser.feed(start)
        while parser.error is None:
            parser.feed(piece)
            taken += len(piece)
            assert taken < 100_000
        assert parser.error.status == status
        return taken

    assert bytes_taken(414, b"GET /", b"a" * 10, max_target=1000) <= 1010
    assert bytes_taken(501, b"", b"A" * 10) <= 40
    head = b"GET / HTTP/1.1\r\n"
    assert bytes_taken(431, head, b"A" * 10, max_head=1000) <= 1000
    assert bytes_taken(431, head + b"A:", b"b" * 10, max_head=1000) <= 1000
    assert bytes_taken(431, head, b"A: b\r\n", max_head=1000) <= 1000
    assert bytes_taken(431, head, b"A: b\r\n", max_fields=50) <= 51 * 6
    assert bytes_taken(413, chunked(b""), b"1\r\na\r\n", max_body=1000) <= 6 * 1001
    assert bytes_taken(413, chunked(b"1;a"), b"a" * 10, max_head=1000) <= 1010
    assert bytes_taken(413, chunked(b""), b"1;a=b\r\na\r\n", max_head=1000) <= 10 * 252
    assert bytes_taken(413, chunked(b""), b"0" * 10, max_head=1000) <= 1030
    assert bytes_taken(431, chunked(b"0\r\n"), b"A: b\r\n", max_head=1000) <= 1010
    assert bytes_taken(431, chunked(b"0\r\n"), b"A: b\r\n", max_fields=50) <= 51 * 6


def test_many_small_chunks_are_fine() -> None:
    body = b"".join(b"0001\r\n%c\r\n" % (n % 256) for n in range(20_000)) + b"0\r\n\r\n"
    found, error = fed(RequestParser(max_head=200), [chunked(body)])
    assert error is None and bytes(found[0].body) == bytes(n % 256 for n in range(20_000))


def test_limits_are_numbers() -> None:
    for name in ("max_target", "max_head", "max_fields", "max_body"):
        options: dict[str, Any] = {name: -1}
        with pytest.raises(ValueError, match=name):
            RequestParser(**options)
        options = {name: "many"}
        with pytest.raises(TypeError):
            RequestParser(**options)
    text: Any = "text"
    with pytest.raises(TypeError):
        RequestParser().feed(text)
    assert RequestParser().feed(b"") == []
    for kind in (bytearray, memoryview):
        assert len(RequestParser().feed(kind(request()))) == 1


@pytest.mark.timing
def test_dripping_bytes_is_linear() -> None:
    """A header section in pieces of one byte costs a small multiple of what as many short requests cost: no byte is looked at twice."""
    def seconds(data: bytes) -> float:
        parser = RequestParser(max_head=1 << 20, max_target=1 << 20)
        pieces = [data[at : at + 1] for at in range(len(data))]
        start = time.process_time()
        for piece in pieces:
            parser.feed(piece)
        assert parser.error is None
        return time.process_time() - start

    short = min(seconds(b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 100) * 1400) for _ in range(3))
    for long in (b"GET /" + b"a" * 200_000, b"GET / HTTP/1.1\r\nA: " + b"b" * 200_000, b"GET / HTTP/1.1\r\n" + b"a" * 200_000):
        assert min(seconds(long) for _ in range(3)) < 5 * short
