"""Whole pipelines as their users know them: shaping, interrupts, shutdown, other protocols, and no job behind another without need.

The first half tells the original's own tests again. What must be known of the inside is asked of `stats()`, or of what has been in between.
"""

import asyncio
import os
import re
import resource
import select
import signal
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import standins
import zmq
from conftest import PATIENCE, Start
from pipelines import EITHER, OURS, THEIRS, Commands, Pipeline, endpoints_over, wait_until

from prime_server import Client, Interrupted, Job, Limits, Processes, ProtocolError, RequestInfo, Response, Threads


@pytest.fixture
def pipeline(directory: Path) -> Iterable[Pipeline]:
    with Pipeline(endpoints_over("ipc", directory)) as made:
        yield made


def get(target: str = "/") -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def connect(address: tuple[str, int], request: bytes) -> socket.socket:
    """A client that has asked something."""
    client = socket.create_connection(address, timeout=PATIENCE)
    client.sendall(request)
    return client


# --- shaping -------------------------------------------------------------------------------------------------------------------------------


class Alternately:
    """Each job to the one of A and B that did not get the one before."""

    def __init__(self) -> None:
        self.turn = b"A"

    def __call__(self, heartbeats: list[bytes], job: Sequence[Any]) -> int | None:
        assert bytes(job[0]).startswith(b"GET ")
        if self.turn not in heartbeats:
            return None
        at = heartbeats.index(self.turn)
        self.turn = b"B" if self.turn == b"A" else b"A"
        return at


def all_to_a(heartbeats: list[bytes], job: Sequence[Any]) -> int | None:
    return heartbeats.index(b"A") if b"A" in heartbeats else None


@pytest.mark.parametrize(("choose", "shares"), [(Alternately(), (5000, 5000)), (all_to_a, (10_000, 0))])
def test_shaped_traffic(pipeline: Pipeline, choose: Any, shares: tuple[int, int]) -> None:
    server = pipeline.start_server(OURS)
    pipeline.start_proxy(OURS, choose=choose)
    for name in ("A", "B"):
        # a window of 1, so that none hands a job back which has waited for the GIL for long: the function would choose for it once more
        pipeline.start_worker(OURS, lambda _, name=name: Response(200, name), heartbeat=name.encode(), window=1)
    with Client(None, server.endpoint, connections=8, batch_size=256) as client:
        answers = [response.text for response in client.fetch(get() for _ in range(10_000))]
    assert (answers.count("A"), answers.count("B")) == shares
    assert tuple(worker.stats()["answered"] for worker in pipeline.workers) == shares


def test_unshaped_traffic_goes_to_whoever_is_free(pipeline: Pipeline) -> None:
    server = pipeline.start_server(OURS)
    pipeline.start_proxy(OURS)
    for name in ("A", "B"):
        pipeline.start_worker(OURS, lambda _, name=name: Response(200, name), heartbeat=name.encode(), window=1)
    with Client(None, server.endpoint, connections=8, batch_size=256) as client:
        answers = [response.text for response in client.fetch(get() for _ in range(10_000))]
    assert answers.count("A") + answers.count("B") == 10_000
    assert min(answers.count("A"), answers.count("B")) > 1000


def test_the_originals_proxy_sees_what_our_workers_favour(pipeline: Pipeline) -> None:
    server = pipeline.start_server(OURS)
    favours: set[bytes] = set()

    def choose(heartbeats: list[bytes], _: list[bytes]) -> int:
        favours.update(heartbeats)
        return heartbeats.index(min(heartbeats))

    pipeline.start_proxy(THEIRS, choose=choose)
    for name in ("A", "B"):
        pipeline.start_worker(OURS, lambda _, name=name: Response(200, name), heartbeat=name.encode())
    with Client(None, server.endpoint) as client:
        while favours != {b"A", b"B"}:
            assert [response.status for response in client.fetch([get()])] == [200]


