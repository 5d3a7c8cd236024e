"""A client's connections, and the requests and responses under way on them."""

import socket
from collections.abc import Callable, Iterable, Sequence

from typing_extensions import Buffer

from prime_server._ext.request import Request
from prime_server._ext.response import Response

class Exchange:
    """The responses to an iterable of requests, in order: what `Client.fetch` iterates.

    `connect` makes a connected, non-blocking socket; `sockets` holds, for each connection to use, one that is open already or None. `host` is
    the Host field's value for requests without one. With `netstring` requests are bare bytes-like objects and the items bare bytes. `window` is how
    many requests may be under way, or answered and not taken, on each connection. Raises as `Client.fetch` says.
    """

    def __init__(
        self,
        requests: Iterable[Request | Buffer],
        connect: Callable[[], socket.socket],
        sockets: Sequence[socket.socket | None],
        *,
        host: bytes,
        netstring: bool,
        window: int,
        timeout: float | None,
        max_response: int,
    ) -> None: ...
    def __iter__(self) -> Exchange: ...
    def __next__(self) -> Response | bytes: ...
    def close(self) -> list[socket.socket]:
        """Ends it; closes the connections and returns those that are fit to be used again."""
