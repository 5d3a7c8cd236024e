"""How the tests feed a parser: in every way of cutting the input, with one and the same outcome."""

from collections.abc import Callable, Iterator
from typing import Any

from prime_server import ProtocolError


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """Whole, in two pieces at every boundary, and byte by byte."""
    yield [data]
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]
    yield [data[at : at + 1] for at in range(len(data))]


def fed(parser: Any, pieces: list[bytes]) -> tuple[list[Any], ProtocolError | None]:
    """What came out, and the error that ended it."""
    found: list[Any] = []
    for piece in pieces:
        found += parser.feed(piece)
        if parser.error is not None:
            break
    return found, parser.error


def by_any_cut(make: Callable[[], Any], data: bytes, summary: Callable[[Any], Any]) -> tuple[list[Any], int | None]:
    """The summaries of what comes out and the error's status, which are the same however `data` is cut. Of long data some cuts are left out."""
    pieces = list(cuts(data)) if len(data) < 600 else [[data], *([data[:at], data[at:]] for at in range(1, len(data), len(data) // 100))]
    first: tuple[list[Any], str | None, int | None] | None = None
    for cut in pieces:
        found, error = fed(make(), cut)
        outcome = [summary(one) for one in found], str(error) if error else None, error.status if error else None
        first = first or outcome
        assert outcome == first, f"{data!r} in pieces {[len(piece) for piece in cut]}"
    assert first is not None
    return first[0], first[2]