# --- interrupts ----------------------------------------------------------------------------------------------------------------------------


class Watched:
    """A work function of ours or theirs that for `/stay` checks until it is interrupted, and answers anything else at once."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.told = threading.Event()
        self.why = ""
        self.seen: list[str] = []

    def ours(self, job: Job) -> Response:
        path = job.request.path
        self.seen.append(path)
        self.entered.release()
        try:
            while path == "/stay":
                job.check()
        except Interrupted as error:
            self.why = str(error)
            self.told.set()
            raise
        return Response(200, path)

    def theirs(self, job: standins.Job) -> tuple[str, Any]:
        _, path, _, _ = job.request()
        self.seen.append(path)
        self.entered.release()
        while path == "/stay":
            if job.interrupted():
                self.told.set()
                return "nothing", b""
        return "answer", job.response(200, path.encode())

    def of(self, whose: str) -> Any:
        return self.ours if whose == OURS else self.theirs

    def wait_entered(self) -> None:
        assert self.entered.acquire(timeout=PATIENCE)


class Hearer:
    """Hears a server's interrupts, as a worker does."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.socket = pipeline.context.socket(zmq.SUB)
        monitor = self.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self.socket.subscribe(b"")
        self.socket.connect(pipeline.endpoint("interrupt"))
        assert monitor.poll(PATIENCE * 1000)
        self.socket.disable_monitor()
        monitor.close()
        pipeline.stack.callback(self.socket.close, 0)

    def key(self) -> bytes:
        assert self.socket.poll(PATIENCE * 1000), "no interrupt came"
        key: bytes = self.socket.recv()[:8]
        return key


MIXES = [(server, proxy, worker) for server in EITHER for proxy in EITHER for worker in EITHER]


@pytest.mark.parametrize(("server", "proxy", "worker"), MIXES)
def test_a_running_job_learns_that_its_client_has_left(pipeline: Pipeline, server: str, proxy: str, worker: str) -> None:
    watched = Watched()
    pipeline.start_server(server)
    pipeline.start_proxy(proxy)
    pipeline.start_worker(worker, watched.of(worker))
    for _ in range(2):
        client = connect(pipeline.address, get("/stay"))
        watched.wait_entered()
        client.close()
        assert watched.told.wait(PATIENCE)
        watched.told.clear()
        assert standins.ask(pipeline.address, [get("/next")]) == [b"/next"]
        watched.wait_entered()
    if worker == OURS:
        assert "client" in watched.why


@pytest.mark.parametrize(("server", "proxy", "worker"), MIXES)
def test_a_waiting_job_whose_client_has_left_is_never_begun(pipeline: Pipeline, server: str, proxy: str, worker: str) -> None:
    watched = Watched()
    pipeline.start_server(server)
    its_proxy = pipeline.start_proxy(proxy)
    pipeline.start_worker(worker, watched.of(worker))
    assert standins.ask(pipeline.address, [get("/first")]) == [b"/first"]
    hearer = Hearer(pipeline)
    staying = connect(pipeline.address, get("/stay"))
    watched.wait_entered()
    watched.wait_entered()
    leaving = connect(pipeline.address, get("/left"))
    if (server, proxy) == (OURS, OURS):
        wait_until(lambda: its_proxy.stats()["backlog"] == 1)
    leaving.close()
    hearer.key()
    if (server, proxy) == (OURS, OURS):  # it has left the proxy before the worker is free
        wait_until(lambda: its_proxy.stats()["cancelled"] == 1)
        assert its_proxy.stats()["backlog"] == 0
    staying.close()
    hearer.key()
    assert standins.ask(pipeline.address, [get("/last")]) == [b"/last"]
    assert watched.seen == ["/first", "/stay", "/last"]


