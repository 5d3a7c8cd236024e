"""What the tests share: processes that never outlive their test, free ports, and an oracle for primes."""

import contextlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Their assertions tell what they compared, as those of tests do.
pytest.register_assert_rewrite("asking", "balancing", "faulting", "feeding", "flood", "peers", "pipelines", "stage_standin", "standins")

from stage_standin import StandIn  # noqa: E402 - after its registration

CHECKOUT = Path(__file__).resolve().parent.parent
PATIENCE = 30.0  # seconds that anything may take at worst, on a machine with other things to do


def primes_below(limit: int) -> bytearray:
    """A sieve: at n, 1 for a prime and 0 otherwise."""
    sieve = bytearray([1]) * limit
    sieve[:2] = b"\0" * min(limit, 2)
    for n in range(2, int(limit**0.5) + 1):
        if sieve[n]:
            sieve[n * n :: n] = bytes(len(range(n * n, limit, n)))
    return sieve


@pytest.fixture(scope="session")
def sieve() -> bytearray:
    """`primes_below(100_000)`."""
    return primes_below(100_000)


def longest_pause_beside(thread: threading.Thread) -> float:
    """Runs the thread to its end: the longest time that this one could not run meanwhile, as a part of all the time."""
    begun = last = time.perf_counter()
    longest = 0.0
    thread.start()
    while thread.is_alive():
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return longest / (last - begun)


@pytest.fixture
def free_port() -> int:
    """A TCP port of the loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def directory() -> Iterator[Path]:
    """An empty directory for sockets, whose paths must be short."""
    path = Path(tempfile.mkdtemp(prefix="prime-test-"))
    yield path
    shutil.rmtree(path)


class Process:
    """A command of the package that runs as a process of its own, with its stderr collected."""

    def __init__(self, arguments: list[str], **options: Any) -> None:
        streams: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, **options}
        self.popen: subprocess.Popen[bytes] = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, start_new_session=True, **streams)
        self.stderr = b""

    @property
    def pid(self) -> int:
        return self.popen.pid

    def wait_for(self, pattern: bytes) -> re.Match[bytes]:
        """Reads stderr until it holds the pattern. Raises `AssertionError` when it ends or takes too long before that."""
        assert self.popen.stderr is not None
        deadline = time.monotonic() + PATIENCE
        while not (match := re.search(pattern, self.stderr)):
            readable, _, _ = select.select([self.popen.stderr], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(self.popen.stderr.fileno(), 65536) if readable else b""
            assert piece, f"{self.popen.args!r} didn't say {pattern!r}: {self.stderr.decode(errors='replace')}"
            self.stderr += piece
        return match

    def endpoint(self) -> str:
        """The endpoint that a serving command says it listens on."""
        return self.wait_for(rb"listening on ([^\s,]+)")[1].decode()

    def address(self) -> tuple[str, int]:
        host, port = self.endpoint().removeprefix("tcp://").rsplit(":", 1)
        return host.strip("[]").replace("*", "127.0.0.1"), int(port)

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def finish(self, timeout: float = PATIENCE) -> int:
        """The exit status, once it has ended by itself; the rest of stderr is in `stderr` then."""
        assert self.popen.stderr is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            _, rest = self.popen.communicate(timeout=timeout)
            self.stderr += rest
        assert self.popen.returncode is not None, f"{self.popen.args!r} didn't end within {timeout} s"
        return self.popen.returncode

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        self.signal(signal.SIGTERM)
        return self.finish()

    def kill(self) -> None:
        """Ends it and whatever it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait()
        if self.popen.stderr is not None:
            self.popen.stderr.close()
        if self.popen.stdout is not None:
            self.popen.stdout.close()


Start = Callable[..., Process]


def curl(*arguments: str) -> subprocess.Popen[bytes]:
    """Starts curl with its output in pipes; without a library that may be preloaded into our own processes, as the sanitizers' are."""
    path = shutil.which("curl")
    if path is None:
        pytest.skip("curl is not installed")
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    return subprocess.Popen([path, "--silent", "--show-error", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)


def command_path(name: str) -> str:
    """The installed command: beside the interpreter that runs the tests."""
    return str(Path(sys.executable).with_name(name))


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts an installed command, `start("prime_serverd", "tcp://127.0.0.1:0", "2")`; it is gone when the test ends, however that ends."""
    processes: list[Process] = []

    def run(name: str, *arguments: str, **options: object) -> Process:
        processes.append(Process([command_path(name), *arguments], **options))
        return processes[-1]

    yield run
    for process in processes:
        process.kill()


@pytest.fixture
def around() -> Iterator[StandIn]:
    """What is around a worker of a single stage."""
    made = StandIn()
    yield made
    made.close()


@pytest.fixture
def staged() -> Iterator[StandIn]:
    """The same of one with a stage behind it."""
    made = StandIn(stages=True)
    yield made
    made.close()
