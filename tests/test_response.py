"""Responses: what is refused when they are made, and the frames they become."""

import email.utils
import http
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prime_server import ProtocolError
from prime_server._ext.info import RequestInfo
from prime_server._ext.response import Response, plain_frames, response_frames, stream_frames

HEAD, OLD, NETSTRING, RAW = 0x0004, 0x0008, 0x0100, 0x0200


def info(**fields: Any) -> bytes:
    return RequestInfo(id=1, time_stamp=2, **fields).to_bytes()


OURS = info(extended=True)
THEIRS = info()


def sent(response: Response, request: bytes = OURS) -> list[bytes]:
    return [bytes(frame) for frame in response_frames(response, request)]


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (Response(), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        (Response(200, "7"), b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 1\r\n\r\n7"),
        (Response(200, "\u00e9"), b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 2\r\n\r\n\xc3\xa9"),
        (Response(200, b"7"), b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 1\r\n\r\n7"),
        (Response(200, bytearray(b"7"), content_type="a/b"), b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 1\r\n\r\n7"),
        (Response(200, memoryview(b"7"), headers={"content-type": "a/b"}), b"HTTP/1.1 200 OK\r\ncontent-type: a/b\r\nContent-Length: 1\r\n\r\n7"),
        (Response(404, headers=[("A", " 1 "), ("a", "2")]), b"HTTP/1.1 404 Not Found\r\nA: 1\r\na: 2\r\nContent-Length: 0\r\n\r\n"),
        (Response(299, reason="Sm\u00f8rrebr\u00f8d"), b"HTTP/1.1 299 Sm\xf8rrebr\xf8d\r\nContent-Length: 0\r\n\r\n"),
        (Response(299), b"HTTP/1.1 299 Unknown\r\nContent-Length: 0\r\n\r\n"),
        (Response(204, b"x"), b"HTTP/1.1 204 No Content\r\nContent-Type: application/octet-stream\r\n\r\n"),
        (Response(204), b"HTTP/1.1 204 No Content\r\n\r\n"),
        (Response(205, b"x", content_type="a"), b"HTTP/1.1 205 Reset Content\r\nContent-Type: a\r\nContent-Length: 0\r\n\r\n"),
        (Response(304, headers={"ETag": '"a"'}), b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n'),
        (Response(304, b"four", content_type="a"), b"HTTP/1.1 304 Not Modified\r\nContent-Type: a\r\nContent-Length: 4\r\n\r\n"),
    ],
)
def test_text(response: Response, text: bytes) -> None:
    assert sent(response) == [text]
    # to HTTP/1.0, by flag or by version: the version is the server's (RFC 9110 section 2.5)
    for request in (info(extended=True, flags=OLD), info(extended=True, version=0)):
        assert sent(response, request) == [text]
    # HEAD
    head, _, _ = text.partition(b"\r\n\r\n")
    assert sent(response, info(extended=True, flags=HEAD)) == [head + b"\r\n\r\n"]
    # native
    line, *fields = head.split(b"\r\n")
    if line.split(b" ", 2)[2] in (b"OK", b"Not Found", b"No Content", b"Not Modified", b"Reset Content"):
        kinds = [field.split(b": ", 1)[1] for field in fields if field.lower().startswith(b"content-type")]
        extra = b"".join(field + b"\r\n" for field in fields if not field.lower().startswith(b"content-"))
        frames = plain_frames(response.status, kinds[0] if kinds else None, response.body, OURS, extra)
        assert [bytes(frame) for frame in frames] == [text.replace(b"content-type", b"Content-Type")]
    # for a server of the original: Date and Connection too
    [complete] = sent(response, THEIRS)
    date = re.search(rb"Date: ([^\r]*)\r\n", complete)
    assert date is not None
    assert complete.replace(date[0], b"") == text


@pytest.mark.parametrize(
    ("fields", "connection"),
    [
        ({}, None),
        ({"keep_alive": True}, None),
        ({"close": True}, "close"),
        ({"version": 0}, "close"),
        ({"version": 0, "keep_alive": True}, "keep-alive"),
        ({"version": 0, "close": True}, "close"),
    ],
)
def test_connection_for_a_server_of_the_original(fields: dict[str, int], connection: str | None) -> None:
    before = int(time.time())
    [frame] = sent(Response(200, b"x" * 70_000), info(**fields))
    head, body = frame.split(b"\r\n\r\n", 1)
    lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert lines.get("Connection") == connection
    assert head.startswith(b"HTTP/1.1 ")
    assert before <= email.utils.parsedate_to_datetime(lines["Date"]).timestamp() <= time.time()
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", lines["Date"])
    assert len(body) == 70_000


def test_netstring_and_raw() -> None:
    big = b"x" * 65_536
    for request in (THEIRS[:8], info(extended=True, flags=NETSTRING)):
        assert sent(Response(200, "\u00e9a"), request) == [b"3:\xc3\xa9a,"]
        assert sent(Response(400), request) == [b"0:,"]
        assert b"".join(sent(Response(200, big), request)) == b"65536:" + big + b","
        assert [bytes(frame) for frame in plain_frames(500, None, b"no", request)] == [b"2:no,"]
    assert len(sent(Response(200, big), THEIRS[:8])) == 1
    assert len(sent(Response(200, big), info(extended=True, flags=NETSTRING))) == 3
    for body in (b"", b"abc", big):
        assert sent(Response(204, body), info(extended=True, flags=RAW)) == [body]
        assert [bytes(frame) for frame in plain_frames(204, None, body, info(extended=True, flags=RAW))] == [body]


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview, bytes.decode])
def test_a_big_body_is_a_frame_of_its_own(make: type) -> None:
    for size, count in ((65_535, 1), (65_536, 2)):
        body = make(b"x" * size)
        frames = sent(Response(200, body))
        assert len(frames) == count
        assert b"".join(frames).endswith(b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
        assert len(sent(Response(200, body), THEIRS)) == 1
        [head] = sent(Response(200, body), info(extended=True, flags=HEAD))
        assert head.endswith(b"Content-Length: %d\r\n\r\n" % size)


def test_a_big_body_is_not_copied() -> None:
    body = bytearray(b"x" * 100_000)
    frames = response_frames(Response(200, body), OURS)
    body[0] = ord("y")
    assert bytes(frames[1]).startswith(b"yx")


def test_in_parts() -> None:
    big = b"x" * 100_000

    def messages(request: bytes, response: Response | None = None) -> list[list[bytes]]:
        made = stream_frames(response or Response(200, content_type="a"), ["\u00e9", b"", b"0123456789abcdef!", big], request)
        return [[bytes(frame) for frame in frames] for frames in made]

    head = b"HTTP/1.1 200 OK\r\nContent-Type: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = [[b"2\r\n\xc3\xa9\r\n"], [], [b"11\r\n0123456789abcdef!\r\n"], [b"186a0\r\n", big, b"\r\n"], [b"0\r\n\r\n"]]
    assert messages(OURS) == [[head], *chunks]
    assert messages(info(extended=True, flags=HEAD)) == [[head], [], [], [], [], []]
    old = head.replace(b"Transfer-Encoding: chunked\r\n", b"")
    assert messages(info(extended=True, version=0)) == [[old], ["\u00e9".encode()], [], [b"0123456789abcdef!"], [big], []]
    assert messages(info(extended=True, flags=RAW)) == [[], ["\u00e9".encode()], [], [b"0123456789abcdef!"], [big], []]
    known = Response(200, iter(()), content_type="a", length=100_020)
    head = head.replace(b"Transfer-Encoding: chunked", b"Content-Length: 100020")
    plain = [["\u00e9".encode()], [], [b"0123456789abcdef!"], [big], []]
    assert messages(OURS, known) == messages(info(extended=True, version=0), known) == [[head], *plain]
    assert messages(info(extended=True, flags=HEAD), known) == [[head], [], [], [], [], []]
    for request in (THEIRS, info(extended=True, flags=NETSTRING)):
        with pytest.raises(ValueError, match="join them"):
            messages(request)
    with pytest.raises(ValueError, match="200 to 599"):
        messages(OURS, Response(100))


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"status": 99}, ValueError, "100 to 999"),
        ({"status": 1000}, ValueError, "100 to 999"),
        ({"status": True}, TypeError, "bool"),
        ({"status": "200"}, TypeError, "str"),
        ({"body": None}, TypeError, "NoneType"),
        ({"body": 3}, TypeError, "int"),
        ({"body": "\ud800"}, UnicodeEncodeError, "surrogates"),
        ({"reason": "a\r\nb"}, ValueError, "control"),
        ({"reason": "\u20ac"}, ValueError, "8859-1"),
        ({"reason": b"a"}, TypeError, "bytes"),
        ({"body": b"a", "length": 1}, ValueError, "in parts"),
        ({"body": iter(()), "length": -1}, ValueError, "0 or more"),
        ({"body": iter(()), "length": 1 << 62}, ValueError, "0 or more"),
        ({"body": iter(()), "length": True}, TypeError, "bool"),
        ({"body": iter(()), "length": 1.0}, TypeError, "float"),
        ({"content_type": "a\r\nX: y"}, ValueError, "control"),
        ({"content_type": "a", "headers": {"content-type": "b"}}, ValueError, "one of them"),
        ({"headers": {"A\r\nB": "c"}}, ValueError, "header name"),
        ({"headers": {"A:": "c"}}, ValueError, "header name"),
        ({"headers": {"": "c"}}, ValueError, "header name"),
        ({"headers": {"\u00e9": "c"}}, ValueError, "header name"),
        ({"headers": {"A": None}}, TypeError, "NoneType"),
        ({"headers": {3: "c"}}, TypeError, "int"),
        ({"headers": [("a", "b", "c")]}, TypeError, "no pair"),
        *(({"headers": [("A", "b" + control + "c")]}, ValueError, "control") for control in "\r\n\0\x7f\x1b"),
        *(
            ({"headers": {name: "1"}}, ValueError, f"{name}.*server sets it")
            for name in ("Content-Length", "transfer-encoding", "CONNECTION", "Keep-Alive", "Date", "upgrade")
        ),
    ],
)
def test_what_must_not_go_out_is_refused(arguments: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        Response(**arguments)


@pytest.mark.parametrize("status", [100, 101, 199, 600, 999])
def test_a_work_function_answers_finally(status: int) -> None:
    with pytest.raises(ValueError, match="200 to 599"):
        sent(Response(status))
    with pytest.raises(ValueError):
        plain_frames(status, None, b"", OURS)


def test_native_content_types_are_checked() -> None:
    with pytest.raises(ValueError):
        plain_frames(200, b"a\r\nX: y", b"", OURS)
    with pytest.raises(ProtocolError):
        plain_frames(200, b"a", b"", b"short")


def test_parts_of_a_response() -> None:
    response = Response(200, "\u00e9", headers=[("Set-Cookie", "a"), ("set-cookie", "b")])
    assert (response.status, response.reason, response.body, response.text) == (200, "OK", b"\xc3\xa9", "\u00e9")
    assert response.headers.fields() == [("Content-Type", "text/plain; charset=utf-8"), ("Set-Cookie", "a"), ("set-cookie", "b")]
    assert response.headers.get_all("SET-COOKIE") == ["a", "b"]
    assert Response(200, b"\xe9", content_type='text/html; charset="latin-1"').text == "\u00e9"
    assert Response(200, b"\xe9", content_type="text/html; charset=no-such-thing").text == "\ufffd"
    assert repr(Response(404, "ab")) == "<Response 404 Not Found, 2 bytes>"
    assert Response(201, headers=response.headers).headers.fields() == response.headers.fields()


RENAMED = {413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 418: "I'm a Teapot", 422: "Unprocessable Content"}


@pytest.mark.parametrize("status", list(http.HTTPStatus), ids=int)
def test_reasons(status: http.HTTPStatus) -> None:
    assert Response(int(status)).reason == RENAMED.get(status, status.phrase)


TEXT = st.text(st.characters(max_codepoint=0x17F), max_size=12)


@given(st.integers(200, 599), TEXT, TEXT, st.binary(max_size=50), TEXT)
def test_nothing_given_ends_a_line(status: int, name: str, value: str, body: bytes, kind: str) -> None:
    try:
        response = Response(status, body, headers={name: value}, content_type=kind)
    except ValueError:
        return
    head = sent(response)[0].split(b"\r\n\r\n", 1)[0]
    lines = head.split(b"\r\n")
    expected = 3 if status == 204 or (status == 304 and not body) else 4
    assert len(lines) == expected
    assert not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", b"".join(lines))
    assert lines[2] == f"{name}: {value.strip(' ' + chr(9))}".encode("latin-1")
