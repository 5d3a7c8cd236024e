"""The balancer where things go wrong: workers that die, clients that leave, deadlines that pass, floods, and refusals of all kinds."""

from typing import Any

import pytest
from balancing import CANCEL, FROM_PROXY, IDEMPOTENT, RETRYABLE, Desk, hello, info

from prime_server._ext.info import RequestInfo

# --- death --------------------------------------------------------------------------------------------------------------------------------


def test_the_oldest_job_of_a_dead_worker_takes_a_strike_and_all_that_it_held_run_alone() -> None:
    desk = Desk()
    desk.ours("a", service=1)
    desk.job(1, 2, 3)
    desk.sent()
    desk.job(4, 5)
    desk.lose("a")
    assert desk.stats("strikes", "redelivered", "lost", "workers", "held", "backlog") == (1, 3, 1, 0, 0, 5)
    desk.report("b", window=64)
    assert desk.sent() == [("b", "hello"), ("b", 1)]
    desk.report("b", window=64, finished=[1], service=1)
    assert desk.sent() == [("b", 2)]
    desk.report("b", window=64, finished=[2], service=1)
    assert desk.sent() == [("b", 3)]
    desk.report("b", window=64, finished=[3], service=1)
    assert desk.sent() == [("b", 4), ("b", 5)]
    assert desk.stats("strikes") == 1


def test_what_was_suspected_and_kills_again_is_given_to_nobody() -> None:
    desk = Desk()
    desk.ours("a", "b", "c", service=1)
    desk.job(1, 2)
    assert desk.sent() == [("a", 1), ("a", 2)]
    desk.lose("a")  # it had done job 1 and died of job 2, and no report tells of it
    assert desk.sent() == [("b", 1), ("c", 2)]
    desk.lose("c")
    assert desk.sent() == [("", 500, 2)]
    desk.report("b", window=64, finished=[1], service=1)
    assert desk.stats("finished", "strikes", "workers") == (1, 2, 1)


def test_of_a_worker_that_had_said_what_it_runs_nothing_else_is_suspected() -> None:
    desk = Desk()
    desk.ours("a", service=1)
    desk.job(1, 2, 3)
    desk.sent()
    desk.report("a", window=64, flags=0, busy=500, running=1)
    desk.lose("a")
    desk.ours_again("b")
    assert desk.sent() == [("b", 1)]
    desk.report("b", window=64, finished=[1], service=1)
    assert desk.sent() == [("b", 2), ("b", 3)]


def test_a_stage_whose_jobs_may_be_repeated() -> None:
    desk = Desk(retryable=True)
    desk.beat("a")
    desk.job(1, flags=0)
    ((_, frames),) = desk.messages()
    assert RequestInfo.from_bytes(frames[1]).flags == RETRYABLE | FROM_PROXY
    desk.lose("a")
    desk.foreign_job(2)
    desk.beat("b")
    assert desk.sent() == [("b", 1)]
    desk.beat("b")
    assert desk.sent() == [("b", 2)]
    desk.lose("b")
    desk.beat("c")
    assert desk.sent() == [("c", 2)]


def test_the_job_that_was_reported_as_running_takes_the_strike() -> None:
    desk = Desk()
    desk.ours("a", service=1)
    desk.job(1, 2, 3)
    desk.sent()
    desk.report("a", window=64, flags=0, busy=500, running=2)
    desk.lose("a")
    desk.report("b", window=64)
    assert desk.sent() == [("b", "hello"), ("b", 1)]
    desk.report("b", window=64, finished=[1], service=1)
    assert desk.sent() == [("b", 2)]
    desk.lose("b")
    desk.report("c", window=64)
    assert desk.sent() == [("c", "hello"), ("", 500, 2), ("c", 3)]
    assert desk.stats("strikes") == 2


