"""The lenient payload parser, in its two faces, and requests made by hand."""

import ctypes
from typing import Any
from urllib.parse import parse_qs, quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prime_server import ProtocolError
from prime_server._ext.libzmq import Frame
from prime_server._ext.request import Query, Request, payload_query_value


def payload(target: bytes, method: bytes = b"GET", tail: bytes = b" HTTP/1.1\r\nHost: a\r\n\r\n") -> bytes:
    return method + b" " + target + tail


@pytest.mark.parametrize(
    ("method", "target", "host"),
    [
        (b"GET", b"/x", "a"),
        (b"GET", b"//b/x", "a"),
        (b"GET", b"/x?y=http://b/", "a"),
        (b"OPTIONS", b"*", "a"),
        # the Host field doesn't count beside an absolute form
        (b"GET", b"http://b/x", "b"),
        (b"GET", b"HTTPS://[::1]:80?x", "[::1]:80"),
        (b"GET", b"http://b:", "b:"),
        (b"CONNECT", b"b:443", "b:443"),
    ],
)
def test_hosts(method: bytes, target: bytes, host: str) -> None:
    assert Request.from_payload(Frame(payload(target, method))).host == host
    assert Request.from_payload(payload(target, method, b" HTTP/1.0\r\n\r\n")).host == ("" if host == "a" else host)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", "/", {}),
        (b"/is_prime?possible_prime=3", "/is_prime", {"possible_prime": ["3"]}),
        # encoded as a whole, as the original's server and client write it: decoded once in all
        (b"%2Fis_prime%3Fpossible_prime%3D3", "/is_prime", {"possible_prime": ["3"]}),
        (b"%2fis_prime%3fpossible_prime%3d3%26a%3db", "/is_prime", {"possible_prime": ["3"], "a": ["b"]}),
        (b"%2Fa%2541%3Fq%3D%2541%2B1", "/a%41", {"q": ["%41+1"]}),
        (b"http%3A%2F%2Fhost%2Fx%3Fq%3D1", "/x", {"q": ["1"]}),
        (b"%2F", "/", {}),
        # what only looks so
        (b"%41%3Fb", "A?b", {}),
        (b"a%2Fb/c?d=1", "a/b/c?d=1", {}),
        # absolute form
        (b"http://host:80/x/y?q=1", "/x/y", {"q": ["1"]}),
        (b"HTTPS://host?q=1", "/", {"q": ["1"]}),
        (b"http://host", "/", {}),
        # asterisk and authority form
        (b"*", "*", {}),
        (b"host:443", "host:443", {}),
        # the path: once, UTF-8, otherwise surrogate escapes
        (b"/%25%32%30", "/%20", {}),
        (b"/%C3%A9%2fx+y", "/\u00e9/x+y", {}),
        (b"/a%00b", "/a\0b", {}),
        (b"/%C0%AF..", "/\udcc0\udcaf..", {}),
        (b"/%E0%80%AF", "/\udce0\udc80\udcaf", {}),
        (b"/\xff", "/\udcff", {}),
        (b"/%zz%4%", "/%zz%4%", {}),
        (b"//x/../y", "//x/../y", {}),
        # the query: in order, blanks kept, plus is space
        (b"/?a=1&b=2&a=3", "/", {"a": ["1", "3"], "b": ["2"]}),
        (b"/?a&b=&=c&&d=e=f", "/", {"a": [""], "b": [""], "": ["c"], "d": ["e=f"]}),
        (b"/?a+b=c+d%2B", "/", {"a b": ["c d+"]}),
        (b"/?a%3Db%26=%3F?", "/", {"a=b&": ["??"]}),
        (b"/?n=%00&m=%FF", "/", {"n": ["\0"], "m": ["\udcff"]}),
        (b"/?", "/", {}),
    ],
)
def test_targets(target: bytes, path: str, query: dict[str, list[str]]) -> None:
    request = Request.from_payload(Frame(payload(target)))
    assert request.target == target
    assert request.path == path
    assert request.query == query
    assert list(request.query.items()) == list(query.items())
    for name, values in query.items():
        raw = name.encode("utf-8", "surrogateescape")
        assert payload_query_value(payload(target), raw) == values[0].encode("utf-8", "surrogateescape")
    assert payload_query_value(payload(target), b"no such name") is None


