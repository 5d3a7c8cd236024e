"""Netstrings in every way of cutting them."""

from typing import Any

import pytest
from feeding import by_any_cut
from hypothesis import given, settings
from hypothesis import strategies as st

from prime_server import ProtocolError
from prime_server._ext.parsers import NetstringParser


def outcome(data: bytes, **limits: Any) -> tuple[list[Any], int | None]:
    return by_any_cut(lambda: NetstringParser(**limits), data, bytes)


def netstring(data: bytes) -> bytes:
    return b"%d:%b," % (len(data), data)


@pytest.mark.parametrize(
    ("data", "expected", "status"),
    [
        (b"", [], None),
        (b"0:,", [b""], None),
        (b"1:a,", [b"a"], None),
        (b"12:hello world!,", [b"hello world!"], None),
        (b"3:a,b,", [b"a,b"], None),
        (b"3:0:,,", [b"0:,"], None),
        (b"0:,0:,1:x,", [b"", b"", b"x"], None),
        (b"5:hell", [], None),
        (b"1", [], None),
        (b"1:a", [], None),
        (b"0", [], None),
        (b":a,", [], 400),
        (b"a", [], 400),
        (b" 1:a,", [], 400),
        (b"1 :a,", [], 400),
        (b"+1:a,", [], 400),
        (b"-1:a,", [], 400),
        (b"00:,", [], 400),
        (b"01:a,", [], 400),
        (b"0x1:a,", [], 400),
        (b"1;a,", [], 400),
        (b"1:ab,", [], 400),
        (b"1:a;", [], 400),
        (b"0:a", [], 400),
        (b"2:a,", [], None),
        (b"2:a,x", [], 400),
        (b"1:a,\n", [b"a"], 400),
        (b"1:a,x", [b"a"], 400),
        (b"\xb2:aa,", [], 400),
        (b"GET / HTTP/1.1\r\n", [], 400),
        (b"101:", [], 413),
        (b"99999999999999999999999999999", [], 413),
        (b"18446744073709551617:", [], 413),
        (b"100:" + b"x" * 100 + b",", [b"x" * 100], None),
    ],
)
def test_netstrings(data: bytes, expected: Any, status: int | None) -> None:
    assert outcome(data, max_size=100) == (expected, status)
    if status is None and expected and not data.startswith(b"2:"):
        assert outcome(data + b"4:next,", max_size=100) == ([*expected, b"next"], None)


def test_the_length_is_bounded_before_anything_is_allocated() -> None:
    parser = NetstringParser(max_size=1000)
    assert parser.feed(b"1001") == []
    assert parser.error is not None and parser.error.status == 413
    with pytest.raises(ProtocolError) as raised:
        parser.feed(b":")
    assert raised.value.status == 413
    assert NetstringParser(max_size=1000).feed(b"1000") == []
    assert NetstringParser(max_size=0).feed(b"0:,")
    with pytest.raises(ValueError, match="max_size"):
        NetstringParser(max_size=-1)


def test_idle() -> None:
    parser = NetstringParser()
    for piece, idle in ((b"", True), (b"3", False), (b":", False), (b"abc", False), (b",", True), (b"0", False), (b":", False), (b",", True)):
        parser.feed(piece)
        assert parser.idle == idle


@settings(deadline=None)
@given(st.lists(st.binary(max_size=100)), st.integers(1, 50))
def test_what_is_written_is_read(strings: list[bytes], step: int) -> None:
    data = b"".join(map(netstring, strings))
    parser = NetstringParser()
    found = [bytes(one) for at in range(0, len(data), step) for one in parser.feed(data[at : at + step])]
    assert found == strings and parser.error is None and parser.idle


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text("0123456789:,a", max_size=40).map(str.encode))
def test_any_bytes_give_strings_or_our_error(data: bytes) -> None:
    found, status = outcome(data, max_size=50)
    assert status in (None, 400, 413)
    assert data.startswith(b"".join(map(netstring, found)))


def test_a_big_string() -> None:
    data = bytes(range(256)) * 40_000
    parser = NetstringParser()
    framed = netstring(data)
    found = [one for at in range(0, len(framed), 65_536) for one in parser.feed(framed[at : at + 65_536])]
    assert [bytes(one) for one in found] == [data]
