"""`python -m bench.uneven`: how long does a job wait behind a running one while a worker is idle?

Short jobs among long ones that never call `check()`, over worker processes; shown from time stamps taken in the workers. A worker that has been woken
for its next job and waits for a processor isn't idle: the kernel counts that wait (Linux), and it is left out. What is left on a machine whose
cores are all busy with the long jobs is the time that the hub waits for one; with `--asleep` they keep their worker but no core.
"""

import argparse
import asyncio
import os
import statistics
import time
from itertools import pairwise
from pathlib import Path

from bench import peers
from bench.report import machine
from prime_server import Job as Work
from prime_server import Response

WORKERS, CONNECTIONS, RUNS, JOBS = 4, 64, 3, 30
SHORT, LONG, LONG_EVERY = 50e-6, 0.2, 100
SLIGHT = 0.001  # seconds: what is shorter makes no difference here

# When it was asked for; the process that ran it, from when to when; how long it had waited for a processor before.
Job = tuple[float, int, float, float, float]


async def ask(port: int, numbers: range, how: str) -> list[Job]:
    """One connection's jobs, one after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    done: list[Job] = []
    for number in numbers:
        seconds = LONG if number % LONG_EVERY == 0 else SHORT
        asked = asyncio.get_running_loop().time()
        writer.write(b"GET /?%s=%f HTTP/1.1\r\nHost: x\r\n\r\n" % (how.encode() if seconds == LONG else b"seconds", seconds))
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        pid, began, ended, delayed = (await reader.readexactly(size)).split()
        done.append((asked, int(pid), float(began), float(ended), float(delayed)))
    writer.close()
    return done


async def load(port: int, how: str) -> list[Job]:
    order = [range(connection, CONNECTIONS * JOBS, CONNECTIONS) for connection in range(CONNECTIONS)]
    return [job for jobs in await asyncio.gather(*(ask(port, numbers, how) for numbers in order)) for job in jobs]


def longest_needless_wait(jobs: list[Job]) -> float:
    """The most seconds that a job waited while the worker that ran it later ran another, and some worker ran none.

    A worker counts as idle from the end of one job until it is woken for its next one.
    """
    spans: dict[int, list[tuple[float, float, float]]] = {}
    for _, pid, began, ended, delayed in jobs:
        spans.setdefault(pid, []).append((began, ended, delayed))
    idle: list[tuple[float, float]] = []
    for busy in spans.values():
        busy.sort()
        idle += [(ended, began - delayed) for (_, ended, _), (began, _, delayed) in pairwise(busy) if began - delayed - ended > SLIGHT]
    worst = 0.0
    for asked, pid, began, _, _ in jobs:
        others = [(since, until) for since, until, _ in spans[pid] if until - since > SLIGHT and until > asked and until <= began]
        for since, until in others:
            overlaps = (min(until, to, began) - max(since, asked, at) for at, to in idle)
            worst = max(worst, max(overlaps, default=0.0))
    return worst


def delay() -> float:
    """Seconds that this thread has waited for a processor in all, where the kernel tells."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) * 1e-9
    except OSError:
        return 0.0


_delay = 0.0  # when the last job ended


def work(job: Work) -> Response:
    global _delay
    began = time.monotonic()
    delayed = delay() - _delay
    if "asleep" in job.request.query:
        time.sleep(float(job.request.query["asleep"][0]))
    else:
        end = time.thread_time() + float(job.request.query["seconds"][0])
        while time.thread_time() < end:
            pass
    ended = time.monotonic()
    _delay = delay()
    return Response(200, f"{os.getpid()} {began} {ended} {delayed}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.uneven", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--asleep", action="store_const", const="asleep", default="seconds", help="long jobs sleep instead of burning a processor")
    options = parser.parse_args()
    print(machine())
    print(f"{WORKERS} worker processes, {CONNECTIONS} connections, 1 job in {LONG_EVERY} of {LONG:g} s, the others of {SHORT * 1e6:g} µs")
    for server in (peers.prime_server_run("bench.uneven:work", WORKERS), peers.prime_server_run("bench.uneven:work", WORKERS, window=1)):
        with peers.running(server, probe="/?seconds=0") as started:
            waits = [1e3 * longest_needless_wait(asyncio.run(load(started.port, options.asleep))) for _ in range(options.rounds)]
        print(f"{server.name}: longest needless wait {statistics.median(waits):.1f} ms (median of runs), {max(waits):.1f} ms (at worst)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
