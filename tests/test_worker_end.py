"""How a worker ends: what it hands back, what it still answers, and what it leaves behind."""

import threading
from pathlib import Path

import pytest
import zmq
from stage_standin import IDEMPOTENT, IDLE, LEAVING, PATIENCE, Gate, StandIn, UntilInterrupted, key, ok

from prime_server import Worker


def test_hands_back_and_leaves(around: StandIn) -> None:
    gate = Gate()
    with around.worker(gate) as worker:
        around.hello()
        around.job(1)
        assert gate.entered.wait(PATIENCE / 1000)
        worker.stop()
        around.job(2)
        gate.open.set()
        assert around.result().info.id == 1
        reports = around.reports_until(finished=1, returned=1)
        while not reports[-1].flags & LEAVING:
            reports.append(around.report())
        assert sorted(one for report in reports for one in report.returned) == [key(2)]
        assert not reports[-1].flags & IDLE
        around.hello()


def test_returns_what_crosses_its_leaving(around: StandIn) -> None:
    with around.worker(ok) as worker:
        around.hello()
        around.job(1)
        around.reports_until(finished=1)
        worker.stop()
        reports = [around.report()]
        while not reports[-1].flags & LEAVING:
            reports.append(around.report())
        around.job(2)
        around.hello()
        assert around.reports_until(returned=1)[-1].returned == [key(2)]


@pytest.mark.parametrize(("flags", "outcome"), [(IDEMPOTENT, "returned"), (0, "answered")])
def test_stopping_may_interrupt_the_running_job(around: StandIn, flags: int, outcome: str) -> None:
    work = UntilInterrupted()
    with around.worker(work) as worker:
        around.hello()
        around.job(1, flags=flags)
        assert work.entered.wait(PATIENCE / 1000)
        worker.stop(interrupt=True)
        assert work.told.wait(PATIENCE / 1000)
        assert work.why == "the worker is shutting down"
        if outcome == "returned":
            assert around.reports_until(returned=1)[-1].returned == [key(1)]
            assert around.quiet(around.loopback)
        else:
            assert around.result().status == 503


def test_stop_before_work_and_the_end_of_a_context() -> None:
    context = zmq.Context()
    ends = [f"inproc://nowhere-{number}" for number in range(3)]
    with Worker(context, ends[0], None, ends[1], ends[2], ok) as worker:
        worker.stop()
        worker.work()
    with Worker(context, ends[0], None, ends[1], ends[2], ok) as worker:
        thread = threading.Thread(target=worker.work)
        thread.start()
        worker.stop()
        thread.join(PATIENCE / 1000)
        assert not thread.is_alive()
    context.destroy(linger=0)


def test_leaves_no_descriptor_and_no_thread_behind(tmp_path: Path) -> None:
    def once() -> None:
        around = StandIn("ipc", tmp_path)
        with around.worker(ok):
            around.job(1)
            around.result()
        around.close()

    def count() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), len(list(Path("/proc/self/task").iterdir()))

    once()
    before = count()
    for _ in range(5):
        once()
    assert count() == before
