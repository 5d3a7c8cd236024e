"""The strict request parser. For any bytes: requests come out, or our own error with a status, and nothing else happens; cut in any way, the same
requests and the same error come out; a request that came out, fed again as it is, is taken again, unless its chunks were joined; what comes out
holds no control byte in its head but the line ends and tabs."""

import re
from collections.abc import Hashable
from typing import Any

from prime_server._ext.parsers import ParsedRequest, RequestParser

from .runner import main, requests

STATUSES = {400, 413, 414, 417, 431, 501, 505}
LIMITS: dict[str, Any] = {"max_target": 100, "max_head": 1000, "max_fields": 20, "max_body": 1000}
TOKENS = [
    b"\r\n", b"\r", b"\n", b" ", b"\t", b"\0", b":", b": ", b",", b";", b"=", b'"', b"\\", b"%", b"%2F", b"/", b"?", b"#", b"*", b"[",
    b"]", b"@", b"\x80", b"\x7f", b"0", b"1", b"5", b"f", b"0\r\n\r\n", b"\r\n\r\n", b"GET ", b"HEAD ", b"OPTIONS * ", b"CONNECT a:80 ",
    b"PRI * HTTP/2.0", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"Host: a\r\n", b"Host: [::1]:80\r\n", b"http://", b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"gzip, ", b"chunked", b"Connection: close\r\n", b"keep-alive",
    b"Expect: 100-continue\r\n", b"5\r\nhello\r\n", b";a=b", b';a="b\\"c"', b"A: b\r\n", b"::", b"v1.a", b"18446744073709551616",
    b"ffffffffffffffff",
]  # fmt: skip


def fed(pieces: list[bytes]) -> tuple[list[ParsedRequest], tuple[int, str] | None]:
    parser = RequestParser(**LIMITS)
    found: list[ParsedRequest] = []
    for piece in pieces:
        if parser.room:
            taken = min(parser.room, len(piece))
            found += parser.fill(piece[:taken])
            piece = piece[taken:]
        found += parser.feed(piece)
        if parser.error is not None:
            return found, (parser.error.status, str(parser.error))
    return found, None


def target(data: bytes) -> Hashable:
    found, error = fed([data])
    assert error is None or error[0] in STATUSES, error
    step = len(data) % 7 + 1
    for pieces in ([data[at : at + step] for at in range(0, len(data), step)], [data[: len(data) // 2], data[len(data) // 2 :]]):
        again, same = fed(pieces)
        assert same == error and [bytes(one) for one in again] == [bytes(one) for one in found], pieces
    ways = []
    for one in found:
        head = bytes(one)[: one.head_size]
        assert re.fullmatch(rb"(?:[^\x00-\x08\x0a-\x1f\x7f]+\r\n)+\r\n", head), head
        chunked = any(name.lower() == b"transfer-encoding" for name, _ in one.headers)
        if not chunked:
            (twin,), none = fed([bytes(one)])
            assert none is None and bytes(twin) == bytes(one)
        assert data.find(one.target) >= 0
        ways.append((one.method, one.bits, one.keep_alive, chunked, min(len(one.body), 2), one.target[:1]))
    return error, tuple(ways[:3])


if __name__ == "__main__":
    main(target, requests(), TOKENS)
