"""Our parts and the original's (tests/standins.py) in every mix, carrying the same load with no wrong answer.

Ours run on threads where all mixes are to be seen, as the sockets are the same there, and as commands where it matters that they are processes.
"""

import contextlib
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import standins
import zmq
from conftest import PATIENCE, Start
from pipelines import EITHER, OURS, THEIRS, Commands, Pipeline, endpoints_over, wait_until

from prime_server import Job, Response

CLIENTS = 4
EACH = 16


# --- the work: n squared, in one stage or in two -------------------------------------------------------------------------------------------


def number_of(job: Job) -> int:
    request = job.request
    return int(bytes(request.body)) if request.method == "POST" else int(request.query["n"][0])


def square(job: Job) -> Response:
    return Response(200, str(number_of(job) ** 2))


def parse(job: Job) -> Any:
    return job.forward(b"n", str(number_of(job)).encode())


def compute(job: Job) -> Response:
    return Response(200, str(int(bytes(job.frames[1])) ** 2))


def square_netstring(job: Job) -> bytes:
    return str(int(bytes(job.frames[0])) ** 2).encode()


def their_number(job: standins.Job) -> int:
    method, path, query, body = job.request()
    assert path == "/square", path
    return int(body) if method == "POST" else int(query["n"][0])


def their_square(job: standins.Job) -> tuple[str, Any]:
    return "answer", job.response(200, str(their_number(job) ** 2).encode())


def their_parse(job: standins.Job) -> tuple[str, Any]:
    return "forward", [b"n", str(their_number(job)).encode()]


def their_compute(job: standins.Job) -> tuple[str, Any]:
    return "answer", job.response(200, str(int(job.frames[1]) ** 2).encode())


def their_square_netstring(job: standins.Job) -> tuple[str, Any]:
    text = str(int(job.frames[0]) ** 2).encode()
    return "answer", b"%d:%s," % (len(text), text)


WORK: dict[tuple[str, str], Any] = {
    (OURS, "square"): square,
    (OURS, "parse"): parse,
    (OURS, "compute"): compute,
    (OURS, "netstring"): square_netstring,
    (THEIRS, "square"): their_square,
    (THEIRS, "parse"): their_parse,
    (THEIRS, "compute"): their_compute,
    (THEIRS, "netstring"): their_square_netstring,
}

FORMS: list[Callable[[int], bytes]] = [
    lambda n: b"GET /square?n=%d HTTP/1.1\r\nHost: x\r\n\r\n" % n,
    lambda n: b"GET /squ%%61re?%%6e=%d HTTP/1.1\r\nHost: x\r\nConnection: Keep-Alive\r\n\r\n" % n,
    lambda n: b"POST /square HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%d" % (len(str(n)), n),
    lambda n: b"POST /square HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n0\r\n%x\r\n%d\r\n0\r\n\r\n" % (len(str(n)), n),
    lambda n: b"GET /square?n=%d HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n" % n,
]


def carry_load(address: tuple[str, int] | str, *, netstring: bool = False, each: int = EACH) -> None:
    """Several clients at a time, each asking one thing after the other; all answers are looked at."""

    def ask(client: int) -> None:
        numbers = [1000 * client + index for index in range(each)]
        if netstring:
            requests = [b"%d:%d," % (len(str(n)), n) for n in numbers]
        else:
            requests = [FORMS[n % len(FORMS)](n) for n in numbers]
        assert standins.ask(address, requests, netstring=netstring) == [str(n**2).encode() for n in numbers]

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(ask, range(1, CLIENTS + 1)))


# --- every mix -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("server", "proxy", "worker"), list(itertools.product(EITHER, repeat=3)))
@pytest.mark.parametrize("transport", ["ipc", "tcp", "tcp6", "inproc"])
def test_one_stage(directory: Path, transport: str, server: str, proxy: str, worker: str) -> None:
    with Pipeline(endpoints_over(transport, directory), shared=transport == "inproc") as pipeline:
        pipeline.start_server(server)
        pipeline.start_proxy(proxy)
        for _ in range(2):
            pipeline.start_worker(worker, WORK[worker, "square"])
        carry_load(pipeline.address)