@pytest.mark.parametrize(
    ("text", "method", "version", "headers", "body"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "GET", "1.1", {}, b""),
        (b"\r\n\nGET / HTTP/1.0\nA: b\n\nbody", "GET", "1.0", {"a": "b"}, b"body"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nhello", "POST", "1.1", None, b"hello"),
        (b"PUT / HTTP/1.1\r\nX:\t a \t\r\nx: b\r\nY:\r\n\r\n\r\n\r\n", "PUT", "1.1", {"X": "a, b", "y": ""}, b"\r\n\r\n"),
        (b"M-SEARCH * HTTP/1.2\r\nN: \xe9\r\n\r\n", "M-SEARCH", "1.2", {"n": "\u00e9"}, b""),
    ],
)
def test_the_rest(text: bytes, method: str, version: str, headers: dict[str, str] | None, body: bytes) -> None:
    request = Request.from_payload(text)
    assert (request.method, request.version, bytes(request.body)) == (method, version, body)
    if headers is not None:
        assert request.headers == headers
    assert bytes(request) == request.serialize() == text


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\r\n",
        b"GET",
        b"GET /",
        b"GET / HTTP/1.1",
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nA: b\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
        b"GET / x HTTP/1.1\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\n\r\n",
        b" / HTTP/1.1\r\n\r\n",
        b"G(T / HTTP/1.1\r\n\r\n",
        b" HTTP/1.1\r\n\r\n",
        b"5:hello,",
    ],
)
def test_malformed(text: bytes) -> None:
    request = Request.from_payload(Frame(text))
    for part in ("method", "target", "path", "query", "headers", "body", "version"):
        with pytest.raises(ProtocolError, match="no HTTP request") as caught:
            getattr(request, part)
        assert caught.value.status == 400
    assert "malformed" in repr(request)
    with pytest.raises(ProtocolError):
        payload_query_value(text, b"a")


def test_malformed_fields_are_told_when_they_are_read() -> None:
    for line in (b"no colon", b": no name", b" folded: x"):
        request = Request.from_payload(b"GET / HTTP/1.1\r\n" + line + b"\r\n\r\n")
        assert request.method == "GET"
        with pytest.raises(ProtocolError, match="no header field"):
            request.headers["a"]


def address_of(view: memoryview) -> int:
    buffer = (ctypes.c_void_p * 10)()  # a Py_buffer: the address is its first field
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(view), ctypes.byref(buffer), 0)
    try:
        return buffer[0] or 0
    finally:
        ctypes.pythonapi.PyBuffer_Release(ctypes.byref(buffer))


@pytest.mark.parametrize("size", [1, 10, 100_000])
def test_the_body_lies_in_the_frame_and_keeps_it(size: int) -> None:
    head = b"POST / HTTP/1.1\r\n\r\n"
    frame = Frame(head + b"x" * size)
    at = frame.address + len(head)
    request = Request.from_payload(frame)
    body = request.body
    assert body.readonly and body.nbytes == size
    assert address_of(body) == at
    del frame, request
    assert bytes(body) == b"x" * size


def test_headers_and_query_outlive_the_request() -> None:
    request = Request.from_payload(Frame(payload(b"/?a=%31", tail=b" HTTP/1.1\r\nHost: somewhere\r\nA: 1\r\na: 2\r\n\r\n")))
    headers, query = request.headers, request.query
    assert request.headers is headers and request.query is query
    del request
    assert headers["HOST"] == "somewhere"
    assert headers.get_all("a") == ["1", "2"]
    assert headers.get_all("b") == []
    assert headers.fields() == [("Host", "somewhere"), ("A", "1"), ("a", "2")]
    assert list(headers) == ["Host", "A"] and len(headers) == 2
    assert list(headers.values()) == ["somewhere", "1, 2"]
    number: Any = 3
    assert "host" in headers and "b" not in headers and number not in headers
    assert headers.get("b") is None and headers.get("b", "x") == "x"
    with pytest.raises(KeyError):
        headers["b"]
    assert query["a"] == ["1"]


def test_the_query_stays_as_it_came() -> None:
    query = Query(b"a=1&b=2&a=3")
    query["a"].append("4")
    query.get("a", []).append("4")
    assert query == {"a": ["1", "3"], "b": ["2"]}
    assert query.pairs() == [("a", "1"), ("b", "2"), ("a", "3")]
    assert Query(b"a=1&b=2").pairs() == [("a", "1"), ("b", "2")]
    assert (list(query), len(query), list(query.values())) == (["a", "b"], 2, [["1", "3"], ["2"]])
    assert query.get("c") is None and query.get("c", ["5"]) == ["5"] and "c" not in query
    with pytest.raises(KeyError):
        query["c"]
    with pytest.raises(TypeError, match="immutable"):
        Query.__init__(query, b"x")
    assert query == Query("a=1&b=2&a=3") and query != Query("a=1")


