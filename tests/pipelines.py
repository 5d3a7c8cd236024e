"""Pipelines of parts for tests: ours on threads or as commands, and stand-ins of the original's, over any transport."""

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
import standins
import zmq
from conftest import PATIENCE, Process, Start

from prime_server import Proxy, Server, Worker

OURS, THEIRS = "ours", "theirs"
EITHER = (OURS, THEIRS)


def endpoints_over(transport: str, directory: Path) -> Callable[[str], str]:
    """Gives each name an endpoint."""
    if transport == "ipc":
        return lambda name: f"ipc://{directory}/{name}"
    if transport == "inproc":
        return lambda name: f"inproc://{name}"
    family, host = (socket.AF_INET6, "::1") if transport == "tcp6" else (socket.AF_INET, "127.0.0.1")
    known: dict[str, str] = {}

    def endpoint(name: str) -> str:
        if name not in known:
            with socket.socket(family) as probe:
                try:
                    probe.bind((host, 0))
                except OSError:
                    pytest.skip("there is no IPv6 here")
                known[name] = f"tcp://{f'[{host}]' if ':' in host else host}:{probe.getsockname()[1]}"
        return known[name]

    return endpoint


class Pipeline:
    """Starts parts on threads and ends them all, the last first."""

    def __init__(self, endpoint: Callable[[str], str], *, netstring: bool = False, shared: bool = False) -> None:
        self.endpoint = endpoint
        self.netstring = netstring
        self.address: tuple[str, int] = ("", 0)
        self.server: Any = None
        self.workers: list[Any] = []
        self.stack = contextlib.ExitStack()
        self.context: zmq.Context[Any] = zmq.Context()
        self.shared = self.context if shared else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            self.stack.__exit__(*error)
        finally:
            self.context.destroy(linger=0)

    def run(self, part: Any, run: Callable[[], None], stop: Callable[[], None]) -> None:
        self.stack.enter_context(part)
        thread = threading.Thread(target=run)
        thread.start()
        self.stack.callback(thread.join)
        self.stack.callback(stop)

    def start_server(self, whose: str, **options: Any) -> Any:
        ends = [self.endpoint(name) for name in ("up0", "loopback", "interrupt")]
        if whose == THEIRS:
            theirs = standins.Server(*ends, netstring=self.netstring, context=self.shared, **options)
            self.server = self.stack.enter_context(theirs)
            self.address = theirs.address
        else:
            options.setdefault("protocol", "netstring" if self.netstring else "http")
            ours = self.server = Server(self.context, "tcp://127.0.0.1:0", *ends, **options)
            self.address = ("127.0.0.1", int(ours.endpoint.rsplit(":", 1)[1]))
            self.run(ours, ours.serve, ours.stop)
        return self.server

    def start_proxy(self, whose: str, stage: int = 0, **options: Any) -> Any:
        ends = [self.endpoint(f"up{stage}"), self.endpoint(f"down{stage}")]
        if whose == THEIRS:
            return self.stack.enter_context(standins.Proxy(*ends, context=self.shared, **options))
        ours = Proxy(self.context, *ends, **options)
        self.run(ours, ours.forward, ours.stop)
        return ours

    def ends_of_worker(self, stage: int) -> tuple[str, str, str, str]:
        return self.endpoint(f"down{stage}"), self.endpoint(f"up{stage + 1}"), self.endpoint("loopback"), self.endpoint("interrupt")

    def start_worker(self, whose: str, work: Any, stage: int = 0, **options: Any) -> Any:
        """`work` is a work function, the original's kind where the worker is theirs."""
        upstream, downstream, loopback, interrupt = self.ends_of_worker(stage)
        if whose == THEIRS:
            size = 8 if self.netstring else 12
            worker: Any = standins.Worker(upstream, downstream, loopback, interrupt, work, info_size=size, context=self.shared, **options)
            self.stack.enter_context(worker)
        else:
            worker = Worker(self.context, upstream, downstream, loopback, interrupt, work, **options)
            self.run(worker, worker.work, worker.stop)
        self.workers.append(worker)
        return worker


def wait_until(true: Callable[..., object]) -> None:
    """Looks again and again, for what there is no event to wait for."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it has not come true"
        time.sleep(0.002)


class Commands(Pipeline):
    """Ours are processes here, and their work functions are named: those of the module `application`, whose text is given."""

    def __init__(self, start: Start, endpoint: Callable[[str], str], directory: Path, application: str = "") -> None:
        super().__init__(endpoint)
        self.directory = directory
        (directory / "application.py").write_text(application)
        self.start = start
        self.processes: list[Process] = []

    def command(self, name: str, *arguments: str) -> Process:
        process = self.start(name, *arguments, cwd=self.directory)
        self.processes.append(process)
        return process

    def start_server(self, whose: str, **options: Any) -> Any:
        if whose == THEIRS:
            return super().start_server(whose, **options)
        ends = [self.endpoint(name) for name in ("up0", "loopback", "interrupt")]
        self.server = self.command("prime_httpd", "tcp://127.0.0.1:0", *ends, "none", "10M", str(options.get("timeout", 60)), "5")
        return self.server

    def start_proxy(self, whose: str, stage: int = 0, **options: Any) -> Any:
        if whose == THEIRS:
            return super().start_proxy(whose, stage, **options)
        return self.command("prime_proxyd", self.endpoint(f"up{stage}"), self.endpoint(f"down{stage}"), "5")

    def start_worker(self, whose: str, work: Any, stage: int = 0, **options: Any) -> Any:
        if whose == THEIRS:
            return super().start_worker(whose, work, stage, **options)
        upstream, downstream, loopback, interrupt = self.ends_of_worker(stage)
        if options.get("last"):
            downstream = "-"
        drain = str(options.get("drain", 5))
        worker = self.command("prime_workerd", upstream, downstream, loopback, interrupt, drain, "--work", f"application:{work}")
        self.workers.append(worker)
        return worker

    def wait(self) -> None:
        """Until all have bound and connected. Their order of getting there is left to them."""
        for process in self.processes:
            if process is self.server:
                self.address = process.address()
            else:
                process.wait_for(rb"(forwarding|working) ")

    def stop(self) -> None:
        """SIGTERM to the server, and to the others when it has ended; each ends in order."""
        first = [process for process in self.processes if process is self.server]
        others = [process for process in self.processes if process is not self.server]
        for ending in (first, others):
            for process in ending:
                process.signal(signal.SIGTERM)
            for process in ending:
                assert process.finish() == 0, process.stderr.decode()
        self.processes.clear()
