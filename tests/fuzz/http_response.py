"""The strict response parser. For any bytes: responses come out, or our own error with the status 502, and nothing else happens; cut in any way, the
same responses and the same error come out. The first byte of the input says which of the first eight responses answer a HEAD."""

from collections.abc import Hashable

from prime_server._ext.parsers import ParsedResponse, ResponseParser

from .runner import main

SEEDS = [
    b"\0HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\nhelloHTTP/1.0 404 Not Found\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n",
    b"\0HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nTrailer: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"\1HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nHTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
    b"\0HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\nConnection: close\r\n\r\nuntil the end",
    b"\0HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
]
TOKENS = [
    b"\r\n", b"\r", b"\n", b" ", b"\t", b"\0", b":", b",", b";", b"=", b'"', b"0", b"1", b"5", b"f", b"\x80", b"\x7f",
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 ", b"204", b"304", b"100", b"HTTP/1.1 103 x\r\n\r\n", b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n", b"Connection: close\r\n", b"keep-alive", b"gzip, ", b"\r\n\r\n",
    b"A: b\r\n", b"18446744073709551616", b"ffffffffffffffff",
]  # fmt: skip


def fed(heads: int, pieces: list[bytes]) -> tuple[list[ParsedResponse], tuple[int, str] | None]:
    parser = ResponseParser(max_head=1000, max_fields=20, max_body=1000)
    for index in range(8):
        parser.expect("HEAD" if heads >> index & 1 else "GET")
    found: list[ParsedResponse] = []
    for piece in pieces:
        found += parser.feed(piece)
        if parser.error is not None:
            break
    if parser.error is None:
        found += parser.eof()
    return found, (parser.error.status, str(parser.error)) if parser.error else None


def target(data: bytes) -> Hashable:
    heads, data = (data[0], data[1:]) if data else (0, data)
    found, error = fed(heads, [data])
    assert error is None or error[0] == 502, error
    step = len(data) % 7 + 1
    for pieces in ([data[at : at + step] for at in range(0, len(data), step)], [data[: len(data) // 2], data[len(data) // 2 :]]):
        again, same = fed(heads, pieces)
        assert same == error and [bytes(one) for one in again] == [bytes(one) for one in found], pieces
    for one in found:
        assert one.status >= 200 and len(one.headers) <= 21
    return error, tuple((one.status, one.version, one.keep_alive, min(len(one.body), 2), len(one.headers)) for one in found[:3])


if __name__ == "__main__":
    main(target, SEEDS, TOKENS)
