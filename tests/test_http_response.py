"""The strict response parser: where a response ends, and what no response may look like."""

from typing import Any

import pytest
from feeding import by_any_cut, cuts, fed

from prime_server import ProtocolError
from prime_server._ext.parsers import ParsedResponse, ResponseParser

NEXT = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok"
BEHIND = (202, "1.1", True, b"ok")


def summary(response: Any) -> Any:
    return response.status, response.version, response.keep_alive, bytes(response.body)


def parser_for(*methods: str, **limits: Any) -> ResponseParser:
    parser = ResponseParser(**limits)
    for method in methods:
        parser.expect(method)
    return parser


def outcome(data: bytes, *methods: str, **limits: Any) -> tuple[list[Any], int | None]:
    return by_any_cut(lambda: parser_for(*methods, **limits), data, summary)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", (200, "1.1", True, b"hello")),
        (b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", (200, "1.1", True, b"")),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", (200, "1.1", True, b"")),
        (b"HTTP/1.1 299 \tsome \xe9 reason\r\nContent-Length: 0\r\n\r\n", (299, "1.1", True, b"")),
        (b"HTTP/1.3 999 x\r\nContent-Length: 0\r\n\r\n", (999, "1.1", True, b"")),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", (200, "1.0", False, b"x")),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", (200, "1.0", True, b"x")),
        (b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 1\r\n\r\nx", (200, "1.1", False, b"x")),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nA: b\r\n\r\n", (200, "1.1", True, b"hello")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, "1.1", True, b"")),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n", (204, "1.1", True, b"")),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", (304, "1.1", True, b"")),
        (b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", (304, "1.1", True, b"")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", (200, "1.1", True, b"x")),
        (b"HTTP/1.1 103 Early\r\nContent-Length: 9\r\nA: b\r\n\r\n" * 3 + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", (200, "1.1", True, b"")),
    ],
)
def test_responses(data: bytes, expected: Any) -> None:
    assert outcome(data) == ([expected], None)
    assert outcome(data + NEXT) == ([expected, BEHIND], None)
    assert outcome(data + b"bad") == ([expected], 502)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/0.9 200 OK\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b"HTTP/1.12 200 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1\t200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 -20 OK\r\n\r\n",
        b"HTTP/1.1 200OK\r\n\r\n",
        b"HTTP/1.1 200\tOK\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 200 O\x00K\r\n\r\n",
        b"HTTP/1.1 200 OK\r\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\x01\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    ],
)
def test_malformed_responses(data: bytes) -> None:
    assert outcome(data) == ([], 502)
    assert outcome(NEXT + data) == ([BEHIND], 502)


def test_a_response_to_head_has_no_body() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    bare = b"HTTP/1.1 200 OK\r\n\r\n"
    empty = (200, "1.1", True, b"")
    for data in (head, chunked, bare, b"HTTP/1.1 100 Continue\r\n\r\n" + head):
        assert outcome(data + NEXT, "HEAD", "GET") == ([empty, BEHIND], None)
        assert outcome(NEXT + data + NEXT, "GET", "HEAD") == ([BEHIND, empty, BEHIND], None)
    assert outcome(head + chunked + NEXT, "HEAD", "HEAD", "POST") == ([empty, empty, BEHIND], None)
    assert outcome(head + NEXT[:-2], "HEAD", "HEAD") == ([empty, (202, "1.1", True, b"")], None)


def test_a_body_until_the_connection_closes() -> None:
    for data, version in ((b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nhello", "1.1"), (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nhello", "1.0")):
        for pieces in cuts(data):
            parser = ResponseParser()
            assert fed(parser, pieces) == ([], None) and not parser.idle
            (response,) = parser.eof()
            assert summary(response) == (200, version, False, b"hello")
            assert response.headers[-1] == (b"Content-Length", b"5")
            assert parser.idle and parser.eof() == []
    parser = ResponseParser(max_body=4)
    assert parser.feed(data) == []
    assert parser.error is not None and parser.error.status == 502


def test_a_connection_that_closes_too_early() -> None:
    assert ResponseParser().eof() == []
    assert ResponseParser().feed(NEXT)
    for data in (b"H", NEXT[:-1], NEXT[:30], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"):
        parser = ResponseParser()
        assert parser.feed(data) == []
        assert parser.eof() == []
        assert parser.error is not None and parser.error.status == 502
        for more in (parser.eof, lambda parser=parser: parser.feed(b"x")):
            with pytest.raises(ProtocolError, match="closed"):
                more()
    parser = ResponseParser()
    parser.feed(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert parser.eof() == [] and parser.error is None


def test_the_data_is_the_servers_bytes() -> None:
    data = b"HTTP/1.1 200 All \xe9 right \r\nA:  b \r\nContent-Length: 3\r\n\r\nabc"
    (response,) = ResponseParser().feed(data + NEXT[:5])
    assert bytes(response) == bytes(response.data) == data
    assert response.reason == b"All \xe9 right " and response.headers == [(b"A", b"b"), (b"Content-Length", b"3")]
    assert data[response.head_size :] == bytes(response.body) == b"abc"
    assert memoryview(response).readonly
    (response,) = ResponseParser().feed(b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n")
    assert response.reason == b""
    with pytest.raises(TypeError, match="ResponseParser"):
        ParsedResponse()


def test_limits() -> None:
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n\r\nhello"
    head = len(data) - 5
    assert outcome(data, max_head=head, max_fields=2, max_body=5) == ([(200, "1.1", True, b"hello")], None)
    assert outcome(data, max_body=4) == outcome(data, max_fields=1) == ([], 502)
    for size in range(head):
        assert outcome(data, max_head=size) == ([], 502)
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    assert outcome(chunked, max_body=5)[1] is None
    assert outcome(chunked, max_body=4) == ([], 502)
    parser = ResponseParser(max_head=1000)
    parser.feed(b"HTTP/1.1 200 ")
    for _ in range(100):
        if parser.error is None:
            parser.feed(b"x" * 10)
    assert parser.error is not None and parser.error.status == 502