def test_what_waits_for_the_second_stage_is_dropped_there(pipeline: Pipeline) -> None:
    watched = Watched()
    server = pipeline.start_server(OURS)
    pipeline.start_proxy(OURS, 0)
    second = pipeline.start_proxy(OURS, 1)
    pipeline.start_worker(OURS, lambda job: job.forward(job.frames[0]), 0)
    pipeline.start_worker(OURS, watched.ours, 1)
    assert standins.ask(pipeline.address, [get("/first")]) == [b"/first"]
    staying = connect(pipeline.address, get("/stay"))
    watched.wait_entered()
    watched.wait_entered()
    leaving = [connect(pipeline.address, get(f"/{number}")) for number in range(10)]
    wait_until(lambda: second.stats()["backlog"] == 10)
    for client in leaving[:9]:
        client.close()
    wait_until(lambda: second.stats()["cancelled"] == 9)
    assert second.stats()["backlog"] == 1
    staying.close()
    assert standins.take(leaving[9].recv(65536), False) == (b"/9", b"")
    leaving[9].close()
    assert watched.seen == ["/first", "/stay", "/9"]
    assert server.stats()["requests_interrupted"] == 10


def test_what_waits_in_a_hub_of_its_own_is_dropped(directory: Path) -> None:
    watched = Watched()
    with Threads("tcp://127.0.0.1:0", [watched.ours]) as whole:
        address = ("127.0.0.1", int(whole.endpoint.rsplit(":", 1)[1]))
        staying = connect(address, get("/stay"))
        watched.wait_entered()
        leaving = [connect(address, get(f"/{number}")) for number in range(10)]
        wait_until(lambda: whole.stats()["stages"][0]["backlog"] == 10)
        for client in leaving:
            client.close()
        wait_until(lambda: whole.stats()["stages"][0]["backlog"] == 0)
        staying.close()
        assert standins.ask(address, [get("/last")]) == [b"/last"]
    assert watched.seen == ["/stay", "/last"]


@pytest.mark.parametrize(("server", "proxy", "worker"), MIXES)
def test_a_running_job_learns_that_its_time_is_over(pipeline: Pipeline, server: str, proxy: str, worker: str) -> None:
    watched = Watched()
    pipeline.start_server(server, **({"limits": Limits(request_timeout=0.3)} if server == OURS else {"timeout": 0.3}))
    pipeline.start_proxy(proxy)
    pipeline.start_worker(worker, watched.of(worker))
    with connect(pipeline.address, get("/stay")) as client:
        watched.wait_entered()
        assert client.recv(65536).startswith(b"HTTP/1.1 504 ")
    assert watched.told.wait(PATIENCE)
    assert standins.ask(pipeline.address, [get("/next")]) == [b"/next"]


