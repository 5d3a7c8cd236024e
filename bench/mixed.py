"""`python -m bench.mixed`: how long short jobs take where one in thirty is long.

97 % of the jobs are 1 ms and 3 % are 200 ms of pure Python; they arrive by chance (Poisson), whether or not the ones before are done (an open
loop), and each takes a random idle one of the keep-alive connections. A job's time counts from its arrival, so the wait for a connection is in
it. Every server has the same number of worker processes; the load goes to one server after the other, round by round, with the same arrivals.
"""

import argparse
import asyncio
import datetime
import json
import random
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import peers
from bench.report import chosen, machine, progress

SHORT_MS, LONG_MS, LONG_SHARE = 1, 200, 0.03


@dataclass(frozen=True)
class Figures:
    """Of one run, in ms: the median and 99th percentile of the short jobs, the median of the long ones; and failures."""

    short_p50: float
    short_p99: float
    long_p50: float
    jobs: int
    errors: int


def known_servers(workers: int) -> list[peers.Peer]:
    return [
        peers.prime_server_run("bench.spin:work", workers),
        peers.uvicorn("bench.spin:asgi", workers),
        peers.granian("bench.spin:asgi", "asgi", workers),
        peers.granian("bench.spin:wsgi", "wsgi", workers),
        peers.gunicorn("bench.spin:wsgi", "gthread", workers),
        peers.gunicorn("bench.spin:wsgi", "sync", workers),
    ]


def arrivals(rate: float, seconds: float, seed: int) -> list[tuple[float, int]]:
    """When each job comes, in seconds from the start, and its milliseconds."""
    source = random.Random(seed)
    jobs = []
    at = source.expovariate(rate)
    while at < seconds:
        jobs.append((at, LONG_MS if source.random() < LONG_SHARE else SHORT_MS))
        at += source.expovariate(rate)
    return jobs


class Pool:
    """Keep-alive connections, of which a random idle one is taken; who finds none waits for the next, first come, first served."""

    def __init__(self, port: int, size: int, source: random.Random) -> None:
        self._port = port
        self._source = source
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter] | None] = [None] * size
        self._waiting = asyncio.Semaphore(size)

    async def ask(self, milliseconds: int) -> bool:
        """One job; whether its answer was right."""
        async with self._waiting:
            connection = self._idle.pop(self._source.randrange(len(self._idle)))
            kept = None
            try:
                reader, writer = connection or await asyncio.open_connection("127.0.0.1", self._port)
                kept = reader, writer
                writer.write(b"GET /?ms=%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % milliseconds)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                size = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(size)
                if b"\r\nconnection: close" in head:
                    writer.close()
                    kept = None
                return head.split(b" ", 2)[1] == b"200" and body == b"%d" % milliseconds
            except (OSError, ValueError, asyncio.IncompleteReadError):
                if kept is not None:
                    kept[1].close()
                    kept = None
                return False
            finally:
                self._idle.append(kept)

    def close(self) -> None:
        for connection in self._idle:
            if connection is not None:
                connection[1].close()


async def load(port: int, jobs: list[tuple[float, int]], connections: int, seed: int) -> Figures:
    pool = Pool(port, connections, random.Random(seed))
    start = time.perf_counter() + 0.1
    times: dict[int, list[float]] = {SHORT_MS: [], LONG_MS: []}

    async def one(at: float, milliseconds: int) -> bool:
        await asyncio.sleep(start + at - time.perf_counter())
        done = await pool.ask(milliseconds)
        times[milliseconds].append((time.perf_counter() - start - at) * 1e3)
        return done

    right = await asyncio.gather(*(one(*job) for job in jobs))
    pool.close()
    short, long = sorted(times[SHORT_MS]), times[LONG_MS]
    return Figures(
        statistics.median(short), short[int(len(short) * 0.99)], statistics.median(long) if long else 0.0, len(jobs), len(jobs) - sum(right)
    )


def measure(servers: list[peers.Peer], rate: float, connections: int, rounds: int, seconds: float) -> dict[str, list[Figures]]:
    results: dict[str, list[Figures]] = {server.name: [] for server in servers}
    for turn in range(rounds):
        jobs = arrivals(rate, seconds, seed=turn)
        for server in servers:
            # One at a time: eight idle workers of five other servers are no company for a measurement.
            with peers.running(server, probe="/?ms=1") as started:
                figures = asyncio.run(load(started.port, jobs, connections, turn))
            results[server.name].append(figures)
            progress(f"round {turn + 1}/{rounds}, {server.name:20} p99 {figures.short_p99:7.1f} ms")
    progress("")
    return results


def table(results: dict[str, list[Figures]]) -> str:
    def median(name: str, figure: str) -> float:
        return float(statistics.median(getattr(run, figure) for run in results[name]))

    ours = next(iter(results))
    lines = ["| ms | short, p50 | short, p99 | long, p50 | errors | ours / its p99 |", "|---|---:|---:|---:|---:|---:|"]
    for name, runs in results.items():
        ratio = "" if name == ours else f"{median(ours, 'short_p99') / median(name, 'short_p99'):.2f}"
        cells = [f"{median(name, figure):.1f}" for figure in ("short_p50", "short_p99", "long_p50")]
        lines.append(f"| {name} | {' | '.join(cells)} | {sum(run.errors for run in runs)} | {ratio} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.mixed", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run (default: 20)")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--rate", type=float, default=150.0, help="jobs per second (default: 150)")
    parser.add_argument("--connections", type=int, default=32, help="default: 32")
    parser.add_argument("--workers", type=int, default=8, help="processes of each server (default: 8)")
    parser.add_argument("--servers", help="some of them only, by their names and commas; the others are compared with the first")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures there")
    options = parser.parse_args()
    try:
        servers = chosen(known_servers(options.workers), options.servers)
    except ValueError as error:
        parser.error(str(error))
    print(f"{machine()}, {datetime.date.today()}")
    print(f"{options.rate:g} jobs/s, {LONG_SHARE:.0%} of {LONG_MS} ms the rest of {SHORT_MS} ms, on {options.connections} connections, keep-alive;")
    print(f"{options.workers} worker processes each; medians of {options.rounds} rounds of {options.seconds:g} s", end="\n\n")
    results = measure(servers, options.rate, options.connections, options.rounds, options.seconds)
    print(table(results))
    if options.json:
        shared = {name: value for name, value in vars(options).items() if name != "json"}
        about = {"machine": machine(), "date": str(datetime.date.today()), **shared}
        runs = {name: [asdict(run) for run in each] for name, each in results.items()}
        options.json.write_text(json.dumps({**about, "runs": runs}, indent=1) + "\n")
    return 1 if any(run.errors for runs in results.values() for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
