"""The balancer by scenarios: each tells it of jobs, workers and time, and looks at what it wants to send.

What goes wrong is in test_balancer_faults.py, what is refused in test_balancer_refusals.py, what holds always in test_balancer_model.py.
"""

from typing import Any

import pytest
from balancing import IDEMPOTENT, IDLE, LEAVING, WISHES, Desk

from prime_server._ext.fed_balancer import FedBalancer as Balancer
from prime_server._ext.libzmq import Frame

# --- order, and whom ----------------------------------------------------------------------------------------------------------------------


def test_jobs_wait_for_a_worker_and_go_out_in_their_order() -> None:
    desk = Desk()
    desk.job(1, 2, 3)
    assert desk.sent() == []
    desk.beat("a", "b")
    assert desk.sent() == [("a", 1), ("b", 2)]
    desk.beat("b")
    assert desk.sent() == [("b", 3)]
    assert len(desk.balancer) == 2
    desk.beat("a", "b")
    assert len(desk.balancer) == 0
    assert desk.stats("received", "dispatched", "finished", "workers", "idle") == (3, 3, 3, 2, 2)


def test_the_worker_that_has_been_idle_longest_is_next() -> None:
    desk = Desk()
    desk.beat("a", "b", "c")
    taken = []
    for number in range(9):
        desk.job(number)
        ((worker, _),) = desk.sent()
        taken.append(worker)
        desk.beat(worker)
    assert "".join(taken) == "abcabcabc"


def test_a_repeated_heartbeat_of_an_idle_worker_changes_nothing() -> None:
    desk = Desk()
    desk.beat("a", "b")
    desk.later(1_000_000)
    desk.beat("a")
    desk.job(1)
    assert desk.sent() == [("a", 1)]


def test_a_plain_worker_holds_one_job() -> None:
    desk = Desk()
    desk.ours("ours", service=1)
    desk.balancer.lost_worker(b"ours", now=desk.now)
    desk.beat("a")
    desk.job(1, 2)
    assert desk.sent() == [("a", 1)]


# --- windows ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "window", "options", "held"),
    [
        (0, 64, {}, 64),
        (1, 64, {}, 64),
        (1, 1000, {}, 64),
        (1, 8, {}, 8),
        (1, 1, {}, 1),
        (1, 0, {}, 1),
        (4, 64, {}, 62),
        (10, 64, {}, 25),
        (124, 64, {}, 2),
        (126, 64, {}, 1),
        (1000, 64, {}, 1),
        (2**32 - 1, 64, {}, 1),
        (1, 64, {"max_window": 5}, 5),
        (1, 64, {"max_window": 1}, 1),
        (1, 64, {"window_us": 0}, 1),
        (0, 64, {"window_us": 0}, 1),
        (100, 64, {"window_us": 1000}, 10),
    ],
)
def test_a_worker_holds_as_much_as_the_service_time_allows(service: Any, window: Any, options: dict[str, Any], held: Any) -> None:
    desk = Desk(**options)
    desk.ours("a", window=window, service=service)
    desk.job(*range(100))
    assert desk.sent() == [("a", number) for number in range(held)]


def test_without_a_service_time_a_worker_holds_one_job() -> None:
    desk = Desk()
    desk.ours("a")
    desk.job(1, 2)
    assert desk.sent() == [("a", 1)]


def test_the_service_time_follows_what_workers_report() -> None:
    desk = Desk()
    desk.ours("a", service=1)
    assert desk.stats("window") == 64
    desk.report("a", finished=[10**6], service=200_000)
    assert desk.stats("window") == 1
    for _ in range(100):
        desk.report("a", finished=[10**6], service=10)
    assert desk.stats("window") == 24


def test_jobs_spread_over_the_least_loaded_workers() -> None:
    desk = Desk()
    desk.ours("a", "b", service=80)
    desk.job(*range(6))
    assert desk.sent() == [("a", 0), ("b", 1), ("a", 2), ("b", 3), ("a", 4), ("b", 5)]
    desk.report("b", window=64, flags=0, finished=[1, 3])
    desk.job(7)
    assert desk.sent() == [("b", 7)]
    desk.ours("c")
    desk.job(8)
    assert desk.sent() == [("c", 8)]


def test_tiny_jobs_fill_a_worker_that_is_awake_before_the_next_is_woken() -> None:
    desk = Desk()
    desk.ours("a", "b", "c", service=30)
    desk.job(*range(7))
    desk.job(7, flags=0)
    assert desk.sent() == [*(("a", number) for number in range(5)), ("b", 5), ("b", 6), ("c", 7)]


