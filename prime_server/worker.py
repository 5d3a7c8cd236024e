"""A worker: calls a function for each job that its proxy hands it, on the calling thread.

This is the facade over the compiled loop (`prime_server._ext.worker`): it makes the sockets that the loop works on, and closes them.
"""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import zmq

from prime_server._ext.job import Job
from prime_server._ext.nativework import NativeWork
from prime_server._ext.worker import WorkerLoop
from prime_server.endpoints import HEARTBEAT_MS, LINGER_MS, zmq_socket

__all__ = ["Worker"]


class Worker:
    """One worker of a stage.

    It connects to four endpoints, in any order of start: `upstream`, where its own proxy hands out jobs; `downstream`, where the next stage's
    proxy takes them (an endpoint, a mapping from stage names to endpoints, or None for the last stage); `loopback`, where the server takes
    results; `interrupt`, where the server says for which requests nobody waits any more.

    `work` is called with a `Job` and returns a `Response`, which answers the client, or what `Job.forward` makes. For clients that speak netstring
    or a protocol of the user's, `bytes` and `str` are answers too; under HTTP they are not. An iterator, or a generator function as `work`, is
    `Response(200, iterator)`: an answer in parts (see `Response`). An exception is answered by 500, or by its own
    `status` where it is 400 to 599, and logged with its traceback to the logger `prime_server`; so is any other result. `Interrupted`, which
    `Job.check` raises, ends the job without an answer. `KeyboardInterrupt` and `SystemExit` end `work()`, after the client got a 500.
    A `NativeWork` is called without the GIL.

    `cleanup()` is called after each job, when its result is on its way. `heartbeat` is what the proxy's `choose` function sees of this worker while
    it is idle. `window` is how many jobs of the shortest kind the worker may hold at a time (1 to 1024): jobs wait behind another only where
    they'd wait 250 µs at most by the recent service time, and are handed back when they would wait longer after all; 1 for none of it.

    `grace_seconds`, if it isn't 0, is how long a job may go on past its request's deadline, deaf to `check()` or without one: then this *process*
    ends at once, with exit status 75, GIL or not, for whoever has started it to start it again. The job is not repeated.

    `heartbeat_ms` is the interval at which ZeroMQ sees whether its peers live (0: never); a peer that has been silent for three of them is cut off.
    `linger_ms` is how long what has been sent may take to leave once the worker is closed.

    Use it as a context manager, or call `close`. One thread calls `work`; `stop` and `stats` may be called from any.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        upstream: str,
        downstream: str | Mapping[str, str] | None,
        loopback: str,
        interrupt: str,
        work: Callable[[Job], Any] | NativeWork,
        *,
        cleanup: Callable[[], object] | None = None,
        heartbeat: bytes = b"",
        window: int = 64,
        grace_seconds: float = 0.0,
        heartbeat_ms: int = HEARTBEAT_MS,
        linger_ms: int = LINGER_MS,
    ) -> None:
        stages: dict[str | None, str] = {}
        if isinstance(downstream, str):
            stages[None] = downstream
        elif downstream is not None:
            stages.update(downstream)
        self._sockets: list[zmq.Socket[bytes]] = []

        def connect(kind: int, endpoint: str) -> zmq.Socket[bytes]:
            # Nothing but a subscription leaves by a SUB, and where the server is gone that would be waited for.
            linger = 0 if kind == zmq.SUB else linger_ms
            socket = zmq_socket(context, kind, connect=endpoint, heartbeat_ms=heartbeat_ms, linger=linger)
            self._sockets.append(socket)
            return socket

        try:
            self._loop = WorkerLoop(
                connect(zmq.DEALER, upstream),
                {name: connect(zmq.DEALER, endpoint) for name, endpoint in stages.items()},
                connect(zmq.PUSH, loopback),
                connect(zmq.SUB, interrupt),
                work,
                cleanup=cleanup,
                heartbeat=heartbeat,
                window=window,
                grace_seconds=grace_seconds,
            )
        except BaseException:
            self.close()
            raise

    def set_direct(self, descriptor: int, number: int) -> None:
        """Before it works: its hub has started it, and they share a pair of sockets for small messages past ZeroMQ (`Hub.add_direct`)."""
        self._loop.set_direct(descriptor, number)

    def work(self) -> None:
        """Works until `stop`, or until the process drains (`quiesce`) and no server or proxy in it needs workers any longer.

        The running job is finished first; jobs that had not begun go back to the proxy, and it knows that this worker leaves.
        """
        self._loop.work()

    def stop(self, *, interrupt: bool = False) -> None:
        """Makes `work` return when the running job is done; with `interrupt` that job's next `check()` raises."""
        self._loop.stop(interrupt=interrupt)

    def stats(self) -> dict[str, int]:
        """Counts since the worker was made, and how it is now: docs/stats.md has them all, under "Worker"."""
        return self._loop.stats()

    def close(self) -> None:
        """Closes the sockets; after `work` has returned. What has been sent leaves within `linger_ms`."""
        for socket in self._sockets:
            socket.close()
        self._sockets.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
