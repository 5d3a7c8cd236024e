"""The info frame that travels with every request."""

from dataclasses import dataclass

from typing_extensions import Buffer

@dataclass(frozen=True, slots=True, kw_only=True)
class RequestInfo:
    """What the server tells every part about one request (wire.md), as an immutable value.

    `id` counts up per server and wraps; `time_stamp` is in unix seconds at arrival; together they are the request's `key`. `version` is the
    minor HTTP version, `code` the response's status once there is one. Without `extended` it comes from a part that doesn't speak our extension,
    and all that follows is zero: `life` is the server's random 64-bit number, `time_left` what remained until the deadline when the frame was
    written (µs, 0 for no deadline, -1 for expired), `attempt` counts the workers it was given to, `strikes` those that died of it, `hops` the
    parts that have handed it on, `queued` and `served` are µs spent waiting and in work functions, `trace` is a 16-byte trace id, and `source` a
    random number that all messages of a response in parts share.
    """

    id: int
    time_stamp: int
    version: int = 1
    keep_alive: bool = False
    close: bool = False
    code: int = 0
    extended: bool = False
    flags: int = 0
    sequence: int = 0
    life: int = 0
    time_left: int = 0
    attempt: int = 0
    strikes: int = 0
    hops: int = 0
    queued: int = 0
    served: int = 0
    trace: bytes = ...
    source: int = 0
    @property
    def key(self) -> int:
        """`id | time_stamp << 32`."""
    @staticmethod
    def from_bytes(data: Buffer) -> RequestInfo:
        """Raises `ProtocolError` for what is no info frame."""
    def to_bytes(self) -> bytes:
        """The frame; 12 bytes without the extension.

        Raises `ValueError` or `OverflowError` for what does not fit: `version` has 3 bits, `code` 10, the others are as wide as on the wire.
        """
