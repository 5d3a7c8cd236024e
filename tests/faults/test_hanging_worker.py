"""A job that hangs past its deadline of 2 s: its client gets 504 after 2 to 3 s, nobody else waits, its process is replaced, and it isn't run again.

Whether the job calls `check()`, sleeps, or never lets go of the GIL, or is C that looks at its flag or doesn't. A process that is told to end
meanwhile ends within its drain time and 2 s.
"""

import contextlib
import itertools
import os
import signal
import time
from pathlib import Path

import pytest
from conftest import Start
from faulting import APPLICATION, COMPILED, PLAIN, PYTHON, Load, Question, Rig, compiled, number, written
from pipelines import wait_until

from prime_server import Job, Threads

HANGS = {"checks": "wait=60", "sleeps": "sleep=60", "keeps the GIL": "hold=60", "C that checks": "wait=60", "C that does not": "hold=60"}
SLEEPER = APPLICATION.replace('    if "hold"', '    if "sleep" in query:\n        time.sleep(60)\n    if "hold"')


@pytest.mark.parametrize("how", HANGS)
def test_its_client_gets_504_and_its_place_is_filled_anew(start: Start, directory: Path, how: str) -> None:
    (directory / "application.py").write_text(compiled() if how.startswith("C") else SLEEPER)
    begun = directory / "begun"
    arguments = ("--listen", "tcp://127.0.0.1:0", "--workers", "2", "--timeout", "2", "--grace", "1")
    server = start("prime_server", "run", "application:work", *arguments, cwd=directory)
    address = server.address()
    with Load(address, [Question(f"/?n=1&write={begun}&{HANGS[how]}", b"")], connections=1) as hanging:
        deadline = time.monotonic() + 10
        while not written(begun):
            assert time.monotonic() < deadline
        with Load(address, map(number, itertools.takewhile(lambda _: hanging.going_on, itertools.count())), connections=1) as others:
            pass
    assert [answer.status for answer in hanging.answers] == [504]
    assert 2 <= hanging.answers[0].seconds <= 3
    assert others.wrong == []
    assert sorted(answer.seconds for answer in others.answers)[int(0.99 * len(others.answers))] <= 0.1
    if not how.endswith("checks"):
        server.wait_for(rb"ended with exit status 75, as its job had not ended long after the deadline")
    # both places work, and it was run once
    with Load(address, [number(n, wait=0.2) for n in range(4)], connections=2) as after:
        pass
    assert after.wrong == []
    assert begun.read_text() == "x"
    assert server.stop() == 0


@pytest.mark.parametrize(("transport", "kind"), [("tcp", PYTHON), ("ipc", COMPILED), ("ipc", PLAIN), ("tcp", PLAIN)])
def test_workers_by_themselves(start: Start, directory: Path, transport: str, kind: str) -> None:
    """Those that look whether they are interrupted are there again."""
    begun = directory / "begun"
    with Rig(start, directory, transport) as rig:
        rig.run_all(kind, workers=2, timeout=2)
        rig.ask(20, kind)
        with rig.load([number(1, write=begun, wait=60)], connections=1) as hanging:
            wait_until(lambda: written(begun))
            with rig.load(map(number, itertools.takewhile(lambda _: hanging.going_on, itertools.count())), connections=1) as others:
                pass
        assert [answer.status for answer in hanging.answers] == [504]
        assert 2 <= hanging.answers[0].seconds <= 3
        assert others.wrong == []
        assert sorted(answer.seconds for answer in others.answers)[int(0.99 * len(others.answers))] <= 0.1
        with rig.load([number(n, wait=0.3) for n in range(2)], connections=2) as both:
            pass
        assert both.wrong == []
        assert both.slowest <= 0.55
        assert begun.read_text() == "x"


@pytest.mark.parametrize("command", ["run", "workerd"])
def test_a_part_whose_work_hangs_ends_when_it_is_told_to(start: Start, directory: Path, command: str) -> None:
    (directory / "application.py").write_text(APPLICATION)
    up, down, loopback, interrupt = (f"ipc://{directory}/{name}" for name in ("up", "down", "loopback", "interrupt"))
    if command == "run":
        parts = [start("prime_server", "run", "application:work", "--listen", "tcp://127.0.0.1:0", "--drain", "1", cwd=directory)]
    else:
        parts = [
            start("prime_httpd", "tcp://127.0.0.1:0", up, loopback, interrupt, "none", "10M", "60", "1"),
            start("prime_proxyd", up, down, "1"),
            start("prime_workerd", down, "-", loopback, interrupt, "1", "--work", "application:work", cwd=directory),
        ]
        parts[2].wait_for(rb"working for")
    with Load(parts[0].address(), [Question(f"/?n=1&write={directory / 'begun'}&hold=60", b"")], connections=1):
        deadline = time.monotonic() + 10
        while not written(directory / "begun"):
            assert time.monotonic() < deadline
        since = time.monotonic()
        for part in parts:
            part.signal(signal.SIGTERM)
        assert [part.finish() for part in parts] == [0] * len(parts)
        assert time.monotonic() - since <= 3


def test_a_thread_that_checks_is_interrupted_when_its_pipeline_ends() -> None:
    begun = []

    def work(job: Job) -> None:
        begun.append(os.getpid())
        while True:
            job.check()
            time.sleep(0.01)

    with contextlib.ExitStack() as stack:
        with Threads("tcp://127.0.0.1:0", [work], drain_seconds=0.1) as pipeline:
            host, port = pipeline.endpoint.removeprefix("tcp://").split(":")
            stack.enter_context(Load((host, int(port)), [number(1)], connections=1, patience=5))
            while not begun:
                time.sleep(0.01)
            since = time.monotonic()
        assert time.monotonic() - since <= 2