@pytest.mark.parametrize(
    ("fields", "options", "first", "second"),
    [
        ({"flags": IDEMPOTENT}, {}, None, 500),
        ({"flags": RETRYABLE}, {}, None, 500),
        ({"flags": RETRYABLE, "attempt": 9}, {}, None, 500),
        ({"flags": IDEMPOTENT}, {"max_attempts": 1}, 502, None),
        ({"flags": IDEMPOTENT}, {"max_attempts": 2}, None, 500),
        ({"flags": IDEMPOTENT, "strikes": 1}, {}, 500, None),
        ({"flags": 0}, {}, 502, None),
        ({"flags": 0, "strikes": 1}, {}, 502, None),
    ],
)
@pytest.mark.parametrize("plain", [True, False])
def test_a_job_whose_worker_dies(
    fields: Any, options: dict[str, Any], first: Any, second: Any, plain: bool, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(**options)
    desk.job(1, **fields)
    for worker, expected in (("a", first), ("b", second)):
        if plain:
            desk.beat(worker)
        else:
            desk.report(worker)
        assert desk.sent()[-1] == (worker, 1)
        desk.lose(worker)
        if expected:
            assert desk.sent() == [("", expected, 1)]
            assert desk.refused() == {expected: 1}
            assert len(desk.balancer) == 0
            assert ("workers died" in caplog.text) == (expected == 500 or fields.get("strikes", 0) > 0)
            break
        assert desk.sent() == []
    else:
        pytest.fail("it should have been refused by now")


def test_a_job_with_two_strikes_is_given_to_nobody() -> None:
    desk = Desk()
    desk.beat("a")
    desk.job(1, strikes=2)
    assert desk.sent() == [("", 500, 1)]


def test_a_struck_job_says_so_at_its_next_worker() -> None:
    desk = Desk()
    desk.beat("a", "b")
    desk.job(1, attempt=3)
    desk.sent()
    desk.lose("a")
    ((_, frames),) = desk.messages()
    assert RequestInfo.from_bytes(frames[1]) == info(1, flags=IDEMPOTENT | FROM_PROXY, attempt=5, strikes=1, hops=1)


def test_what_could_not_be_sent_never_left() -> None:
    desk = Desk()
    desk.ours("a", "b", service=1)
    desk.job(1, flags=0)
    ((_, frames),) = desk.messages()
    assert frames[0] == b"a"
    desk.balancer.unsent_frames(frames, now=desk.now)
    ((_, frames),) = desk.messages()
    assert frames[0] == b"b"
    assert RequestInfo.from_bytes(frames[1]).attempt == 1
    assert desk.stats("strikes", "lost", "workers") == (0, 1, 1)
    # What the worker had got before is another matter.
    desk.job(2)
    ((_, frames),) = desk.messages()
    assert frames[0] == b"b"
    desk.balancer.unsent_frames(frames, now=desk.now)
    assert desk.sent() == [("", 502, 1)]
    assert desk.stats("strikes", "backlog", "workers") == (1, 1, 0)


def test_of_several_jobs_that_never_left_none_is_blamed() -> None:
    desk = Desk()
    desk.ours("a", service=1)
    desk.job(1, flags=0)
    desk.job(2, 3)
    messages = [frames for _, frames in desk.messages()]
    assert [frames[0] for frames in messages] == [b"a"] * 3
    for frames in messages[:0:-1]:
        desk.balancer.give_back_frames(frames)
    desk.balancer.unsent_frames(messages[0], now=desk.now)
    assert desk.sent() == []
    assert desk.stats("strikes", "redelivered", "backlog", "lost") == (0, 0, 3, 1)
    desk.ours_again("b")
    assert desk.sent() == [("b", 1), ("b", 2), ("b", 3)]


def test_a_greeting_that_could_not_be_sent_takes_no_job_with_it() -> None:
    desk = Desk()
    desk.report("a")
    desk.job(1)
    ((_, greeting), (_, job)) = desk.messages()
    assert greeting == [b"a", hello(77)]
    desk.balancer.unsent_frames(greeting, now=desk.now)
    desk.balancer.unsent_frames(job, now=desk.now)
    desk.balancer.unsent_frames([], now=desk.now)
    assert desk.stats("lost") == 1
    assert desk.stats("strikes") == 1  # by then it had been given to it


def test_what_a_lost_worker_had_still_said_does_not_make_it_known_again() -> None:
    desk = Desk()
    desk.beat("a")
    desk.lose("a")
    desk.later(49_999)
    desk.beat("a")
    desk.job(1)
    assert desk.sent() == []
    assert desk.tick() == 1
    desk.later(1)
    assert desk.tick() is None
    # The same routing id may come back later: some choose it themselves.
    desk.beat("a")
    assert desk.sent() == [("a", 1)]
    desk.lose("a")
    desk.later(100_000)
    desk.beat("a")
    assert desk.sent() == [("a", 1)]


def test_what_a_lost_worker_had_finished_is_not_done_again() -> None:
    desk = Desk()
    desk.ours("a", service=1)
    desk.job(1, 2, 3)
    desk.sent()
    desk.lose("a")
    desk.report("b")
    assert desk.sent() == [("b", "hello"), ("b", 1)]
    desk.report("a", finished=[1, 2])  # 1 is with another by now
    desk.beat("a")
    assert desk.stats("finished", "held", "backlog", "late") == (1, 1, 1, 2)
    desk.report("b", finished=[1])
    assert desk.sent() == [("b", 3)]


def test_losing_an_unknown_worker_is_nothing() -> None:
    desk = Desk()
    desk.lose("a", "")
    assert desk.stats("lost") == 0


# --- the heartbeat that crosses with a job ------------------------------------------------------------------------------------------------


def crossed(**fields: Any) -> Desk:
    """A plain worker was given job 1 at about the time at which it repeats its heartbeat."""
    desk = Desk()
    desk.beat("a")
    desk.later(999_000)
    desk.job(1, **fields)
    assert desk.sent() == [("a", 1)]
    desk.later(1_000)
    desk.beat("a")
    assert len(desk.balancer) == 0
    return desk


def test_a_job_that_may_not_be_finished_goes_to_another_when_its_worker_dies() -> None:
    desk = crossed()
    desk.lose("a")
    assert desk.stats("strikes", "finished") == (1, 0)
    desk.beat("b")
    assert desk.sent() == [("b", 1)]


def test_a_job_that_may_be_finished_is_not_repeated_when_it_must_not() -> None:
    desk = crossed(flags=0)
    desk.lose("a")
    desk.beat("b")
    assert desk.sent() == []
    assert desk.stats("finished") == 1


def test_the_next_job_inherits_the_doubt_until_a_heartbeat_finds_none() -> None:
    desk = crossed()
    desk.job(2)
    assert desk.sent() == [("a", 2)]
    desk.later(5_000)
    desk.beat("a")  # of job 1 or of job 2
    assert len(desk.balancer) == 0
    desk.lose("a")
    desk.beat("b")
    assert desk.sent() == [("b", 2)]
    desk = crossed()
    desk.job(2)
    desk.sent()
    desk.beat("a")
    desk.beat("a")
    desk.lose("a")
    desk.beat("b")
    assert desk.sent() == []


@pytest.mark.parametrize(("idle", "ran"), [(899_999, 0), (890_000, 20_001), (3_000_000, 20_001), (0, 0)])
def test_there_is_no_doubt_at_other_times(idle: int, ran: int) -> None:
    desk = Desk()
    desk.beat("a")
    desk.later(idle)
    desk.job(1)
    desk.sent()
    desk.later(ran)
    desk.beat("a")
    desk.lose("a")
    desk.beat("b")
    assert desk.sent() == []
    assert desk.stats("finished", "strikes") == (1, 0)


def test_a_doubtful_job_that_the_server_sent_again_is_not_done_twice() -> None:
    desk = crossed()
    desk.job(1)
    desk.lose("a")
    desk.beat("b", "c")
    assert desk.sent() == [("b", 1)]


# --- servers that come back ---------------------------------------------------------------------------------------------------------------


def test_what_a_server_asked_for_is_dropped_when_there_is_another_one() -> None:
    desk = Desk()
    desk.ours("a", service=1000)
    desk.beat("b")
    desk.job(1, 2, 3, sender="srv", life=1)
    assert desk.sent() == [("srv", "hello"), ("a", 1), ("b", 2)]
    desk.balancer.peer_left(b"srv", now=desk.now)
    assert desk.stats("cancelled", "backlog") == (0, 1)
    desk.job(4, sender="new", life=2)
    # Only a worker of ours is told, and only once.
    assert desk.sent() == [("new", "hello"), ("a", "over 1")]
    assert desk.stats("cancelled", "backlog", "held") == (3, 1, 2)
    desk.lose("a")
    desk.beat("b")
    assert desk.sent() == [("b", 4)]
    assert desk.stats("strikes", "redelivered", "queued_bytes") == (0, 0, 72 + 9)


def test_a_server_that_has_only_lost_its_connection_goes_on() -> None:
    desk = Desk()
    desk.job(1, sender="srv", life=1)
    desk.balancer.peer_left(b"srv", now=desk.now)
    desk.job(2, sender="srv again", life=1)
    desk.job(3, sender="other", life=2)
    assert desk.stats("cancelled", "backlog") == (0, 3)
    desk.balancer.peer_left(b"srv again", now=desk.now)
    desk.balancer.peer_left(b"nobody", now=desk.now)
    desk.job(4, sender="third", life=3)
    assert desk.stats("cancelled", "backlog") == (2, 2)


def test_workers_of_the_stage_before_that_leave_take_nothing_along() -> None:
    desk = Desk()
    desk.job(1, sender="worker", life=1, hops=2)
    desk.balancer.peer_left(b"worker", now=desk.now)
    desk.job(2, sender="other worker", life=2, hops=2)
    assert desk.stats("cancelled", "backlog") == (0, 2)


def test_a_stage_behind_is_told_that_a_server_is_gone() -> None:
    desk = Desk()
    desk.job(1, 2, sender="worker", life=1, hops=2)
    desk.job(3, sender="worker", life=2, hops=2)
    for _ in range(2):
        assert desk.balancer.submit_frames([RequestInfo(id=0, time_stamp=0, extended=True, life=1, flags=CANCEL).to_bytes()], b"worker", now=desk.now)
    assert desk.stats("cancelled", "backlog") == (2, 1)


# --- many ---------------------------------------------------------------------------------------------------------------------------------


def test_many_jobs_and_workers_come_and_go() -> None:
    desk = Desk(max_backlog=10**6)
    workers = [f"worker {number}" for number in range(3_000)]
    desk.beat(*workers)
    desk.job(*range(20_000), time_left=10**9)
    assert desk.sent() == [(worker, number) for number, worker in enumerate(workers)]
    desk.cancel(*range(0, 20_000, 3))
    assert desk.stats("held", "backlog") == (3_000, len([number for number in range(3_000, 20_000) if number % 3]))
    desk.beat(*workers)
    assert desk.sent() == [(worker, number) for worker, number in zip(workers, [n for n in range(3_000, 20_000) if n % 3], strict=False)]
    desk.lose(*workers)
    assert desk.stats("workers", "held") == (0, 0)
    desk.later(10**9)
    desk.tick()
    assert len(desk.sent()) == desk.refused()[504] == 20_000 - 2_000 - len(range(0, 20_000, 3))
    assert desk.stats("queued_bytes", "backlog") == (0, 0)
    assert desk.tick() is None


def test_what_is_left_is_freed_with_the_balancer() -> None:
    desk = Desk(choose=lambda heartbeats, _: None)
    desk.job(1, 2, 3, time_left=5)
    desk.report("a", heartbeat=b"A")
    desk.beat("b", heartbeat=b"B")
    desk.balancer.take_frames(desk.now)
    desk.balancer.take_frames(desk.now)
    desk.job(4, time_left=-1, sender="srv")
    desk.job(5)
    desk.lose("b")
    del desk
    desk = crossed()
    del desk
