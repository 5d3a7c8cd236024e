"""`python -m bench.soak --seconds 60`: mixed load with faults, every answer checked, and what it costs in memory.

Clients of all kinds ask `prime_server run` at the same time: small requests, big bodies up and down, pipelines, chunked bodies, wrong requests, slow
readers and writers, and clients that leave without having waited or in the middle of a request. Now and then a worker process is killed. All may be
repeated (`--retryable`), so every answer has to be right, and every wrong request refused by its status; only an answer of more than 1.5 MB, which
leaves in pieces, may be cut off where its worker was killed. Memory is that of the process with the server and the proxy, when all is quiet: before,
after some seconds of the same load, and after it. Exit status 1: an answer was wrong, or it grew too much.
"""

import argparse
import collections
import contextlib
import datetime
import hashlib
import json
import os
import random
import re
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bench import peers
from bench.report import machine, progress
from prime_server import Job, Response

PATIENCE = 30.0  # seconds for an answer
KILL_EVERY = 3.0
MOST_GROWTH = 3_000_000  # bytes a minute
QUIET = 1.5  # seconds until what was used is given back
BIG = 2_000_000
IN_PIECES = 1_500_000  # bytes of an answer from which on it isn't begun anew by another worker


def work(job: Job) -> Response:
    """The digest of what was sent, so many bytes of an `x`, or the number that was asked about, after so many milliseconds."""
    query = job.request.query
    if "bytes" in query:
        return Response(200, b"x" * int(query["bytes"][0]))
    if len(job.request.body):
        return Response(200, hashlib.sha256(job.request.body).hexdigest())
    if "ms" in query:
        end = time.monotonic() + float(query["ms"][0]) / 1e3
        while time.monotonic() < end:
            job.check()
            time.sleep(0.001)
    return Response(200, query["n"][0])


class WrongAnswerError(Exception):
    """An answer that isn't the right one."""


class CutOffError(Exception):
    """A big answer that ends too early, as its worker was killed."""


