"""Server and proxy together, without a socket between them: both cores under clients that come and leave, workers that die, a proxy that is
replaced, results that come late or twice, and time.

Hypothesis lets all of that happen in any order, and these hold for every history that it finds:

* every request is answered once, by its own answer or an honest error, and in the order of the questions on its connection;
* no job is with two living workers, unless the proxy was replaced, nor given to a second one where it must not be repeated;
* no interrupt is published for a request that has been answered;
* when all is quiet, nothing is left.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from balancing import IDLE, report
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from standins import take

from prime_server._ext.fed_balancer import FedBalancer
from prime_server._ext.fed_sessions import FedSessions
from prime_server._ext.info import RequestInfo

RESULT, REFUSAL, FINISHED = 0x10, 0x40, 0x1000
SECOND = 1_000_000

Frames = list[bytes]
numbers = st.integers(0, 63)


@dataclass(eq=False)
class Client:
    connection: int
    asked: list[int] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)  # bodies, of errors too
    received: bytes = b""


@dataclass(eq=False)
class Worker:
    name: bytes
    held: list[Frames] = field(default_factory=list)  # [info][payload]


def name_of(frames: Frames) -> tuple[int, int]:
    info = RequestInfo.from_bytes(frames[0])
    return info.life, info.key


class Cores(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = SECOND
        self.sessions = FedSessions(request_timeout=5.0, keep_alive_timeout=0.0, max_pipelined=6)
        self.balancer = FedBalancer()
        self.clients: list[Client] = []
        self.workers: list[Worker] = []
        self.names = self.questions = 0
        self.answered: set[tuple[int, int]] = set()  # what the server has accepted an answer to
        self.interrupted: set[tuple[int, int]] = set()
        self.given: dict[tuple[int, int], int] = {}
        self.results: list[Frames] = []  # that may come again, or late
        self.replaced = 0

    # --- the hub's part

    def pump(self) -> None:
        for client in self.clients:
            self.read(client)
        for job in self.sessions.jobs_for_workers():
            self.balancer.submit_frames(job, now=self.now)
        for key in self.sessions.interrupts_for_workers():
            name = self.sessions.life, key
            assert name not in self.answered, "an interrupt for what has been answered"
            self.interrupted.add(name)
            self.balancer.cancel_request(*name, now=self.now)
        while message := self.balancer.take_frames(self.now):
            where, frames = message
            if where == "sessions":
                self.result(frames)
            elif len(frames) > 2:
                self.give(frames)
        for client in self.clients:
            self.read(client)

    def give(self, frames: Frames) -> None:
        worker = next(worker for worker in self.workers if worker.name == frames[0])
        name = name_of(frames[1:])
        if not self.replaced:
            assert name not in self.interrupted, "a job that nobody waits for"
            assert all(name_of(job) != name for other in self.workers for job in other.held), "a job with two workers"
        self.given[name] = self.given.get(name, 0) + 1
        assert self.given[name] == 1 or frames[2].startswith(b"GET"), "what must not be repeated was"
        worker.held.append(frames[1:])

    def result(self, frames: Frames) -> None:
        late = self.sessions.stats()["results_late"]
        self.sessions.result_frames(frames, now=self.now)
        if self.sessions.stats()["results_late"] == late:
            assert name_of(frames) not in self.answered, "answered twice"
            self.answered.add(name_of(frames))

    def read(self, client: Client) -> None:
        client.received += self.sessions.output(client.connection, now=self.now)
        while answer := take(client.received, False):
            status = int(client.received[9:12])
            body, client.received = answer
            client.answers.append(body)
            assert len(client.answers) <= len(client.asked)
            asked = client.asked[len(client.answers) - 1]
            assert body == b"%d" % asked if status == 200 else status in (500, 502, 503, 504), "out of order"

    # --- clients

    @rule()
    def client_comes(self) -> None:
        if len(self.clients) < 6:
            self.clients.append(Client(self.sessions.connect(self.now)))

    @precondition(lambda self: self.clients)
    @rule(which=numbers, methods=st.lists(st.sampled_from(["GET", "GET", "GET", "POST"]), min_size=1, max_size=8), pumped=st.booleans())
    def client_asks(self, which: int, methods: list[str], pumped: bool) -> None:
        client = self.clients[which % len(self.clients)]
        text = ""
        for method in methods:
            text += f"{method} /{self.questions} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
            client.asked.append(self.questions)
            self.questions += 1
        self.sessions.receive(client.connection, text.encode(), now=self.now)
        if pumped:
            self.pump()

    @precondition(lambda self: self.clients)
    @rule(which=numbers, broken=st.booleans())
    def client_leaves(self, which: int, broken: bool) -> None:
        client = self.clients.pop(which % len(self.clients))
        self.read(client)
        self.sessions.leave(client.connection, now=self.now, broken=broken)
        self.sessions.disconnect(client.connection)
        self.pump()

    # --- workers

    @rule()
    def worker_comes(self) -> None:
        if len(self.workers) < 5:
            self.workers.append(Worker(b"w%d" % self.names))
            self.names += 1
            self.say(self.workers[-1], [])

    def say(self, worker: Worker, finished: list[tuple[int, int]]) -> None:
        """A report. Its helper names jobs of this time stamp alone, so the keys are written here."""
        head = report(flags=0 if worker.held else IDLE, window=4, finished=range(len(finished)), service=10)[:48]
        keys = b"".join(life.to_bytes(8, "little") + key.to_bytes(8, "little") for life, key in finished)
        assert self.balancer.heard_frames([worker.name, b"", head + keys], now=self.now)
        self.pump()

    def one_with_jobs(self, which: int) -> Worker | None:
        busy = [worker for worker in self.workers if worker.held]
        return busy[which % len(busy)] if busy else None

    def see(self, frames: Frames) -> None:
        """The hub sees a result that ends a job in the proxy that it hosts too."""
        if RequestInfo.from_bytes(frames[0]).flags & FINISHED and not self.replaced:
            self.balancer.done_by(frames[0], now=self.now)

    @rule(which=numbers, count=st.integers(1, 4), tells=st.sampled_from([True, True, True, False]), seen=st.booleans())
    def worker_finishes(self, which: int, count: int, tells: bool, seen: bool) -> None:
        """It answers, and dies before it has told the proxy unless it `tells`, or its results are `seen`."""
        seen &= not self.replaced
        worker = self.one_with_jobs(which)
        if worker is None:
            return
        done, worker.held = worker.held[:count], worker.held[count:]
        for job in done:
            number = re.match(rb"\w+ /(\d+) ", job[1])
            assert number
            info = replace(RequestInfo.from_bytes(job[0]), code=200)
            body = number[1]
            flags = info.flags | RESULT | (FINISHED if seen else 0)
            frames = [replace(info, flags=flags).to_bytes(), b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)]
            self.results.append(frames)
            if which % 8:
                self.result(frames)
            if seen:  # by the proxy even where the client will hear of it later
                self.see(frames)
        if seen:
            self.pump()
            if not tells:
                self.dies(worker)
        elif tells:
            self.say(worker, [name_of(job) for job in done])
        else:
            worker.held = done + worker.held
            self.dies(worker)

    @rule(which=numbers)
    def worker_dies(self, which: int) -> None:
        worker = self.one_with_jobs(which) if which % 2 else self.workers[which % len(self.workers)] if self.workers else None
        if worker is not None:
            self.dies(worker)

    def dies(self, worker: Worker) -> None:
        self.workers.remove(worker)
        self.balancer.lost_worker(worker.name, now=self.now)
        self.pump()

    @precondition(lambda self: self.results)
    @rule(which=numbers)
    def result_comes_late_or_again(self, which: int) -> None:
        frames = self.results[-1 - which % len(self.results)]
        self.result(frames)
        self.see(frames)
        self.pump()

    # --- the proxy, and time

    @rule(chance=st.integers(0, 9))
    def proxy_is_replaced(self, chance: int) -> None:
        """All that it held is gone. Its workers go on, and say so to the new one."""
        if chance or self.replaced >= 3:
            return
        self.pump()
        self.balancer = FedBalancer()
        self.replaced += 1
        self.sessions.proxy_came_back(self.now)
        for worker in self.workers:
            worker.held.clear()
            self.say(worker, [])
        self.pump()

    @rule(us=st.sampled_from([1, 1_000, 60_000, SECOND, 2 * SECOND]))
    def time_passes(self, us: int) -> None:
        self.now += us
        self.sessions.advance_time(self.now)
        self.balancer.tick_at(self.now)
        self.pump()

    # --- always

    @invariant()
    def nothing_is_known_twice(self) -> None:
        stats = self.balancer.stats()
        assert stats["held"] == sum(len(worker.held) for worker in self.workers)
        assert self.sessions.stats()["requests_in_flight"] <= sum(len(client.asked) - len(client.answers) for client in self.clients)

    def teardown(self) -> None:
        """All is made quiet."""
        self.pump()
        while not self.workers:
            self.worker_comes()
        for _ in range(50):  # what had to wait behind unanswered ones of its connection is asked now
            for _ in range(1000):
                if self.one_with_jobs(1) is None:
                    break
                self.worker_finishes(1, 4, True, False)
            self.time_passes(10 * SECOND)
            if all(len(client.answers) == len(client.asked) for client in self.clients):
                break
        else:
            raise AssertionError("a request was not answered")
        counters = self.sessions.stats()
        assert (counters["requests_in_flight"], counters["request_bytes_in_flight"]) == (0, 0)
        left = [worker for worker in self.workers if worker.held]
        for worker in left:
            self.say(worker, [name_of(worker.held.pop()) for _ in range(len(worker.held))])
        assert [self.balancer.stats()[name] for name in ("backlog", "held", "queued_bytes")] == [0, 0, 0]


TestCores = Cores.TestCase
TestCores.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
