"""Jobs in a balancer that nobody waits for any more, and jobs that come twice."""


import pytest
from balancing import CANCEL, Desk, info, key


def test_a_queued_job_that_nobody_waits_for_is_dropped() -> None:
    desk = Desk()
    desk.job(1, 2, 3)
    desk.cancel(2, 2, 9)
    desk.beat("a", "b", "c")
    assert desk.sent() == [("a", 1), ("b", 3)]
    assert desk.stats("cancelled", "queued_bytes") == (1, 2 * (72 + 9))


def test_a_peer_upstream_cancels_by_an_info_alone() -> None:
    desk = Desk()
    desk.job(1, 2, sender="srv")
    for number in (1, 9):
        assert desk.balancer.submit_frames([info(number, flags=CANCEL).to_bytes()], b"srv", now=desk.now)
    assert not desk.balancer.submit_frames([info(2).to_bytes()], b"srv", now=desk.now)
    desk.beat("a", "b")
    assert desk.sent() == [("srv", "hello"), ("a", 2)]
    assert desk.stats("received", "cancelled", "malformed") == (2, 1, 1)


@pytest.mark.parametrize("end", ["finished", "returned", "lost", "unsent"])
def test_a_job_with_a_worker_that_nobody_waits_for_is_not_redelivered(end: str) -> None:
    desk = Desk()
    desk.ours("a")
    desk.job(1)
    ((_, frames),) = desk.messages()
    desk.cancel(1)
    assert desk.stats("held", "backlog", "queued_bytes") == (1, 0, 72)
    desk.job(2)
    assert desk.sent() == []
    if end == "lost":
        desk.lose("a")
    elif end == "unsent":
        desk.balancer.unsent_frames(frames, now=desk.now)
    else:
        desk.report("a", finished=[1] if end == "finished" else [], returned=[1] if end == "returned" else [])
        assert desk.sent() == [("a", 2)]
        desk.report("a", finished=[2])
    desk.beat("b")
    assert desk.sent() == ([("b", 2)] if end in ("lost", "unsent") else [])
    assert desk.stats("cancelled", "strikes", "redelivered") == (1, 0, 0)
    assert desk.refused() == {}


def test_the_same_job_again_is_dropped_as_long_as_it_is_here() -> None:
    desk = Desk()
    desk.job(1)
    desk.job(1, attempt=1)
    desk.beat("a", "b")
    assert desk.sent() == [("a", 1)]
    desk.job(1, attempt=2, sender="srv")
    assert desk.sent() == [("srv", "hello")]
    desk.beat("a")
    desk.job(1, attempt=3)
    assert desk.sent() == [("b", 1)]
    assert desk.stats("duplicates", "received") == (2, 2)


def test_a_job_that_its_worker_forwards_to_the_same_stage_is_not_the_same() -> None:
    desk = Desk()
    desk.ours("a", "b")
    desk.job(1)
    assert desk.sent() == [("a", 1)]
    desk.job(1, hops=1)
    assert desk.sent() == [("b", 1)]
    desk.report("b", finished=[1])
    assert desk.stats("held", "unknown") == (1, 0)
    desk.report("a", finished=[1])
    assert desk.stats("held", "unknown") == (0, 0)


def test_a_cancelled_job_may_come_again() -> None:
    desk = Desk()
    desk.beat("a", "b")
    desk.job(1)
    desk.sent()
    desk.cancel(1)
    desk.job(1, attempt=1)
    assert desk.sent() == [("b", 1)]


def test_two_servers_without_our_extension_may_use_the_same_key() -> None:
    desk = Desk()
    desk.ours("a", "b", "c")
    desk.foreign_job(1, sender="one")
    desk.foreign_job(1, sender="two")
    assert desk.sent() == [("a", 1), ("b", 1)]
    desk.report("b", finished=[1], life=0)
    desk.report("a", finished=[1], life=0)
    desk.foreign_job(1, 1)
    assert len(desk.sent()) == 2
    desk.balancer.cancel_request(0, key(1), now=desk.now)
    assert desk.stats("finished", "cancelled", "unknown") == (2, 2, 0)
