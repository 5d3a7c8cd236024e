"""While jobs are tiny, the threads of hub, workers and libzmq wait their turn when they wake; with long jobs, and at the end, they don't."""

import contextlib
import http.client
import os
import platform
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq
from conftest import PATIENCE

from prime_server import Hub, Job, Processes, Response, Stage, Threads, Worker

pytestmark = [
    pytest.mark.timing,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has SCHED_BATCH"),
    pytest.mark.skipif(sys.platform == "linux" and os.sched_getscheduler(0) != os.SCHED_OTHER, reason="the tests run under another policy"),
]

APPLICATION = """
import os, time
from prime_server import Response

def work(job):
    if "long" in job.request.query:
        time.sleep(0.01)
    return Response(200, str(os.sched_getscheduler(0)))
"""


def work(job: Job) -> Response:
    if "long" in job.request.query:
        time.sleep(0.01)
    return Response(200, str(os.sched_getscheduler(0)))


def ask_until(endpoint: str, target: str, done: Callable[[int], bool]) -> None:
    """Asks again and again, many requests at a time, until an answer, the policy of the thread that made it, is as it should be."""
    host, port = endpoint.removeprefix("tcp://").split(":")
    deadline = time.monotonic() + PATIENCE
    with socket.create_connection((host, int(port)), PATIENCE) as connection, connection.makefile("rb") as answers:
        while True:
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode() * 32)
            for _ in range(32):
                head = b"".join(iter(answers.readline, b"\r\n"))
                length = re.search(rb"Content-Length: (\d+)", head)
                assert length is not None
                policy = int(answers.read(int(length[1])))
            if done(policy):
                return
            assert time.monotonic() < deadline, f"the policy is still {policy}"


def threads_of_io(pid: int) -> list[int]:
    """libzmq's of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # others come and go
            if (task / "comm").read_text().startswith("ZMQbg/IO"):
                found.append(int(task.name))
    return found


def policies_of_io(pid: int) -> set[int]:
    return {os.sched_getscheduler(thread) for thread in threads_of_io(pid)}


def test_a_workers_thread_is_patient_while_its_jobs_are_tiny() -> None:
    with Threads("tcp://127.0.0.1:0", [work]) as pipeline:
        ask_until(pipeline.endpoint, "/", lambda policy: policy == os.SCHED_BATCH)
        ask_until(pipeline.endpoint, "/?long", lambda policy: policy == os.SCHED_OTHER)


def test_so_are_the_threads_of_libzmq_on_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny.py").write_text(APPLICATION)
    monkeypatch.chdir(tmp_path)
    with Processes("tcp://127.0.0.1:0", ["tiny:work"]) as pipeline:
        parts = (os.getpid(), *pipeline.pids)
        ask_until(pipeline.endpoint, "/", lambda _: all(policies_of_io(pid) == {os.SCHED_BATCH} for pid in parts))
        ask_until(pipeline.endpoint, "/?long", lambda _: all(policies_of_io(pid) == {os.SCHED_OTHER} for pid in parts))


def test_all_is_as_it_was_at_the_end() -> None:
    after: list[int] = []
    with zmq.Context() as context:
        loopback, interrupt = "inproc://loopback", "inproc://interrupt"
        stages = [Stage(None, "inproc://down")]
        hub = Hub(context, listen="tcp://127.0.0.1:0", stages=stages, whole=True, loopback=loopback, interrupt=interrupt)
        worker = Worker(context, "inproc://down", None, loopback, interrupt, work)

        def work_here() -> None:
            worker.work()
            after.append(os.sched_getscheduler(0))

        def serve_here() -> None:
            hub.serve()
            after.append(os.sched_getscheduler(0))

        threads = [threading.Thread(target=serve_here), threading.Thread(target=work_here)]
        for thread in threads:
            thread.start()

        def all_patient(policy: int) -> bool:
            hubs_thread = threads[0].native_id
            assert hubs_thread is not None
            return {policy, os.sched_getscheduler(hubs_thread), *policies_of_io(os.getpid())} == {os.SCHED_BATCH}

        ask_until(hub.endpoint, "/", all_patient)
        worker.stop()
        threads[1].join()
        hub.stop()
        threads[0].join()
        assert after == [os.SCHED_OTHER, os.SCHED_OTHER]
        assert policies_of_io(os.getpid()) == {os.SCHED_OTHER}
        worker.close()
        hub.close()


def places_of_io() -> set[frozenset[int]]:
    return {frozenset(os.sched_getaffinity(thread)) for thread in threads_of_io(os.getpid())}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one processor")
def test_on_two_processors_the_threads_of_libzmq_follow_the_hub() -> None:
    usual = os.sched_getaffinity(0)
    two = frozenset(sorted(usual)[:2])
    os.sched_setaffinity(0, two)
    try:
        with Threads("tcp://127.0.0.1:0", [work]) as pipeline:
            ask_until(pipeline.endpoint, "/", lambda _: {len(place) for place in places_of_io()} == {1})
            ask_until(pipeline.endpoint, "/?long", lambda _: places_of_io() == {two})
            ask_until(pipeline.endpoint, "/", lambda _: {len(place) for place in places_of_io()} == {1})
    finally:
        os.sched_setaffinity(0, usual)


def slice_of(thread: int) -> int:
    """ns; 0 where the kernel doesn't tell."""
    try:
        found = re.search(r"^se\.slice\s*:\s*(\d+)", Path(f"/proc/self/task/{thread}/sched").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0


@pytest.mark.skipif(
    tuple(map(int, re.findall(r"\d+", platform.release())[:2])) < (6, 12) or slice_of(threading.get_native_id()) == 0,
    reason="threads have slices from Linux 6.12 on, and it has to tell of them",
)
def test_a_long_job_makes_way_for_short_ones() -> None:
    usual = slice_of(threading.get_native_id())
    slices: dict[str, list[int]] = {"short": [], "long": []}
    threads: set[int] = set()

    def watched(job: Job) -> Response:
        thread = threading.get_native_id()
        threads.add(thread)
        slices["short"].append(slice_of(thread))
        deadline = time.monotonic() + PATIENCE
        while "long" in job.request.query and slice_of(thread) < usual and time.monotonic() < deadline:
            time.sleep(0.001)
        if "long" in job.request.query:
            slices["long"].append(slice_of(thread))
        return Response(200)

    with Threads("tcp://127.0.0.1:0", [watched]) as pipeline:
        host, port = pipeline.endpoint.removeprefix("tcp://").split(":")
        for target in ("/?long", "/?long", "/"):
            connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
            connection.request("GET", target)
            assert connection.getresponse().status == 200
            connection.close()
    assert slices["long"] == [usual, usual]
    assert max(slices["short"]) < usual
