"""The balancer against a model that is slow and obviously right.

Hypothesis lets jobs, workers, deaths, cancellations and time come in any order; the model, made of lists that are searched, says after each what
must be sent next, to whom. So these hold for every history that it finds:

* each job is finished, refused or cancelled, and exactly once;
* jobs go out first in, first out, what came back before the rest, and of those behind others of their client's one after seven of the rest;
* no job is with two workers at a time, nor given again after it may have run, except where it may be repeated;
* no worker is idle while a job waits that it may be given, and the one that has been idle longest is next, except that a worker that has just
  been given tiny jobs gets some more of them;
* no worker holds more than its window, or than the service time allows, nor anything behind a job that must run alone or takes long;
* when all is quiet, nothing is left.
"""

from __future__ import annotations

import random

import pytest
from balancer_model import BEAT_US, CROSSING_US, GONE_US, IMPOSSIBLE, STALLED_US, WINDOW_US, Job, Model, Worker
from balancing import BEHIND, IDEMPOTENT, IDLE, LEAVING, LIFE, Desk, info, key
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

numbers = st.integers(0, 63)
mostly = st.sampled_from([True, True, True, False])


class Balancing(RuleBasedStateMachine):
    @initialize(
        max_backlog=st.sampled_from([1000, 1000, 4]),
        max_attempts=st.integers(1, 3),
        workers=st.lists(st.sampled_from([None, 1, 2, 5, 64]), max_size=5),
        service=st.sampled_from([1, 60, None]),
    )
    def start(self, max_backlog: int, max_attempts: int, workers: list[int | None], service: int | None) -> None:
        self.desk = Desk(max_backlog=max_backlog, max_attempts=max_attempts, window_us=WINDOW_US)
        self.model = Model(max_backlog, max_attempts)
        self.names = 0
        for window in workers:
            self.worker_comes(window, service)

    # --- jobs

    @rule(
        kinds=st.lists(st.sampled_from(["again", "again", "again", "again", "again", "again", "once", "foreign"]), min_size=1, max_size=8),
        sender=st.sampled_from(["", "srv", "other"]),
        left=st.sampled_from([None, None, 60_000_000, 60_000_000, 1_000]),
        strikes=st.sampled_from([0, 0, 0, 0, 0, 1]),
        behind=st.booleans(),
        taken=mostly,
    )
    def jobs_come(self, kinds: list[str], sender: str, left: int | None, strikes: int, behind: bool, taken: bool) -> None:
        for kind in kinds:
            self.job_comes(kind, sender, left, strikes, behind)
        if taken:
            self.take()

    def job_comes(self, kind: str, sender: str, left: int | None, strikes: int, behind: bool) -> None:
        model, desk = self.model, self.desk
        number = len(model.jobs)
        if kind == "foreign":
            left, strikes, behind = None, 0, False
        job = Job(number, kind, sender, None if left is None else desk.now + left, desk.now, behind, strikes)
        model.jobs.append(job)
        if kind == "foreign":
            desk.foreign_job(number, sender=sender)
        else:
            flags = (IDEMPOTENT if kind == "again" else 0) | (BEHIND if behind else 0)
            desk.job(number, sender=sender, flags=flags, time_left=left or 0, strikes=strikes)
            if sender and sender not in model.greeted_peers:
                model.greeted_peers.add(sender)
                model.greetings.append(sender)
        wait = model.least_wait(behind)
        most = model.max_backlog + len(model.idle)
        if not behind and model.second and len(model.waiting) >= most:
            model.refuse(model.second.pop(), 503)
        if (left is not None and wait and wait + model.taken.least(1) > left) or len(model.waiting) >= most:
            model.refuse(job, 503)
        else:
            (model.second if behind else model.backlog).append(job)

    @precondition(lambda self: self.model.jobs)
    @rule(which=numbers)
    def job_is_cancelled(self, which: int) -> None:
        job = self.model.jobs[-1 - which % len(self.model.jobs)]
        life = 0 if job.kind == "foreign" else LIFE
        self.desk.balancer.cancel_request(life, key(job.number), now=self.desk.now)
        held = any(job in worker.held for worker in self.model.workers)
        if job in self.model.waiting:
            self.model.leave(job)
            self.model.finish(job, "cancelled")
        elif held and not job.cancelled:
            job.cancelled = True
            self.model.finish(job, "cancelled")

    @precondition(lambda self: self.model.waiting)
    @rule(which=numbers)
    def job_comes_again(self, which: int) -> None:
        job = self.model.waiting[which % len(self.model.waiting)]
        if job.kind != "foreign":
            before = self.desk.stats("duplicates")
            self.desk.job(job.number, flags=IDEMPOTENT, attempt=1)
            assert self.desk.stats("duplicates") == before + 1

    # --- workers

    @rule(window=st.sampled_from([None, 1, 2, 5, 64]), service=st.sampled_from([None, 1]))
    def worker_comes(self, window: int | None, service: int | None) -> None:
        """A plain one, without a window; one of ours may have finished something in an earlier life."""
        name = f"w{self.names}"
        self.names += 1
        worker = Worker(name, window is not None, window or 1, self.desk.now, progress=self.desk.now)
        self.model.workers.append(worker)
        if window is None:
            self.desk.beat(name)
        else:
            self.desk.report(name, window=window, finished=[] if service is None else [IMPOSSIBLE], service=service or 0)
            self.model.greetings.append(name)
            if service is not None:
                worker.service = service
                self.model.learn(service)
        self.model.rank(worker)

    def worker(self, which: int, ours: bool) -> Worker | None:
        workers = [worker for worker in self.model.workers if worker.ours == ours]
        return workers[which % len(workers)] if workers else None

    def done(self, worker: Worker, job: Job, *, surely: bool = True) -> None:
        worker.held.remove(job)
        if surely:
            if not job.cancelled:
                self.model.taken.take(self.desk.now - max(job.given, worker.progress))
            worker.progress = self.desk.now
        if not job.cancelled:
            self.model.finish(job, "finished")

    @rule(which=numbers, taken=mostly)
    def plain_worker_beats(self, which: int, taken: bool) -> None:
        worker = self.worker(which, ours=False)
        if worker is None:
            return
        now = self.desk.now
        self.desk.beat(worker.name)
        doubt = worker.doubtful is not None
        worker.doubtful = None
        if worker.held:
            job = worker.held[0]
            doubt = doubt or (now - worker.heard >= BEAT_US and now - job.given <= CROSSING_US)
            doubt = doubt and not job.cancelled
            self.done(worker, job, surely=not doubt)
            if doubt:
                worker.doubtful = job
        worker.heard = now
        self.model.rank(worker)
        if taken:
            self.take()

    @rule(
        which=numbers,
        finished=st.sampled_from([64, 1, 2, 3, 0]),
        returned=st.sampled_from([0, 0, 64, 1, 2]),
        busy=st.sampled_from([0, 0, 100, 2_000]),
        service=st.sampled_from([1, 1, 1, 0, 30, 100, 5_000]),
        nonsense=st.booleans(),
        leaves=st.sampled_from([False] * 19 + [True]),
        taken=mostly,
    )
    def worker_reports(self, which: int, finished: int, returned: int, busy: int, service: int, nonsense: bool, leaves: bool, taken: bool) -> None:
        """It has finished the oldest `finished` jobs, hands back the newest `returned`, and runs the one after the finished."""
        worker = self.worker(which, ours=True)
        if worker is None:
            return
        model = self.model
        done = worker.held[:finished]
        rest = worker.held[finished:]
        back = rest[max(1 if busy else 0, len(rest) - returned) :] if returned else []
        kept = [job for job in rest if job not in back]
        running = kept[0] if busy and kept else None
        foreign = {job.number for job in (*done, *back, running) if job and job.kind == "foreign"}
        if foreign:  # reports of the helper name one life only
            return
        unknown = [IMPOSSIBLE] if nonsense else []
        idle = not kept and not leaves
        self.desk.report(
            worker.name,
            flags=(IDLE if idle else 0) | (LEAVING if leaves else 0),
            window=worker.window,
            finished=[*(job.number for job in done), *unknown],
            returned=[job.number for job in back],
            busy=busy if running else 0,
            running=running.number if running else None,
            service=service,
        )
        for job in done:
            self.done(worker, job)
        for job in reversed(back):
            worker.held.remove(job)
            job.gives -= 1
            if not job.cancelled:
                model.backlog.insert(0, job)
        if done or unknown:
            worker.service = service
            model.learn(service)
        if leaves and not worker.leaving:
            model.greetings.append(worker.name)
        worker.leaving = leaves
        worker.stalled = bool(back) or (busy > STALLED_US and running is not None)
        worker.running = running.number if running else None
        worker.heard = self.desk.now
        if leaves and not worker.held:
            model.workers.remove(worker)
        model.rank(worker)
        if taken:
            self.take()

    @precondition(lambda self: any(worker.held for worker in self.model.workers))
    @rule(which=numbers, earlier=st.sampled_from([0, 0, 0, 1]), service=st.sampled_from([1, 1, 0, 30, 5_000]), taken=mostly)
    def result_is_seen(self, which: int, earlier: int, service: int, taken: bool) -> None:
        """By the hub, which tells. One of an earlier attempt, or of a worker that tells by itself, says nothing."""
        model = self.model
        workers = [worker for worker in model.workers if worker.held]
        worker = workers[which % len(workers)]
        job = worker.held[which % len(worker.held)]
        if job.kind == "foreign":
            return
        ours = worker.ours and not earlier
        result = info(job.number, attempt=job.gives - earlier, hops=1, served=service)
        assert self.desk.balancer.done_by(result.to_bytes(), now=self.desk.now) == ours
        if ours:
            worker.service = service if worker.service is None else worker.service + (service - worker.service) / 8
            model.learn(worker.service)
            self.done(worker, job)
            worker.stalled = False
            if worker.leaving and not worker.held:
                model.workers.remove(worker)
            model.rank(worker)
        if taken:
            self.take()

    @precondition(lambda self: any(job.last for job in self.model.waiting))
    @rule(which=numbers)
    def result_of_a_job_that_waits_again_is_seen(self, which: int) -> None:
        """Its worker has been lost, or had handed it back, and there was an answer for all that."""
        jobs = [job for job in self.model.waiting if job.last and job.kind != "foreign"]
        if jobs:
            job = jobs[which % len(jobs)]
            assert self.desk.balancer.done_by(info(job.number, attempt=job.gives, hops=1).to_bytes(), now=self.desk.now)
            self.model.leave(job)
            self.model.finish(job, "finished")

    @precondition(lambda self: any(worker.held for worker in self.model.workers))
    @rule(which=numbers, taken=mostly)
    def worker_dies(self, which: int, taken: bool) -> None:
        workers = [worker for worker in self.model.workers if worker.held]
        worker = workers[which % len(workers)]
        self.desk.lose(worker.name)
        self.buried(worker)
        if taken:
            self.take()

    @precondition(lambda self: len(self.model.idle) > 1)
    @rule(which=numbers)
    def idle_worker_dies(self, which: int) -> None:
        worker = self.model.idle[which % len(self.model.idle)]
        self.desk.lose(worker.name)
        self.buried(worker)

    def buried(self, worker: Worker) -> None:
        model = self.model
        running = next((job for job in worker.held if job.number == worker.running), None)
        guess = running is None and not worker.leaving
        if guess and worker.held:
            running = worker.held[0]
        for job in reversed(worker.held):
            if job.cancelled:
                continue
            if job is running:
                model.strike(job)
            else:
                job.suspected |= guess
                model.backlog.insert(0, job)
        worker.held = []
        doubtful = worker.doubtful
        if doubtful is not None and doubtful.kind == "again":
            assert doubtful.end == "finished"
            doubtful.end = ""
            model.strike(doubtful)
        worker.doubtful = None
        worker.lost_at = self.desk.now
        model.workers.remove(worker)
        model.gone.append(worker)
        model.rank(worker)

    @precondition(lambda self: self.model.gone)
    @rule(which=numbers)
    def dead_worker_is_heard(self, which: int) -> None:
        """What it had sent is read after its end is known: its jobs that are still queued are finished after all."""
        worker = self.model.gone[which % len(self.model.gone)]
        if self.desk.now - worker.lost_at >= GONE_US:
            return
        jobs = [job for job in self.model.waiting if job.last is worker and job.kind != "foreign"]
        if worker.ours:
            self.desk.report(worker.name, finished=[job.number for job in jobs])
            for job in jobs:
                self.model.leave(job)
                self.model.finish(job, "finished")
        else:
            self.desk.beat(worker.name)

    # --- time

    @rule(us=st.sampled_from([1, 49, 200, 1_001, 10_000, 60_000, 890_000, 900_000]))
    def time_passes(self, us: int) -> None:
        self.desk.later(us)

    @rule()
    def it_ticks(self) -> None:
        model, now = self.model, self.desk.now
        for job in sorted((job for job in model.waiting if job.expires_by(now)), key=lambda job: job.deadline or 0):
            model.leave(job)
            model.refuse(job, 504)
        # Those with the same deadline may expire in any order.
        model.refusals.sort(key=lambda refusal: refusal[2])
        wants = self.desk.balancer.tick_at(now)
        deadlines = [job.deadline for job in model.waiting if job.deadline is not None]
        if deadlines:
            assert wants is not None
            assert wants <= min(deadlines)
        self.take(sort=True)

    @rule()
    def all_is_taken(self) -> None:
        self.take()

    def take(self, *, sort: bool = False) -> None:
        """Takes what there is, and finds it as the model has it."""
        if sort:
            due = [self.model.next(self.desk.now) for _ in range(len(self.model.greetings) + len(self.model.refusals))]
            messages = [self.desk.balancer.take_frames(self.desk.now) for _ in due]
            assert sorted(str(message and self.desk.short(*message)) for message in messages) == sorted(map(str, due))
        while True:
            expected = self.model.next(self.desk.now)
            message = self.desk.balancer.take_frames(self.desk.now)
            if expected is None:
                assert message is None
                break
            assert message is not None, f"{expected} should have been sent"
            where, frames = message
            got = self.desk.short(where, list(frames))
            if isinstance(expected[0], frozenset):
                assert where == "worker"
                assert got[0] in expected[0]
                assert got[1] == expected[1]
                self.model.give(got[0], self.desk.now)
            else:
                assert got == expected

    @rule()
    def a_message_can_not_be_sent(self) -> None:
        """The next one for a worker; the hub says so at once."""
        if self.model.greetings or self.model.refusals:
            return
        expected = self.model.next(self.desk.now)
        message = self.desk.balancer.take_frames(self.desk.now)
        assert (expected is None) == (message is None)
        if message is None:
            return
        where, frames = message
        got = self.desk.short(where, list(frames))
        if where != "worker":
            assert got == expected
            return
        self.model.give(got[0], self.desk.now)
        self.desk.balancer.unsent_frames(frames, now=self.desk.now)
        worker = next(worker for worker in self.model.workers if worker.name == got[0])
        job = worker.held.pop()
        job.gives -= 1
        self.model.backlog.insert(0, job)
        self.buried(worker)

    # --- always

    @invariant()
    def it_counts_right(self) -> None:
        if not hasattr(self, "model"):
            return
        model, stats = self.model, self.desk.balancer.stats()
        assert stats["backlog"] == len(model.waiting)
        assert stats["held"] == sum(len(worker.held) for worker in model.workers)
        assert stats["workers"] == len(model.workers)
        assert stats["idle"] == len(model.idle)
        assert stats["received"] == len(model.jobs)
        ends = [job.end for job in model.jobs]
        assert stats["finished"] == ends.count("finished")
        assert stats["cancelled"] == ends.count("cancelled")
        for status in (500, 502, 503, 504):
            assert stats[f"refused_{status}"] == ends.count(str(status))
        assert stats["untold"] == model.untold
        assert len(self.desk.balancer) == stats["backlog"] + stats["held"]
        for worker in model.workers:
            assert len(worker.held) <= worker.window

    def teardown(self) -> None:
        """All is made quiet: every job comes to its end, and nothing is left."""
        if not hasattr(self, "model"):
            return
        model, desk = self.model, self.desk
        for worker in list(model.workers):
            desk.lose(worker.name)
            self.buried(worker)
        self.take()
        while model.waiting:
            name = f"last{self.names}"
            self.names += 1
            worker = Worker(name, False, 1, desk.now, progress=desk.now)
            model.workers.append(worker)
            desk.beat(name)
            model.rank(worker)
            self.take()
            if worker.held:
                desk.beat(name)
                self.done(worker, worker.held[0])
                worker.heard = desk.now
                model.rank(worker)
            desk.lose(name)
            self.buried(worker)
        self.take()
        desk.later(GONE_US)
        assert desk.tick() is None
        assert desk.balancer.take_frames(desk.now) is None
        assert all(job.end for job in model.jobs)
        assert desk.stats("queued_bytes", "backlog", "held", "workers") == (0, 0, 0, 0)
        self.it_counts_right()


