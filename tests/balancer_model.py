"""A balancer that is slow and obviously right: lists that are searched. What it says is what must be sent next, and to whom."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

WINDOW_US, WAKE_US, STALLED_US, GONE_US, BEAT_US, CROSSING_US = 250, 150, 1_000, 50_000, 900_000, 20_000
IMPOSSIBLE = 999  # the key of a job that nobody knows


@dataclass
class Estimate:
    """Of what jobs take: mean and variance, each sample weighing a 128th at least."""

    samples: int = 0
    mean: float = 0
    variance: float = 0

    def take(self, us: float) -> None:
        self.samples = min(self.samples + 1, 128)
        part = 1 / self.samples
        difference = us - self.mean
        self.mean += part * difference
        self.variance = (1 - part) * (self.variance + part * difference**2)

    def least(self, jobs: int) -> float:
        if self.samples == 0:
            return 0
        variance = self.variance + self.mean**2 / self.samples
        return max(0.0, jobs * self.mean - 2 * math.sqrt(jobs * variance + jobs**2 * variance / self.samples))


@dataclass(eq=False)
class Job:
    number: int
    kind: str  # "again": may be repeated, "once": may not, "foreign": without our extension
    sender: str
    deadline: int | None
    arrived: int
    behind: bool = False  # others of its client's
    strikes: int = 0
    gives: int = 0
    suspected: bool = False
    cancelled: bool = False
    last: Worker | None = None  # that had it
    given: int = 0
    end: str = ""

    def expires_by(self, now: int) -> bool:
        return self.deadline is not None and self.deadline <= now

    @property
    def careful(self) -> bool:
        return self.kind != "again" or self.strikes > 0 or self.suspected


@dataclass(eq=False)
class Worker:
    name: str
    ours: bool
    window: int
    heard: int
    held: list[Job] = field(default_factory=list)  # oldest first
    doubtful: Job | None = None
    leaving: bool = False
    stalled: bool = False
    running: int | None = None
    service: float | None = None
    progress: int = 0
    lost_at: int = 0

    @property
    def alone(self) -> bool:
        return any(job.strikes or job.suspected for job in self.held)


class Model:
    def __init__(self, max_backlog: int, max_attempts: int) -> None:
        self.max_backlog, self.max_attempts = max_backlog, max_attempts
        self.jobs: list[Job] = []
        self.backlog: list[Job] = []
        self.second: list[Job] = []  # those behind others of their client's
        self.turns = 0  # of the backlog, since one of these was given away
        self.refusals: list[tuple[str, int, int]] = []
        self.greetings: list[str] = []
        self.greeted_peers: set[str] = set()
        self.workers: list[Worker] = []
        self.idle: list[Worker] = []  # longest idle first
        self.gone: list[Worker] = []
        self.filling: Worker | None = None  # was given the last job
        self.service: float | None = None
        self.taken = Estimate()
        self.untold = 0

    # --- what becomes of a job

    def finish(self, job: Job, end: str) -> None:
        assert not job.end, f"job {job.number} was {job.end} and now {end}"
        job.end = end

    def refuse(self, job: Job, status: int) -> None:
        self.finish(job, str(status))
        if job.sender and job.kind == "foreign":
            self.untold += 1
        else:
            self.refusals.append((job.sender, status, job.number))

    def strike(self, job: Job) -> None:
        job.strikes += 2 if job.suspected else 1
        if job.kind == "again" and job.strikes < 2 and job.gives < self.max_attempts:
            self.backlog.insert(0, job)
        else:
            self.refuse(job, 500 if job.kind == "again" and job.strikes >= 2 else 502)

    @property
    def waiting(self) -> list[Job]:
        return self.backlog + self.second

    def leave(self, job: Job) -> None:
        (self.backlog if job in self.backlog else self.second).remove(job)

    def head(self) -> Job | None:
        if self.second and (self.turns >= 7 or not self.backlog):
            return self.second[0]
        return self.backlog[0] if self.backlog else None

    def learn(self, service: float) -> None:
        self.service = service if self.service is None else self.service + (service - self.service) / 8

    def limit(self) -> float:
        if self.service is None:
            return 1
        return 64 if self.service == 0 else min(64, max(1, int(WINDOW_US / self.service)))

    def pack(self) -> int:
        if self.service is None:
            return 0
        return min(int(self.limit()), WAKE_US if self.service == 0 else int(WAKE_US / self.service + 1e-9))

    def available(self, worker: Worker) -> bool:
        if worker not in self.workers or worker.leaving or worker.stalled or worker.alone:
            return False
        return len(worker.held) < worker.window

    def least_wait(self, behind: bool) -> int:
        held = sum(len(worker.held) for worker in self.workers)
        first, second = len(self.backlog), len(self.second)
        ahead = second + min(first, 7 * (second + 1)) if behind else first + min(first // 7, second)
        if len(self.idle) > ahead or not self.workers:
            return 0
        return int(self.taken.least(ahead + held) / len(self.workers))

    def rank(self, worker: Worker) -> None:
        idle = not worker.held and not worker.leaving and worker in self.workers
        if idle and worker not in self.idle:
            self.idle.append(worker)
        elif not idle and worker in self.idle:
            self.idle.remove(worker)

    # --- what must be sent next

    def next(self, now: int) -> tuple[Any, ...] | None:
        if self.greetings:
            return (self.greetings.pop(0), "hello")
        if not self.refusals:
            while (job := self.head()) and job.deadline is not None and job.deadline <= now:
                self.leave(job)
                self.refuse(job, 504)
                if self.refusals:
                    break
        if self.refusals:
            return self.refusals.pop(0)
        job = self.head()
        if job is None:
            return None
        if self.idle:
            worker = self.idle[0]
            last = self.filling
            if last and last.held and self.available(last) and len(last.held) < self.pack() and now - last.progress <= WAKE_US:
                # what has been given away before isn't put behind others again while somebody is idle
                worker = worker if job.careful or job.last else last
        elif job.careful:
            return None
        else:
            open_ = [
                worker
                for worker in self.workers
                if worker.ours and self.available(worker) and len(worker.held) < self.limit() and now - worker.progress <= STALLED_US
            ]
            if not open_:
                return None
            fewest = min(len(worker.held) for worker in open_)
            return (frozenset(worker.name for worker in open_ if len(worker.held) == fewest), job.number)
        return (frozenset([worker.name]), job.number)

    def give(self, name: str, now: int) -> None:
        job = self.head()
        assert job is not None
        self.turns = 0 if job in self.second or not self.second else self.turns + 1
        self.leave(job)
        worker = next(worker for worker in self.workers if worker.name == name)
        assert not any(job in other.held for other in self.workers)
        assert not job.cancelled
        assert not job.end
        if not worker.held:
            worker.progress = now
            worker.stalled = False
        worker.held.append(job)
        job.gives += 1
        job.last = self.filling = worker
        job.given = now
        self.rank(worker)
