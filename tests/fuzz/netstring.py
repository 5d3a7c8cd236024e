"""The netstring parser. For any bytes: strings come out, or our own error with the status 400 or 413, and nothing else happens; cut in any way, the
same come out; written again, the strings are the beginning of the input."""

from collections.abc import Hashable

from prime_server._ext.parsers import NetstringParser

from .runner import main

SEEDS = [b"5:hello,0:,12:hello world!,", b"100:" + b"x" * 100 + b",", b"01:a,", b"3:0:,,", b"1:a;"]
TOKENS = [b":", b",", b"0", b"1", b"9", b"0:,", b"1:a,", b"18446744073709551616", b" ", b"\0", b"-", b"x"]


def fed(pieces: list[bytes]) -> tuple[list[bytes], tuple[int, str] | None]:
    parser = NetstringParser(max_size=500)
    found: list[bytes] = []
    for piece in pieces:
        found += map(bytes, parser.feed(piece))
        if parser.error is not None:
            return found, (parser.error.status, str(parser.error))
    return found, None


def target(data: bytes) -> Hashable:
    found, error = fed([data])
    assert error is None or error[0] in (400, 413), error
    step = len(data) % 7 + 1
    assert fed([data[at : at + step] for at in range(0, len(data), step)]) == (found, error)
    written = b"".join(b"%d:%b," % (len(one), one) for one in found)
    assert data.startswith(written)
    return error, tuple(len(one) for one in found[:4]), error is None and len(written) == len(data)


if __name__ == "__main__":
    main(target, SEEDS, TOKENS)