class Client:
    """One connection, and what has come of its answers."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.answers = self.socket.makefile("rb")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.answers.close()
        self.socket.close()

    def send(self, head: str, body: bytes = b"") -> None:
        self.socket.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)

    def get(self, target: str) -> None:
        self.send(f"GET {target} HTTP/1.1\nHost: soak")

    def read(self, pause: float = 0.0) -> tuple[int, bytes]:
        line = self.answers.readline()
        found = re.match(rb"HTTP/1\.1 (\d{3}) ", line)
        if found is None:
            raise WrongAnswerError(f"no answer, but {line[:60]!r}")
        size = 0
        while (line := self.answers.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                size = int(value)
        body = b""
        while len(body) < size:
            piece = self.answers.read(min(size - len(body), 262144))
            if not piece:
                raise (CutOffError if size > IN_PIECES else WrongAnswerError)(f"an answer of {size} bytes ended after {len(body)}")
            body += piece
            time.sleep(pause)
        return int(found[1]), body

    def expect(self, status: int, body: bytes | None = None, pause: float = 0.0) -> None:
        got = self.read(pause)
        if got[0] != status or (body is not None and got[1] != body):
            raise WrongAnswerError(f"{status} {(body or b'')[:40]!r} was right, {got[0]} {got[1][:40]!r} came")


def small(client: Client, chance: random.Random) -> int:
    for _ in range(20):
        n = chance.randrange(10**9)
        client.get(f"/?n={n}" + (f"&ms={chance.randrange(8)}" if chance.random() < 0.1 else ""))
        client.expect(200, b"%d" % n)
    return 20


def pipelined(client: Client, chance: random.Random) -> int:
    numbers = [chance.randrange(10**9) for _ in range(40)]
    text = "".join(f"GET /?n={n}&ms={n % 3} HTTP/1.1\r\nHost: soak\r\n\r\n" for n in numbers)
    client.socket.sendall(text.encode())
    for n in numbers:
        client.expect(200, b"%d" % n)
    return len(numbers)


def big(client: Client, chance: random.Random) -> int:
    body = chance.randbytes(chance.randrange(1, BIG))
    client.send(f"POST / HTTP/1.1\nHost: soak\nContent-Length: {len(body)}", body)
    client.expect(200, hashlib.sha256(body).hexdigest().encode())
    size = chance.randrange(1, 2 * BIG)
    client.get(f"/?bytes={size}")
    client.expect(200, b"x" * size)
    return 2


def chunked(client: Client, chance: random.Random) -> int:
    client.send("POST / HTTP/1.1\nHost: soak\nTransfer-Encoding: chunked")
    digest = hashlib.sha256()
    for _ in range(chance.randrange(1, 30)):
        piece = chance.randbytes(chance.randrange(1, 20_000))
        digest.update(piece)
        client.socket.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
    client.socket.sendall(b"0\r\n\r\n")
    client.expect(200, digest.hexdigest().encode())
    return 1


def slow(client: Client, chance: random.Random) -> int:
    """It writes a request in pieces, and reads an answer with pauses."""
    n = chance.randrange(10**9)
    text = f"GET /?n={n} HTTP/1.1\r\nHost: soak\r\n\r\n".encode()
    for at in range(0, len(text), 9):
        client.socket.sendall(text[at : at + 9])
        time.sleep(0.02)
    client.expect(200, b"%d" % n)
    client.get(f"/?bytes={BIG}")
    time.sleep(0.2)
    client.expect(200, b"x" * BIG, pause=0.01)
    return 2


def leaving(client: Client, chance: random.Random) -> int:
    """It goes before its answer is there, or in the middle of its request, or by a reset."""
    how = chance.randrange(4)
    if how == 0:
        client.get("/?n=1&ms=50")
    elif how == 1:
        client.socket.sendall(b"POST / HTTP/1.1\r\nHost: soak\r\nContent-Length: 1000000\r\n\r\n" + b"x" * chance.randrange(500_000))
    elif how == 2:
        client.get(f"/?bytes={BIG}")
        client.answers.read(chance.randrange(1, 100_000))
    else:
        client.socket.sendall(b"GET /?n=1&ms=20 HTTP/1.1\r\nHost: soak\r\n\r\nGET /?n=2 HT")
    if chance.random() < 0.5:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return 1


WRONG: list[tuple[int, bytes]] = [
    (400, b"GET / HTTP/1.1\r\n\r\n"),
    (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50)),
    (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc"),
    (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    (413, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n"),
    (431, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 70_000 + b"\r\n\r\n"),
    (414, b"GET /" + b"y" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
]


def wrong(client: Client, chance: random.Random) -> int:
    status, text = chance.choice(WRONG)
    client.socket.sendall(text)
    client.expect(status)
    return 1


KINDS: dict[str, Callable[[Client, random.Random], int]] = {
    "small": small, "pipelined": pipelined, "big": big, "chunked": chunked, "slow": slow, "leaving": leaving, "wrong": wrong,
}  # fmt: skip


class Soak:
    def __init__(self, server: peers.Running, seed: int) -> None:
        self.server = server
        self.chance = random.Random(seed)
        self.lock = threading.Lock()
        self.asked: collections.Counter[str] = collections.Counter()
        self.wrongs: list[str] = []
        self.killed = 0
        self.cut_off = 0

    def ask(self, kind: str, end: float, seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < end:
            try:
                with Client(self.server.port) as client:
                    count = KINDS[kind](client, chance)
            except CutOffError:
                with self.lock:
                    self.cut_off += 1
                continue
            except (OSError, WrongAnswerError) as error:
                if kind == "leaving" and isinstance(error, OSError):
                    continue  # it was told off first
                with self.lock:
                    self.wrongs.append(f"{kind}: {error!r}")
                time.sleep(0.1)
                continue
            with self.lock:
                self.asked[kind] += count
            time.sleep(0.01)

    def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=self.ask, args=(kind, end, self.chance.getrandbits(32))) for kind in KINDS for _ in range(2)]
        for thread in threads:
            thread.start()
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(KILL_EVERY, left))
            if left > 2 * KILL_EVERY:
                self.kill()
            progress(f"{left:5.0f} s, {sum(self.asked.values())} requests, {len(self.wrongs)} wrong, {self.killed} workers killed")
        for thread in threads:
            thread.join()
        progress("")
        time.sleep(QUIET)

    def kill(self) -> None:
        pid = self.server.process.pid
        workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(self.chance.choice(workers)), signal.SIGKILL)
            self.killed += 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="default: 60")
    parser.add_argument("--workers", type=int, default=4, help="processes (default: 4)")
    parser.add_argument("--seed", type=int, default=1, help="of the load (default: 1)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures there")
    options = parser.parse_args()
    if options.seconds <= 0 or options.workers < 1:
        parser.error("--seconds is more than 0, and --workers 1 or more")
    server = peers.prime_server_run("bench.soak:work", options.workers, extra=("--retryable", "--max-attempts", "10"))
    with peers.running(server, probe="/?n=7") as started:
        start = started.resident()
        soak = Soak(started, options.seed)
        soak.run(min(10.0, options.seconds / 2))  # all has been in use once
        warm, before = started.resident(), sum(soak.asked.values())
        soak.run(options.seconds)
        end, requests = started.resident(), sum(soak.asked.values()) - before
    growth = end - warm
    figures = {
        "requests": requests,
        "by_kind": dict(soak.asked),
        "wrong_answers": len(soak.wrongs),
        "wrong": soak.wrongs[:20],
        "workers_killed": soak.killed,
        "cut_off": soak.cut_off,
        "resident_start": start,
        "resident_warm": warm,
        "resident_end": end,
        "growth": growth,
        "growth_per_million_requests": round(growth * 1e6 / max(requests, 1)),
    }
    print(f"{machine()}, {datetime.date.today()}")
    print(f"{options.seconds:g} s, {options.workers} worker processes, {soak.killed} of them killed", end="\n\n")
    print("| kind | requests |\n|---|---:|")
    for kind, count in soak.asked.items():
        print(f"| {kind} | {count:,} |")
    print(f"\nwrong answers: {len(soak.wrongs)}; big ones cut off by a kill: {soak.cut_off}")
    for line in soak.wrongs[:20]:
        print(f"  {line}")
    print(f"memory of server and proxy: {start:,} bytes at the start, {warm:,} warm, {end:,} at the end: grown by {growth:,} bytes,")
    print(f"{figures['growth_per_million_requests']:,} bytes per million requests")
    if options.json:
        about = {"machine": machine(), "date": str(datetime.date.today()), "seconds": options.seconds, "seed": options.seed}
        options.json.write_text(json.dumps({**about, **figures}, indent=1) + "\n")
    return 1 if soak.wrongs or soak.cut_off > soak.killed or growth > MOST_GROWTH * max(1.0, options.seconds / 60) else 0


if __name__ == "__main__":
    sys.exit(main())
