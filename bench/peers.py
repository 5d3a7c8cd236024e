"""The servers that are compared, and how they are run: each in a process group of its own on a free port, and gone when the bench ends.

A peer runs as one process with one worker unless told otherwise, its access log off, with the event loop and the parser that make it fastest.
"""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata, util
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
START_SECONDS = 20.0


@dataclass(frozen=True)
class Peer:
    """A server that can be started: its command for a port, and the modules without which it can't be."""

    name: str
    command: Callable[[int], Sequence[str]]
    needs: tuple[str, ...] = ()

    def missing(self) -> list[str]:
        return [name for name in self.needs if util.find_spec(name) is None]

    def versions(self) -> str:
        return ", ".join(f"{name} {metadata.version(name)}" for name in self.needs)


@dataclass
class Running:
    """A server that has been started and answers."""

    peer: Peer
    port: int
    process: subprocess.Popen[bytes]
    output: str = field(repr=False)

    def resident(self) -> int:
        """Bytes of resident memory of its process."""
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def prime_serverd(workers: int) -> Peer:
    """Two stages of `workers` threads, with its access log on, written to a file."""
    return Peer(
        f"prime_serverd {workers}",
        lambda port: python("-m", "prime_server.commands.prime_serverd", f"tcp://127.0.0.1:{port}", str(workers)),
    )


def prime_server_run(application: str, workers: int, window: int | None = None, *, extra: Sequence[str] = ()) -> Peer:
    """A Python function in so many worker processes, the access log on."""
    options = ["--workers", str(workers), "--log", "-", *extra]
    name = f"run {workers}"
    if window is not None:
        options += ["--window", str(window)]
        name += f" window {window}"

    def command(port: int) -> list[str]:
        return python("-m", "prime_server.commands.prime_server", "run", application, "--listen", f"tcp://127.0.0.1:{port}", *options)

    return Peer(name, command)


def uvicorn(application: str, workers: int = 1) -> Peer:
    options = ["--http", "httptools", "--loop", "uvloop", "--no-access-log", "--log-level", "warning", "--backlog", "1024"]
    options += ["--workers", str(workers)]
    return Peer(
        "uvicorn", lambda port: python("-m", "uvicorn", *options, "--port", str(port), application), ("uvicorn", "httptools", "uvloop")
    )


def granian(application: str, interface: str = "asgi", workers: int = 1) -> Peer:
    options = ["--interface", interface, "--workers", str(workers), "--log-level", "warning", "--backlog", "1024"]
    if interface == "asgi":
        options += ["--loop", "uvloop"]
    return Peer(f"granian {interface}", lambda port: python("-m", "granian", *options, "--port", str(port), application), ("granian", "uvloop"))


def gunicorn(application: str, kind: str, workers: int) -> Peer:
    """One thread in each process; `sync` closes every connection after its answer."""
    options = ["--worker-class", kind, "--workers", str(workers), "--log-level", "warning", "--backlog", "1024", "--keep-alive", "75"]
    if kind == "gthread":
        options += ["--threads", "1"]
    return Peer(f"gunicorn {kind}", lambda port: python("-m", "gunicorn", *options, "--bind", f"127.0.0.1:{port}", application), ("gunicorn",))


def stdlib() -> Peer:
    return Peer("stdlib", lambda port: python("-m", "bench.stdlib_server", str(port)))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int, target: str) -> bool:
    """Whether a request is answered, rightly or not: a server may listen before it has workers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5.0)
    try:
        connection.request("GET", target)
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def running(peer: Peer, *, probe: str = "/is_prime?possible_prime=7") -> Iterator[Running]:
    """Starts a server, waits until it answers, and ends it and all that it has started. Raises `RuntimeError` when it doesn't come up."""
    port = free_port()
    with tempfile.NamedTemporaryFile(prefix="bench-", suffix=".log") as output:
        process = subprocess.Popen(
            peer.command(port),
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + START_SECONDS
            while not answers(port, probe):
                if process.poll() is not None or time.monotonic() > deadline:
                    said = Path(output.name).read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"{peer.name} didn't start: {said}")
                time.sleep(0.05)
            yield Running(peer, port, process, output.name)
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and after 5 seconds SIGKILL, to the whole group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5.0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
