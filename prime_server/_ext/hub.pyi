"""The one loop of the routing side."""

from collections.abc import Sequence

import zmq

from prime_server._ext.balancer import Balancer
from prime_server._ext.edge import Edge

Watched = tuple[zmq.Socket[bytes], zmq.Socket[bytes]]

class Hub:
    """Runs an edge, balancers or both over sockets that pyzmq has made (wire.md). `stages` has `(balancer, upstream, downstream)` each; without an
    edge's own first stage, `proxy` is a DEALER connected to it. These come with their monitor each (`endpoints.zmq_socket`)."""

    def __init__(
        self,
        *,
        edge: Edge | None = None,
        loopback: zmq.Socket[bytes] | None = None,
        interrupt: zmq.Socket[bytes] | None = None,
        proxy: Watched | None = None,
        stages: Sequence[tuple[Balancer, Watched | None, Watched]] = (),
        processes: int = 0,
    ) -> None: ...
    @property
    def edge(self) -> Edge | None: ...
    @property
    def balancers(self) -> list[Balancer]: ...
    def add_direct(self, index: int, stage: int, descriptor: int) -> int:
        """From any thread: a worker of the stage has the other end of this socket (`direct.pyx`), which the hub takes over. `index` is its place
        among so many `processes`; what was there before is given up. Returns the number that the worker has to name it by."""
    def close(self) -> None:
        """When it doesn't run, and never will: gives up the direct ways."""
    def run(self) -> None:
        """Blocks, without the GIL, until it has been stopped and has drained."""
    def stop(self, drain_seconds: float = 0.0) -> None:
        """From any thread: drain, and end at the latest after so many seconds."""
