"""SIGTERM to all parts when the proxy, or the server, has died already: every one exits with status 0 within its drain of a second and 2 s, and the
clients of a server that lives are told."""

import signal
import time
from pathlib import Path

import pytest
from conftest import Start
from faulting import NATIVE, PLAIN, PYTHON, Rig, number, prime


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
            rig.kill(rig.proxy if dead == "proxy" else rig.server)
            load.questions = iter(())
            since = time.monotonic()
            parts = list(rig.processes)
            for part in parts:
                part.signal(signal.SIGTERM)
            assert [part.finish() for part in parts] == [0] * len(parts)
            assert time.monotonic() - since <= 3
            for part in parts:
                rig.forget(part)
        assert {answer.status for answer in load.wrong} <= ({502, 503} if dead == "proxy" else {0})
