"""A worker process that is stopped, as on a machine that is lost, is noticed within a second, and its job is done by another one. One that keeps the
GIL for seconds is busy, not gone: nobody else is given its job."""

import signal
from pathlib import Path

import pytest
from conftest import Start
from faulting import COMPILED, PLAIN, PYTHON, Rig, number, written
from pipelines import wait_until


@pytest.mark.parametrize(("transport", "kind"), [("ipc", PYTHON), ("tcp", PYTHON), ("ipc", COMPILED), ("tcp", PLAIN)])
def test_a_stopped_worker(start: Start, directory: Path, transport: str, kind: str) -> None:
    marks = directory / "marks"
    with Rig(start, directory, transport) as rig:
        rig.run_all(kind, workers=1)
        with rig.load([number(3, write=marks, wait=0.3)], connections=1) as load:
            wait_until(lambda: written(marks))
            (stopped,) = rig.workers
            stopped.signal(signal.SIGSTOP)
            rig.work(kind)[0].wait_for(rb"working ")
        assert load.wrong == []
        assert marks.read_text() == "xx"
        assert load.slowest <= 0.3 + 1.0 + 0.3 + 0.5  # before, until it is noticed, again, and what a busy machine may add
        # It wakes up, works on and is heard of: its answer comes late, and it is a worker like others again.
        stopped.signal(signal.SIGCONT)
        rig.ask(40, kind)


def test_a_worker_that_keeps_the_gil_is_busy_and_not_gone(start: Start, directory: Path) -> None:
    marks = directory / "marks"
    with Rig(start, directory) as rig:
        rig.run_all(workers=2)
        with rig.load([number(3, write=marks, hold=2)], connections=1) as load:
            wait_until(lambda: written(marks))
            with rig.load([number(n) for n in range(100)]) as others:
                pass
        assert others.wrong == load.wrong == []
        assert others.slowest <= 0.5
        assert marks.read_text() == "x"
