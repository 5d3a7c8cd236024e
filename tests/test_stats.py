"""The counters are plain numbers under the names that docs/stats.md gives them, and it gives no others."""

import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import zmq
from conftest import CHECKOUT

from prime_server import Proxy, Response, Server, Threads, Worker

DOCUMENT = CHECKOUT / "docs" / "stats.md"


def documented(part: str) -> set[str]:
    """The names in a part's table."""
    text = DOCUMENT.read_text().partition(f"\n## {part}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `(\w+)` \| (?:counter|gauge) \| \S", text, re.MULTILINE))


def plain(stats: Mapping[str, Any]) -> bool:
    return type(stats) is dict and all(type(value) in (int, float) and value >= 0 for value in stats.values())


@pytest.mark.checkout
def test_each_part_has_the_counters_that_are_documented(directory: Path) -> None:
    up, down, loopback, interrupt = (f"ipc://{directory}/{name}" for name in ("up", "down", "loopback", "interrupt"))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with (
        Server(context, "tcp://127.0.0.1:0", up, loopback, interrupt) as server,
        Proxy(context, up, down) as proxy,
        Worker(context, down, None, loopback, interrupt, lambda job: Response(200, b"")) as worker,
    ):
        for part, stats in (("Server", server.stats()), ("Proxy", proxy.stats()), ("Worker", worker.stats())):
            assert plain(stats)
            assert set(stats) == documented(part)
    context.destroy(linger=0)


def test_a_whole_pipeline_has_them_all_while_it_works_and_afterwards() -> None:
    with Threads("tcp://127.0.0.1:0", [lambda job: Response(200, b"")] * 2, [1, 2]) as pipeline:
        host, port = pipeline.endpoint.removeprefix("tcp://").split(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            while client.recv(65536):
                pass
        during = pipeline.stats()
    for stats in (during, pipeline.stats()):
        stages, workers = stats.pop("stages"), stats.pop("workers")
        assert len(stages) == 2
        assert len(workers) == 3
        assert all(plain(part) for part in (stats, *stages, *workers))
        assert (stats["requests"], stats["answers"], stages[0]["received"], workers[0]["jobs"]) == (1, 1, 1, 1)
