"""The server's core, fed by hand: netstrings, and protocols of one's own."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from questions import RESULT, SECOND, info_of

from prime_server._ext.fed_sessions import FedSessions as Sessions
from prime_server._ext.info import RequestInfo
from prime_server.errors import ProtocolError


def test_netstrings() -> None:
    sessions = Sessions(protocol="netstring", max_request=10)
    connection = sessions.connect()
    sessions.receive(connection, b"3:abc,0:,")
    first, second = sessions.jobs_for_workers()
    assert (first[1], second[1]) == (b"abc", b"")
    sessions.result_frames([replace(info_of(second), flags=RESULT, code=200).to_bytes(), b"1:2,"])
    sessions.result_frames([replace(info_of(first), flags=RESULT, code=200).to_bytes(), b"1:1,"])
    assert sessions.output(connection) == b"1:1,1:2,"
    sessions.receive(connection, b"11:")
    answer = sessions.output(connection)
    assert re.fullmatch(rb"\d+:413 [^,]*,", answer)
    assert sessions.state(connection)["waiting"] == "end"


class Lines:
    """A protocol of one's own: a request is a line; `quit` ends the connection, a line with a zero byte is refused."""

    def feed(self, connection: Any, data: bytes) -> Iterator[bytes]:
        connection.rest = getattr(connection, "rest", b"") + data
        *lines, connection.rest = connection.rest.split(b"\n")
        for line in lines:
            if b"\0" in line:
                raise ProtocolError("zero byte")
            yield line

    def serialize(self, request: bytes) -> list[bytes]:
        return [request, b"second frame"]

    def reject(self, error: ProtocolError) -> bytes:
        return b"! %s %d\n" % (str(error).encode(), error.status)

    def timeout(self) -> bytes:
        return b"! timeout\n"

    def keep_alive(self, info: RequestInfo) -> bool:
        return True


def test_a_protocol_of_ones_own() -> None:
    sessions = Sessions(protocol=Lines(), request_timeout=1.0)
    connection = sessions.connect()
    sessions.receive(connection, b"one\ntw")
    sessions.receive(connection, b"o\nthree")
    first, second = sessions.jobs_for_workers()
    assert (first[1:], second[1:]) == ([b"one", b"second frame"], [b"two", b"second frame"])
    sessions.result_frames([replace(info_of(second), flags=RESULT, code=200).to_bytes(), b"2\n"])
    sessions.result_frames([replace(info_of(first), flags=RESULT, code=200).to_bytes(), b"1\n"])
    assert sessions.output(connection) == b"1\n2\n"
    sessions.receive(connection, b"\n")
    sessions.advance_time(SECOND)
    assert sessions.output(connection) == b"! timeout\n"
    sessions.receive(connection, b"a\0b\n")
    assert sessions.output(connection) == b"! zero byte 400\n"
    sessions.leave(connection)
    assert sessions.state(connection)["finished"]


def fail(*arguments: Any) -> Any:
    raise RuntimeError("a mistake")


@pytest.mark.parametrize("method", ["feed", "serialize", "reject", "timeout", "keep_alive"])
def test_a_protocol_that_fails_costs_its_connection_only(method: str, caplog: pytest.LogCaptureFixture) -> None:
    protocol = Lines()
    setattr(protocol, method, fail)
    sessions = Sessions(protocol=protocol, request_timeout=1.0)
    connection, other = sessions.connect(), sessions.connect()
    sessions.receive(connection, b"o\0ne\n" if method == "reject" else b"one\n")
    for job in sessions.jobs_for_workers():
        if method == "keep_alive":
            sessions.result_frames([replace(info_of(job), flags=RESULT, code=200).to_bytes(), b"1\n"])
    sessions.advance_time(SECOND)
    assert sessions.output(connection) == (b"1\n" if method == "keep_alive" else b"")
    assert sessions.state(connection)["finished"]
    assert not sessions.state(other)["finished"]
    assert "a mistake" in caplog.text


@pytest.mark.parametrize(("frames", "says"), [([], "no frames"), ([b"one", 2], "int")])
def test_a_payload_is_of_frames(frames: list[Any], says: str, caplog: pytest.LogCaptureFixture) -> None:
    protocol: Any = Lines()
    protocol.serialize = lambda request: frames
    sessions = Sessions(protocol=protocol)
    connection = sessions.connect()
    sessions.receive(connection, b"one\n")
    assert sessions.state(connection)["finished"]
    assert says in caplog.text
    assert sessions.stats()["requests"] == 0
