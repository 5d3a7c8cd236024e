"""What the tests of faults have in common: pipelines of processes whose parts are killed and replaced, and a load that tells what became of it."""

import atexit
import contextlib
import functools
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import PATIENCE, Process, Start, primes_below
from pipelines import Commands, endpoints_over

import prime_server

# Ours with a work function in Python, in C, or the demonstration's, and the stand-in of the original's
PYTHON, COMPILED, NATIVE, PLAIN = "python", "compiled", "native", "plain"

PRIMES = [n for n, prime in enumerate(primes_below(50_000)) if prime]

APPLICATION = '''
import ctypes, os, time

from prime_server import Response


def work(job):
    query = job.request.query
    if "die" in query:
        os.kill(os.getpid(), 9)
    if "write" in query:
        with open(query["write"][0], "a") as file:
            file.write("x")
    if "hold" in query:
        ctypes.PyDLL(None).usleep(int(float(query["hold"][0]) * 1e6))  # which keeps the GIL
    if "wait" in query:
        end = time.monotonic() + float(query["wait"][0])
        while time.monotonic() < end:
            job.check()
            time.sleep(0.002)
    if "size" in query:
        return Response(200, bytes(range(250)) * (int(query["size"][0]) // 250))
    return Response(200, query["n"][0])


def forward(job):
    return job.forward(job.frames[0])
'''


COMPILED_APPLICATION = """
import ctypes

from prime_server import NativeWork

new_capsule = ctypes.pythonapi.PyCapsule_New
new_capsule.restype = ctypes.py_object
new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
name = b"prime_server.work.1"  # the capsule doesn't own it
library = ctypes.CDLL({library!r})
work = NativeWork(new_capsule(ctypes.cast(library.work, ctypes.c_void_p), name, None))
"""


