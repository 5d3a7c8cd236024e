"""The load balancer in front of one stage's workers, when its server is elsewhere."""

from typing import Any

import zmq

from prime_server.hub import Choose, Hub, Stage

__all__ = ["Proxy"]


class Proxy(Hub):
    """Takes jobs at `upstream`, from a server or the stage before, and gives each to a worker at `downstream` that is free for it.

    Both are bound: `tcp://`, `ipc://` or `inproc://`. `choose(heartbeats, job)` may pick the worker: it gets the heartbeats of the idle workers, as
    bytes, and the job's frames, and returns an index into the former, or None to let the job wait.

    A job whose worker died is given to another one where the request is idempotent by its method, or where the application has said so by
    `job.forward(…, retryable=True)` or here, for all jobs of the stage, by `retryable`; otherwise its client gets 502. At most `max_attempts` workers
    are given a job that they die of, and two if it is what they die of: then its client gets 500, and that is logged with the request's key.
    `max_backlog` jobs may wait here, and `max_queued_bytes` be here or with workers; more is refused with 503.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        upstream: str,
        downstream: str,
        *,
        choose: Choose | None = None,
        retryable: bool = False,
        max_attempts: int = 3,
        max_backlog: int = 65536,
        max_queued_bytes: int = 256 * 1024 * 1024,
    ) -> None:
        super().__init__(
            context,
            stages=[Stage(upstream, downstream, choose, retryable)],
            max_attempts=max_attempts,
            max_backlog=max_backlog,
            max_queued_bytes=max_queued_bytes,
        )

    def forward(self) -> None:
        """Blocks until the proxy has been stopped and has drained; another name for `serve()`. The GIL is released."""
        self.serve()

    def stats(self) -> dict[str, Any]:
        """Counters since the start, and how it is now: docs/stats.md has them all, under "Proxy". From any thread."""
        return self._balancers[0].stats()
