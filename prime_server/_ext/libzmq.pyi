"""libzmq as pyzmq has loaded it, and received messages as buffers."""

from typing import overload

import zmq
from typing_extensions import Buffer

class Frame:
    """One ZeroMQ frame as a read-only buffer, at the very address of libzmq's data: nothing is copied until somebody asks for `bytes`.

    `Frame(data)` holds a copy of any bytes-like object. An index gives a byte as an int, a slice `bytes`.
    """

    def __init__(self, data: Buffer = b"") -> None: ...
    @property
    def address(self) -> int:
        """Where libzmq holds the bytes."""
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, key: int, /) -> int: ...
    @overload
    def __getitem__(self, key: slice, /) -> bytes: ...
    def __bytes__(self) -> bytes: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __eq__(self, other: object, /) -> bool: ...

def receive_frames(socket: zmq.Socket[bytes]) -> list[Frame] | None:
    """The next multipart message of a socket without waiting, or None."""

def send_frames(socket: zmq.Socket[bytes], frames: list[Buffer]) -> bool:
    """Sends a multipart message without waiting; False if it would block. Buffers of 64 KiB and more are not copied.

    Raises `zmq.ZMQError` as pyzmq does.
    """
