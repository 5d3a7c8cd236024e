"""A whole pipeline with its workers in processes: a hub in this process, and worker processes that are started again when they die.

The parts talk over a private directory of ipc sockets. Each worker process is a `prime_workerd`, started fresh (never forked: a forked ZeroMQ
context is broken), with one end of a socket pair as its lifeline: it says there whether its application could be loaded, and ends when the other end
closes, so that nothing outlives this process whatever becomes of it. Another pair ties it to the hub, for small messages (direct.pyx).
"""

import contextlib
import fcntl
import functools
import logging
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import zmq

from prime_server._ext.lifecycle import draining, quiesce
from prime_server._ext.worker import OVERDUE
from prime_server.application import ApplicationError
from prime_server.cors import Cors
from prime_server.hub import Hub, Log, Stage, check_seconds, check_window, worker_counts
from prime_server.limits import Limits
from prime_server.run import EXIT_AFTER

__all__ = ["Processes", "run_processes"]

_logger = logging.getLogger("prime_server")

PREFIX = "prime-server-"
LOCK = "lock"
FIRST_PAUSE = 0.1  # seconds before a worker that died young is started again; doubled each time, up to the longest
LONGEST_PAUSE = 10.0  # of one that dies before it has its application: it will again
LONGEST_PAUSE_OF_READY = 0.5  # of one that dies of its jobs, perhaps
YOUNG = 1.0  # seconds a worker must have been ready for its death not to count as one of a row
KILL_AFTER = 1.0  # seconds a worker may take to leave once nothing is in flight any more


@contextlib.contextmanager
def private_directory() -> Iterator[Path]:
    """A directory for sockets that only this user reaches, locked while it is in use. What dead processes have left behind is removed."""
    base = Path(tempfile.gettempdir())
    if len(os.fsencode(base)) > 60:  # a socket's path holds about a hundred bytes
        base = Path("/tmp")
    for left in base.glob(f"{PREFIX}*/{LOCK}"):
        with contextlib.suppress(OSError), open(left, "rb") as lock:
            if left.parent.stat().st_uid == os.getuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left.parent, ignore_errors=True)
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))  # mode 0700
    try:
        with open(directory / "locking", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.rename(lock.name, directory / LOCK)  # it never lies there unlocked: others may be looking for what is left behind
            yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class _Process:
    """One place for a worker of one stage, and the process that fills it just now."""

    def __init__(self, command: list[str], name: str, stage: int) -> None:
        self.command = command
        self.name = name
        self.stage = stage
        self.popen: subprocess.Popen[bytes] | None = None
        self.lifeline: socket.socket | None = None
        self.said = b""
        self.started = 0.0
        self.ready = 0.0  # since when; 0: not yet
        self.pause = FIRST_PAUSE
        self.start_at = 0.0

    def start(self, add_direct: Callable[[socket.socket], int]) -> socket.socket:
        """Its lifeline. `add_direct` takes the hub's end of a direct way, where the system has such, and gives its number."""
        with contextlib.ExitStack() as theirs:
            ours, lifeline = socket.socketpair()
            theirs.enter_context(lifeline)
            command = [*self.command, "--lifeline", str(lifeline.fileno())]
            inherited = [lifeline.fileno()]
            with contextlib.suppress(OSError):  # macOS has no such sockets
                hubs, direct = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                theirs.enter_context(direct)
                command += ["--direct", str(direct.fileno()), str(add_direct(hubs))]
                inherited.append(direct.fileno())
            # A session of its own: Ctrl-C in a terminal is for this process, which then lets the workers go in order.
            self.popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=inherited, start_new_session=True)
        ours.setblocking(False)
        self.lifeline = ours
        self.said = b""
        self.started = time.monotonic()
        self.ready = 0.0
        return ours

    def end(self) -> int:
        """Reaps a process that has closed its lifeline, and plans the next one. Returns the exit status, as `subprocess` gives it."""
        assert self.popen is not None
        assert self.lifeline is not None
        self.lifeline.close()
        try:
            status = self.popen.wait(KILL_AFTER)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            status = self.popen.wait()
        now = time.monotonic()
        grown = (self.ready and now - self.ready >= YOUNG) or status == OVERDUE  # what hung had worked
        self.pause = FIRST_PAUSE if grown else min(2 * self.pause, LONGEST_PAUSE_OF_READY if self.ready else LONGEST_PAUSE)
        self.start_at = now + (0.0 if grown else self.pause)
        self.popen = self.lifeline = None
        return status