@functools.cache
def compiled() -> str:
    """The text of a module whose `work` is native_work.c's, compiled once."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    directory = tempfile.TemporaryDirectory(prefix="prime-test-")
    atexit.register(directory.cleanup)
    library = f"{directory.name}/native_work.so"
    header = Path(prime_server.__file__).parent / "_ext"
    source = Path(__file__).with_name("native_work.c")
    subprocess.run([compiler, "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", f"-I{header}", source, "-o", library], check=True)
    return COMPILED_APPLICATION.format(library=library)


class Question(NamedTuple):
    target: str
    answer: bytes  # the right one


def number(n: int, **query: object) -> Question:
    """What `APPLICATION.work` answers, which does what the query says meanwhile."""
    return Question("/?" + "&".join([f"n={n}", *(f"{name}={value}" for name, value in query.items())]), b"%d" % n)


def prime(n: int) -> Question:
    """What the native worker answers: another one for each n."""
    return Question(f"/is_prime?possible_prime={PRIMES[n % len(PRIMES)]}", b"%d" % PRIMES[n % len(PRIMES)])


QUESTIONS = {PYTHON: number, COMPILED: number, NATIVE: prime, PLAIN: number}


def written(path: Path) -> int:
    """How often `write` has been done, by jobs that may be killed now."""
    return path.stat().st_size if path.exists() else 0


class Answer(NamedTuple):
    question: Question
    status: int  # 0: none came
    body: bytes
    seconds: float

    @property
    def right(self) -> bool:
        return self.status == 200 and self.body == self.question.answer


def resident(process: Process, what: str = "VmRSS") -> int:
    """Bytes that a process has in memory, or by `VmHWM` has had at most."""
    found = re.search(what + r":\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    assert found
    return 1024 * int(found[1])


class Load:
    """Asks `questions` over some keep-alive connections, one after the other on each, in threads; as a context manager it waits for the end."""

    def __init__(
        self, address: tuple[str, int], questions: Iterable[Question], *, connections: int = 8, patience: float = PATIENCE, again: bool = False,
        method: str = "GET"
    ) -> None:
        self.address = address
        self.method = method
        self.questions = iter(questions)
        self.patience = patience
        self.again = again  # where the server isn't there: until it is
        self.lock = threading.Lock()
        self.answers: list[Answer] = []
        self.answered = threading.Condition()
        self.threads = [threading.Thread(target=self._ask) for _ in range(connections)]

    def _next(self) -> Question | None:
        with self.lock:
            return next(self.questions, None)

    def _ask(self) -> None:
        connection = http.client.HTTPConnection(*self.address, timeout=self.patience)
        while question := self._next():
            since = time.monotonic()
            while True:
                try:
                    connection.request(self.method, question.target)
                    response = connection.getresponse()
                    status, body = response.status, response.read()
                except ConnectionRefusedError:
                    connection.close()
                    if self.again and time.monotonic() - since < self.patience:
                        time.sleep(0.01)
                        continue
                    status, body = 0, b""
                except (OSError, http.client.HTTPException) as error:
                    connection.close()
                    status, body = 0, repr(error).encode()
                break
            with self.answered:
                self.answers.append(Answer(question, status, body, time.monotonic() - since))
                self.answered.notify_all()
        connection.close()

    @property
    def going_on(self) -> bool:
        return any(thread.is_alive() for thread in self.threads)

    def wait_for(self, count: int) -> None:
        """Until so many answers are there."""
        with self.answered:
            assert self.answered.wait_for(lambda: len(self.answers) >= count, PATIENCE), f"{len(self.answers)} answers only"

    @property
    def wrong(self) -> list[Answer]:
        return [answer for answer in self.answers if not answer.right]

    @property
    def slowest(self) -> float:
        return max(answer.seconds for answer in self.answers)

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        for thread in self.threads:
            thread.join()


class Rig(Commands):
    """A pipeline of processes, each part of which may be killed and started again."""

    def __init__(self, start: Start, directory: Path, transport: str = "ipc") -> None:
        super().__init__(start, endpoints_over(transport, directory), directory, APPLICATION)
        self.proxies: dict[int, Process] = {}
        self.drain = "5"
        with socket.create_server(("127.0.0.1", 0)) as probe:  # the same one again after a restart
            self.address = ("127.0.0.1", probe.getsockname()[1])

    def serve(self, *options: str, timeout: float = 20, max_request: str = "10M", health: bool = True) -> Process:
        """The server; /health is its health check, for which it goes on listening when it is told to end."""
        ends = [self.endpoint(name) for name in ("up0", "loopback", "interrupt")]
        listen = f"tcp://127.0.0.1:{self.address[1]}"
        arguments = [listen, *ends, "none", max_request, str(timeout), self.drain, *["/health"][:health], *options]
        self.server: Process = self.command("prime_httpd", *arguments)
        return self.server

    def forward(self, stage: int = 0, *options: str) -> Process:
        """The proxy of a stage."""
        self.proxies[stage] = self.command("prime_proxyd", self.endpoint(f"up{stage}"), self.endpoint(f"down{stage}"), self.drain, *options)
        return self.proxies[stage]

    @property
    def proxy(self) -> Process:
        return self.proxies[0]

    def work(self, kind: str = PYTHON, count: int = 1, *, stage: int = 0, function: str = "work") -> list[Process]:
        """More workers of a stage. Plain ones do what the original's do."""
        made = []
        for _ in range(count):
            if kind == PLAIN:
                ends = [self.endpoint(name) for name in (f"down{stage}", f"up{stage + 1}", "loopback", "interrupt")]
                process = self.plain("worker", *ends)
                self.workers.append(process)
            else:
                if kind == COMPILED:
                    (self.directory / "compiled.py").write_text(compiled())
                    function = "compiled:work"
                elif kind == NATIVE:
                    function = "prime_server.primes:work"
                elif ":" not in function:
                    function = f"application:{function}"
                ends = [self.endpoint(name) for name in (f"down{stage}", f"up{stage + 1}", "loopback", "interrupt")]
                if function.endswith(":work"):
                    ends[1] = "-"
                process = self.command("prime_workerd", *ends, self.drain, "--work", function)
                self.workers.append(process)
            made.append(process)
        return made

    def plain(self, part: str, *arguments: str) -> Process:
        """A part of the original's."""
        process = Process([sys.executable, str(Path(__file__).with_name("plain.py")), part, *arguments], cwd=self.directory)
        self.stack.callback(process.kill)
        self.processes.append(process)
        return process

    def run_all(self, kind: str = PYTHON, workers: int = 4, **options: Any) -> None:
        self.serve(**options)
        self.forward()
        self.work(kind, workers)
        self.wait()

    def run_two_stages(self, **options: Any) -> None:
        """Both with Python workers: 2, which hand on what comes, and 4."""
        self.serve(**options)
        self.forward(0)
        self.forward(1)
        self.work(count=2, function="forward")
        self.work(count=4, stage=1)
        self.wait()

    def wait(self) -> None:
        address = self.address
        super().wait()
        self.address = address

    def kill(self, process: Process, how: signal.Signals = signal.SIGKILL) -> None:
        """kill -9, and it is forgotten."""
        os.kill(process.pid, how)
        process.popen.wait()
        self.forget(process)

    def forget(self, process: Process) -> None:
        """It is to end on its own."""
        for among in (self.processes, self.workers):
            if process in among:
                among.remove(process)

    def replace_worker(self, process: Process, kind: str = PYTHON) -> Process:
        self.kill(process)
        return self.work(kind)[0]

    def load(self, questions: Iterable[Question], **options: Any) -> Load:
        return Load(self.address, questions, **options)

    def ask(self, count: int, kind: str = PYTHON) -> None:
        """So many questions more, all answered right."""
        with self.load([QUESTIONS[kind](n) for n in range(count)]) as load:
            pass
        assert load.wrong == []
        assert len(load.answers) == count


def answered_within(address: tuple[str, int], seconds: float) -> float:
    """Asks anew until there is a right answer, and tells after which time it was there."""
    since = time.monotonic()
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(*address, timeout=seconds)
            try:
                connection.request("GET", number(7).target)
                if connection.getresponse().read() == b"7":
                    return time.monotonic() - since
            finally:
                connection.close()
        took = time.monotonic() - since
        assert took < seconds, f"no answer within {took:.1f} s"
        time.sleep(0.005)


@contextlib.contextmanager
def every(seconds: float, act: Callable[[], object]) -> Iterator[list[float]]:
    """Does something again and again meanwhile; the times at which it did."""
    done = threading.Event()
    times: list[float] = []
    failed: list[BaseException] = []

    def loop() -> None:
        try:
            while not done.wait(seconds):
                act()
                times.append(time.monotonic())
        except BaseException as error:  # told to the thread that waits
            failed.append(error)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield times
    finally:
        done.set()
        thread.join()
    if failed:
        raise failed[0]
