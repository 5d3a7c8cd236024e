"""What a balancer refuses, for want of time or room, and who is told of it."""

import dataclasses
import math
from typing import Any

import pytest
from balancing import BEHIND, FROM_PROXY, IDEMPOTENT, REFUSAL, Desk, foreign, info

from prime_server._ext.info import RequestInfo

# --- refusals and greetings upstream ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "sender", "told"),
    [
        (info(1, flags=0).to_bytes(), "", ("", 502, 1)),
        (info(1, flags=0).to_bytes(), "srv", ("srv", 502, 1)),
        (foreign(1), "", ("", 502, 1)),
        (foreign(1)[:8], "srv", None),
        (foreign(1), "srv", None),  # the original's server never reads what comes from its proxy
        (info(1, flags=FROM_PROXY).to_bytes(), "srv", None),  # nor does its worker, which has passed our proxy's info on
        (info(1, flags=FROM_PROXY).to_bytes(), "", ("", 502, 1)),
    ],
)
def test_only_those_who_understand_are_told_of_a_refusal(frame: bytes, sender: str, told: Any) -> None:
    desk = Desk()
    desk.beat("a")
    assert desk.balancer.submit_frames([frame, b"payload 1"], sender.encode(), now=desk.now)
    assert ("a", 1) in desk.sent()
    desk.lose("a")
    assert desk.sent() == ([told] if told else [])
    assert desk.stats("untold") == (0 if told else 1)
    assert desk.refused() == {502: 1}
    assert desk.stats("queued_bytes") == 0


def test_a_refusal_carries_the_info() -> None:
    desk = Desk()
    desk.beat("a")
    about = info(1, flags=0x0101, time_left=50_000, queued=7, served=9, attempt=2, hops=1, trace=b"0123456789abcdef", version=1, keep_alive=True)
    desk.balancer.submit_frames([about.to_bytes(), b"payload 1"], b"srv", now=desk.now)
    desk.later(10)
    desk.messages()
    desk.lose("a")
    desk.beat("b")
    desk.messages()
    desk.lose("b")
    desk.later(5)
    ((where, (peer, refusal)),) = desk.messages()
    assert (where, peer) == ("upstream", b"srv")
    assert RequestInfo.from_bytes(refusal) == dataclasses.replace(
        about, flags=0x0101 | REFUSAL, time_left=49_985, queued=22, attempt=4, strikes=2, code=500
    )


def test_an_upstream_peer_of_ours_is_greeted_once() -> None:
    desk = Desk()
    desk.job(1, 2, sender="one")
    desk.job(3, sender="two")
    desk.job(4)
    desk.job(5, sender="three", flags=FROM_PROXY)
    desk.foreign_job(6, sender="four")
    assert desk.sent() == [("one", "hello"), ("two", "hello")]
    desk.job(7, sender="one")
    assert desk.sent() == []


def test_a_bounded_number_of_peers_is_remembered_as_greeted() -> None:
    desk = Desk()
    for number in range(1024):
        desk.job(number, sender=f"peer {number}")
    assert len(desk.sent()) == 1024
    desk.job(2000, sender="peer 0")
    assert desk.sent() == []
    desk.job(2001, sender="another")  # makes peer 1 leave, the one that hasn't been seen for longest
    assert desk.sent() == [("another", "hello")]
    desk.job(2002, sender="peer 0")
    assert desk.sent() == []
    desk.job(2003, sender="peer 1")
    assert desk.sent() == [("peer 1", "hello")]


# --- deadlines ----------------------------------------------------------------------------------------------------------------------------


def test_expired_jobs_are_refused_in_the_order_of_their_deadlines() -> None:
    desk = Desk()
    for number, left in enumerate((500, 100, 0, 300, 200, 400, 0, 50)):
        desk.job(number, time_left=left)
    assert desk.sent() == []
    assert desk.tick() == 50
    desk.later(250)
    assert desk.tick() == 0  # there is something to take
    assert desk.sent() == [("", 504, 7), ("", 504, 1), ("", 504, 4)]
    assert desk.tick() == 50
    desk.later(50)
    desk.tick()
    assert desk.sent() == [("", 504, 3)]
    desk.later(1_000)
    desk.tick()
    assert desk.sent() == [("", 504, 5), ("", 504, 0)]
    assert desk.tick() is None
    desk.beat("a")
    assert desk.sent() == [("a", 2)]
    assert desk.refused() == {504: 6}


def test_an_expired_job_is_not_given_to_a_worker() -> None:
    desk = Desk()
    desk.job(1, time_left=100)
    desk.job(2, time_left=101)
    desk.later(100)
    desk.beat("a")
    assert desk.sent() == [("", 504, 1), ("a", 2)]


def test_a_job_that_comes_expired_is_refused_at_once() -> None:
    desk = Desk()
    desk.beat("a")
    desk.job(1, time_left=-1)
    desk.job(2, time_left=-(2**63))
    assert desk.sent() == [("", 504, 1), ("", 504, 2)]


def test_a_job_that_is_with_a_worker_does_not_expire_until_it_comes_back() -> None:
    desk = Desk()
    desk.beat("a")
    desk.job(1, time_left=100)
    desk.sent()
    desk.later(1_000)
    assert desk.tick() is None
    desk.lose("a")
    desk.tick()
    assert desk.sent() == [("", 504, 1)]