def test_no_interrupt_names_a_request_that_was_answered(pipeline: Pipeline) -> None:
    keys = []

    def work(job: Job) -> Response:
        keys.append(job.info.key.to_bytes(8, "little"))
        while job.request.path == "/stay":
            job.check()
        return Response(200, "x")

    server = pipeline.start_server(OURS)
    pipeline.start_proxy(OURS)
    pipeline.start_worker(OURS, work)
    hearer = Hearer(pipeline)
    for how in range(30):
        # answered; answered and left behind it; one answered and one left
        client = connect(pipeline.address, get() + (get("/stay") if how % 3 == 2 else b""))
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        if how % 3 == 2:
            wait_until(lambda how=how: len(keys) == how + how // 3 + 2)
        client.close()
        if how % 3 == 2:
            assert hearer.key() == keys[-1]
    assert server.stats()["requests_interrupted"] == 10
    assert not hearer.socket.poll(0)


# --- shutdown ------------------------------------------------------------------------------------------------------------------------------

# A pipe by name is how a test meets a worker in another process: opening it for writing waits for the worker to open it, and the worker then waits
# for what is written.
APPLICATION = """
import os, time
from prime_server import Response

def gated(job):
    with open("gate", "rb") as gate:
        return Response(200, gate.read())

def endless(job):
    open("gate", "rb").close()
    while True:
        job.check()

def plain(job):
    return Response(200, "plain")

def calibrated():
    exponent = 100_000
    while True:
        began = time.thread_time()  # whatever else the processor does meanwhile
        pow(3, exponent)
        took = time.thread_time() - began
        if took > 0.2:
            return int(exponent * (3.2 / took) ** (1 / 1.585))
        exponent *= 2

exponent = 0

def hold(job):
    global exponent
    if job.request.path == "/calibrate":
        exponent = exponent or calibrated()
        return Response(200, str(os.getpid()))
    if job.request.path == "/hold":
        with open("calls", "a") as calls:
            print(os.getpid(), file=calls)
        with open("gate", "wb"):
            pass
        began = time.monotonic()
        pow(3, exponent)
        return Response(200, f"{os.getpid()} {began} {time.monotonic()}")
    return Response(200, f"{os.getpid()} {time.monotonic()}")
"""


@pytest.fixture
def commands(start: Start, directory: Path) -> Iterable[Commands]:
    os.mkfifo(directory / "gate")
    with Commands(start, endpoints_over("ipc", directory), directory, APPLICATION) as made:
        yield made


def test_what_is_in_flight_is_answered_at_shutdown(commands: Commands) -> None:
    commands.start_server(OURS)
    commands.start_proxy(OURS)
    commands.start_worker(OURS, "gated")
    commands.wait()
    with connect(commands.address, get()) as client, open(commands.directory / "gate", "wb", buffering=0) as gate:
        for process in commands.processes:
            process.signal(signal.SIGTERM)
        wait_until(lambda: not listens(commands.address))
        gate.write(b"in time")
        gate.close()
        assert standins.take(client.recv(65536), False) == (b"in time", b"")
    for process in commands.processes:
        assert process.finish() == 0


def test_a_drain_that_begins_amid_clients_that_come_and_go() -> None:
    for _ in range(10):
        with Threads("tcp://127.0.0.1:0", [lambda _: Response(200, "x")], drain_seconds=0.1) as whole:
            address = ("127.0.0.1", int(whole.endpoint.rsplit(":", 1)[1]))
            clients = [socket.create_connection(address) for _ in range(50)]
            wait_until(lambda whole=whole: whole.stats()["connections"] == 50)
            for number, client in enumerate(clients):
                if number == 25:
                    whole._hub.stop(0.1)
                client.sendall(get())
                client.close()


def listens(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0


@pytest.mark.parametrize(("request_text", "answer"), [(get(), b"plain"), (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", b"")])
def test_a_running_job_is_interrupted_by_the_end_of_the_drain(commands: Commands, request_text: bytes, answer: bytes) -> None:
    """What may be repeated is handed to another worker, what may not be is answered."""
    commands.start_server(OURS)
    commands.start_proxy(OURS)
    worker = commands.start_worker(OURS, "endless", drain=0.2)
    commands.wait()
    with connect(commands.address, request_text) as client:
        open(commands.directory / "gate", "wb").close()
        worker.signal(signal.SIGTERM)
        assert worker.finish() == 0
        commands.processes.remove(worker)
        commands.start_worker(OURS, "plain").wait_for(b"working")
        said = client.recv(65536)
        if answer:
            assert standins.take(said, False) == (answer, b"")
        else:
            assert said.startswith(b"HTTP/1.1 503 ")
    commands.wait()  # a process that has not begun yet would just be killed
    commands.stop()


# --- other protocols -----------------------------------------------------------------------------------------------------------------------


def test_parallel_netstring_clients(directory: Path) -> None:
    with Pipeline(endpoints_over("ipc", directory), netstring=True) as pipeline:
        server = pipeline.start_server(OURS)
        pipeline.start_proxy(OURS)
        for _ in range(2):
            pipeline.start_worker(OURS, lambda job: bytes(job.frames[0])[::-1])

        def ask(client: int) -> None:
            asked = [f"{client} {number}".encode() for number in range(5000)]
            with Client(None, server.endpoint, protocol="netstring", connections=2, batch_size=512) as made:
                assert list(made.fetch(asked)) == [text[::-1] for text in asked]

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(ask, range(3)))


class Lines:
    """A protocol of one's own: lines. `!` in front of one ends the connection with its answer."""

    class Line:
        idempotent = True

        def __init__(self, text: bytes) -> None:
            self.text = text

    def __init__(self) -> None:
        self.ending: set[int] = set()

    def feed(self, connection: Any, data: bytes) -> Iterable[Line]:
        *lines, connection.rest = (getattr(connection, "rest", b"") + data).split(b"\n")
        yield from map(self.Line, lines)
        if len(connection.rest) > 20:
            raise ProtocolError("a line is too long", 413)

    def serialize(self, request: Line) -> list[bytes]:
        return [b"line", request.text]

    def reject(self, error: ProtocolError) -> bytes:
        return f"error {error.status}: {error}\n".encode()

    def timeout(self) -> bytes:
        return b"too late\n"

    def keep_alive(self, info: RequestInfo) -> bool:
        return info.key not in self.ending


@pytest.mark.parametrize(
    ("result", "answer"),
    [
        (ProtocolError("not for you", 403), b"error 403: not for you\n"),
        (ValueError("not for anybody"), b"error 500: Internal Server Error\n"),
        (asyncio.CancelledError(), b"error 500: Internal Server Error\n"),
        (SystemExit(), b"error 500: Internal Server Error\n"),
        (None, b"error 500: Internal Server Error\n"),
        (b"", b"error 500: Internal Server Error\n"),
        (b"fine\n", b"fine\n"),
    ],
)
def test_a_failure_is_told_in_the_words_of_ones_own_protocol(result: Any, answer: bytes) -> None:
    """And the only worker lives on, whatever it was."""

    def work(job: Job) -> Any:
        if isinstance(result, BaseException):
            raise result
        return result

    with Threads("tcp://127.0.0.1:0", [work], protocol=Lines()) as pipeline:
        address = pipeline.endpoint.removeprefix("tcp://").split(":")
        for _ in range(3):
            with socket.create_connection((address[0], int(address[1])), timeout=PATIENCE) as client, client.makefile("rb") as answers:
                client.sendall(b"a line\n")
                assert answers.readline() == answer


class Exiting(Lines):
    def __init__(self, where: str, error: type[BaseException]) -> None:
        super().__init__()
        self.where, self.error = where, error

    def fail(self, where: str) -> None:
        if where == self.where:
            self.where = ""
            raise self.error

    def feed(self, connection: Any, data: bytes) -> Iterable[Lines.Line]:
        self.fail("feed")
        return super().feed(connection, data)

    def serialize(self, request: Lines.Line) -> list[bytes]:
        self.fail("serialize")
        return super().serialize(request)

    def keep_alive(self, info: RequestInfo) -> bool:
        self.fail("keep_alive")
        return True

    def reject(self, error: ProtocolError) -> bytes:
        self.fail("reject")
        return super().reject(error)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("where", ["feed", "serialize", "keep_alive", "reject"])
def test_what_a_protocol_raises_ends_its_connection_alone(where: str, error: type[BaseException]) -> None:
    def work(job: Job) -> bytes:
        if job.frames[1] == b"fail":
            raise ProtocolError("no", 400)
        return b"fine\n"

    with Threads("tcp://127.0.0.1:0", [work], protocol=Exiting(where, error)) as pipeline:
        host, port = pipeline.endpoint.removeprefix("tcp://").split(":")
        first = b"work\n" if where == "keep_alive" else b"fail\n"
        for ends, line in ((True, first), (False, b"work\n")):
            with socket.create_connection((host, int(port)), timeout=PATIENCE) as client, client.makefile("rb") as answers:
                client.sendall(line)
                if ends:
                    assert answers.read() == (b"fine\n" if where == "keep_alive" else b"")
                else:
                    assert answers.readline() == b"fine\n"


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"drain_seconds": -1}, ValueError, "drain_seconds is a time of 0 to 10^9 seconds, not -1"),
        ({"drain_seconds": "x"}, TypeError, "drain_seconds is a number of seconds, not 'x'"),
        ({"drain_seconds": float("nan")}, ValueError, "drain_seconds"),
        ({"grace_seconds": -1}, ValueError, "grace_seconds is a time of 0 to 10^9 seconds, not -1"),
        ({"window": 0}, ValueError, "window is 1 to 1024 jobs, not 0"),
        ({"window": "x"}, TypeError, "window is a number of jobs, not 'x'"),
        ({"workers": 2.0}, TypeError, "workers is a number or a list of numbers, not 2.0"),
    ],
)
def test_the_arguments_of_whole_pipelines_are_checked(options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=re.escape(says)):
        Processes("tcp://127.0.0.1:0", ["app:work"], **options)
    if "grace_seconds" not in options:
        with pytest.raises(error, match=re.escape(says)):
            Threads("tcp://127.0.0.1:0", [lambda job: None], **options)
    with pytest.raises(TypeError, match="a stage is the name of an application, like 'app:work'"):
        Processes("tcp://127.0.0.1:0", [len])  # type: ignore[list-item]


