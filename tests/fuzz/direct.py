"""Packets of the direct way. For any bytes: messages, or our own error, and nothing else; sent again, they are the same."""

import socket
from collections.abc import Hashable

from prime_server import ProtocolError
from prime_server._ext.direct import receive_packet, send_packet

from .runner import main

ONE = b"\1\0\0\0\2\0\0\0\4\0\0\0\3\0\0\0infoabc"
SEEDS = [ONE, ONE * 3, b"\0\0\0\0\1\0\0\0\0\0\0\0", b"\2\0\0\0\6\0\0\0" + bytes(24), ONE[:9]]
TOKENS = [bytes([byte]) for byte in (0, 1, 2, 3, 6, 7, 255)] + [ONE, ONE[:16], b"\xff" * 4, b"\xf8\xff\xff\xff", bytes(4)]

_out, _in = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def target(data: bytes) -> Hashable:
    if not data:
        return None  # no packet at all
    _out.send(data)
    try:
        messages = receive_packet(_in.fileno())
    except ProtocolError as error:
        return str(error), len(data) > 8
    assert messages
    if len(messages) > 32:
        return "more than are packed together"
    assert send_packet(_out.fileno(), list(messages))
    assert receive_packet(_in.fileno()) == messages
    return len(messages), messages[0][0], len(messages[-1][1])


if __name__ == "__main__":
    main(target, SEEDS, TOKENS)
