"""All workers are stopped by SIGTERM and replaced, one by one, under load: no request is lost, none fails."""

import itertools
from pathlib import Path

import pytest
from conftest import Start
from faulting import NATIVE, PLAIN, PYTHON, QUESTIONS, Rig


@pytest.mark.parametrize(("transport", "kind"), [("ipc", PYTHON), ("tcp", PYTHON), ("ipc", NATIVE), ("ipc", PLAIN)])
def test_workers_are_replaced_one_by_one(start: Start, directory: Path, transport: str, kind: str) -> None:
    with Rig(start, directory, transport) as rig:
        rig.run_all(kind)
        work = {} if kind == NATIVE else {"wait": 0.003}
        replaced: list[bool] = []
        questions = (QUESTIONS[kind](n, **work) for n in itertools.takewhile(lambda _: not replaced, itertools.count()))
        with rig.load(questions) as load:
            for old in list(rig.workers):
                load.wait_for(len(load.answers) + 20)
                (new,) = rig.work(kind)
                rig.forget(old)
                assert old.stop() == 0
                new.wait_for(rb"working ")
            load.wait_for(len(load.answers) + 20)
            replaced.append(True)
        assert load.wrong == []
