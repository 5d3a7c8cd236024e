"""SIGTERM to all parts when the proxy, or the server, has died already: every one exits with status 0 within its drain of a second and 2 s, and the
clients of a server that lives are told. Whether the dead part was ours or one of the original's kind."""

import signal
import time
from pathlib import Path

import pytest
from conftest import Process, Start
from faulting import COMPILED, NATIVE, PLAIN, PYTHON, Load, Rig, number, prime


def end(rig: Rig, load: Load, dead: Process) -> None:
    """The part is killed, and the others are told to end while clients wait."""
    rig.kill(dead)
    load.questions = iter(())
    since = time.monotonic()
    parts = list(rig.processes)
    for part in parts:
        part.signal(signal.SIGTERM)
    assert [part.finish() for part in parts] == [0] * len(parts)
    assert time.monotonic() - since <= 3
    for part in parts:
        rig.forget(part)


@pytest.mark.parametrize(
    ("dead", "transport", "kind"), [("proxy", "ipc", PYTHON), ("proxy", "tcp", PLAIN), ("server", "tcp", NATIVE), ("server", "ipc", PLAIN)]
)
def test_every_part_ends(start: Start, directory: Path, dead: str, transport: str, kind: str) -> None:
    with Rig(start, directory, transport) as rig:
        rig.drain = "1"
        rig.run_all(kind)
        questions = [prime(n) for n in range(20_000)] if kind == NATIVE else [number(n, wait=0.05) for n in range(2000)]
        with rig.load(questions, connections=16) as load:
            load.wait_for(50)
            end(rig, load, rig.proxy if dead == "proxy" else rig.server)
        assert {answer.status for answer in load.wrong} <= ({502, 503} if dead == "proxy" else {0})


@pytest.mark.parametrize(("dead", "transport", "kind"), [("proxy", "ipc", PYTHON), ("proxy", "tcp", COMPILED), ("server", "tcp", PYTHON)])
def test_every_part_ends_beside_one_of_the_originals(start: Start, directory: Path, dead: str, transport: str, kind: str) -> None:
    with Rig(start, directory, transport) as rig:
        rig.drain = "1"
        ends = [rig.endpoint(name) for name in ("up0", "down0", "loopback", "interrupt")]
        if dead == "proxy":
            rig.serve()
            plain = rig.plain("proxy", *ends[:2])
        else:
            plain = rig.plain("server", ends[0], *ends[2:])
            rig.address = plain.address()
            rig.forward()
        rig.work(kind, 4)
        for part in rig.processes:
            part.wait_for(rb"(listening|forwarding|working) ")
        with rig.load([number(n, wait=0.05) for n in range(2000)], connections=16) as load:
            load.wait_for(50)
            end(rig, load, plain)
        assert {answer.status for answer in load.wrong} <= ({502, 503} if dead == "proxy" else {0})
