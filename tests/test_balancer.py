"""The balancer by scenarios: each tells it of jobs, workers and time, and looks at what it wants to send.

What goes wrong is in test_balancer_faults.py, what holds always in test_balancer_model.py.
"""

import logging
import threading

import pytest
from balancing import FROM_PROXY, IDEMPOTENT, IDLE, LEAVING, WISHES, Desk, foreign, hello, info, report
from hypothesis import given
from hypothesis import strategies as st

from prime_server._ext.fed_balancer import FedBalancer as Balancer
from prime_server._ext.info import RequestInfo

# --- order, and whom ----------------------------------------------------------------------------------------------------------------------


def test_jobs_wait_for_a_worker_and_go_out_in_their_order():
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


def test_the_worker_that_has_been_idle_longest_is_next():
    desk = Desk()
    desk.beat("a", "b", "c")
    taken = []
    for number in range(9):
        desk.job(number)
        ((worker, _),) = desk.sent()
        taken.append(worker)
        desk.beat(worker)
    assert "".join(taken) == "abcabcabc"


def test_a_repeated_heartbeat_of_an_idle_worker_changes_nothing():
    desk = Desk()
    desk.beat("a", "b")
    desk.later(1_000_000)
    desk.beat("a")
    desk.job(1)
    assert desk.sent() == [("a", 1)]


def test_a_plain_worker_holds_one_job():
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
def test_a_worker_holds_as_much_as_the_service_time_allows(service, window, options, held):
    desk = Desk(**options)
    desk.ours("a", window=window, service=service)
    desk.job(*range(100))
    assert desk.sent() == [("a", number) for number in range(held)]


def test_without_a_service_time_a_worker_holds_one_job():
    desk = Desk()
    desk.ours("a")
    desk.job(1, 2)
    assert desk.sent() == [("a", 1)]


def test_the_service_time_follows_what_workers_report():
    desk = Desk()
    desk.ours("a", service=1)
    assert desk.stats("window") == 64
    desk.report("a", finished=[10**6], service=200_000)
    assert desk.stats("window") == 1
    for _ in range(100):
        desk.report("a", finished=[10**6], service=10)
    assert desk.stats("window") == 24


def test_jobs_spread_over_the_least_loaded_workers():
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


def test_tiny_jobs_fill_a_worker_that_is_awake_before_the_next_is_woken():
    desk = Desk()
    desk.ours("a", "b", "c", service=30)
    desk.job(*range(7))
    desk.job(7, flags=0)
    assert desk.sent() == [*(("a", number) for number in range(5)), ("b", 5), ("b", 6), ("c", 7)]


@pytest.mark.parametrize("change", ["later", "window", "service", "flags"])
def test_they_wake_the_next_where_they_would_wait_too_long(change):
    desk = Desk()
    desk.ours("a", "b", window=1 if change == "window" else 64, service=76 if change == "service" else 30)
    desk.job(1)
    assert desk.sent() == [("a", 1)]
    desk.later(151 if change == "later" else 150)
    desk.job(2, flags=0 if change == "flags" else IDEMPOTENT)
    assert desk.sent() == [("b", 2)]


def test_nothing_is_put_behind_a_job_that_takes_long():
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


def test_nothing_is_put_behind_a_job_that_its_worker_says_takes_long():
    desk = Desk()
    desk.ours("a", service=1)
    desk.job(1)
    desk.sent()
    desk.report("a", window=64, flags=0, busy=3_000, running=1)
    desk.job(2)
    assert desk.sent() == []


@pytest.mark.parametrize("fields", [{"flags": 0}, {"strikes": 1}])
def test_a_job_that_may_not_wait_behind_others_stops_those_behind_it(fields):
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


def test_a_job_without_our_extension_may_not_be_repeated_and_so_needs_an_idle_worker():
    desk = Desk()
    desk.ours("a", service=1)
    desk.job(1)
    desk.foreign_job(2)
    assert desk.sent() == [("a", 1)]


# --- what a worker of ours says -----------------------------------------------------------------------------------------------------------


def test_a_worker_of_ours_is_greeted_once_and_before_its_first_job():
    desk = Desk()
    desk.job(1)
    desk.report("a")
    assert desk.sent() == [("a", "hello"), ("a", 1)]
    desk.report("a", finished=[1])
    desk.job(2)
    assert desk.sent() == [("a", 2)]


