"""The info frame. For any bytes: a RequestInfo, or our own error, and nothing else; written again and read, it is the same."""

from collections.abc import Hashable

from prime_server import ProtocolError
from prime_server._ext.info import RequestInfo

from .runner import main

SEEDS = [
    RequestInfo(id=1, time_stamp=2).to_bytes(),
    RequestInfo(id=1, time_stamp=2, extended=True, flags=5, life=7, time_left=-1, trace=bytes(range(16))).to_bytes(),
    RequestInfo(id=0xFFFFFFFF, time_stamp=0xFFFFFFFF, version=0, keep_alive=True, close=True, code=503).to_bytes() + b"more",
    b"\1\0\0\0\2\0\0\0",
]
TOKENS = [bytes([byte]) for byte in (0, 1, 2, 60, 61, 255)] + [SEEDS[1][12:16], b"\xff" * 8]


def target(data: bytes) -> Hashable:
    try:
        info = RequestInfo.from_bytes(data)
    except ProtocolError as error:
        return str(error)
    again = RequestInfo.from_bytes(info.to_bytes())
    assert again == info, (info, again)
    return info.extended, info.version, info.keep_alive, info.close, len(info.to_bytes()), info.time_left < 0


if __name__ == "__main__":
    main(target, SEEDS, TOKENS)
