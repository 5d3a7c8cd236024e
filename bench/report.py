"""What the benchmarks' tables have in common."""

import contextlib
import os
import platform
import sys
from pathlib import Path

from bench.peers import Peer


def machine() -> str:
    """The processor, the number of cores that may be used, and the interpreter."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores, {platform.system()}, Python {platform.python_version()}"


def progress(text: str) -> None:
    """One line on stderr that the next one replaces, where that is a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def chosen(known: list[Peer], names: str | None) -> list[Peer]:
    """The servers of the option --servers, without those that aren't installed, which is told. Raises `ValueError` for an unknown name."""
    by_name = {server.name: server for server in known}
    servers = []
    for name in by_name if names is None else names.split(","):
        if name not in by_name:
            raise ValueError(f"no such server: {name}; there are: {', '.join(by_name)}")
        if missing := by_name[name].missing():
            print(f"{name} is left out: {', '.join(missing)} not installed (pip install 'prime-server[bench]')")
        else:
            servers.append(by_name[name])
    return servers