TestBalancing = Balancing.TestCase
TestBalancing.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)


@pytest.mark.parametrize("seed", range(30))
def test_long_histories(seed: int) -> None:
    """Hypothesis tells short stories; these are long ones, of a busy proxy, by chance."""
    chance = random.Random(seed)
    pick = chance.choice
    machine = Balancing()
    machine.start(
        max_backlog=pick([1000, 20]),
        max_attempts=chance.randint(1, 3),
        workers=[pick([None, 1, 5, 64, 64]) for _ in range(chance.randint(1, 6))],
        service=pick([1, 20]),
    )
    calm = pick([0.0, 0.5, 0.9])  # how often nothing bad happens
    kinds = pick([["again"], ["again"] * 9 + ["once", "foreign"], ["again", "once"]])
    longest = 0
    for _ in range(2000):
        which = chance.randrange(64)
        event = chance.random()
        if event < 0.3:
            few = [pick(kinds) for _ in range(chance.randint(1, 8))]
            machine.jobs_come(few, pick(["", "srv"]), pick([None, 60_000_000, 3_000]), 0, pick([True, False]), chance.random() < 0.8)
        elif event < 0.45:
            if any(worker.held for worker in machine.model.workers):
                machine.result_is_seen(which, pick([0, 0, 0, 1]), pick([1, 1, 30, 100]), chance.random() < 0.8)
        elif event < 0.6:
            busy = pick([0, 0, 0, 100, 2_000])
            returned = pick([64, 2]) if busy else 0
            machine.worker_reports(which, pick([64, 64, 1, 2, 0]), returned, busy, pick([1, 1, 30, 100]), False, False, chance.random() < 0.8)
        elif event < 0.75:
            machine.plain_worker_beats(which, chance.random() < 0.8)
        elif event < 0.85:
            machine.time_passes(pick([1, 20, 200, 2_000, 900_000]))
        elif event < 0.9:
            machine.it_ticks()
        elif chance.random() < calm:
            machine.all_is_taken()
        else:
            model = machine.model
            match chance.randrange(7):
                case 0 if model.jobs:
                    machine.job_is_cancelled(which)
                case 1 if model.waiting:
                    machine.job_comes_again(which)
                case 2:
                    machine.result_of_a_job_that_waits_again_is_seen(which)
                case 3 if any(worker.held for worker in model.workers):
                    machine.worker_dies(which, True)
                case 4 if model.gone:
                    machine.dead_worker_is_heard(which)
                case 5:
                    machine.worker_reports(which, pick([64, 1]), 64, 0, 1, True, True, True)
                case 6:
                    machine.a_message_can_not_be_sent()
            if len(model.workers) < 5:
                machine.worker_comes(pick([None, 1, 5, 64, 64]), 1)
        machine.it_counts_right()
        longest = max([longest, *(len(worker.held) for worker in machine.model.workers)])
        del machine.model.gone[:-5]
    ends = {job.end for job in machine.model.jobs}
    machine.teardown()
    assert "finished" in ends
    assert longest > 1 or kinds == ["again", "once"] or not any(worker.ours for worker in machine.model.workers)
