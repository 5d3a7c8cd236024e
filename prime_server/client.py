"""A batch of requests in, the responses out, in order, as they come."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

import zmq

from prime_server._ext.client import Exchange
from prime_server._ext.request import Request
from prime_server._ext.response import Response
from prime_server.endpoints import parse_listen

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Client"]

Item = TypeVar("Item", Response, bytes)


class Client(Generic[Item]):
    """A client of one server, with many requests under way on few connections.

    `server` is the endpoint that web clients use: `tcp://host:port`, `tcp://[::1]:port`, `unix:/path` or `ipc:///path`. It is plain TCP, so the
    `context` that all parts take is not used and may be None. `protocol` is `"http"` or `"netstring"`. At most `batch_size` requests are under way,
    or answered and not yet taken, over so many `connections`, which are opened when they are needed, kept between calls and closed with the
    client. `timeout` is how long the server may be silent, in seconds, None for ever; it also bounds connecting. A response larger than
    `max_response` bytes is an error.

    Raises `ValueError` for an endpoint or number that can't be meant.

    >>> with Client(None, "tcp://127.0.0.1:8002") as client:  # doctest: +SKIP
    ...     for response in client.fetch(Request(target=f"/is_prime?possible_prime={n}") for n in range(3, 1000, 2)):
    ...         print(response.status, response.text)
    """

    @overload
    def __init__(
        self: Client[Response],
        context: zmq.Context[Any] | None,
        server: str,
        *,
        protocol: Literal["http"] = "http",
        batch_size: int = ...,
        connections: int = ...,
        timeout: float | None = ...,
        max_response: int = ...,
    ) -> None: ...
    @overload
    def __init__(
        self: Client[bytes],
        context: zmq.Context[Any] | None,
        server: str,
        *,
        protocol: Literal["netstring"],
        batch_size: int = ...,
        connections: int = ...,
        timeout: float | None = ...,
        max_response: int = ...,
    ) -> None: ...
    def __init__(
        self,
        context: zmq.Context[Any] | None,  # noqa: ARG002 - all parts take one first
        server: str,
        *,
        protocol: str = "http",
        batch_size: int = 4096,
        connections: int = 1,
        timeout: float | None = 90.0,
        max_response: int = 1 << 30,
    ) -> None:
        if protocol not in ("http", "netstring"):
            raise ValueError(f"a client speaks 'http' or 'netstring', not {protocol!r}")
        if not 1 <= connections <= batch_size <= 1 << 20:
            raise ValueError(f"batch_size is 1 to {1 << 20} and connections 1 to batch_size, not {batch_size} and {connections}")
        if timeout is not None and not 0 < timeout <= 1e9:
            raise ValueError(f"timeout is a time above 0 seconds, or None, not {timeout!r}")
        if not 1 <= max_response < 1 << 62:
            raise ValueError(f"max_response is 1 byte or more, not {max_response!r}")
        self._server = server
        self._where = _address(server)
        self._netstring = protocol == "netstring"
        self._connections = connections
        self._window = batch_size // connections
        self._timeout = timeout
        self._max_response = max_response
        self._idle: list[socket.socket] = []
        self._closed = False

    def fetch(self, requests: Iterable[Request | Buffer]) -> Iterator[Item]:
        """Sends the requests and yields a response for each, in their order, as they come.

        A request is a `Request`, which gets a `Host` field if it has none, or the bytes of one, sent as they are; under netstring it is the bare
        bytes, and so is the response. The iterable is read while the responses are taken, at most `batch_size` ahead, and nothing is sent or
        received in between. Costs about a microsecond for a small request, half of it for making the `Request`.

        The iterator raises `ConnectionError` when the server closes or resets a connection that has requests under way, or can't be reached,
        `TimeoutError` after `timeout` seconds in which nothing came, and `ProtocolError` for what is no response; the text says how many
        requests were answered, and their responses come first. Nothing is sent twice. Leave the iterator early by its `close()`, or drop it.
        """
        if self._closed:
            raise ValueError("the client is closed")
        return self._run(iter(requests))

    def _run(self, requests: Iterator[Request | Buffer]) -> Iterator[Item]:
        kept = [self._idle.pop() if self._idle else None for _ in range(self._connections)]
        exchange = Exchange(
            requests,
            self._connect,
            kept,
            host=_authority(self._where),
            netstring=self._netstring,
            window=self._window,
            timeout=self._timeout,
            max_response=self._max_response,
        )
        try:
            yield from exchange
        finally:
            self._idle += exchange.close()
            if self._closed:
                self.close()

    def _connect(self) -> socket.socket:
        try:
            return self._connected()
        except TimeoutError:
            raise
        except OSError as error:
            kind = type(error) if isinstance(error, ConnectionError) else ConnectionError
            raise kind(error.errno, f"{self._server}: {error.strerror}") from error

    def _connected(self) -> socket.socket:
        if isinstance(self._where, str):
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                made.settimeout(self._timeout)
                made.connect(self._where)
            except BaseException:
                made.close()
                raise
        else:
            made = socket.create_connection(self._where, timeout=self._timeout)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setblocking(False)
        return made

    def close(self) -> None:
        """Closes the connections that are not in use; those of a `fetch` under way close at its end."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> Client[Item]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _address(server: str) -> tuple[str, int] | str:
    try:
        where = parse_listen(server)
    except ValueError:
        where = ("", 0)
    if isinstance(where, tuple) and (where[0] in ("", "*") or where[1] == 0):
        raise ValueError(f"{server!r} is no endpoint to connect to: tcp://host:8002, tcp://[::1]:8002, unix:/run/app.sock or ipc:///run/app.sock are")
    return where


def _authority(where: tuple[str, int] | str) -> bytes:
    """What a Host field says of the server (RFC 9110 section 7.2)."""
    if isinstance(where, str):
        return b"localhost"
    host, port = where
    return f"[{host.partition('%')[0]}]:{port}".encode() if ":" in host else f"{host}:{port}".encode("idna" if not host.isascii() else "ascii")
