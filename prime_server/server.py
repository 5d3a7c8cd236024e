"""The part that web clients talk to, when its first proxy is elsewhere."""

from collections.abc import Sequence
from typing import Any

import zmq

from prime_server.cors import Cors
from prime_server.hub import Hub, Log
from prime_server.limits import Limits

__all__ = ["Server"]


class Server(Hub):
    """Takes requests at `listen`, sends them to the first `proxy` and answers with what comes to its `loopback`; tells the workers over `interrupt`
    of clients that have left.

    `listen` is `tcp://HOST:PORT`, `tcp://[IPv6]:PORT`, `unix:PATH` or `ipc://PATH`; `proxy` is connected to, `loopback` and `interrupt` are bound:
    `tcp://`, `ipc://` or `inproc://`.

    When a worker or proxy dies, what it had is done again where the request is idempotent by its method, and any if the server is `retryable`.

    The other options are those of `Hub`. `protocol` is "http", "netstring" or an object with these methods, called under the GIL on the server's
    thread:

    * `feed(connection, data: bytes) -> iterable of requests`: what `data` completes; `connection` is an object that lives as long as the
      connection and takes any attributes. Raises `ProtocolError` for what can't be read: its client gets `reject(error)` and is disconnected.
    * `serialize(request) -> frames`: the payload for the first stage, one bytes-like object or several. A request with a true attribute
      `idempotent` may be run again when its worker dies.
    * `reject(error: ProtocolError) -> bytes` and `timeout() -> bytes`: the answers to errors and passed deadlines.
    * `keep_alive(info: RequestInfo) -> bool`: whether the connection goes on after the answer to this request.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        listen: str,
        proxy: str,
        loopback: str,
        interrupt: str,
        *,
        protocol: Any = "http",
        limits: Limits | None = None,
        log: Log = None,
        health_check: str | None = None,
        cors: Cors | None = None,
        methods: Sequence[str] = (),
        server_header: str | None = None,
        raw_targets: bool = False,
        retryable: bool = False,
    ) -> None:
        super().__init__(
            context,
            listen=listen,
            proxy=proxy,
            loopback=loopback,
            interrupt=interrupt,
            protocol=protocol,
            limits=limits,
            log=log,
            health_check=health_check,
            cors=cors,
            methods=methods,
            server_header=server_header,
            raw_targets=raw_targets,
            retryable=retryable,
        )

    def stats(self) -> dict[str, Any]:
        """Counters since the start, and how it is now: docs/stats.md has them all, under "Server". From any thread."""
        counters = super().stats()
        del counters["stages"]  # they are elsewhere
        return counters
