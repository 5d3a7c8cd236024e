"""A proxy is killed and started again, under load and without: no request is lost, none fails, and there is an answer at most 2 s after the start."""

import contextlib
import http.client
import time
from pathlib import Path

import pytest
from conftest import Start
from faulting import COMPILED, PLAIN, PYTHON, Load, Rig, answered_within, number, written
from pipelines import wait_until


def status_of(rig: Rig, path: str) -> int:
    with contextlib.closing(http.client.HTTPConnection(*rig.address, timeout=10)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status


@pytest.mark.parametrize(("transport", "kind"), [("ipc", PYTHON), ("tcp", PYTHON), ("tcp", COMPILED), ("ipc", PLAIN)])
def test_the_proxy_is_restarted_under_load(start: Start, directory: Path, transport: str, kind: str) -> None:
    with Rig(start, directory, transport) as rig:
        rig.run_all(kind)
        with rig.load([number(n, wait=0.004) for n in range(1500)], connections=16) as load:
            for _ in range(2):
                load.wait_for(len(load.answers) + 200)
                rig.kill(rig.proxy)
                time.sleep(0.1)  # it is gone for a while
                rig.forward()
                answered_within(rig.address, 2.0)
        assert load.wrong == []


@pytest.mark.parametrize(("transport", "kind"), [("ipc", PYTHON), ("tcp", PLAIN)])
def test_what_waited_in_a_killed_proxy_is_asked_again(start: Start, directory: Path, transport: str, kind: str) -> None:
    """Nothing else comes, so the server has to notice by itself."""
    with Rig(start, directory, transport) as rig:
        rig.run_all(kind, workers=2)
        with rig.load([number(n, wait=0.2) for n in range(12)], connections=12) as load:
            load.wait_for(2)
            rig.kill(rig.proxy)
            rig.forward()
        assert load.wrong == []
        assert len(load.answers) == 12
        assert load.slowest <= 2.0 + 12 * 0.2


@pytest.mark.parametrize("killed", [0, 1])
def test_a_proxy_of_two_stages_is_restarted(start: Start, directory: Path, killed: int) -> None:
    """Of the second one's restart only workers can tell the server."""
    with Rig(start, directory) as rig:
        rig.run_two_stages()
        with Load(rig.address, [number(n, wait=0.05) for n in range(200)], connections=16) as load:
            load.wait_for(50)
            rig.kill(rig.proxies[killed])
            time.sleep(0.1)
            rig.forward(killed)
            answered_within(rig.address, 2.0)
        assert load.wrong == []
        # And without anything new coming.
        with Load(rig.address, [number(n, wait=0.3) for n in range(12)], connections=12) as load:
            load.wait_for(1)
            rig.kill(rig.proxies[killed])
            rig.forward(killed)
        assert load.wrong == []


def test_what_must_not_be_repeated_is_answered_by_its_worker(start: Start, directory: Path) -> None:
    """A POST that is with its worker when the proxy dies is done once, and answered."""
    marks = directory / "marks"
    with Rig(start, directory) as rig:
        rig.run_all(workers=1)
        with rig.load([number(3, write=marks, wait=0.7)], connections=1, method="POST") as load:
            wait_until(lambda: written(marks))
            rig.kill(rig.proxy)
            rig.forward()
        assert load.wrong == []
        assert marks.read_text() == "x"


def test_what_must_not_be_repeated_and_was_in_the_proxy_is_answered_502(start: Start, directory: Path) -> None:
    """That is known 2 s after the first word of a worker that has met the new one. What a worker has is answered, though it takes longer."""
    marks = directory / "marks"
    with Rig(start, directory) as rig:
        rig.run_all(workers=1)
        with rig.load([number(3, write=marks, wait=4)], connections=1, method="POST") as begun, contextlib.ExitStack() as stack:
            wait_until(lambda: written(marks))
            waiting = [stack.enter_context(contextlib.closing(http.client.HTTPConnection(*rig.address, timeout=10))) for _ in range(4)]
            for n, connection in enumerate(waiting):
                connection.request("POST", number(n, write=marks).target)
            for _ in range(2):  # by then the server has read the others, and sent them on
                assert status_of(rig, "/health") == 200
            rig.kill(rig.proxy)
            rig.forward()
            since = time.monotonic()
            assert [connection.getresponse().status for connection in waiting] == [502] * 4
            assert time.monotonic() - since <= 3.5
        assert begun.wrong == []
        assert marks.read_text() == "x"
        rig.ask(20)


def test_what_must_not_be_repeated_and_has_gone_on_is_answered(start: Start, directory: Path) -> None:
    """The workers of the first stage know what has gone through their hands."""
    marks = directory / "marks"
    with Rig(start, directory) as rig:
        rig.run_two_stages()
        with rig.load([number(n, write=marks, wait=4) for n in range(3)], connections=3, method="POST") as load:
            wait_until(lambda: written(marks) == 3)
            rig.kill(rig.proxy)
            rig.forward()
        assert load.wrong == []
        assert marks.read_text() == "xxx"