def test_an_idle_flag_finishes_nothing_as_it_may_have_crossed_with_a_job():
    desk = Desk()
    desk.ours("a")
    desk.job(1, 2)
    assert desk.sent() == [("a", 1)]
    desk.report("a")
    desk.beat("a")
    assert desk.sent() == []
    assert desk.stats("held") == 1


def test_a_worker_that_was_plain_may_turn_out_to_be_ours():
    desk = Desk()
    desk.beat("a")
    desk.job(1, 2)
    assert desk.sent() == [("a", 1)]
    desk.report("a", window=4, flags=0, busy=1, running=1)
    assert desk.sent() == [("a", "hello")]
    desk.report("a", window=4, finished=[1], service=1)
    assert desk.sent() == [("a", 2)]


def test_keys_that_its_worker_does_not_hold_are_counted():
    desk = Desk()
    desk.ours("a", "b")
    desk.job(1, 2)
    assert desk.sent() == [("a", 1), ("b", 2)]
    desk.report("a", finished=[2, 3], returned=[2, 4])
    desk.report("a", finished=[1], life=5)
    assert desk.stats("unknown", "held", "finished", "returned") == (5, 2, 0, 0)
    desk.report("a", finished=[1, 1])
    assert desk.stats("unknown", "held", "finished") == (6, 1, 1)


def test_what_is_handed_back_goes_to_others_at_once_and_before_the_rest():
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


def test_finished_and_handed_back_in_one_report():
    desk = Desk()
    desk.ours("a", service=1)
    desk.job(1, 2, 3)
    desk.sent()
    desk.report("a", finished=[1, 2], returned=[3])
    assert desk.stats("finished", "returned", "held", "backlog") == (2, 1, 0, 1)
    assert desk.sent() == [("a", 3)]


def test_a_worker_that_runs_a_job_of_an_earlier_life_is_not_idle():
    desk = Desk()
    desk.job(1)
    desk.report("a", flags=0, busy=5_000, running=99)
    assert desk.sent() == [("a", "hello")]
    desk.report("a", flags=IDLE, finished=[99])
    assert desk.sent() == [("a", 1)]


def test_a_worker_that_leaves_gets_nothing_more_and_is_told_so():
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


def test_a_worker_that_wishes_to_leave_is_let_go_when_others_stay():
    desk = Desk()
    desk.ours("a", "b")
    desk.report("a", flags=IDLE | WISHES)
    assert desk.sent() == [("a", "stay")]
    desk.tick()
    assert desk.sent() == [("a", "go")]
    desk.report("b", flags=IDLE | WISHES)
    desk.tick()
    assert desk.sent() == [("b", "stay"), ("b", "go")]  # nothing has come for long


def test_while_jobs_wait_the_others_may_be_about_to_leave_too():
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


def test_the_last_worker_stays_while_there_is_something_to_do():
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


def test_what_was_on_its_way_to_a_worker_that_left_has_not_begun():
    desk = Desk()
    desk.ours("a")
    desk.job(1, flags=0)
    desk.sent()
    desk.report("a", flags=LEAVING)
    desk.lose("a")
    assert desk.refused() == {}
    desk.beat("b")
    assert desk.sent()[-1] == ("b", 1)


# --- choose -------------------------------------------------------------------------------------------------------------------------------


def by_letter(heartbeats, frames):
    """Jobs whose payload ends with an even digit to workers A, others to B."""
    wanted = b"A" if bytes(frames[0])[-1] % 2 == 0 else b"B"
    return heartbeats.index(wanted) if wanted in heartbeats else None


def test_choose_picks_an_idle_worker():
    desk = Desk(choose=by_letter)
    desk.beat("a1", "a2", heartbeat=b"A")
    desk.beat("b1", heartbeat=b"B")
    desk.job(1, 2, 3, 4, 6)
    assert desk.sent() == [("b1", 1), ("a1", 2), ("a2", 4)]
    desk.beat("b1", heartbeat=b"B")
    assert desk.sent() == [("b1", 3)]
    desk.beat("a2", heartbeat=b"A")
    assert desk.sent() == [("a2", 6)]


def test_with_choose_no_worker_gets_a_window():
    desk = Desk(choose=by_letter)
    desk.ours("a", service=1)
    desk.report("a", heartbeat=b"A", window=64)
    desk.job(2, 4)
    assert desk.sent() == [("a", 2)]


