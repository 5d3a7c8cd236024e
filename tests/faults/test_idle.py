"""2,000 idle connections, each after a request: 8 KiB each at most, and 10,000 don't keep anybody from being served. When they have gone, the memory
is given back."""

import contextlib
import resource
import socket
from pathlib import Path

import pytest
from conftest import Start
from faulting import Rig, number, resident
from pipelines import wait_until


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_idle_connections(start: Start, directory: Path, count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count + 200:
        pytest.skip(f"a process may have {hard} descriptors here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 200), hard))
    with Rig(start, directory) as rig, contextlib.ExitStack() as stack:
        rig.run_all(workers=2)
        rig.ask(500)
        before = resident(rig.server)
        idle = []
        for turn in range(count):
            client = stack.enter_context(socket.create_connection(rig.address))
            idle.append(client)
            client.sendall(f"GET {number(turn).target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert client.recv(4096).endswith(b"\r\n%d" % turn)
        grown = resident(rig.server) - before
        assert grown <= 8192 * count
        with rig.load([number(n) for n in range(500)], connections=4) as load:
            pass
        assert load.wrong == []
        assert load.slowest <= 0.5
        for client in idle:  # they live
            client.sendall(f"GET {number(5).target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        for client in idle:
            assert client.recv(4096).endswith(b"\r\n5")
        stack.close()
        rig.ask(100)
        wait_until(lambda: resident(rig.server) - before <= 8_000_000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
