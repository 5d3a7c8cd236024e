"""Workers are killed under load: of 2,000 requests over 8 connections none is lost and none fails while one of 4 workers is killed every 0.5 s, and
none takes longer than 2 s. The same where idle workers are killed before the load comes."""

import http.client
import os
import signal
import time
from contextlib import closing
from pathlib import Path

import pytest
from conftest import PATIENCE, Start
from faulting import APPLICATION, NATIVE, PLAIN, PYTHON, QUESTIONS, Load, Rig, every, number

KINDS = [("ipc", PYTHON), ("tcp", PYTHON), ("ipc", NATIVE), ("ipc", PLAIN), ("tcp", PLAIN)]


@pytest.mark.parametrize(("transport", "kind"), KINDS)
def test_nothing_is_lost_when_workers_are_killed(start: Start, directory: Path, transport: str, kind: str) -> None:
    rig = Rig(start, directory, transport)
    with rig:
        rig.run_all(kind)
        killed = 0

        def kill_one() -> None:
            nonlocal killed
            rig.replace_worker(rig.workers[0], kind)
            killed += 1

        work = {} if kind == NATIVE else {"wait": 0.004}
        questions = (QUESTIONS[kind](n, **work) for n in range(2000 if kind != NATIVE else 20_000))
        with rig.load(questions) as load, every(0.5, kill_one):
            for thread in load.threads:
                thread.join()
        assert load.wrong == []
        assert load.slowest <= 2.0
        assert killed >= 3


@pytest.mark.parametrize(("transport", "kind"), KINDS[1:4])
def test_idle_workers_that_were_killed_get_nothing(start: Start, directory: Path, transport: str, kind: str) -> None:
    with Rig(start, directory, transport) as rig:
        rig.run_all(kind)
        rig.ask(8, kind)
        for process in rig.workers[:3]:
            rig.kill(process)
        rig.ask(200, kind)


@pytest.mark.parametrize(("transport", "kind"), KINDS[1:])
def test_a_request_of_the_moment_in_which_idle_workers_are_killed(start: Start, directory: Path, transport: str, kind: str) -> None:
    """It may be sent to one of them before its end is known, but not to one after the other, as if it had killed them."""
    with Rig(start, directory, transport) as rig:
        rig.run_all(kind)
        for _ in range(3):
            rig.ask(8, kind)
            dying = rig.workers[:3]
            with closing(http.client.HTTPConnection(*rig.address, timeout=PATIENCE)) as client:
                client.connect()
                for process in dying:
                    process.signal(signal.SIGKILL)
                client.request("GET", QUESTIONS[kind](7).target)
                answer = client.getresponse()
                assert (answer.status, answer.read()) == (200, QUESTIONS[kind](7).answer)
            for process in dying:
                rig.replace_worker(process, kind)


def test_nothing_is_lost_when_the_supervisors_workers_are_killed(start: Start, directory: Path) -> None:
    """`prime_server run`, which starts them again by itself."""
    (directory / "application.py").write_text(APPLICATION)
    server = start("prime_server", "run", "application:work", "--listen", "tcp://127.0.0.1:0", "--workers", "4", cwd=directory)
    address = server.address()
    with Load(address, (number(n, wait=0.004) for n in range(1500))) as load, every(0.5, lambda: os.kill(children(server.pid)[0], signal.SIGKILL)):
        for thread in load.threads:
            thread.join()
    assert load.wrong == []
    assert load.slowest <= 2.0


def test_killing_on_and_on_does_not_make_the_supervisor_hesitate(start: Start, directory: Path) -> None:
    """Each is killed once it has served for a second: that is no reason to start the next one later and later."""
    (directory / "application.py").write_text(APPLICATION)
    server = start("prime_server", "run", "application:work", "--listen", "tcp://127.0.0.1:0", "--workers", "2", cwd=directory)
    address = server.address()
    began: dict[int, float] = {}

    def kill_old() -> None:
        for child in children(server.pid):
            if time.monotonic() - began.setdefault(child, time.monotonic()) >= 1.8:  # it takes less to start
                os.kill(child, signal.SIGKILL)
                return

    with Load(address, (number(n, wait=0.02) for n in range(2400))) as load, every(0.1, kill_old):
        for thread in load.threads:
            thread.join()
    assert len(began) >= 12
    assert load.wrong == []
    assert load.slowest <= 2.0


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