def test_choose_sees_the_heartbeats_in_order_and_the_payload():
    seen = []
    desk = Desk(choose=lambda heartbeats, frames: seen.append((heartbeats, [bytes(frame) for frame in frames])))
    desk.beat("a", heartbeat=b"one")
    desk.beat("b")
    desk.balancer.submit_frames([info(1).to_bytes(), b"payload 1", b"", b"z" * 5000], now=desk.now)
    assert desk.sent() == []
    assert seen == [([b"one", b""], [b"payload 1", b"", b"z" * 5000])]


def test_a_declined_job_is_asked_about_again():
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


def test_declined_jobs_keep_their_place_expire_and_are_cancelled():
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


def test_choose_looks_ahead_of_the_declined_jobs_so_far_and_no_further():
    calls = []

    def choose(heartbeats, frames):
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
def test_a_choose_that_fails_is_logged_and_the_first_worker_taken(answer, caplog):
    def choose(heartbeats, frames):
        if isinstance(answer, Exception):
            raise answer
        return answer

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


def test_an_interrupt_of_the_keyboard_is_for_others():
    def choose(heartbeats, frames):
        raise KeyboardInterrupt

    desk = Desk(choose=choose)
    desk.beat("a")
    desk.job(1)

    def take_and_wait():
        desk.balancer.take_frames(desk.now)
        threading.Event().wait(10)

    with pytest.raises(KeyboardInterrupt):
        take_and_wait()
    assert desk.stats("held") == 1


def test_choose_can_not_use_its_own_balancer():
    desk = Desk(choose=lambda *_: desk.balancer.stats() and desk.job(2))
    desk.beat("a")
    desk.job(1)
    assert desk.sent() == [("a", 1)]
    desk.job(2)


def test_numbers_that_are_indices_do(caplog):
    desk = Desk(choose=lambda heartbeats, _: True)
    desk.beat("a", "b")
    desk.job(1)
    assert desk.sent() == [("b", 1)]
    assert not caplog.records


# --- the info at each hop -----------------------------------------------------------------------------------------------------------------


def hop(frames: list[bytes], waits: int, sender: bytes = b"") -> list[bytes]:
    balancer = Balancer()
    balancer.submit_frames(frames, sender, now=1_000)
    balancer.heard_frames([b"w", b""], now=1_000 + waits)
    messages = list(iter(lambda: balancer.take_frames(1_000 + waits), None))
    ((_, sent),) = [message for message in messages if message[0] == "worker"]
    assert sent.pop(0) == b"w"
    return sent


@pytest.mark.parametrize("sender", [b"", b"srv"])
@pytest.mark.parametrize(
    ("before", "waits", "after"),
    [
        ({}, 0, {}),
        ({"time_left": 100}, 99, {"time_left": 1, "queued": 99}),
        ({"time_left": 2**62}, 5, {"time_left": 2**62 - 5, "queued": 5}),
        ({"queued": 2**32 - 5}, 100, {"queued": 2**32 - 1}),
        ({"queued": 10}, -100, {"queued": 10}),
        ({"attempt": 255, "strikes": 1}, 0, {"attempt": 255}),
        ({"hops": 65535}, 0, {"hops": 65535}),
        ({"flags": 0x7F}, 0, {"flags": 0xFF}),
        ({"sequence": 3, "served": 4, "trace": b"0123456789abcdef"}, 1, {"queued": 1}),
        ({"version": 0, "keep_alive": True, "close": True, "code": 1023}, 0, {}),
    ],
)
def test_an_info_is_rewritten(before, waits, after, sender):
    (sent, payload) = hop([info(1, **before).to_bytes(), b"p"], waits, sender)
    expected = {"attempt": 1, "hops": 1, "flags": IDEMPOTENT | FROM_PROXY} | {name: value for name, value in before.items() if name != "flags"}
    assert RequestInfo.from_bytes(sent) == info(1, **(expected | {"attempt": before.get("attempt", 0) + 1, "hops": 1} | after))
    assert payload == b"p"


def test_of_a_later_version_the_rest_is_passed_on():
    later = bytearray(info(1).to_bytes() + b"what we don't know")
    later[12 + 4] = 2
    later[12 + 5] = len(later) - 12
    (sent, _) = hop([bytes(later), b"p"], 5)
    assert len(sent) == len(later)
    assert sent[72:] == b"what we don't know"
    assert sent[12:18] == later[12:18]
    assert RequestInfo.from_bytes(sent) == info(1, flags=IDEMPOTENT | FROM_PROXY, attempt=1, hops=1, queued=5)


