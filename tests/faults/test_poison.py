"""A request that kills whoever runs it is answered by 5xx within 5 s, and at least 2 of 4 workers live; those beside it are answered right. It is
logged with its key."""

from pathlib import Path

import pytest
from conftest import Start
from faulting import COMPILED, PLAIN, PYTHON, Rig, number, written
from pipelines import wait_until


@pytest.mark.parametrize(("transport", "kind"), [("ipc", PYTHON), ("tcp", PYTHON), ("ipc", COMPILED), ("ipc", PLAIN)])
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "among others"])
def test_a_request_that_kills_its_worker(start: Start, directory: Path, transport: str, kind: str, alone: bool) -> None:
    with Rig(start, directory, transport) as rig:
        rig.run_all(kind)
        proxy = rig.processes[1]
        with rig.load([number(n) for n in range(0 if alone else 500)]) as others:
            if not alone:
                others.wait_for(50)
            with rig.load([number(0, die=1)], connections=1) as poison:
                pass
        assert others.wrong == []
        assert poison.answers[0].status == 500
        assert poison.slowest <= 5.0
        assert sum(worker.popen.poll() is None for worker in rig.workers) >= 2
        rig.ask(40)
        proxy.wait_for(rb"job id \d+ time_stamp \d+ life [0-9a-f]{16}: 2 workers died")


def test_what_must_not_be_repeated_is_not(start: Start, directory: Path) -> None:
    """A POST that kills its worker is answered by 502 and kills no other."""
    with Rig(start, directory) as rig:
        rig.run_all()
        with rig.load([number(0, die=1)], connections=1, method="POST") as poison:
            pass
        assert poison.answers[0].status == 502
        assert poison.slowest <= 5.0
        rig.ask(40)
        wait_until(lambda: any(worker.popen.poll() is not None for worker in rig.workers))  # its sockets are closed before it is known as dead
        assert sum(worker.popen.poll() is None for worker in rig.workers) == 3


def test_what_the_application_says_may_be_repeated_is(start: Start, directory: Path) -> None:
    """A worker is killed while it runs a POST: under a proxy that was told that its stage may repeat, another one does it."""
    with Rig(start, directory) as rig:
        rig.serve()
        rig.forward(0, "--retryable", "--max-attempts", "2")
        rig.work()
        rig.wait()
        marks = directory / "marks"
        with rig.load([number(5, write=marks, wait=0.2)], connections=1, method="POST") as load:
            wait_until(lambda: written(marks))
            rig.replace_worker(rig.workers[0])
        assert load.wrong == []
        assert marks.read_text() == "xx"