# --- bounds -------------------------------------------------------------------------------------------------------------------------------


def test_a_full_backlog_refuses() -> None:
    desk = Desk(max_backlog=2)
    desk.job(1, 2, 3)
    assert desk.sent() == [("", 503, 3)]
    desk.beat("a")
    desk.job(4)
    assert desk.sent() == [("a", 1)]
    desk.job(5)
    assert desk.sent() == [("", 503, 5)]


def test_those_for_whom_an_idle_worker_is_there_do_not_wait() -> None:
    desk = Desk(max_backlog=0)
    desk.beat("a", "b")
    desk.job(1, 2, 3)
    assert desk.sent() == [("", 503, 3), ("a", 1), ("b", 2)]


def test_the_bytes_of_all_jobs_are_bounded() -> None:
    size = 72 + len(b"payload 1")
    desk = Desk(max_queued_bytes=2 * size)
    desk.beat("a")
    desk.job(1)
    assert desk.sent() == [("a", 1)]
    desk.job(2, 3)
    assert desk.sent() == [("", 503, 3)]
    assert desk.stats("queued_bytes") == 2 * size
    desk.beat("a")
    assert desk.sent() == [("a", 2)]
    desk.beat("a")
    assert desk.stats("queued_bytes") == 0


def test_a_single_job_is_taken_however_big_it_is() -> None:
    desk = Desk(max_queued_bytes=0)
    desk.job(1, 2)
    assert desk.sent() == [("", 503, 2)]
    desk.beat("a")
    assert desk.sent() == [("a", 1)]


def test_what_can_not_make_its_deadline_is_refused_at_once() -> None:
    desk = Desk()
    desk.beat("a")
    for number in range(100, 116):
        desk.job(number)
        assert desk.sent() == [("a", number)]
        desk.later(1_000)
        desk.beat("a")
    desk.job(1, 2, 3, time_left=3_000)
    assert desk.stats("wait_us") == 3_000

    def least(jobs: int) -> float:
        return 1_000 * (jobs - 2 * math.sqrt(jobs / 16 + jobs**2 / 16**2))  # by two standard errors, of 16 samples

    bound = int(least(3)) + math.ceil(least(1))
    desk.job(4, time_left=bound - 1)
    desk.job(5, time_left=bound)
    desk.job(6)
    assert desk.sent() == [("", 503, 4), ("a", 1)]
    assert desk.refused() == {503: 1}


@pytest.mark.parametrize("took", [1, 10, 60])
@pytest.mark.parametrize("short", [0, 1, 2, 5, 10, 100, 400])
@pytest.mark.parametrize("behind", [5, 20, 100, 1000])
def test_a_long_job_is_no_reason_to_refuse_those_behind_it(took: int, short: int, behind: int) -> None:
    """They may be short ones, too, though by the mean they take minutes."""
    desk = Desk()
    desk.beat("a")
    for number, us in enumerate([took * 1_000_000, *[1_000] * short]):
        desk.job(number)
        assert desk.sent() == [("a", number)]
        desk.later(us)
        desk.beat("a")
    desk.job(*range(1000, 1000 + behind), time_left=2_000_000)
    assert desk.sent() == [("a", 1000)]
    assert desk.refused() == {}


def test_a_refusal_tells_when_all_that_is_here_will_be_done() -> None:
    desk = Desk(max_backlog=6)
    desk.ours("a", "b", window=1, service=500_000)
    desk.job(*range(9))
    refusals = [frames for where, frames in desk.messages() if where == "sessions"]
    ((info_frame,),) = refusals
    refused = RequestInfo.from_bytes(info_frame)
    assert (refused.code, refused.time_left) == (503, 8 * 500_000 // 2)


def test_what_is_pipelined_waits_behind_what_is_not_and_gives_way_to_it() -> None:
    desk = Desk(max_backlog=12)
    desk.job(*range(10), flags=IDEMPOTENT | BEHIND)
    desk.job(*range(100, 104))
    assert desk.sent() == [("", 503, 9), ("", 503, 8)]
    desk.job(200, flags=IDEMPOTENT | BEHIND)
    assert desk.sent() == [("", 503, 200)]
    order = []
    for _ in range(12):
        desk.beat("a")
        order += [number for _, number in desk.sent()]
    assert order == [100, 101, 102, 103, *range(8)]


def test_what_is_pipelined_has_every_eighth_turn() -> None:
    desk = Desk()
    desk.job(*range(3), flags=IDEMPOTENT | BEHIND)
    desk.job(*range(100, 116))
    order = []
    for _ in range(19):
        desk.beat("a")
        order += [number for _, number in desk.sent()]
    assert order == [*range(100, 107), 0, *range(107, 114), 1, 114, 115, 2]


def test_without_workers_jobs_wait_for_the_first_one() -> None:
    desk = Desk()
    desk.beat("a")
    desk.job(1)
    desk.sent()
    desk.later(10**6)
    desk.beat("a")
    desk.lose("a")
    desk.job(2, 3, 4, time_left=1_000)
    assert desk.sent() == []
    assert desk.stats("backlog") == 3
