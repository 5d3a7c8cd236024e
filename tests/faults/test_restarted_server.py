"""The server is killed and started again, within the same second too: there is an answer at most 2 s after the start, and never one that was
meant for a client of the life before."""

import time
from pathlib import Path

import pytest
from conftest import Start
from faulting import COMPILED, PLAIN, PYTHON, Rig, answered_within, number


@pytest.mark.parametrize(("transport", "kind"), [("ipc", PYTHON), ("tcp", COMPILED), ("ipc", PLAIN)])
@pytest.mark.parametrize("pause", [0.0, 1.1], ids=["at once", "a second later"])
def test_the_server_is_restarted_under_load(start: Start, directory: Path, transport: str, kind: str, pause: float) -> None:
    with Rig(start, directory, transport) as rig:
        rig.run_all(kind)
        with rig.load([number(n, wait=0.1) for n in range(60)], connections=30) as before:
            before.wait_for(20)
            rig.kill(rig.server)
        time.sleep(pause)
        rig.serve()
        answered_within(rig.address, 2.0)
        # Uneven, so that late answers would come among them.
        with rig.load([number(1000 + n, wait=(0.001, 0.03)[n % 10 == 0]) for n in range(200)], connections=30) as after:
            pass
        assert after.wrong == []
        assert [answer for answer in before.wrong if answer.status] == []


def test_what_the_dead_server_had_asked_for_holds_up_nothing(start: Start, directory: Path) -> None:
    """A backlog of 40 jobs of 0.5 s: 5 s of work for 4 workers, of two stages."""
    with Rig(start, directory) as rig:
        rig.run_two_stages()
        with rig.load([number(n, wait=0.5) for n in range(40)], connections=40) as before:
            before.wait_for(4)
            rig.kill(rig.server)
        rig.serve()
        answered_within(rig.address, 2.0)
        with rig.load([number(1000 + n, wait=0.01) for n in range(40)], connections=8) as after:
            pass
        assert after.wrong == []
        assert after.slowest <= 1.0