class Processes:
    """A server at `listen` and a pipeline behind it whose `stages` are applications (`module:function`), each in worker processes of its own.

    `workers` is the number of processes of each stage, or one number for all. As a context manager it serves on a thread of its own; `endpoint` tells
    where. Entering waits until every process has loaded its application, and raises `ApplicationError` where one can't be. The options of the server
    are those of `Hub`.

    The job of a process that dies goes to another one where the request is idempotent by its method, or any if they are `retryable`; to at most
    `max_attempts` that die while they run it, and to no third one if it is what they die of. Its client gets 502 or 500 then. A stage's jobs have
    `max_queued_bytes` at most, and `limits` bounds the server; over a bound the answer is 503.

    A process whose job goes on for `grace_seconds` past the request's deadline (0: for ever), as it hangs or never calls `check()`, is killed and
    replaced at once, GIL or not; the client has had its 504, and the job is not repeated.
    """

    def __init__(
        self,
        listen: str,
        stages: Sequence[str],
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
        window: int = 64,
        grace_seconds: float = 2.0,
        retryable: bool = False,
        max_attempts: int = 3,
        max_queued_bytes: int = 256 * 1024 * 1024,
    ) -> None:
        counts = worker_counts(stages, workers)
        for stage in stages:
            if not isinstance(stage, str):
                raise TypeError(f"a stage is the name of an application, like 'app:work', not {stage!r}; for functions there is Threads")
        check_seconds("drain_seconds", drain_seconds)
        check_seconds("grace_seconds", grace_seconds)
        check_window(window)
        self._drain_seconds = drain_seconds
        self._loaded: Callable[[], object] = lambda: None  # called once every stage has a worker
        self._clean_up = contextlib.ExitStack()
        self._selector = self._clean_up.enter_context(selectors.DefaultSelector())
        self._wake, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._clean_up.enter_context(self._wake)
        self._clean_up.enter_context(self._woken)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._ending = False
        self._started = self._died = self._hung = 0
        self._places: list[_Process] = []
        self._supervisor: threading.Thread | None = None
        try:
            directory = self._clean_up.enter_context(private_directory())
            context: zmq.Context[Any] = zmq.Context()
            self._clean_up.callback(context.destroy, linger=0)
            ends = [(f"ipc://{directory}/{index}.up", f"ipc://{directory}/{index}.down") for index in range(len(stages))]
            loopback, interrupt = f"ipc://{directory}/loopback", f"ipc://{directory}/interrupt"
            self._hub = Hub(
                context,
                listen=listen,
                loopback=loopback,
                interrupt=interrupt,
                stages=[Stage(up if index else None, down) for index, (up, down) in enumerate(ends)],
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
                processes=sum(counts),
            )
            self._clean_up.callback(self._hub.close)
            for index, (stage, count) in enumerate(zip(stages, counts, strict=True)):
                command = [sys.executable, *_safely(), "-m", "prime_server.commands.prime_workerd", ends[index][1]]
                command += [ends[index + 1][0] if index + 1 < len(stages) else "-", loopback, interrupt, f"{drain_seconds:g}"]
                command += ["--work", stage, "--window", str(window), "--grace", f"{grace_seconds:g}"]
                self._places += [_Process(command, f"{stage} #{number + 1}", index) for number in range(count)]
        except BaseException:
            self._clean_up.close()
            raise

    @property
    def endpoint(self) -> str:
        """Where web clients connect to."""
        return self._hub.endpoint

    @property
    def pids(self) -> list[int]:
        """The worker processes that live just now."""
        return [place.popen.pid for place in self._places if place.popen is not None]

    def stats(self) -> dict[str, Any]:
        """The hub's counters (`Hub.stats`), and those of the worker processes (docs/stats.md)."""
        counts = {"processes": len(self.pids), "processes_started": self._started, "processes_died": self._died, "processes_hung": self._hung}
        return {**self._hub.stats(), **counts}

    def serve(self) -> None:
        """Serves until a signal ends it (see `quiesce`), and returns when all is answered and every process has left.

        Raises `ApplicationError` before anything is served where an application can't be loaded.
        """
        try:
            self._load()
            hub = threading.Thread(target=self._run_hub, name="prime-hub")
            hub.start()
            try:
                self._supervise()
            finally:
                self._hub.stop()
                hub.join()
        finally:
            self._end_processes()
            self._clean_up.close()

    def stop(self) -> None:
        """Ends `serve()` from any thread, as a signal does."""
        self._hub.stop(self._drain_seconds)

    def __enter__(self) -> Self:
        loaded = threading.Event()
        failed: list[BaseException] = []

        def serve() -> None:
            try:
                self._loaded = loaded.set
                self.serve()
            except BaseException as error:  # told to the thread that waits
                failed.append(error)
            finally:
                loaded.set()

        self._supervisor = threading.Thread(target=serve, name="prime-supervisor")
        self._supervisor.start()
        loaded.wait()
        if failed:
            self._supervisor.join()
            raise failed[0]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        if self._supervisor is not None:
            self._supervisor.join()

    def _run_hub(self) -> None:
        try:
            self._hub.serve()
        finally:
            self._ending = True
            self._wake.send(b"x")

    def _start(self, place: _Process) -> None:
        lifeline = place.start(functools.partial(self._hub.add_direct, self._places.index(place), place.stage))
        self._started += 1
        self._selector.register(lifeline, selectors.EVENT_READ, place)

    def _load(self) -> None:
        """Starts all processes and waits until each has its application: with some of them, long jobs would hold up the first short ones."""
        waiting = set(self._places)
        for place in self._places:
            self._start(place)
        while waiting and not draining():
            for place, said in self._listen(0.2):
                if said == b"ready\n":
                    waiting.discard(place)
                elif place in waiting:
                    status = place.end()
                    text = said.decode(errors="replace").strip()
                    raise ApplicationError(text or f"{place.name}: its process ended with {_ending(status)} before it was ready")
        if not waiting:
            self._loaded()

    def _listen(self, timeout: float | None) -> list[tuple[_Process, bytes]]:
        """What processes have said: `ready`, or their last words when they are gone."""
        heard = []
        for key, _ in self._selector.select(timeout):
            place: _Process | None = key.data
            if place is None:
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(1024)
                continue
            assert place.lifeline is not None
            try:
                said = place.lifeline.recv(65536)
            except BlockingIOError:
                continue
            except OSError:
                said = b""
            place.said += said
            if not said:
                self._selector.unregister(place.lifeline)
                heard.append((place, place.said))
            elif place.said == b"ready\n":
                place.ready = time.monotonic()
                heard.append((place, place.said))
                place.said = b""
        return heard

    def _supervise(self) -> None:
        while not self._ending:
            pauses = [place.start_at - time.monotonic() for place in self._places if place.popen is None]
            for place, said in self._listen(max(0.0, min(pauses)) if pauses else None):
                if said == b"ready\n":
                    continue
                lived = time.monotonic() - place.started
                status = place.end()
                self._died += 1
                self._hung += status == OVERDUE
                if not self._ending:
                    _logger.warning(
                        "worker %s ended with %s after %.1f s%s; it is started again in %.1f s",
                        place.name, _ending(status), lived, f" ({said.decode(errors='replace').strip()})" if said else "",
                        max(0.0, place.start_at - time.monotonic()),
                    )  # fmt: skip
            for place in self._places:
                if place.popen is None and place.start_at <= time.monotonic() and not self._ending:
                    self._start(place)

    def _end_processes(self) -> None:
        """Asks all to leave; whoever has not left in time is killed."""
        living = [(place, place.popen) for place in self._places if place.popen is not None]
        for _, popen in living:
            with contextlib.suppress(ProcessLookupError):
                popen.send_signal(signal.SIGTERM)
        until = time.monotonic() + KILL_AFTER
        for place, popen in living:
            try:
                popen.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                _logger.warning("worker %s did not leave in %g s and is killed", place.name, KILL_AFTER)
                popen.kill()
                popen.wait()
            if place.lifeline is not None:
                place.lifeline.close()


