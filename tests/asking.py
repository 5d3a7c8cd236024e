"""Asking a whole server over a socket: requests, and their answers, each checked for what every answer must have."""

import re
import socket
from collections.abc import Sequence
from typing import Any, NamedTuple

from conftest import PATIENCE

DATE = r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT"


class Answer(NamedTuple):
    status: int
    fields: dict[str, list[str]]
    body: bytes

    def field(self, name: str) -> str | None:
        """The value of a field that comes once at most."""
        values = self.fields.get(name, [])
        assert len(values) <= 1, values
        return values[0] if values else None


def read_answers(data: bytes, methods: Sequence[str] = ()) -> list[Answer]:
    """The answers to requests of these methods (GET where there are no more), each checked for what every answer must have."""
    answers: list[Answer] = []
    final = 0
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        assert end, f"cut short: {head!r}"
        line, *lines = head.decode("latin-1").split("\r\n")
        match = re.fullmatch(r"HTTP/1\.1 (\d{3}) [ -~]+", line)
        assert match, line
        status = int(match[1])
        fields: dict[str, list[str]] = {}
        for name, _, value in (line.partition(":") for line in lines):
            fields.setdefault(name.lower(), []).append(value.strip())
        answer = Answer(status, fields, b"")
        if status >= 200:
            method = methods[final] if final < len(methods) else "GET"
            final += 1
            assert re.fullmatch(DATE, answer.field("date") or ""), head
            if status == 204:
                assert answer.field("content-length") is None
            if method != "HEAD" and status not in (204, 304):
                length = int(answer.field("content-length") or "none")
                answer = answer._replace(body=data[:length])
                assert len(answer.body) == length
                data = data[length:]
        answers.append(answer)
    return answers


def address_of(server: Any) -> tuple[str, int]:
    """Of something with an `endpoint` on this machine."""
    return "127.0.0.1", int(server.endpoint.rsplit(":", 1)[1])


class Client:
    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=PATIENCE)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def ask(self, data: bytes, count: int, methods: Sequence[str] = ()) -> tuple[list[Answer], bool]:
        """Sends all in one write. The first `count` final answers, and whether the connection ends with them."""
        self.socket.sendall(data)
        received = b""
        while True:
            try:
                piece = self.socket.recv(65536)
            except ConnectionResetError:  # closed with bytes of ours unread
                piece = b""
            received += piece
            if not piece:
                return read_answers(received, methods), True
            try:
                answers = read_answers(received, methods)
            except (AssertionError, ValueError):
                continue  # not all is there
            said = [answer for answer in answers if answer.status >= 200]
            if len(said) >= count and "close" not in (said[-1].field("connection") or "").lower():
                return answers, False


def request(line: str = "GET / HTTP/1.1", *fields: str, host: str | None = "Host: x", body: bytes = b"") -> bytes:
    return "\r\n".join([line, *([] if host is None else [host]), *fields, "", ""]).encode("latin-1") + body


def ask(address: tuple[str, int], data: bytes, count: int = 1, methods: Sequence[str] = ()) -> tuple[list[Answer], bool]:
    with Client(address) as client:
        return client.ask(data, count, methods)
