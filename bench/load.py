"""Load in a closed loop: so many keep-alive connections, each with one request under way, as `wrk -t1` does it.

Where wrk isn't installed, a loop of our own takes its place; it costs far more itself, so its figures say less and its ratios are flatter.
"""

import json
import random
import selectors
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench.demo import NOT_PRIME

_SCRIPT = """\
local numbers = {%s}
local requests, at = {}, 0
function init(arguments)
  math.randomseed(%d)
  for i, n in ipairs(numbers) do
    requests[i] = wrk.format("GET", "/is_prime?possible_prime=" .. n)
  end
  at = math.random(#requests)
end
function request()
  at = at %% #requests + 1
  return requests[at]
end
function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format('\\nRESULT {"requests": %%d, "seconds": %%.6f, "errors": %%d, "p50": %%.4f, "p99": %%.4f}\\n', summary.requests,
    summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


@dataclass(frozen=True)
class Figures:
    """What one run has shown: requests per second, latencies in ms, and how many requests failed."""

    rate: float
    p50: float
    p99: float
    requests: int
    errors: int

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def random_numbers(count: int, seed: int) -> list[int]:
    """Odd numbers of 2 to 64 bits, every size as often as any other."""
    source = random.Random(seed)
    return [source.getrandbits(source.randrange(2, 65)) | 1 for _ in range(count)]


def with_wrk(port: int, connections: int, seconds: float, numbers: Sequence[int], seed: int) -> Figures:
    """One run of `wrk -t1`. Raises `RuntimeError` when it fails."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_SCRIPT % (",".join(f'"{n}"' for n in numbers), seed))
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", script.name, f"http://127.0.0.1:{port}"]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=False)
    for line in ran.stdout.splitlines():
        if line.startswith("RESULT "):
            result = json.loads(line.removeprefix("RESULT "))
            return Figures(result["requests"] / result["seconds"], result["p50"], result["p99"], result["requests"], result["errors"])
    raise RuntimeError(f"wrk failed: {ran.stdout}{ran.stderr}")


class _Connection:
    """One request under way, its answer checked."""

    def __init__(self, port: int, numbers: Sequence[int], at: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10.0)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.numbers = numbers
        self.at = at
        self.received = b""
        self.sent = 0.0

    def ask(self) -> None:
        self.at = (self.at + 1) % len(self.numbers)
        self.sent = time.perf_counter()
        self.socket.sendall(b"GET /is_prime?possible_prime=%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % self.numbers[self.at])

    def read(self) -> bytes | None:
        """The body, once the answer is complete; b"" where that is no 200. Raises `ConnectionError` when the server has closed."""
        piece = self.socket.recv(65536)
        if not piece:
            raise ConnectionError("closed by the server")
        self.received += piece
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return None
        fields = head.lower().partition(b"content-length:")[2]
        if len(body) < int(fields.partition(b"\r\n")[0]):
            return None
        self.received = b""
        return body if head.split(b" ", 2)[1] == b"200" else b""


def right(n: int, body: bytes) -> bool:
    """Whether a body is the right answer for n, by an independent test."""
    import gmpy2

    return body == b"%d" % (n if gmpy2.is_prime(n, 40) else NOT_PRIME)


def by_ourselves(port: int, connections: int, seconds: float, numbers: Sequence[int], seed: int) -> Figures:
    """The same load from Python, every body looked at."""
    latencies: list[float] = []
    errors = 0
    pool = [_Connection(port, numbers, seed + i * 7919) for i in range(connections)]
    with selectors.DefaultSelector() as selector:
        for connection in pool:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.ask()
        start = time.perf_counter()
        while (now := time.perf_counter()) < start + seconds:
            for key, _ in selector.select(0.1):
                body = key.data.read()
                if body is None:
                    continue
                latencies.append(time.perf_counter() - key.data.sent)
                errors += not body
                key.data.ask()
    for connection in pool:
        connection.socket.close()
    latencies.sort()
    at = [latencies[int(len(latencies) * share)] * 1e3 if latencies else 0.0 for share in (0.5, 0.99)]
    return Figures(len(latencies) / (now - start), at[0], at[1], len(latencies), errors)


def wrong_answers(port: int, numbers: Sequence[int], connections: int = 16) -> int:
    """Asks for every number once, over so many connections at a time; how many answers were not right."""
    wrong = 0
    left = iter(range(len(numbers)))
    with selectors.DefaultSelector() as selector:
        for at, _ in zip(left, range(connections), strict=False):
            connection = _Connection(port, numbers, at - 1)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.ask()
        while selector.get_map():
            for key, _ in selector.select():
                connection = key.data
                body = connection.read()
                if body is None:
                    continue
                wrong += not right(numbers[connection.at], body)
                if (following := next(left, None)) is None:
                    selector.unregister(connection.socket)
                    connection.socket.close()
                else:
                    connection.at = following - 1
                    connection.ask()
    return wrong


def have_wrk() -> bool:
    return shutil.which("wrk") is not None