@pytest.mark.parametrize("frame", [b"12345678", b"123456789ab", b"123456789abc", b"123456789abcdefghijklmnopq"])
def test_an_info_that_is_not_ours_is_passed_on_byte_for_byte(frame):
    assert hop([frame, b"p"], 5) == [frame, b"p"]


@pytest.mark.parametrize("payload", [[b""], [b"", b"", b"x"], [b"x" * size for size in (32, 33, 34, 4096, 4097, 70_000)], [b"y"] * 254])
@pytest.mark.parametrize("sender", [b"", b"srv"])
def test_the_payload_is_passed_on_byte_for_byte(payload, sender):
    assert hop([info(1).to_bytes(), *payload], 5, sender)[1:] == payload


# --- malformed ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b""],
        [info(1).to_bytes()],
        [b"1234567", b"payload"],
        [b"", b"payload"],
        [info(1).to_bytes()[:40], b"payload"],
        [bytes(1025), b"payload"],
        [info(1).to_bytes(), *[b"x"] * 255],
        [info(1).to_bytes(), *[b"x"] * 300],
    ],
)
def test_malformed_jobs_are_dropped(frames):
    desk = Desk()
    desk.beat("a")
    assert not desk.balancer.submit_frames(frames, b"srv", now=desk.now)
    assert desk.sent() == []
    assert desk.stats("malformed", "received", "backlog", "queued_bytes") == (1, 0, 0, 0)


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b"a"],
        [b"a" * 256, b""],
        [b"a", b"x" * 4097],
        [b"a", b"", b""],
        [b"a", b"", report()[:-1]],
        [b"a", b"", report(finished=[1, 2])[:-1]],
        [b"a", b"", report(finished=range(257))],
        [b"a", b"", b"x" + report()[1:]],
        [b"a", b"", report(), b""],
        [b"a", b"", hello(5)],
    ],
)
def test_malformed_messages_of_workers_are_dropped(frames):
    desk = Desk()
    assert not desk.balancer.heard_frames(frames, now=desk.now)
    desk.job(1)
    assert desk.sent() == []
    assert desk.stats("malformed", "workers") == (1, 0)


@given(st.data())
def test_any_frames_are_taken_or_refused(data):
    """Whatever comes, the next job is done and nothing is left."""
    balancer = Balancer()
    junk = st.binary(max_size=80) | st.sampled_from([b"a", b"b", info(1).to_bytes(), foreign(1), report(), report(finished=[1], returned=[2])])
    for now in range(data.draw(st.integers(1, 8))):
        tell = data.draw(st.sampled_from([balancer.submit_frames, balancer.heard_frames, balancer.unsent_frames]))
        assert tell(data.draw(st.lists(junk, max_size=5)), now=now) in (True, False, None)
        while message := balancer.take_frames(now):
            assert message[1]
    balancer.lost_worker(b"done", now=100_000)
    balancer.heard_frames([b"done", b""], now=200_000)
    for now in range(200_000, 200_100):
        while message := balancer.take_frames(now):
            if message[0] == "worker" and message[1][0] != b"done":
                balancer.lost_worker(message[1][0], now=now)
        balancer.heard_frames([b"done", b""], now=now)
    assert balancer.stats()["backlog"] == 0


def test_frames_as_large_as_they_may_be():
    desk = Desk()
    assert desk.balancer.submit_frames([info(1).to_bytes(), *[b"x"] * 254], b"s" * 255, now=desk.now)
    assert desk.balancer.heard_frames([b"a" * 255, b"x" * 4096, report(finished=range(200), returned=range(56))], now=desk.now)
    messages = desk.messages()
    assert [len(frames) for _, frames in messages] == [2, 2, 256]
    assert desk.stats("unknown") == 256


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
def test_wrong_options(options, error, says):
    with pytest.raises(error, match=says):
        Balancer(**options)


def test_two_balancers_have_two_lives():
    assert Balancer().life != Balancer().life
    assert Balancer(life=3).life == 3
    assert Balancer().choose is None
    assert Balancer(choose=by_letter).choose is by_letter


