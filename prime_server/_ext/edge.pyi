"""The public sockets of a server."""

import socket

from prime_server._ext.sessions import Sessions

class Edge:
    """The listener and connections that feed `sessions`. `listener` is a listening, non-blocking socket; the edge closes it.

    `threads`: the workers are threads of this process, which have the descriptors that they need.
    """

    def __init__(
        self,
        sessions: Sessions,
        listener: socket.socket,
        *,
        threads: bool = False,
        max_connections: int = 65536,
        max_connections_per_address: int = 0,
    ) -> None: ...
    @property
    def sessions(self) -> Sessions: ...
    def stats(self) -> dict[str, int]:
        """The sessions' counters, and those of the sockets (docs/stats.md)."""