def _safely() -> list[str]:
    """Keeps the current directory out of the worker's imports until it loads the application: a file there may be named like a module of Python's.

    Not where this package itself is imported from there.
    """
    return [] if Path(__file__).resolve().parents[1] == Path.cwd().resolve() else ["-P"]


def _ending(status: int) -> str:
    if status == OVERDUE:
        return f"exit status {status}, as its job had not ended long after the deadline"
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def run_processes(
    listen: str,
    stages: Sequence[str],
    workers: int | Sequence[int] = 1,
    *,
    drain_seconds: float = 10.0,
    on_ready: Callable[[str], object] | None = None,
    **options: Any,
) -> None:
    """Serves a pipeline with its workers in processes until SIGTERM or SIGINT, then drains and returns.

    The arguments are those of `Processes`; `on_ready` is called with the endpoint once every process has loaded its application. A second signal ends
    the process at once, and its workers with it. Raises `ApplicationError` where an application can't be loaded.
    """
    quiesce(drain_seconds, exit_after=KILL_AFTER + EXIT_AFTER)
    pipeline = Processes(listen, stages, workers, drain_seconds=drain_seconds, **options)
    if on_ready is not None:
        pipeline._loaded = lambda: on_ready(pipeline.endpoint)
    pipeline.serve()
