"""A whole pipeline in one process: the hub and the workers of every stage on threads."""

import itertools
import logging
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import zmq

from prime_server._ext.lifecycle import quiesce
from prime_server.application import check_plain
from prime_server.cors import Cors
from prime_server.hub import Hub, Log, Stage, check_seconds, check_window, worker_counts
from prime_server.limits import Limits
from prime_server.worker import Worker

__all__ = ["Threads", "run_threads"]

_logger = logging.getLogger("prime_server")
_numbers = itertools.count()

SOCKETS = 8  # of ZeroMQ's, and internal ones of its own, that a worker or a proxy takes at most

EXIT_AFTER = 1.0  # seconds after the drain time at which the process is gone, whatever the work functions are doing


class Threads:
    """A server at `listen` and a pipeline of `stages` behind it, all in this process.

    `stages` are the work functions in order, plain or native; `workers` is the number of threads of each, or one number for all. The jobs of a stage
    have `max_queued_bytes` at most, and `limits` bounds the server; over a bound the answer is 503. Listens once made (`endpoint` tells where), works
    inside `with`: either on a thread of its own, or in this one while `serve()` runs. The other options are those of `Hub`.
    """

    def __init__(
        self,
        listen: str,
        stages: Sequence[Any],
        workers: int | Sequence[int] = 1,
        *,
        drain_seconds: float = 10.0,
        limits: Limits | None = None,
        log: Log = None,
        health_check: str | None = None,
        cors: Cors | None = None,
        methods: Sequence[str] = (),
        server_header: str | None = None,
        raw_targets: bool = False,
        protocol: Any = "http",
        window: int = 64,
        retryable: bool = False,
        max_attempts: int = 3,
        max_queued_bytes: int = 256 * 1024 * 1024,
    ) -> None:
        counts = worker_counts(stages, workers)
        check_seconds("drain_seconds", drain_seconds)
        check_window(window)
        for stage in stages:
            check_plain(stage)
        name = f"inproc://prime-server-{next(_numbers)}"
        self._drain_seconds = drain_seconds
        self._context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, max(1023, SOCKETS * (sum(counts) + len(stages) + 1)))
        self._workers: list[Worker] = []
        self._threads: list[threading.Thread] = []
        self._serving: threading.Thread | None = None
        try:
            self._hub = Hub(
                self._context,
                listen=listen,
                loopback=f"{name}/loopback",
                interrupt=f"{name}/interrupt",
                stages=[Stage(f"{name}/{index}/up" if index else None, f"{name}/{index}/down") for index in range(len(stages))],
                protocol=protocol,
                limits=limits,
                log=log,
                health_check=health_check,
                cors=cors,
                methods=methods,
                server_header=server_header,
                raw_targets=raw_targets,
                retryable=retryable,
                whole=True,
                max_attempts=max_attempts,
                max_queued_bytes=max_queued_bytes,
            )
            for index, (work, count) in enumerate(zip(stages, counts, strict=True)):
                for _ in range(count):
                    self._workers.append(
                        Worker(
                            self._context,
                            f"{name}/{index}/down",
                            f"{name}/{index + 1}/up" if index + 1 < len(stages) else None,
                            f"{name}/loopback",
                            f"{name}/interrupt",
                            work,
                            window=window,
                        )
                    )
        except BaseException:
            self._close()
            raise

    @property
    def endpoint(self) -> str:
        """Where web clients connect to."""
        return self._hub.endpoint

    def stats(self) -> dict[str, Any]:
        """The server's counters, those of each stage's proxy under `stages`, and those of each worker under `workers` (docs/stats.md)."""
        return {**self._hub.stats(), "workers": [worker.stats() for worker in self._workers]}

    def _start_workers(self) -> None:
        for number, worker in enumerate(self._workers):
            thread = threading.Thread(target=self._work, args=(worker,), name=f"prime-worker-{number}")
            thread.start()
            self._threads.append(thread)

    def _work(self, worker: Worker) -> None:
        while True:
            try:
                return worker.work()
            except (KeyboardInterrupt, SystemExit) as error:  # of a work function: its thread has others to serve
                _logger.error("a work function has raised %s, which ends no thread here", type(error).__name__)

    def serve(self) -> None:
        """Works in this thread until a signal ends it (see `quiesce`)."""
        self._start_workers()
        try:
            self._hub.serve()
        finally:
            self._end()

    def __enter__(self) -> Self:
        self._start_workers()
        self._serving = threading.Thread(target=self._hub.serve, name="prime-hub")
        self._serving.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._hub.stop(0.0 if kind else self._drain_seconds)
        if self._serving is not None:
            self._serving.join()
        self._end()

    def _end(self) -> None:
        for worker in self._workers:
            worker.stop(interrupt=True)  # the server is gone: nobody waits
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self._close()

    def _close(self) -> None:
        for worker in self._workers:
            worker.close()
        if hasattr(self, "_hub"):
            self._hub.close()
        self._context.destroy(linger=0)


def run_threads(
    listen: str,
    stages: Sequence[Any],
    workers: int | Sequence[int] = 1,
    *,
    drain_seconds: float = 10.0,
    on_ready: Callable[[str], object] | None = None,
    **options: Any,
) -> None:
    """Serves a pipeline on threads until SIGTERM or SIGINT, then drains and returns.

    The arguments are those of `Threads`; `on_ready` is called with the endpoint once it listens. A second signal ends the process at once.
    Where a work function hangs, the process ends a second after the drain time, with exit status 0.
    """
    pipeline = Threads(listen, stages, workers, drain_seconds=drain_seconds, **options)
    quiesce(drain_seconds, exit_after=EXIT_AFTER)
    if on_ready is not None:
        on_ready(pipeline.endpoint)
    pipeline.serve()
