"""A worker's loop."""

from collections.abc import Callable, Mapping
from typing import Any

import zmq
from typing_extensions import Buffer

from prime_server._ext.job import Job
from prime_server._ext.nativework import NativeWork

OVERDUE: int
"""The exit status of a process whose job went on for `grace_seconds` past its deadline."""

class WorkerLoop:
    """The loop under `prime_server.Worker`, on sockets that are there already.

    `stages` has the sockets towards the next stages' proxies by name; a single one may be named None. The sockets stay the caller's to close,
    once `work` has returned.
    """

    def __init__(
        self,
        upstream: zmq.Socket[bytes],
        stages: Mapping[str | None, zmq.Socket[bytes]],
        loopback: zmq.Socket[bytes],
        interrupt: zmq.Socket[bytes],
        work: Callable[[Job], Any] | NativeWork,
        *,
        cleanup: Callable[[], object] | None = None,
        heartbeat: Buffer = b"",
        window: int = 64,
        grace_seconds: float = 0.0,
    ) -> None: ...
    def set_direct(self, descriptor: int, number: int) -> None:
        """Before it works: its direct way to the hub that has started its process (`direct.pyx`), and the number by which the hub knows it."""
    def work(self) -> None:
        """Works until `stop` is called, the context is terminated, or the process drains and needs it no longer."""
    def stop(self, *, interrupt: bool = False) -> None:
        """Makes `work` return, from any thread: the running job is finished first, or with `interrupt` asked to end at its next `check`."""
    def stats(self) -> dict[str, int]: ...
