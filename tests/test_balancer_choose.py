"""A balancer whose user chooses the worker."""

import logging
import threading
from typing import Any

import pytest
from balancing import Desk, info

from prime_server._ext.libzmq import Frame


def by_letter(heartbeats: list[bytes], frames: list[Frame]) -> int | None:
    """Jobs whose payload ends with an even digit to workers A, others to B."""
    wanted = b"A" if bytes(frames[0])[-1] % 2 == 0 else b"B"
    return heartbeats.index(wanted) if wanted in heartbeats else None


def test_choose_picks_an_idle_worker() -> None:
    desk = Desk(choose=by_letter)
    desk.beat("a1", "a2", heartbeat=b"A")
    desk.beat("b1", heartbeat=b"B")
    desk.job(1, 2, 3, 4, 6)
    assert desk.sent() == [("b1", 1), ("a1", 2), ("a2", 4)]
    desk.beat("b1", heartbeat=b"B")
    assert desk.sent() == [("b1", 3)]
    desk.beat("a2", heartbeat=b"A")
    assert desk.sent() == [("a2", 6)]


def test_with_choose_no_worker_gets_a_window() -> None:
    desk = Desk(choose=by_letter)
    desk.ours("a", service=1)
    desk.report("a", heartbeat=b"A", window=64)
    desk.job(2, 4)
    assert desk.sent() == [("a", 2)]


def test_choose_sees_the_heartbeats_in_order_and_the_payload() -> None:
    seen = []
    desk = Desk(choose=lambda heartbeats, frames: seen.append((heartbeats, [bytes(frame) for frame in frames])))
    desk.beat("a", heartbeat=b"one")
    desk.beat("b")
    desk.balancer.submit_frames([info(1).to_bytes(), b"payload 1", b"", b"z" * 5000], now=desk.now)
    assert desk.sent() == []
    assert seen == [([b"one", b""], [b"payload 1", b"", b"z" * 5000])]


def test_a_declined_job_is_asked_about_again() -> None:
    asked = []
    desk = Desk(choose=lambda heartbeats, _: asked.append(list(heartbeats)))
    desk.beat("a", heartbeat=b"1")
    desk.job(1)
    for _ in range(3):
        assert desk.sent() == []
        desk.beat("a", heartbeat=b"1")
    assert len(asked) == 1
    desk.beat("a", heartbeat=b"2")  # it favours something else now
    desk.sent()
    assert asked == [[b"1"], [b"2"]]
    desk.beat("b", heartbeat=b"3")
    desk.sent()
    assert asked[2:] == [[b"2", b"3"]]
    assert desk.tick() == 100_000
    desk.later(100_000)
    desk.tick()
    desk.sent()
    assert len(asked) == 4


def test_declined_jobs_keep_their_place_expire_and_are_cancelled() -> None:
    desk = Desk(choose=by_letter)
    desk.beat("b", heartbeat=b"B")
    desk.job(2, time_left=50)
    desk.job(4, 6, 1)
    assert desk.sent() == [("b", 1)]
    assert desk.stats("backlog") == 3
    assert desk.tick() == 50
    desk.later(50)
    desk.tick()
    assert desk.sent() == [("", 504, 2)]
    desk.cancel(4)
    desk.job(8)
    desk.beat("a1", "a2", heartbeat=b"A")
    assert desk.sent() == [("a1", 6), ("a2", 8)]


def test_choose_looks_ahead_of_the_declined_jobs_so_far_and_no_further() -> None:
    calls = []

    def choose(heartbeats: list[bytes], frames: list[Frame]) -> int | None:
        calls.append(1)
        return by_letter(heartbeats, frames)

    desk = Desk(choose=choose)
    desk.beat("b", heartbeat=b"B")
    desk.job(*range(0, 256, 2), 1)
    assert desk.sent() == []
    assert len(calls) == 128
    desk.cancel(0)
    assert desk.sent() == [("b", 1)]


@pytest.mark.parametrize("answer", [2, -1, "0", 1.0, b"", 2**80, ZeroDivisionError("told so")])
def test_a_choose_that_fails_is_logged_and_the_first_worker_taken(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    def choose(heartbeats: list[bytes], frames: list[Frame]) -> int | None:
        if isinstance(answer, Exception):
            raise answer
        index: int = answer
        return index

    desk = Desk(choose=choose)
    desk.beat("a", "b", "c")
    desk.beat("b", "a", "c")
    desk.balancer.lost_worker(b"c", now=desk.now)
    desk.job(1, 2)
    assert desk.sent() == [("a", 1), ("b", 2)]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert caplog.messages == ["choose failed, so the first idle worker is taken (0 more failures were not logged)"]
    desk.later(1_000_000)
    desk.beat("a")
    desk.job(3)
    desk.sent()
    assert "1 more failures" in caplog.text


def test_an_interrupt_of_the_keyboard_is_for_others() -> None:
    def choose(heartbeats: list[bytes], frames: list[Frame]) -> int | None:
        raise KeyboardInterrupt

    desk = Desk(choose=choose)
    desk.beat("a")
    desk.job(1)

    def take_and_wait() -> None:
        desk.balancer.take_frames(desk.now)
        threading.Event().wait(10)

    with pytest.raises(KeyboardInterrupt):
        take_and_wait()
    assert desk.stats("held") == 1


def test_choose_can_not_use_its_own_balancer() -> None:
    def choose(heartbeats: list[bytes], frames: list[Frame]) -> int:
        assert desk.balancer.stats()
        desk.job(2)
        return 0

    desk = Desk(choose=choose)
    desk.beat("a")
    desk.job(1)
    assert desk.sent() == [("a", 1)]
    desk.job(2)


def test_numbers_that_are_indices_do(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(choose=lambda heartbeats, _: True)
    desk.beat("a", "b")
    desk.job(1)
    assert desk.sent() == [("b", 1)]
    assert not caplog.records
