"""The bounds of a server: nothing that a client sends, asks or leaves unread grows without limit."""

from dataclasses import dataclass, fields

__all__ = ["Limits"]

_MAY_BE_0 = ("min_body_rate", "max_connections_per_address")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in bytes, times in seconds (0: for ever), numbers as such.

    What a single request may not exceed is answered 4xx while it comes in; over a bound in all, 503 with `Retry-After`; over a bound of one
    connection, that connection isn't read until it has room. Each has its counter (docs/stats.md).
    """

    request_timeout: float = 60.0
    """From a request's arrival to its answer, or to the first part of one in parts; then 504, and the worker is interrupted."""
    header_timeout: float = 10.0
    """For a request line and its fields to come in; then 408."""
    body_timeout: float = 10.0
    """For each `min_body_rate * body_timeout` bytes of a body to come in; then 408."""
    min_body_rate: int = 256
    """Bytes per second that a body must come with."""
    keep_alive_timeout: float = 75.0
    """Between two requests; then the connection is closed."""
    write_timeout: float = 30.0
    """For a client to take something of what is ready for it; then the connection is closed."""
    max_target: int = 8192
    """Of a request target (414)."""
    max_head: int = 32768
    """Of a request line and its fields (431)."""
    max_fields: int = 128
    """Number of header fields (431)."""
    max_request: int = 10 * 1024 * 1024
    """Of a body or netstring (413)."""
    max_pipelined: int = 64
    """Requests in flight of one connection."""
    max_in_flight: int = 65536
    """Requests in flight in all (503)."""
    max_payload: int = 256 * 1024 * 1024
    """Bytes of requests in flight or coming in, in all, but for a single one (503). Of those that come in the slowest is refused."""
    max_unread: int = 1024 * 1024
    """Response bytes that wait for one slow reader; of its requests in flight those that are answered already may add to it."""
    max_unread_in_all: int = 256 * 1024 * 1024
    """Response bytes that wait for all of them; then the one that has taken nothing for the longest time is closed."""
    max_connections: int = 65536
    """Connections. A further one takes the place of the one that has been idle longest, for a second at least, or is answered 503."""
    max_connections_per_address: int = 0
    """Connections of one IPv4 address or IPv6 /64 network; more are answered 429. 0: any number, as behind a proxy all come from one address."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            kind = float if field.type in (float, "float") else int
            if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else int):
                raise TypeError(f"{field.name} is {'a number of seconds' if kind is float else 'a whole number'}, not {value!r}")
            low, high = (0, 1e9) if kind is float else (0 if field.name in _MAY_BE_0 else 1, 2**62)
            if field.name in ("max_fields", "max_pipelined"):
                high = 2**31 - 1
            if not low <= value <= high:
                raise ValueError(f"{field.name} is between {low} and {high:g}, not {value!r}")