@pytest.mark.parametrize("change", ["later", "window", "service", "flags"])
def test_they_wake_the_next_where_they_would_wait_too_long(change: str) -> None:
    desk = Desk()
    desk.ours("a", "b", window=1 if change == "window" else 64, service=76 if change == "service" else 30)
    desk.job(1)
    assert desk.sent() == [("a", 1)]
    desk.later(151 if change == "later" else 150)
    desk.job(2, flags=0 if change == "flags" else IDEMPOTENT)
    assert desk.sent() == [("b", 2)]


def test_nothing_is_put_behind_a_job_that_takes_long() -> None:
    desk = Desk()
    desk.ours("a", service=1)
    desk.job(1)
    desk.sent()
    desk.later(1_000)
    desk.job(2)
    assert desk.sent() == [("a", 2)]
    desk.later(1)
    desk.job(3)
    assert desk.sent() == []
    desk.report("a", window=64, flags=0, finished=[1], service=1)
    assert desk.sent() == [("a", 3)]


def test_nothing_is_put_behind_a_job_that_its_worker_says_takes_long() -> None:
    desk = Desk()
    desk.ours("a", service=1)
    desk.job(1)
    desk.sent()
    desk.report("a", window=64, flags=0, busy=3_000, running=1)
    desk.job(2)
    assert desk.sent() == []


@pytest.mark.parametrize("fields", [{"flags": 0}, {"strikes": 1}])
def test_a_job_that_may_not_wait_behind_others_stops_those_behind_it(fields: Any) -> None:
    desk = Desk()
    desk.ours("a", service=1)
    desk.job(1)
    desk.job(2, **fields)
    desk.job(3)
    assert desk.sent() == [("a", 1)]
    desk.report("a", window=64, finished=[1], service=1)
    # What has killed a worker runs alone.
    assert desk.sent() == ([("a", 2)] if "strikes" in fields else [("a", 2), ("a", 3)])
    desk.report("a", window=64, flags=0, finished=[2], service=1)
    assert desk.sent() == ([("a", 3)] if "strikes" in fields else [])


def test_a_job_without_our_extension_may_not_be_repeated_and_so_needs_an_idle_worker() -> None:
    desk = Desk()
    desk.ours("a", service=1)
    desk.job(1)
    desk.foreign_job(2)
    assert desk.sent() == [("a", 1)]


# --- what a worker of ours says -----------------------------------------------------------------------------------------------------------


def test_a_worker_of_ours_is_greeted_once_and_before_its_first_job() -> None:
    desk = Desk()
    desk.job(1)
    desk.report("a")
    assert desk.sent() == [("a", "hello"), ("a", 1)]
    desk.report("a", finished=[1])
    desk.job(2)
    assert desk.sent() == [("a", 2)]


def test_an_idle_flag_finishes_nothing_as_it_may_have_crossed_with_a_job() -> None:
    desk = Desk()
    desk.ours("a")
    desk.job(1, 2)
    assert desk.sent() == [("a", 1)]
    desk.report("a")
    desk.beat("a")
    assert desk.sent() == []
    assert desk.stats("held") == 1


def test_a_worker_that_was_plain_may_turn_out_to_be_ours() -> None:
    desk = Desk()
    desk.beat("a")
    desk.job(1, 2)
    assert desk.sent() == [("a", 1)]
    desk.report("a", window=4, flags=0, busy=1, running=1)
    assert desk.sent() == [("a", "hello")]
    desk.report("a", window=4, finished=[1], service=1)
    assert desk.sent() == [("a", 2)]


def test_keys_that_its_worker_does_not_hold_are_counted() -> None:
    desk = Desk()
    desk.ours("a", "b")
    desk.job(1, 2)
    assert desk.sent() == [("a", 1), ("b", 2)]
    desk.report("a", finished=[2, 3], returned=[2, 4])
    desk.report("a", finished=[1], life=5)
    assert desk.stats("unknown", "held", "finished", "returned") == (5, 2, 0, 0)
    desk.report("a", finished=[1, 1])
    assert desk.stats("unknown", "held", "finished") == (6, 1, 1)


def test_what_is_handed_back_goes_to_others_at_once_and_before_the_rest() -> None:
    desk = Desk()
    desk.ours("a", service=1)
    desk.job(1, 2, 3, 4)
    assert desk.sent() == [("a", 1), ("a", 2), ("a", 3), ("a", 4)]
    desk.later(2_000)
    desk.job(5)
    assert desk.sent() == []
    desk.report("a", window=1, flags=0, busy=2_000, running=1, returned=[2, 3, 4])
    assert desk.sent() == []  # not to the one that handed them back
    desk.report("b", window=64)
    desk.report("c", window=1)
    assert desk.sent() == [("b", "hello"), ("c", "hello"), ("b", 2), ("c", 3), ("b", 4), ("b", 5)]
    assert desk.stats("returned", "redelivered", "strikes", "held") == (3, 0, 0, 5)


