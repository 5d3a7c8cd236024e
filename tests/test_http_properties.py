"""The strict parsers against a slow reader of the same grammar, against what was written, and against the end of a page."""

import contextlib
import ctypes
import itertools
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import zmq
from feeding import fed
from http_oracle import read_all
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prime_server import ProtocolError
from prime_server._ext.libzmq import receive_frames, send_frames
from prime_server._ext.parsers import NetstringParser, RequestParser, ResponseParser
from prime_server._ext.request import Request

CORPUS = [path.read_bytes() for path in sorted(Path(__file__).with_name("requests").glob("*/*.http"))]
SHORT = [data for data in CORPUS if len(data) < 1000]

tokens = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=12).map(str.encode)
texts = st.text("".join(map(chr, [9, *range(32, 127), *range(128, 256)])), max_size=40).map(lambda text: text.encode("latin-1").strip(b" \t"))
bodies = st.binary(max_size=120)


@st.composite
def messages(
    draw: st.DrawFn,
    first_line: st.SearchStrategy[bytes],
    chunk_lines: Sequence[bytes] = (b"%x\r\n", b"%X;a=b\r\n", b"%03x ; c\r\n"),
    blanks: Sequence[bytes] = (b" ", b"", b" \t"),
) -> Any:
    """A well-formed message: its bytes, its fields and its body. `first_line` draws the line, without its end."""
    fields = draw(st.lists(st.tuples(tokens.map(lambda name: b"X-" + name), texts), max_size=6))
    body = draw(bodies)
    framing = draw(st.sampled_from(["none", "length", "chunks"]))
    fields.append((b"Host", b"a"))
    if framing == "none":
        fields.append((b"content-length", b"0"))
        body = wire = b""
    elif framing == "length":
        fields.append((b"Content-Length", b"%d" % len(body)))
        wire = body
    else:
        fields.append((b"Transfer-Encoding", b"chunked"))
        ends = sorted({*draw(st.lists(st.integers(0, len(body)), max_size=4)), 0, len(body)})
        form = draw(st.sampled_from(chunk_lines))
        chunks = [body[start:end] for start, end in itertools.pairwise(ends)]
        wire = b"".join(form % len(chunk) + chunk + b"\r\n" for chunk in chunks)
        wire += b"0\r\n" + draw(st.sampled_from([b"", b"A: b\r\n"])) + b"\r\n"
    fields = draw(st.permutations(fields))
    white = draw(st.sampled_from(blanks))
    head = b"".join([draw(first_line), b"\r\n", *(name + b":" + white + value + white + b"\r\n" for name, value in fields), b"\r\n"])
    if framing == "chunks":
        fields = [*fields, (b"Content-Length", b"%d" % len(body))]
    return head + wire, fields, body


request_lines = st.builds(
    lambda method, target: method + b" /" + target + b" HTTP/1.1",
    st.sampled_from([b"GET", b"POST", b"PUT", b"OPTIONS"]),
    st.text("abc/?=&-%", max_size=30).map(lambda text: text.replace("%", "%2F").encode()),
)
status_lines = st.builds(lambda code, reason: b"HTTP/1.1 %d %b" % (code, reason), st.sampled_from([200, 201, 404, 500]), texts)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(ends)]


@settings(deadline=None)
@given(st.lists(messages(request_lines), max_size=4), st.lists(st.integers(0, 10_000), max_size=8))
def test_requests_are_read_as_they_were_written(written: Any, cuts: list[int]) -> None:
    data = b"".join(message for message, _, _ in written)
    parser = RequestParser()
    found, error = fed(parser, pieces_of(data, cuts))
    assert error is None and parser.idle
    assert [(one.headers, bytes(one.body)) for one in found] == [(fields, body) for _, fields, body in written]


@settings(deadline=None)
@given(st.lists(messages(status_lines), max_size=4), st.lists(st.integers(0, 10_000), max_size=8))
def test_responses_are_read_as_they_were_written(written: Any, cuts: list[int]) -> None:
    data = b"".join(message for message, _, _ in written)
    parser = ResponseParser()
    found, error = fed(parser, pieces_of(data, cuts))
    assert error is None and parser.idle
    assert [(one.headers, bytes(one.body)) for one in found] == [(fields, body) for _, fields, body in written]


@st.composite
def nearly_right(draw: st.DrawFn) -> bytes:
    """Requests of the corpus and made-up ones with a few bytes changed, put in, taken out or repeated."""
    made_up = st.builds(
        lambda method, target, version, fields, body: b"%b %b %b\r\n%b\r\n%b" % (method, target, version, b"".join(fields), body),
        st.sampled_from([b"GET", b"POST", b"OPTIONS", b"CONNECT", b"get"]),
        st.sampled_from([b"/", b"/a?b#c", b"*", b"a:80", b"http://a/", b"http://[::1]:80?x", b"http://u@a", b"/%20", b"/%2"])
        | st.text("/%a2[]:@#?*.h", max_size=12).map(str.encode),
        st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0"]),
        st.lists(
            st.sampled_from(
                [b"Host: a\r\n", b"Host: [::1]:80\r\n", b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"A: b\r\n",
                 b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n",
                 b"Connection: close\r\n", b"Connection: keep-alive, x\r\n", b"Expect: 100-continue\r\n", b" x\r\n"]
            )
            | st.builds(lambda name, value: name + b": " + value + b"\r\n", tokens, texts)
            | st.text("0123456789abcf:.[]v%", max_size=16).map(lambda host: b"Host: %b\r\n" % host.encode()),
            max_size=3,
        ).flatmap(lambda fields: st.sampled_from([fields, [b"Host: a\r\n", *fields], [*fields, b"Host: a:80\r\n"]])),
        st.sampled_from([b"", b"abc", b"0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n", b"1;a=\"b\"\r\nx\r\n0\r\nA: b\r\n\r\n"]),
    )  # fmt: skip
    right = messages(request_lines).map(lambda message: message[0])
    data = b"".join(draw(st.lists(st.sampled_from(SHORT) | made_up | right, min_size=1, max_size=3)))
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 3]))):
        at = draw(st.integers(0, len(data)))
        way = draw(st.integers(0, 3))
        byte = draw(st.sampled_from([b"\r", b"\n", b" ", b"\t", b":", b"\0", b",", b";", b"0", b"a", b"\x80", b"\x7f", b"\r\n", b'"', b"%", b"["]))
        data = data[:at] + (byte if way < 2 else data[at : at + 5] * 2 if way == 2 else b"") + data[at + (way > 0) :]
    return data