async def asynchronous(job: Job) -> None:
    pass


def test_threads_take_no_async_function() -> None:
    with pytest.raises(TypeError, match="this one is async"):
        Threads("tcp://127.0.0.1:0", [asynchronous])


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 8192, reason="they take some thousands of descriptors")
def test_as_many_threads_as_one_asks_for() -> None:
    """libzmq's bound of sockets is raised for them."""
    with Threads("tcp://127.0.0.1:0", [lambda job: None], 300):
        pass


@pytest.mark.parametrize(
    ("stages", "options", "error", "says"),
    [
        ([str], {"protocol": Lines}, TypeError, r"Lines\(\) and not the class"),
        ([str], {"protocol": object()}, TypeError, r"has the method feed\(\)"),
        ([str], {"protocol": "smtp"}, ValueError, "'smtp'"),
        ("app:work", {}, TypeError, "a list of work functions"),
        (str, {}, TypeError, "a list of work functions"),
        ([], {}, ValueError, "at least one stage"),
        ([str], {"workers": "2"}, TypeError, "not '2'"),
        ([str], {"workers": 0}, ValueError, "not 0"),
        ([str], {"workers": [1, 2]}, ValueError, "not 2"),
        ([str], {"health_check": "health"}, ValueError, "'health'"),
    ],
)
def test_a_pipeline_that_cant_be_meant(stages: Any, options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        Threads("tcp://127.0.0.1:0", stages, **options)


def test_a_protocol_of_ones_own(pipeline: Pipeline) -> None:
    protocol = Lines()

    def work(job: Job) -> bytes:
        kind, line = (bytes(frame) for frame in job.frames)
        assert kind == b"line"
        if line == b"stay":
            while True:
                job.check()
        if line.startswith(b"!"):
            protocol.ending.add(job.info.key)
        return line.upper() + b"\n"

    pipeline.start_server(OURS, protocol=protocol, limits=Limits(request_timeout=0.3))
    pipeline.start_proxy(OURS)
    for _ in range(2):
        pipeline.start_worker(OURS, work)

    def talk(*pieces: bytes) -> bytes:
        with socket.create_connection(pipeline.address, timeout=PATIENCE) as client:
            for piece in pieces:
                client.sendall(piece)
            said = b""
            while data := client.recv(65536):
                said += data
            return said

    lines = [b"line %d" % number for number in range(200)]
    assert talk(b"\n".join(lines) + b"\n!", b"over\n") == b"\n".join(lines).upper() + b"\n!OVER\n"
    assert talk(b"one\n", b"stay\n!two\n") == b"ONE\ntoo late\n!TWO\n"
    assert talk(b"one\n" + 30 * b"x") == b"ONE\nerror 413: a line is too long\n"


# --- uneven work ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("proxy", EITHER)
def test_pipelined_requests_with_uneven_work_come_back_in_order(pipeline: Pipeline, proxy: str) -> None:
    finished: list[int] = []

    def work(job: Job) -> Response:
        number = int(job.request.query["n"][0])
        time.sleep(0.02 if number % 16 == 0 else 0)
        finished.append(number)
        return Response(200, str(number))

    pipeline.start_server(OURS)
    pipeline.start_proxy(proxy)
    for _ in range(4):
        pipeline.start_worker(OURS, work)
    with connect(pipeline.address, b"".join(get(f"/?n={number}") for number in range(320))) as client:
        left = b""
        for number in range(320):
            while (found := standins.take(left, False)) is None:
                left += client.recv(65536)
            assert found[0] == str(number).encode()
            left = found[1]
    assert finished != sorted(finished)


@pytest.mark.timing
def test_a_function_that_holds_the_gil_is_neither_dead_nor_in_the_way(commands: Commands) -> None:
    commands.start_server(OURS)
    commands.start_proxy(OURS)
    for _ in range(2):
        commands.start_worker(OURS, "hold")
    commands.wait()
    pids = {str(worker.pid).encode() for worker in commands.workers}
    calibrated: set[bytes] = set()
    while calibrated != pids:
        with ThreadPoolExecutor(2) as pool:
            calibrated |= set(pool.map(lambda _: standins.ask(commands.address, [get("/calibrate")])[0], range(2)))
    with connect(commands.address, get("/hold")) as client:
        open(commands.directory / "gate", "rb").close()
        waits, answered = [], []
        while not select.select([client], [], [], 0)[0]:
            began = time.monotonic()
            answered += standins.ask(commands.address, [get("/short")])
            waits.append(time.monotonic() - began)
        holder, began_holding, ended = client.recv(65536).split()[-3:]
    held = float(ended) - float(began_holding)
    # The last ones may have been begun when it was held no longer, by either of them.
    others = [(pid, float(began)) for pid, began in (answer.split() for answer in answered) if float(began) < float(ended)]
    assert {pid for pid, _ in others} == pids - {holder}
    assert held > 2.0
    assert len(others) > 100
    assert float(ended) - others[-1][1] < held / 10
    assert sorted(waits)[-3] < 0.1
    assert (commands.directory / "calls").read_text().split() == [holder.decode()]
    commands.stop()


@pytest.mark.parametrize("window", [1, 64])
def test_a_window_of_one_is_nothing_given_ahead(pipeline: Pipeline, window: int) -> None:
    gate = threading.Event()

    def work(job: Job) -> Response:
        if job.request.path == "/stay":
            gate.wait(PATIENCE)
        return Response(200, "x")

    server = pipeline.start_server(OURS)
    proxy = pipeline.start_proxy(OURS)
    worker = pipeline.start_worker(OURS, work, window=window)
    with Client(None, server.endpoint, batch_size=64) as client:
        while window > 1 and worker.stats()["window"] == 1:  # until its jobs are known to be short
            assert all(response.status == 200 for response in client.fetch(get() for _ in range(100)))
        before = worker.stats()
        answers = client.fetch([get("/stay"), *[get() for _ in range(20)]])
        with ThreadPoolExecutor(1) as pool:
            taken = pool.submit(list, answers)
            wait_until(lambda: server.stats()["requests_in_flight"] == 21 and proxy.stats()["backlog"] == 20)
            assert proxy.stats()["held"] == 1
            gate.set()
            assert len(taken.result()) == 21
    if window == 1:
        assert worker.stats()["returned"] == 0
    else:
        assert worker.stats()["jobs"] == before["jobs"] + 21
