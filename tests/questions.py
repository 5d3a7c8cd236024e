"""What the tests of the sessions have in common: requests as clients send them, and results as workers do."""

import re
from dataclasses import replace

from prime_server._ext.info import RequestInfo

RESULT, MORE, REFUSAL, BROKEN = 0x10, 0x20, 0x40, 0x400
SECOND = 1_000_000

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"


def request(path: str = "/", *fields: str, method: str = "GET", version: str = "1.1", body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: a", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def info_of(job: list[bytes]) -> RequestInfo:
    return RequestInfo.from_bytes(job[0])


def result(job: list[bytes], body: bytes = b"ok", *, flags: int = RESULT, sequence: int = 0, fields: bytes = b"") -> list[bytes]:
    info = info_of(job)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n" % (len(body), fields)
    return [replace(info, flags=info.flags | flags, code=200, sequence=sequence).to_bytes(), head + body]


def bodies(output: bytes) -> list[bytes]:
    """The bodies of responses with a Content-Length, one behind the other."""
    found = []
    while output:
        head, _, output = output.partition(b"\r\n\r\n")
        (length,) = map(int, re.findall(rb"Content-Length: (\d+)", head))
        found.append(output[:length])
        output = output[length:]
    return found
