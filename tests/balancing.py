"""What the tests of the balancer have in common: jobs and reports as bytes, and a desk that keeps the time and reads what is sent."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

from prime_server._ext.fed_balancer import FedBalancer as Balancer
from prime_server._ext.info import RequestInfo

LIFE = 0x1122334455667788
STAMP = 1700000000
IDEMPOTENT, RETRYABLE, REFUSAL, FROM_PROXY, CANCEL, BEHIND = 0x01, 0x02, 0x40, 0x80, 0x800, 0x8000
IDLE, LEAVING, WISHES = 0x01, 0x02, 0x08
WORDS = {1: "stay", 2: "go", 3: "over"}  # of a hello to a worker
INFO_MAGIC, REPORT_MAGIC, HELLO_MAGIC = 0x49535250, 0x52535250, 0x48535250


def key(number: int) -> int:
    return number | STAMP << 32


def info(number: int, *, flags: int = IDEMPOTENT, life: int = LIFE, **fields: Any) -> RequestInfo:
    return RequestInfo(id=number, time_stamp=STAMP, extended=True, life=life, flags=flags, **fields)


def foreign(number: int) -> bytes:
    """The info of a server that doesn't speak our extension."""
    return struct.pack("<IIHxx", number, STAMP, 1)


def report(
    *,
    flags: int = IDLE,
    window: int = 1,
    finished: Iterable[int] = (),
    returned: Iterable[int] = (),
    service: int = 0,
    busy: int = 0,
    running: int | None = None,
    life: int = LIFE,
) -> bytes:
    finished, returned = list(finished), list(returned)
    head = struct.pack("<IBBHHHIq", REPORT_MAGIC, 1, flags, window, len(finished), len(returned), service, busy)
    names = [(life if running is not None else 0, key(running) if running is not None else 0)]
    tail = struct.pack("<QQ8x", *names[0])
    return head + tail + b"".join(struct.pack("<QQ", life, key(number)) for number in (*finished, *returned))


def hello(life: int) -> bytes:
    return struct.pack("<IBxxxQ", HELLO_MAGIC, 1, life)


class Desk:
    """A balancer and its clock. `sent()` tells in short what it wants to send: `("w1", 7)`, `("w1", "hello")`, `("srv", 502, 7)`, `("", 504, 7)`."""

    def __init__(self, now: int = 1_000_000, **options: Any) -> None:
        self.balancer = Balancer(life=77, **options)
        self.now = now
        self.greeted: set[str] = set()

    # --- told

    def job(self, *numbers: int, sender: str = "", **fields: Any) -> None:
        for number in numbers:
            assert self.balancer.submit_frames([info(number, **fields).to_bytes(), b"payload %d" % number], sender.encode(), now=self.now)

    def foreign_job(self, *numbers: int, sender: str = "srv") -> None:
        for number in numbers:
            assert self.balancer.submit_frames([foreign(number), b"payload %d" % number], sender.encode(), now=self.now)

    def beat(self, *workers: str, heartbeat: bytes = b"") -> None:
        for worker in workers:
            assert self.balancer.heard_frames([worker.encode(), heartbeat], now=self.now)

    def report(self, worker: str, *, heartbeat: bytes = b"", **fields: Any) -> None:
        assert self.balancer.heard_frames([worker.encode(), heartbeat, report(**fields)], now=self.now)

    def ours(self, *workers: str, window: int = 64, service: int | None = None) -> None:
        """Workers that have been greeted; `service` is the stage's service time, which it learns from a job of an earlier life."""
        for worker in workers:
            if service is None:
                self.report(worker, window=window)
            else:
                self.report(worker, window=window, finished=[10**6], service=service)
        assert set(self.sent()) == {(worker, "hello") for worker in workers}

    def ours_again(self, *workers: str) -> None:
        """The same where the service time is known already and jobs may wait for them: only the greetings are taken."""
        for worker in workers:
            self.report(worker, window=64)
            message = self.balancer.take_frames(self.now)
            assert message is not None
            assert self.short(*message) == (worker, "hello")

    def lose(self, *workers: str) -> None:
        for worker in workers:
            self.balancer.lost_worker(worker.encode(), now=self.now)

    def cancel(self, *numbers: int) -> None:
        for number in numbers:
            self.balancer.cancel_request(LIFE, key(number), now=self.now)

    def later(self, us: int) -> None:
        self.now += us

    def tick(self) -> int | None:
        """When it wants to be called next, from now."""
        at = self.balancer.tick_at(self.now)
        return None if at is None else at - self.now

    # --- asked

    def messages(self) -> list[tuple[str, list[bytes]]]:
        return list(iter(lambda: self.balancer.take_frames(self.now), None))

    def sent(self) -> list[tuple[Any, ...]]:
        return [self.short(where, frames) for where, frames in self.messages()]

    def short(self, where: str, frames: list[bytes]) -> tuple[Any, ...]:
        to = "" if where == "sessions" else frames.pop(0).decode()
        if frames[0][:5] + frames[0][6:] == hello(77)[:5] + hello(77)[6:] and frames[0][5]:
            return (to, WORDS[frames[0][5]])
        if frames[0] == hello(77):
            assert len(frames) == 1
            return (to, "hello")
        about = RequestInfo.from_bytes(frames[0])
        if about.flags & CANCEL:
            assert len(frames) == 1 and about.key == 0
            return (to, f"over {about.life}")
        if where == "worker":
            assert frames[1] == b"payload %d" % about.id
            assert not about.extended or about.flags & FROM_PROXY
            return (to, about.id)
        assert len(frames) == 1
        assert not about.extended or (about.flags & REFUSAL and not about.flags & FROM_PROXY)
        return (to, about.code, about.id)

    def stats(self, *names: str) -> Any:
        stats = self.balancer.stats()
        return tuple(stats[name] for name in names) if len(names) > 1 else stats[names[0]]

    def refused(self) -> dict[int, int]:
        counts = {status: self.stats(f"refused_{status}") for status in (500, 502, 503, 504)}
        return {status: count for status, count in counts.items() if count}