@pytest.mark.parametrize(("server", "proxy", "worker"), list(itertools.product(EITHER, repeat=3)))
def test_netstring(directory: Path, server: str, proxy: str, worker: str) -> None:
    with Pipeline(endpoints_over("ipc", directory), netstring=True) as pipeline:
        pipeline.start_server(server)
        pipeline.start_proxy(proxy)
        for _ in range(2):
            pipeline.start_worker(worker, WORK[worker, "netstring"])
        carry_load(pipeline.address, netstring=True)


@pytest.mark.parametrize(("server", "proxy", "worker", "next_proxy", "next_worker"), list(itertools.product(EITHER, repeat=5)))
def test_two_stages(directory: Path, server: str, proxy: str, worker: str, next_proxy: str, next_worker: str) -> None:
    with Pipeline(endpoints_over("ipc", directory)) as pipeline:
        pipeline.start_server(server)
        pipeline.start_proxy(proxy, 0)
        pipeline.start_proxy(next_proxy, 1)
        pipeline.start_worker(worker, WORK[worker, "parse"], 0)
        for _ in range(2):
            pipeline.start_worker(next_worker, WORK[next_worker, "compute"], 1)
        carry_load(pipeline.address)


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_workers_of_both_kinds_share_the_work(directory: Path, transport: str) -> None:
    with Pipeline(endpoints_over(transport, directory)) as pipeline:
        pipeline.start_server(OURS)
        pipeline.start_proxy(OURS)
        ours = pipeline.start_worker(OURS, WORK[OURS, "square"])
        theirs = pipeline.start_worker(THEIRS, WORK[THEIRS, "square"])
        carry_load(pipeline.address)
        assert ours.stats()["answered"] + theirs.jobs == CLIENTS * EACH
        assert ours.stats()["answered"] > 0
        assert theirs.jobs > 0


# --- in any order --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whose", EITHER)
@pytest.mark.parametrize("order", list(itertools.permutations(["server", "proxy", "worker"])), ids="-".join)
def test_any_order_of_start(directory: Path, order: tuple[str, ...], whose: str) -> None:
    """The middle part is of the other kind."""
    other = THEIRS if whose == OURS else OURS
    with Pipeline(endpoints_over("ipc", directory)) as pipeline:
        starts = {
            "server": lambda: pipeline.start_server(whose),
            "proxy": lambda: pipeline.start_proxy(other),
            "worker": lambda: pipeline.start_worker(whose, WORK[whose, "square"]),
        }
        for name in order:
            starts[name]()
        carry_load(pipeline.address, each=4)


@pytest.mark.parametrize("missing", ["proxy", "worker"])
@pytest.mark.parametrize(("proxy", "worker"), list(itertools.product(EITHER, repeat=2)))
def test_what_was_asked_before_a_part_was_there_is_answered_when_it_comes(directory: Path, missing: str, proxy: str, worker: str) -> None:
    with Pipeline(endpoints_over("ipc", directory)) as pipeline, ThreadPoolExecutor(1) as pool:
        server = pipeline.start_server(OURS)
        if missing == "worker":
            pipeline.start_proxy(proxy)
        else:
            pipeline.start_worker(worker, WORK[worker, "square"])
        answers = pool.submit(carry_load, pipeline.address)
        wait_until(lambda: server.stats()["requests"] == CLIENTS)
        assert not answers.done()
        if missing == "proxy":
            pipeline.start_proxy(proxy)
        else:
            pipeline.start_worker(worker, WORK[worker, "square"])
        answers.result(PATIENCE)


# --- the commands --------------------------------------------------------------------------------------------------------------------------

APPLICATION = """
from prime_server import Response

def number_of(job):
    request = job.request
    return int(bytes(request.body)) if request.method == "POST" else int(request.query["n"][0])

def square(job): return Response(200, str(number_of(job) ** 2))
def parse(job): return job.forward(b"n", str(number_of(job)).encode())
def compute(job): return Response(200, str(int(bytes(job.frames[1])) ** 2))
"""


@pytest.mark.parametrize(("server", "proxy", "worker"), list(itertools.product(EITHER, repeat=3))[:-1])
def test_commands(start: Start, directory: Path, server: str, proxy: str, worker: str) -> None:
    with Commands(start, endpoints_over("ipc", directory), directory, APPLICATION) as pipeline:
        pipeline.start_server(server)
        pipeline.start_proxy(proxy)
        pipeline.start_worker(worker, "square" if worker == OURS else their_square)
        pipeline.wait()
        carry_load(pipeline.address)
        pipeline.stop()


