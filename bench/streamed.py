"""`python -m bench.streamed`: how fast does an answer in parts reach `curl` on the same machine?

A worker gives the same bytes over and over, in parts of one size; `curl` throws them away and tells how fast they came. With the worker on a thread
of the server, and in a process of its own over ipc (`prime_server run`). `memory` is the most that the server and its workers held in all.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from bench import peers
from bench.report import machine, progress
from prime_server import Job, Response, run_threads

SIZES = (65536, 262144, 1 << 20)
TARGETS = {"thread": 0.7, "ipc": 0.4}  # GB/s


def work(job: Job) -> Response:
    size, parts = (int(number) for number in job.request.path[1:].split("/"))
    block = bytes(size)
    return Response(200, (block for _ in range(parts)))


SERVERS = {
    "thread": peers.Peer("thread", lambda port: peers.python("-m", "bench.streamed", "--serve", str(port))),
    "ipc": peers.prime_server_run("bench.streamed:work", 1),
}


def resident(pid: int) -> int:
    """Bytes of the server and its children."""
    pages = 0
    for one in (str(pid), *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        pages += int(Path(f"/proc/{one}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def download(started: peers.Running, size: int, bytes_in_all: int) -> tuple[float, int]:
    """GB/s, and the most memory meanwhile."""
    target = f"http://127.0.0.1:{started.port}/{size}/{bytes_in_all // size}"
    curl = subprocess.Popen(["curl", "-sS", "-o", "/dev/null", "-w", "%{size_download} %{speed_download}", target], stdout=subprocess.PIPE)
    most = 0
    watched = threading.Event()

    def watch() -> None:
        nonlocal most
        while not watched.wait(0.2):
            most = max(most, resident(started.process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    said, _ = curl.communicate()
    watched.set()
    watcher.join()
    received, speed = said.split()
    if curl.returncode != 0 or int(received) != bytes_in_all // size * size:
        raise RuntimeError(f"curl ended with {curl.returncode} after {int(received)} bytes")
    return float(speed) / 1e9, max(most, resident(started.process.pid))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.streamed", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--gigabytes", type=float, default=2.0, help="in each download; default: 2")
    parser.add_argument("--json", type=Path, help="write the results there too")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        run_threads(f"tcp://127.0.0.1:{options.serve}", [work])
        return 0
    print(machine())
    print(f"{options.gigabytes:g} GB to curl, {options.rounds} rounds, GB/s as median (least to most)")
    print("| worker | parts of | GB/s | at least | memory |\n|---|---:|---:|---:|---:|")
    results = []
    for place, server in SERVERS.items():
        with peers.running(server, probe="/1/1") as started:
            before = resident(started.process.pid)
            for size in SIZES:
                progress(f"{place}, {size} bytes")
                rounds = [download(started, size, int(options.gigabytes * 1e9)) for _ in range(options.rounds)]
                speeds = [speed for speed, _ in rounds]
                grown = (max(memory for _, memory in rounds) - before) / 1e6
                progress("")
                print(
                    f"| {place} | {size >> 10} KiB | {statistics.median(speeds):.2f} ({min(speeds):.2f} to {max(speeds):.2f}) | {TARGETS[place]:g} "
                    f"| +{grown:.1f} MB |",
                    flush=True,
                )
                results.append({"worker": place, "part": size, "gigabytes_per_second": speeds, "memory_grown": grown * 1e6})
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": machine(), "at": time.time(), "results": results}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