@given(st.binary(max_size=60) | st.text("ab=&+%250Fg", max_size=30).map(str.encode))
@example(b"%\xc3%a9")
def test_queries_read_as_parse_qs_does(raw: bytes) -> None:
    raw = quote(raw, safe="=&+%").encode()  # pure ASCII: what a target may have in it
    expected = parse_qs(raw.decode(), keep_blank_values=True, errors="surrogateescape", max_num_fields=None)
    assert dict(Query(raw).items()) == expected
    for name, values in expected.items():
        found = payload_query_value(payload(b"/?" + raw), name.encode("utf-8", "surrogateescape"))
        assert found == values[0].encode("utf-8", "surrogateescape")


@given(st.binary(max_size=200) | st.lists(st.sampled_from([b"GET", b" ", b"/", b"%2F", b"?", b"HTTP/1.1", b"\r", b"\n", b":", b"a"])).map(b"".join))
def test_any_bytes_give_a_value_or_our_error(data: bytes) -> None:
    request = Request.from_payload(Frame(data))
    try:
        parts = request.method, request.target, request.path, request.query.pairs(), request.version, bytes(request.body)
        dict(request.headers.items())
    except ProtocolError as error:
        assert error.status == 400
    else:
        assert all(part is not None for part in parts)


TOKENS = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=12)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20)


@given(
    TOKENS,
    st.binary(max_size=30).map(quote),
    st.lists(st.tuples(TOKENS.filter(lambda name: name.lower() not in ("content-length", "transfer-encoding")), VALUES), max_size=5),
    st.binary(max_size=100),
    st.sampled_from(["1.0", "1.1"]),
)
def test_what_is_made_reads_back(method: str, target: str, fields: list[tuple[str, str]], body: bytes, version: str) -> None:
    made = Request(method, "/" + target, headers=fields, body=body, version=version)
    read = Request.from_payload(Frame(bytes(made)))
    for request in (made, read):
        assert (request.method, request.target, request.version) == (method, b"/" + target.encode(), version)
        assert bytes(request.body) == body
        found = [pair for pair in request.headers.fields() if pair[0] != "Content-Length"]
        assert found == [(name, value.strip(" \t")) for name, value in fields]
        assert request.headers.get("Content-Length") == (str(len(body)) if body or method in ("POST", "PUT", "PATCH") else None)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"method": "GE T"}, ValueError, "no method"),
        ({"method": ""}, ValueError, "no method"),
        ({"method": "G\u00c9T"}, ValueError, "no method"),
        ({"method": b"GET"}, TypeError, "bytes"),
        ({"target": "/a b"}, ValueError, "percent-encode"),
        ({"target": "/a\r\nX: y"}, ValueError, "percent-encode"),
        ({"target": "/\u00e9"}, ValueError, "percent-encode"),
        ({"target": ""}, ValueError, "empty"),
        ({"target": 3}, TypeError, "int"),
        ({"version": "2"}, ValueError, "1.1"),
        ({"headers": {"a": "b\r\nc: d"}}, ValueError, "control characters"),
        ({"headers": {"a\r\nb": "c"}}, ValueError, "header name"),
        ({"headers": {"a": "\u20ac"}}, ValueError, "8859-1"),
        ({"headers": {"a": 3}}, TypeError, "int"),
        ({"headers": ["ab"]}, TypeError, "pair"),
        ({"headers": "ab"}, TypeError, "mapping"),
        ({"headers": {"content-LENGTH": "3"}}, ValueError, "follows from the body"),
        ({"body": 3}, TypeError, "bytes-like"),
    ],
)
def test_what_cannot_be_sent_is_refused(arguments: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        Request(**arguments)


def test_a_request_is_made_once() -> None:
    request = Request("GET", b"/x")
    with pytest.raises(TypeError, match="immutable"):
        Request.__init__(request, "POST", "/y")
    assert repr(request) == "<Request GET /x>"


def test_a_value_without_room_is_told() -> None:
    text = payload(b"/?n=" + b"%31" * 10)
    assert payload_query_value(text, b"n", 10) == b"1" * 10
    with pytest.raises(ValueError, match="longer than 9"):
        payload_query_value(text, b"n", 9)