def test_finished_and_handed_back_in_one_report() -> None:
    desk = Desk()
    desk.ours("a", service=1)
    desk.job(1, 2, 3)
    desk.sent()
    desk.report("a", finished=[1, 2], returned=[3])
    assert desk.stats("finished", "returned", "held", "backlog") == (2, 1, 0, 1)
    assert desk.sent() == [("a", 3)]


def test_a_worker_that_runs_a_job_of_an_earlier_life_is_not_idle() -> None:
    desk = Desk()
    desk.job(1)
    desk.report("a", flags=0, busy=5_000, running=99)
    assert desk.sent() == [("a", "hello")]
    desk.report("a", flags=IDLE, finished=[99])
    assert desk.sent() == [("a", 1)]


def test_a_worker_that_leaves_gets_nothing_more_and_is_told_so() -> None:
    desk = Desk()
    desk.ours("a", service=1)
    desk.job(1, 2, 3)
    assert len(desk.sent()) == 3
    desk.report("a", flags=LEAVING, finished=[1], returned=[2])
    assert desk.sent() == [("a", "hello")]
    assert desk.stats("workers", "held", "backlog") == (1, 1, 1)
    desk.report("a", flags=LEAVING, returned=[3])
    assert desk.sent() == []
    assert desk.stats("workers", "held", "backlog") == (0, 0, 2)
    # It is forgotten, and what it still says doesn't make it known again.
    desk.report("a", flags=LEAVING)
    assert desk.sent() == [("a", "hello")]
    desk.lose("a")
    assert desk.stats("workers", "late", "lost", "backlog") == (0, 1, 0, 2)


def test_a_worker_that_wishes_to_leave_is_let_go_when_others_stay() -> None:
    desk = Desk()
    desk.ours("a", "b")
    desk.report("a", flags=IDLE | WISHES)
    assert desk.sent() == [("a", "stay")]
    desk.tick()
    assert desk.sent() == [("a", "go")]
    desk.report("b", flags=IDLE | WISHES)
    desk.tick()
    assert desk.sent() == [("b", "stay"), ("b", "go")]  # nothing has come for long


def test_while_jobs_wait_the_others_may_be_about_to_leave_too() -> None:
    desk = Desk()
    desk.ours("a", "b")
    desk.job(1, 2, 3)
    assert len(desk.sent()) == 2
    desk.report("a", flags=WISHES)
    desk.tick()
    assert desk.sent() == [("a", "stay")]
    desk.later(250_000)
    desk.tick()
    assert desk.sent() == [("a", "go")]


def test_the_last_worker_stays_while_there_is_something_to_do() -> None:
    desk = Desk()
    desk.ours("a")
    desk.job(1, 2)
    assert desk.sent() == [("a", 1)]
    desk.report("a", flags=WISHES)
    desk.later(1_000_000)
    desk.tick()
    assert desk.sent() == [("a", "stay")]
    desk.report("a", flags=IDLE | WISHES, finished=[1])
    assert desk.sent() == [("a", 2)]
    desk.report("a", flags=IDLE | WISHES, finished=[2])
    desk.tick()
    assert desk.sent() == []
    desk.later(500_000)
    desk.tick()
    assert desk.sent() == [("a", "go")]


def test_what_was_on_its_way_to_a_worker_that_left_has_not_begun() -> None:
    desk = Desk()
    desk.ours("a")
    desk.job(1, flags=0)
    desk.sent()
    desk.report("a", flags=LEAVING)
    desk.lose("a")
    assert desk.refused() == {}
    desk.beat("b")
    assert desk.sent()[-1] == ("b", 1)


# --- options ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"max_backlog": -1}, ValueError, "max_backlog"),
        ({"max_queued_bytes": -1}, ValueError, "max_queued_bytes"),
        ({"max_attempts": 0}, ValueError, "max_attempts"),
        ({"max_window": 0}, ValueError, "1 to 64"),
        ({"max_window": 65}, ValueError, "not 65"),
        ({"window_us": -1}, ValueError, "window_us"),
        ({"choose": 1}, TypeError, "choose"),
        ({"life": 2**64}, ValueError, "64 bits"),
        ({"nonsense": 1}, TypeError, "nonsense"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        Balancer(**options)


def first_of(heartbeats: list[bytes], frames: list[Frame]) -> int:
    return 0


def test_two_balancers_have_two_lives() -> None:
    assert Balancer().life != Balancer().life
    assert Balancer(life=3).life == 3
    assert Balancer().choose is None
    assert Balancer(choose=first_of).choose is first_of