@pytest.mark.parametrize("order", ["forward", "backward"])
@pytest.mark.parametrize("transport", ["ipc", "tcp", "tcp6"])
def test_commands_in_two_stages(start: Start, directory: Path, transport: str, order: str) -> None:
    with Commands(start, endpoints_over(transport, directory), directory, APPLICATION) as pipeline:
        starts: list[Callable[[], Any]] = [
            lambda: pipeline.start_server(OURS),
            lambda: pipeline.start_proxy(OURS, 0),
            lambda: pipeline.start_worker(OURS, "parse", 0),
            lambda: pipeline.start_proxy(OURS, 1),
            lambda: pipeline.start_worker(OURS, "compute", 1, last=True),
            lambda: pipeline.start_worker(OURS, "compute", 1, last=True),
        ]
        for begin in starts if order == "forward" else reversed(starts):
            begin()
        pipeline.wait()
        carry_load(pipeline.address)
        pipeline.stop()


def test_the_worker_serves_files_without_a_function(start: Start, directory: Path) -> None:
    with Commands(start, endpoints_over("ipc", directory), directory, APPLICATION) as pipeline:
        pipeline.start_server(OURS)
        pipeline.start_proxy(OURS)
        pipeline.command("prime_workerd", *[pipeline.endpoint(name) for name in ("down0", "up1", "loopback", "interrupt")])
        pipeline.wait()
        requests = [b"GET /application.py HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /../secret HTTP/1.1\r\nHost: x\r\n\r\n"]
        assert standins.ask(pipeline.address, requests) == [APPLICATION.encode(), b"there is no such file\n"]
        pipeline.stop()


def test_a_second_proxy_at_the_same_endpoint_is_refused(start: Start, directory: Path) -> None:
    with Commands(start, endpoints_over("ipc", directory), directory, APPLICATION) as pipeline:
        first = pipeline.start_proxy(OURS)
        first.wait_for(b"forwarding")
        second = start("prime_proxyd", pipeline.endpoint("up0"), pipeline.endpoint("down0"))
        assert second.finish() == 1
        assert b"in use by another process" in second.stderr
        assert second.stderr.count(b"\n") == 1
        pipeline.stop()


# --- the stand-ins themselves --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ([b"PRSH\1\0\0\0" + bytes(8)], "taken for a job"),
        ([bytes(12)], "taken for a job"),
        ([bytes(8), b"n"], "taken for a job"),
        ([bytes(12), b"n"], ""),
    ],
)
def test_a_stand_in_worker_notices_what_is_no_job(directory: Path, message: list[bytes], fault: str) -> None:
    end = endpoints_over("ipc", directory)
    with contextlib.ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        ours = stack.enter_context(context.socket(zmq.ROUTER))
        ours.bind(end("down"))
        worker = standins.Worker(end("down"), end("up"), end("loopback"), end("interrupt"), lambda _: ("nothing", b""))
        worker.thread.start()
        name, heartbeat = ours.recv_multipart()
        assert heartbeat == b""
        ours.send_multipart([name, *message])
        assert ours.recv_multipart() == [name, b""]
        with pytest.raises(AssertionError, match=fault) if fault else contextlib.nullcontext():
            worker.close()


@pytest.mark.parametrize(
    ("heartbeat", "fault"),
    [
        ([b""], ""),
        ([b"", b"something"], "neither"),
        ([b"", b"PRSR\1\1" + bytes(42)], ""),
        ([b"", b"PRSR\1\0" + bytes(42)], "flags are 0"),
        ([b"", b"PRSR\1\3" + bytes(42)], "flags are 3"),
        ([b"", b"PRSR\1\1" + bytes(4) + b"\1" + bytes(53)], "1 jobs are handed back"),
    ],
)
def test_a_stand_in_proxy_notices_what_is_not_idle(directory: Path, heartbeat: list[bytes], fault: str) -> None:
    end = endpoints_over("ipc", directory)
    with contextlib.ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        proxy = standins.Proxy(end("up"), end("down"))
        proxy.thread.start()
        worker, server = (stack.enter_context(context.socket(zmq.DEALER)) for _ in range(2))
        worker.connect(end("down"))
        server.connect(end("up"))
        worker.send_multipart(heartbeat)
        server.send_multipart([bytes(12), b"n"])
        assert worker.recv_multipart() == [bytes(12), b"n"]
        with pytest.raises(AssertionError, match=fault) if fault else contextlib.nullcontext():
            proxy.close()
