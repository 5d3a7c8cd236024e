"""The strict request parser: every rule with what keeps it and what breaks it, fed in every way of cutting."""

import json
from pathlib import Path
from typing import Any

import pytest
from feeding import by_any_cut, cuts, fed

from prime_server import ProtocolError
from prime_server._ext.parsers import ParsedRequest, RequestParser

CORPUS = Path(__file__).with_name("requests")
NEXT = b"DELETE /next HTTP/1.1\r\nHost: next\r\n\r\n"


def summary(request: Any) -> Any:
    return request.method, request.target, request.version, request.keep_alive, bytes(request.body)


def outcome(data: bytes, **limits: Any) -> tuple[list[Any], int | None]:
    return by_any_cut(lambda: RequestParser(**limits), data, summary)


def status_of(data: bytes, **limits: Any) -> int | None:
    """The status that refuses the request, None where it is taken; the request behind it must come out exactly then."""
    found, status = outcome(data, **limits)
    behind, same = outcome(data + NEXT, **limits)
    assert same == status and behind[: len(found)] == found
    if status is None:
        assert len(found) == 1 and len(behind) == 2
    else:
        assert found == behind == []
    return status


def request(line: bytes = b"GET / HTTP/1.1", *fields: bytes, host: bool = True, body: bytes = b"") -> bytes:
    return b"\r\n".join([line, *([b"Host: example.com"] if host else []), *fields, b"", body])


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*/*.http")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_corpus(path: Path) -> None:
    """The file's folder says what becomes of it: `ok` with the requests listed beside it, or the status that refuses it."""
    data = path.read_bytes()
    if path.parent.name == "ok":
        expected = json.loads(path.with_suffix(".json").read_text())
        for more in (b"", NEXT):
            found, status = outcome(data + more)
            assert status is None and len(found) == len(expected) + (1 if more else 0)
        for one, fields in zip(RequestParser().feed(data), expected, strict=True):
            assert one.method == fields["method"]
            assert one.target.decode("latin-1") == fields["target"]
            assert one.version == fields["version"]
            assert one.keep_alive == fields["keep_alive"]
            assert [[name.decode("latin-1"), value.decode("latin-1")] for name, value in one.headers] == fields["headers"]
            assert bytes(one.body).decode("latin-1") == fields["body"]
    else:
        assert outcome(data) == ([], int(path.parent.name)) == outcome(data + NEXT)


def test_the_payload_is_the_clients_bytes() -> None:
    data = b"PUT /a%20b?c HTTP/1.1\r\nhOsT:  x \r\nContent-Length: 3\r\nX:\t1\t\r\n\r\nabc"
    for pieces in cuts(b"\r\n" + data):
        (found,), error = fed(RequestParser(), pieces)
        assert error is None
        assert bytes(found) == bytes(found.payload) == data
        assert found.headers == [(b"hOsT", b"x"), (b"Content-Length", b"3"), (b"X", b"1")]
        assert data[: found.head_size].endswith(b"\r\n\r\n") and bytes(found.body) == b"abc"


def test_a_chunked_body_is_joined_and_its_length_added() -> None:
    data = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: x\r\n\r\n5\r\nhello\r\n1;a=b\r\n,\r\n000A\r\n wonderful\r\n0\r\nMore: x\r\n\r\n"
    wanted = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: x\r\nContent-Length: 16\r\n\r\nhello, wonderful"
    for pieces in cuts(data):
        (found,), error = fed(RequestParser(), pieces)
        assert error is None
        assert bytes(found) == wanted
        assert wanted[found.head_size :] == bytes(found.body) == b"hello, wonderful"


@pytest.mark.parametrize("size", [0, 1, 9, 10, 99, 2047, 2048, 2049, 70_000, 1_000_000])
def test_chunked_bodies_of_many_sizes(size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(body[at : at + 5000]), body[at : at + 5000]) for at in range(0, size, 5000))
    data = request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", body=chunks + b"0\r\n\r\n")
    for step in (len(data), 4096, 1459):
        found, error = fed(RequestParser(), [data[at : at + step] for at in range(0, len(data), step)])
        assert error is None
        assert bytes(found[0].body) == body
        assert found[0].headers[-1] == (b"Content-Length", b"%d" % size)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET / HTTP/1.1", None),
        (b"GET / HTTP/1.0", None),
        (b"GET / HTTP/1.2", None),
        (b"GET / HTTP/1.9", None),
        (b"GET / HTTP/2.0", 505),
        (b"GET / HTTP/0.9", 505),
        (b"GET / HTTP/3.1", 505),
        (b"GET / HTTP/1.10", 400),
        (b"GET / HTTP/1", 400),
        (b"GET / HTTP/1.", 400),
        (b"GET / HTTP/11", 400),
        (b"GET / HTTP/+1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b"GET / http/1.1", 400),
        (b"GET / Http/1.1", 400),
        (b"GET / HTCPCP/1.1", 400),
        (b"GET /", 400),
        (b"GET / ", 400),
        (b"GET", 400),
        (b"GET ", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"GET /  HTTP/1.1", 400),
        (b"GET\t/ HTTP/1.1", 400),
        (b"GET /\tHTTP/1.1", 400),
        (b" GET / HTTP/1.1", 400),
        (b"/ HTTP/1.1", 400),
        (b"G\x00T / HTTP/1.1", 400),
        (b"G(T / HTTP/1.1", 400),
        (b"G\xc9T / HTTP/1.1", 400),
        (b"GET / HTTP/1.1\rX: y", 400),
        (b"GET /\r HTTP/1.1", 400),
        (b"GET /\n HTTP/1.1", 400),
        (b"GET / HTTP/1.1\x00", 400),
        (b"HEAD / HTTP/1.1", None),
        (b"POST / HTTP/1.1", None),
        (b"PUT / HTTP/1.1", None),
        (b"DELETE / HTTP/1.1", None),
        (b"OPTIONS / HTTP/1.1", None),
        (b"TRACE / HTTP/1.1", None),
        (b"PATCH / HTTP/1.1", None),
        (b"Get / HTTP/1.1", 501),
        (b"get / HTTP/1.1", 501),
        (b"GETS / HTTP/1.1", 501),
        (b"BREW / HTTP/1.1", 501),
        (b"M-SEARCH / HTTP/1.1", 501),
        (b"!#$%&'*+-.^_`|~09 / HTTP/1.1", 501),
        (b"A" * 32 + b" / HTTP/1.1", 501),
        (b"A" * 33 + b" / HTTP/1.1", 501),
        (b"A" * 300, 501),
    ],
)
def test_request_lines(line: bytes, status: int | None) -> None:
    assert status_of(request(line)) == status


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        *((b"GET", target, None) for target in (
            b"/", b"//", b"/a/b", b"/a;b=1,2/c", b"/a?b", b"/?", b"/a??b/?", b"/%20%2f%FF", b"/a:b@c!$&'()*+,;=-._~", b"/?a=/:@",
            b"http://a", b"http://a/", b"http://a:80/b?c", b"HTTP://a?b", b"https://[::1]:8443/x", b"http://%41/", b"http://1.2.3.4/%7e",
        )),
        *((b"GET", target, 400) for target in (
            b"a", b"a/b", b"?a", b"%2f", b"/a#b", b"#", b"/%", b"/%2", b"/%2g", b"/%g2", b"/?%", b"/a%zz", b'/"', b"/<", b"/>", b"/\\", b"/a\x7f",
            b"/\x80", b"/\xc3\xa9", b"/\x00", b"/\x0b", b"/[", b"/]", b"/{a}", b"/|", b"/^", b"/`", b"/?a[]=1",
            b"*", b"**", b"a:80", b"http:", b"http:/", b"http://", b"http:///a", b"http://:80/", b"http:a", b"http://a b/",
            b"http://user@a/", b"http://user:word@a/", b"http://a:x/", b"http://a:1:2/", b"http://[::1/", b"http://::1/", b"http://[]/",
            b"http://a/[", b"http://a/%", b"http://a#b", b"http://a:65536/", b"ftp://a/", b"urn:a", b"mailto:a@b", b"xhttp://a/", b"https:/a",
        )),
        (b"OPTIONS", b"*", None),
        (b"OPTIONS", b"/a", None),
        (b"OPTIONS", b"http://a", None),
        (b"OPTIONS", b"*a", 400),
        (b"POST", b"*", 400),
        (b"CONNECT", b"a:80", None),
        (b"CONNECT", b"[::1]:443", None),
        (b"CONNECT", b"1.2.3.4:0", None),
        (b"CONNECT", b"a", 400),
        (b"CONNECT", b"a:", 400),
        (b"CONNECT", b":80", 400),
        (b"CONNECT", b"a:65536", 400),
        (b"CONNECT", b"/a", 400),
        (b"CONNECT", b"*", 400),
        (b"CONNECT", b"http://a:80", 400),
        (b"CONNECT", b"a:80/", 400),
        (b"CONNECT", b"u@a:80", 400),
    ],
)
def test_targets(method: bytes, target: bytes, status: int | None) -> None:
    assert status_of(request(b"%b %b HTTP/1.1" % (method, target))) == status


@pytest.mark.parametrize("target", [b"/?a[]=1", b"/{a}", b"/|^`", b"http://a/{b}", b"/" + b"a" * 40 + b"[" + b"b" * 40])
def test_targets_as_browsers_send_them(target: bytes) -> None:
    line = b"GET %b HTTP/1.1" % target
    assert status_of(request(line)) == 400
    assert outcome(request(line), raw_targets=True) == ([("GET", target, "1.1", True, b"")], None)
    for other in (b'"', b"<", b">", b"#", b"\\", b"\x80", b"%"):
        assert status_of(request(b"GET /%b HTTP/1.1" % other), raw_targets=True) == 400
    assert status_of(request(b"GET http://a|b/ HTTP/1.1"), raw_targets=True) == 400


def test_other_methods() -> None:
    assert outcome(request(b"BREW /pot HTTP/1.1"), methods=["PURGE", "BREW"]) == ([("BREW", b"/pot", "1.1", True, b"")], None)
    assert outcome(request(b"get / HTTP/1.1"), methods=["get"]) == ([("get", b"/", "1.1", True, b"")], None)
    assert status_of(request(b"BREW * HTTP/1.1"), methods=["BREW"]) == 400
    for other in (b"BRE", b"BREWS", b"EW", b"brew", b"BREW-GET", b"A" * 33):
        assert status_of(request(other + b" / HTTP/1.1"), methods=["BREW", "GET", "A" * 33]) == 501


def test_the_preface_of_http_2() -> None:
    assert status_of(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x12\x04\x00") == 505


@pytest.mark.parametrize(
    ("before", "status"),
    [(b"", None), (b"\r\n", None), (b"\r\n\r\n", 400), (b"\n", 400), (b"\r", 400), (b"\r\r\n", 400), (b" ", 400), (b"\0", 400), (b"\r\n\n", 400)],
)
def test_what_stands_before_a_request(before: Any, status: int | None) -> None:
    assert status_of(before + request()) == status
    # and between two
    found, again = outcome(request() + before + request(b"HEAD /x HTTP/1.1"))
    assert again == status and len(found) == (1 if status else 2)


@pytest.mark.parametrize(
    ("field", "status"),
    [
        (b"A: b", None),
        (b"A:", None),
        (b"A: ", None),
        (b"A:b", None),
        (b"A: \t b \t", None),
        (b"A: b  c\td", None),
        (b"A: \x80\xff\xc3\xa9", None),
        (b'A: "q\\"; :,=#<>@[]{}|~', None),
        (b"!#$%&'*+-.^_`|~09azAZ: x", None),
        (b"A : b", 400),
        (b"A\t: b", 400),
        (b" A: b", 400),
        (b"\tA: b", 400),
        (b": b", 400),
        (b"A", 400),
        (b"A b: c", 400),
        (b"A\x00: b", 400),
        (b"A(: b", 400),
        (b"A\xe9: b", 400),
        (b"A/: b", 400),
        (b"A@: b", 400),
        (b"A\x7f: b", 400),
        (b"A: b\r\n c", 400),
        (b"A: b\r\n\tc", 400),
        (b"A:\r\n b", 400),
        (b"A: b\x00", 400),
        (b"A: b\x01c", 400),
        (b"A: b\x0bc", 400),
        (b"A: b\x1bc", 400),
        (b"A: \x7f", 400),
        (b"A: b\rc", 400),
        (b"A: b\r\rc", 400),
        (b"A: b\nC: d", 400),
        (b"A: b\n", 400),
        (b"A\r: b", 400),
        (b"\rA: b", 400),
        (b"\nA: b", 400),
    ],
)
def test_fields(field: bytes, status: int | None) -> None:
    assert status_of(request(b"GET / HTTP/1.1", field)) == status
    assert status_of(request(b"GET / HTTP/1.1", b"X: y", field, b"Z: %b" % (b"z" * 40))) == status


def test_every_byte_in_a_name_a_value_and_a_target() -> None:
    tokens = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    targets = b"!$&'()*+,-./0123456789:;=?@ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"
    for padding in (0, 1, 7, 15, 16, 40):
        for code in range(256):
            byte, behind = bytes([code]), b"p" * padding
            if byte not in b":":
                _, error = fed(RequestParser(), [request(b"GET / HTTP/1.1", b"N%b%b: x" % (byte, behind))])
                assert (error is None) == (byte in tokens), byte
            if byte not in b"\r\n":
                _, error = fed(RequestParser(), [request(b"GET / HTTP/1.1", b"N: x%b%b" % (byte, behind))])
                assert (error is None) == (code == 9 or (code >= 32 and code != 127)), byte
            _, error = fed(RequestParser(), [request(b"GET /%b%b HTTP/1.1" % (byte, behind))])
            if byte not in b" ":
                assert (error is None) == (byte in targets), byte


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((host, None) for host in (
            b"a", b"A.example", b"a:80", b"a:", b"", b":", b":80", b"127.0.0.1:8002", b"a_b-c~d", b"%41b", b"a%2d:1", b"a:00080", b"a:65535",
            b"a,b;c=d", b"999.999.999.999", b"[::]", b"[::1]:80", b"[1::]", b"[1:2:3:4:5:6:7:8]", b"[1:2:3:4:5:6:7::]",
            b"[::2:3:4:5:6:7:8]", b"[1:2::7:8]",
            b"[FFFF:abcd::1.2.3.4]", b"[1:2:3:4:5:6:1.2.3.4]", b"[::ffff:255.255.255.255]", b"[v1.a:b]", b"[vF0.!$]:1",
        )),
        *((host, 400) for host in (
            b"a b", b"a/b", b"/", b"a@b", b"u:p@b", b"http://a", b"a:b", b"a:80a", b"a:-1", b"a:80:80", b"a:65536", b"a:99999999999999999999", b"::1",
            b"a#b", b"a?b", b'"a"', b"<a>", b"a\\b", b"a[", b"a]", b"[", b"]", b"[]", b"[::1", b"::1]", b"[::1]a", b"[::1]:x", b"[::1]]", b"[[::1]]",
            b"[1]", b"[1:2]", b"[1:2:3:4:5:6:7]", b"[1:2:3:4:5:6:7:8:9]", b"[1:2:3:4:5:6:7:8::]", b"[::1::2]", b"[:::]", b"[:1::]", b"[1::2:]",
            b"[12345::]", b"[g::]", b"[::1.2.3]", b"[::1.2.3.4.5]", b"[::1.2.3.256]", b"[::01.2.3.4]", b"[::1.2.3.]", b"[1.2.3.4]", b"[::1.2.3.4:5]",
            b"[1:2:3:4:5:6:7:1.2.3.4]", b"[::1%25eth0]", b"[v.a]", b"[v1.]", b"[v1a]", b"[vg.a]", b"[v1.a/]",
            b"%", b"%4", b"%4g", b"a%zz", b"\xe9", b"a\tb", b"*|*",
        )),
    ],
)
def test_hosts(host: bytes, status: int | None) -> None:
    assert status_of(request(b"GET / HTTP/1.1", b"Host:%b" % host, host=False)) == status
    assert status_of(request(b"GET / HTTP/1.0", b"HOST: \t%b " % host, host=False)) == status


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request(b"GET / HTTP/1.1", host=False), 400),
        (request(b"GET / HTTP/1.2", host=False), 400),
        (request(b"GET http://a/ HTTP/1.1", host=False), 400),
        (request(b"GET / HTTP/1.0", host=False), None),
        (request(b"GET / HTTP/1.1", b"Host: example.com"), 400),
        (request(b"GET / HTTP/1.1", b"hOST: b"), 400),
        (request(b"GET / HTTP/1.1", b"X: y", b"Host:"), 400),
        (request(b"GET / HTTP/1.0", b"Host: b"), 400),
        (request(b"GET / HTTP/1.1", b"Hosts: b", b"Hos: c", b"XHost: d"), None),
    ],
)
def test_host_once(data: bytes, status: int | None) -> None:
    assert status_of(data) == status


def test_requests_are_told_apart_from_what_they_hold() -> None:
    requests = RequestParser().feed(request() + NEXT)
    assert [type(one) for one in requests] == [ParsedRequest] * 2
    with pytest.raises(TypeError, match="RequestParser"):
        ParsedRequest()
    assert memoryview(requests[0]).readonly


def test_good_requests_before_a_bad_one() -> None:
    for bad in (b"bad", b"GET /\x00", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", b"\r\n\r\n"):
        found, status = outcome(request() + NEXT + bad + b"\r\n" + NEXT)
        assert [one[1] for one in found] == [b"/", b"/next"] and status == 400


def test_an_error_is_the_end() -> None:
    parser = RequestParser()
    assert parser.error is None
    assert parser.feed(b"GET /\x00") == []
    assert isinstance(parser.error, ProtocolError) and parser.error.status == 400
    with pytest.raises(ProtocolError) as raised:
        parser.feed(NEXT)
    assert raised.value.status == 400 and str(raised.value) == str(parser.error)
    assert not parser.idle and not parser.in_body and parser.room == 0


@pytest.mark.parametrize(
    "data", [b"\x16", b"GET /\x00", b"GET /a b", b"GET / HTTQ", b"GET / HTTP/1.1\r\n ", b"GET / HTTP/1.1\r\nA ", b"GET / HTTP/1.1\r\nA: \x01"]
)
def test_what_is_wrong_is_told_at_its_first_byte(data: bytes) -> None:
    parser = RequestParser()
    for at in range(len(data)):
        assert parser.error is None
        assert parser.feed(data[at : at + 1]) == []
    assert parser.error is not None and parser.error.status == 400
