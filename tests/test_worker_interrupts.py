"""A worker whose job nobody waits for any more, or takes long: what the job learns, and what others are told meanwhile."""

import ctypes
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from stage_standin import (
    IDLE,
    LIFE,
    PATIENCE,
    Gate,
    StandIn,
    UntilInterrupted,
    key,
    ok,
)

from prime_server import Job, Response

# --- interrupts and deadlines --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("life", [LIFE, None])
@pytest.mark.parametrize("hello", [False, True])
def test_a_running_job_learns_that_its_client_has_left(around: StandIn, life: int | None, hello: bool) -> None:
    work = UntilInterrupted()
    with around.worker(work) as worker:
        if hello:
            around.hello()
        around.job(1)
        assert work.entered.wait(PATIENCE / 1000)
        around.say_interrupted(2, life)
        around.say_interrupted(1, life)
        said = time.monotonic()
        assert work.told.wait(PATIENCE / 1000)
        assert work.why == "the client has left"
        assert work.at - said < 0.5  # 10 ms, on a machine with nothing else to do
        assert key(1) in around.reports_until(finished=1)[-1].finished
        around.job(3)
        assert around.result().info.id == 3
        assert worker.stats()["interrupted"] == 1
        assert worker.stats()["answered"] == 1


def test_an_interrupt_of_another_life_means_another_job(around: StandIn) -> None:
    gate = Gate()
    with around.worker(gate) as worker:
        around.job(1)
        assert gate.entered.wait(PATIENCE / 1000)
        around.say_interrupted(1, LIFE + 1)
        gate.open.set()
        assert around.result().info.id == 1
        assert worker.stats()["interrupted"] == 0


def test_what_an_interrupted_job_answers_is_not_sent(around: StandIn) -> None:
    entered, done = threading.Event(), threading.Event()

    def work(job: Job) -> Response:
        if job.info.id == 1:
            entered.set()
            while not job.interrupted:
                pass
            done.set()
        return Response(200)

    with around.worker(work):
        around.job(1)
        assert entered.wait(PATIENCE / 1000)
        around.say_interrupted(1)
        assert done.wait(PATIENCE / 1000)
        around.job(2)
        assert around.result().info.id == 2


def test_jobs_are_dropped_that_were_interrupted_before_they_came(around: StandIn) -> None:
    gate = Gate()
    with around.worker(gate, window=8) as worker:
        for number in (2, 3):
            around.say_interrupted(number)
        around.say_interrupted(4, None)
        around.job(1)
        assert gate.entered.wait(PATIENCE / 1000)
        for number in (2, 3, 4, 5):
            around.job(number)
        gate.open.set()
        assert [around.result().info.id for _ in range(2)] == [1, 5]
        assert [one for report in around.reports_until(finished=5) for one in report.finished] == [key(number) for number in range(1, 6)]
        assert worker.stats()["interrupted"] == 3
    assert gate.seen == [1, 5]


def test_a_flood_of_interrupts_is_heard_to_its_end(around: StandIn) -> None:
    with around.worker(ok) as worker:
        for number in range(10_001):
            around.say_interrupted(number)
        around.interrupt.send(b"the end")
        deadline = time.monotonic() + PATIENCE / 1000
        while worker.stats()["malformed"] == 0:
            assert time.monotonic() < deadline
        around.job(10_000)
        around.job(10_001)
        assert around.result().info.id == 10_001


def test_a_running_job_learns_that_its_deadline_has_passed(around: StandIn) -> None:
    work = UntilInterrupted()
    with around.worker(work):
        around.job(1, time_left=30_000)
        assert work.told.wait(PATIENCE / 1000)
        assert work.why == "the deadline has passed"
        around.job(2, time_left=-1)
        around.job(3, time_left=60_000_000)
        assert around.result().info.id == 3
    assert work.seen == [1, 3]


def test_a_job_sees_its_deadline(around: StandIn) -> None:
    seen: list[Any] = []

    def work(job: Job) -> Response:
        seen.append((job.deadline, job.time_left()))
        return Response(200)

    with around.worker(work):
        before = time.monotonic()
        around.job(1, time_left=60_000_000)
        around.result()
        around.job(2)
        around.result()
        assert before + 59 <= seen[0][0] <= time.monotonic() + 60  # by the clock that the worker last looked at
        assert 0 < seen[0][1] <= 60
        assert seen[1] == (None, None)


# --- the guardian ------------------------------------------------------------------------------------------------------------------------------


def hold_gil(seconds: float) -> None:
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


def test_hands_back_what_waits_behind_a_job_that_holds_the_gil(around: StandIn) -> None:
    lent, held = threading.Event(), threading.Event()

    def work(job: Job) -> Response:
        if job.info.id == 1:
            assert lent.wait(PATIENCE / 1000)
            for number in (2, 3, 4):
                around.job(number)
            # None but the guardian can run from here on.
            hold_gil(0.3)
            held.set()
        return Response(200)

    with around.worker(work):
        around.hello()
        around.carry(range(50, 60))
        around.job(1)
        lent.set()  # the proxy's socket is the work function's until `held`
        assert held.wait(PATIENCE / 1000)
        reports = around.reports_until(finished=1, returned=3)
        assert [one for report in reports for one in report.returned] == [key(number) for number in (2, 3, 4)]
        busy = next(report for report in reports if report.returned)
        assert busy.running == key(1)
        assert busy.busy >= 1000
        assert busy.window == 1
        assert not busy.flags & IDLE
        assert busy.finished == []


def test_says_that_it_is_busy(around: StandIn) -> None:
    gate = Gate()
    with around.worker(gate):
        around.hello()
        around.job(1)
        first, second = around.report(), around.report()
        assert first.running == second.running == key(1)
        assert 0 < first.busy < second.busy
        assert not first.flags & IDLE
        around.job(2)
        assert around.reports_until(returned=1)[-1].returned == [key(2)]
        gate.open.set()
        assert around.reports_until(finished=1)[-1].finished == [key(1)]
    assert gate.seen == [1]


def test_returns_nothing_for_which_nobody_waits(around: StandIn) -> None:
    gate = Gate()
    with around.worker(gate):
        around.hello()
        around.say_interrupted(2)
        around.job(1)
        assert gate.entered.wait(PATIENCE / 1000)
        around.job(2)
        reports = around.reports_until(finished=1)
        assert reports[-1].finished == [key(2)]
        assert not any(report.returned for report in reports)
        gate.open.set()


def guardian_switches() -> int:
    """How often the guardian has slept: it is the one thread of ours that was made last."""
    task = max(Path("/proc/self/task").iterdir(), key=lambda path: int(path.name))
    return next(int(line.split()[1]) for line in (task / "status").read_text().splitlines() if line.startswith("voluntary"))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts context switches in /proc")
def test_an_idle_worker_costs_nothing(around: StandIn) -> None:
    with around.worker(ok):
        around.job(1)
        around.report()
        around.report()  # a second later
        before = guardian_switches()
        around.report()
        assert guardian_switches() - before < 100  # it would be about a thousand
