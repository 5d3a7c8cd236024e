"""The server's core: connections, their requests in flight, and the order of their answers."""

from typing import Any

from prime_server._ext.access_log import AccessLog
from prime_server._ext.policy import Policy

class Sessions:
    """What the connections of one server have asked and are owed. It knows no socket: it is told of bytes, results and time (µs of any clock
    that doesn't go back) and says what to send. The edge uses it from Cython; `FedSessions` is its face for Python.

    `protocol` is "http", "netstring" or an object as for `prime_server.Server`; the other options are those of `prime_server.Limits`.
    With `retryable` every request may be repeated when a worker or a proxy was lost, otherwise what is idempotent by its method. A server whose
    proxies can't be lost alone need not keep requests for it (`keeps`).
    """

    def __init__(
        self,
        *,
        protocol: Any = "http",
        log: AccessLog | None = None,
        health_check: str | None = None,
        policy: Policy | None = None,
        retryable: bool = False,
        keeps: bool = True,
        request_timeout: float = 60.0,
        header_timeout: float = 10.0,
        body_timeout: float = 10.0,
        keep_alive_timeout: float = 75.0,
        write_timeout: float = 30.0,
        linger_timeout: float = 2.0,
        min_body_rate: int = 256,
        max_target: int = 8192,
        max_head: int = 32768,
        max_fields: int = 128,
        max_request: int = 10485760,
        max_pipelined: int = 64,
        max_in_flight: int = 65536,
        max_payload: int = 268435456,
        max_unread: int = 1048576,
        max_unread_in_all: int = 268435456,
    ) -> None: ...
    @property
    def life(self) -> int:
        """Random per server: with a request's key it names the request over restarts."""
    def stats(self) -> dict[str, int]:
        """Counters since the start, and how it is now: docs/stats.md has them all, under "Server"."""