@settings(max_examples=600, deadline=None)
@given(nearly_right(), st.lists(st.integers(0, 10_000), max_size=6))
@example(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r", [])
@example(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n\r", [])
def test_requests_are_taken_and_refused_as_the_grammar_says(data: bytes, cuts: list[int]) -> None:
    expected, behind = read_all(data)
    parser = RequestParser()
    found, error = fed(parser, [data])
    again, same = fed(RequestParser(), pieces_of(data, cuts))
    assert (str(error), [bytes(one) for one in found]) == (str(same), [bytes(one) for one in again])
    got = [(one.method, one.target, one.version, one.keep_alive, bytes(one.body)) for one in found]
    assert got == [(method, target, version, keep_alive, body) for method, target, version, keep_alive, _, body in expected]
    if behind == "refused":
        assert error is not None
    elif behind == "nothing":
        assert error is None and parser.idle
    else:
        assert not parser.idle  # what is wrong in an incomplete request may be known already


@settings(deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=6))
def test_any_bytes_give_messages_or_our_error(data: bytes, cuts: list[int]) -> None:
    for make in (RequestParser, ResponseParser, NetstringParser):
        found, error = fed(make(), [data])
        again, same = fed(make(), pieces_of(data, cuts))
        assert (str(error), [bytes(one) for one in found]) == (str(same), [bytes(one) for one in again])


class LastBytesOfAPage:
    """Memory of which the byte behind the last one can't be read."""

    def __init__(self, count: int = 3) -> None:
        self.pages = mmap.mmap(-1, (count + 1) * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.end = count * mmap.PAGESIZE
        anchor = ctypes.c_char.from_buffer(self.pages)
        self.address = ctypes.addressof(anchor) + self.end
        if self.protect(0) != 0:
            pytest.skip("mprotect is not allowed here")
        del anchor

    def protect(self, access: int) -> int:
        return int(ctypes.CDLL(None).mprotect(ctypes.c_void_p(self.address), ctypes.c_size_t(mmap.PAGESIZE), access))

    def hold(self, data: bytes) -> Any:
        self.pages[self.end - len(data) : self.end] = data
        return memoryview(self.pages)[self.end - len(data) : self.end]


@pytest.mark.parametrize(
    ("make", "data"),
    [
        *((RequestParser, data) for data in SHORT),
        (ResponseParser, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n5;a=b\r\nhello\r\n0\r\nTrailer: x\r\n\r\n"),
        (ResponseParser, b"HTTP/1.1 200\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello"),
        (NetstringParser, b"5:hello,0:,12:hello world!,"),
    ],
)
def test_nothing_is_read_behind_the_end(make: Any, data: bytes) -> None:
    page = LastBytesOfAPage()
    whole, error = fed(make(), [data])
    for at in range(len(data) + 1):
        parser = make()
        found = parser.feed(page.hold(data[:at]))
        if parser.error is None:
            found += parser.feed(page.hold(data[at:]))
        assert [bytes(one) for one in found] == [bytes(one) for one in whole] and str(parser.error) == str(error)


@pytest.mark.parametrize(
    "end",
    [
        b"/%41", b"/?a=%4&b=+%", b" HTTP/1.1\r\n", b" HTTP/1.1\r\nA: b\r\nC:\t d \r\n\r\n", b" HTTP/1.0\nA:\n\nbody",
        b"%2Fa%3Fb%3Dc% HTTP/1.1\r\n\r\n",
    ],
)  # fmt: skip
def test_nothing_of_a_payload_is_read_behind_its_end(end: Any) -> None:
    """Payloads are read where they lie: large ones, which a message doesn't copy, are laid before the end of a page and cut there."""
    page = LastBytesOfAPage(count=32)
    read = 0
    with zmq.Context() as context, context.socket(zmq.PAIR) as sender, context.socket(zmq.PAIR) as receiver:
        receiver.bind("inproc://payload")
        sender.connect("inproc://payload")
        for start in (b"GET /" + b"a" * 70_000, b"GET %2F" + b"a" * 70_000):
            for at in range(len(start), len(start) + len(end) + 1):
                data = (start + end)[:at]
                send_frames(sender, [page.hold(data)])
                frames = receive_frames(receiver)
                assert frames is not None
                (frame,) = frames
                assert frame.address == page.address - len(data)
                request = Request.from_payload(frame)
                with contextlib.suppress(ProtocolError):
                    assert request.method == "GET"
                    assert len(request.path) + len(request.query.pairs()) + len(request.headers.fields()) + len(request.body) > 70_000
                    read += 1
                del request, frame
    assert (read > 0) == (b"\n\r\n" in end or b"\n\n" in end)
