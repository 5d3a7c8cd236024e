"""The balancer where things go wrong: workers that die, clients that leave, deadlines that pass, floods, and refusals of all kinds."""

import dataclasses
import struct

import pytest
from balancing import BEHIND, CANCEL, FROM_PROXY, IDEMPOTENT, LIFE, REFUSAL, RETRYABLE, STAMP, Desk, foreign, hello, info, key, report

from prime_server._ext.info import RequestInfo

# --- death --------------------------------------------------------------------------------------------------------------------------------


def test_the_oldest_job_of_a_dead_worker_takes_a_strike_and_all_that_it_held_run_alone():
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


def test_what_was_suspected_and_kills_again_is_given_to_nobody():
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


def test_of_a_worker_that_had_said_what_it_runs_nothing_else_is_suspected():
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


def test_a_stage_whose_jobs_may_be_repeated():
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


# --- servers that come back ---------------------------------------------------------------------------------------------------------------


def test_what_a_server_asked_for_is_dropped_when_there_is_another_one():
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


def test_a_server_that_has_only_lost_its_connection_goes_on():
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


def test_workers_of_the_stage_before_that_leave_take_nothing_along():
    desk = Desk()
    desk.job(1, sender="worker", life=1, hops=2)
    desk.balancer.peer_left(b"worker", now=desk.now)
    desk.job(2, sender="other worker", life=2, hops=2)
    assert desk.stats("cancelled", "backlog") == (0, 2)


def test_a_stage_behind_is_told_that_a_server_is_gone():
    desk = Desk()
    desk.job(1, 2, sender="worker", life=1, hops=2)
    desk.job(3, sender="worker", life=2, hops=2)
    for _ in range(2):
        assert desk.balancer.submit_frames([RequestInfo(id=0, time_stamp=0, extended=True, life=1, flags=CANCEL).to_bytes()], b"worker", now=desk.now)
    assert desk.stats("cancelled", "backlog") == (2, 1)


def test_the_job_that_was_reported_as_running_takes_the_strike():
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
def test_a_job_whose_worker_dies(fields, options, first, second, plain, caplog):
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


def test_a_job_with_two_strikes_is_given_to_nobody():
    desk = Desk()
    desk.beat("a")
    desk.job(1, strikes=2)
    assert desk.sent() == [("", 500, 1)]


def test_a_struck_job_says_so_at_its_next_worker():
    desk = Desk()
    desk.beat("a", "b")
    desk.job(1, attempt=3)
    desk.sent()
    desk.lose("a")
    ((_, frames),) = desk.messages()
    assert RequestInfo.from_bytes(frames[1]) == info(1, flags=IDEMPOTENT | FROM_PROXY, attempt=5, strikes=1, hops=1)


def test_what_could_not_be_sent_never_left():
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


def test_a_greeting_that_could_not_be_sent_takes_no_job_with_it():
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


def test_what_a_lost_worker_had_still_said_does_not_make_it_known_again():
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


def test_what_a_lost_worker_had_finished_is_not_done_again():
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


def test_losing_an_unknown_worker_is_nothing():
    desk = Desk()
    desk.lose("a", "")
    assert desk.stats("lost") == 0


# --- the heartbeat that crosses with a job ------------------------------------------------------------------------------------------------


def crossed(**fields) -> Desk:
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


def test_a_job_that_may_not_be_finished_goes_to_another_when_its_worker_dies():
    desk = crossed()
    desk.lose("a")
    assert desk.stats("strikes", "finished") == (1, 0)
    desk.beat("b")
    assert desk.sent() == [("b", 1)]


def test_a_job_that_may_be_finished_is_not_repeated_when_it_must_not():
    desk = crossed(flags=0)
    desk.lose("a")
    desk.beat("b")
    assert desk.sent() == []
    assert desk.stats("finished") == 1


def test_the_next_job_inherits_the_doubt_until_a_heartbeat_finds_none():
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
def test_there_is_no_doubt_at_other_times(idle, ran):
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


def test_a_doubtful_job_that_the_server_sent_again_is_not_done_twice():
    desk = crossed()
    desk.job(1)
    desk.lose("a")
    desk.beat("b", "c")
    assert desk.sent() == [("b", 1)]


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
def test_only_those_who_understand_are_told_of_a_refusal(frame, sender, told):
    desk = Desk()
    desk.beat("a")
    assert desk.balancer.submit_frames([frame, b"payload 1"], sender.encode(), now=desk.now)
    assert ("a", 1) in desk.sent()
    desk.lose("a")
    assert desk.sent() == ([told] if told else [])
    assert desk.stats("untold") == (0 if told else 1)
    assert desk.refused() == {502: 1}
    assert desk.stats("queued_bytes") == 0


def test_a_refusal_carries_the_info():
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


def test_an_upstream_peer_of_ours_is_greeted_once():
    desk = Desk()
    desk.job(1, 2, sender="one")
    desk.job(3, sender="two")
    desk.job(4)
    desk.job(5, sender="three", flags=FROM_PROXY)
    desk.foreign_job(6, sender="four")
    assert desk.sent() == [("one", "hello"), ("two", "hello")]
    desk.job(7, sender="one")
    assert desk.sent() == []


def test_a_bounded_number_of_peers_is_remembered_as_greeted():
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


def test_expired_jobs_are_refused_in_the_order_of_their_deadlines():
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


def test_an_expired_job_is_not_given_to_a_worker():
    desk = Desk()
    desk.job(1, time_left=100)
    desk.job(2, time_left=101)
    desk.later(100)
    desk.beat("a")
    assert desk.sent() == [("", 504, 1), ("a", 2)]


def test_a_job_that_comes_expired_is_refused_at_once():
    desk = Desk()
    desk.beat("a")
    desk.job(1, time_left=-1)
    desk.job(2, time_left=-(2**63))
    assert desk.sent() == [("", 504, 1), ("", 504, 2)]


def test_a_job_that_is_with_a_worker_does_not_expire_until_it_comes_back():
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


def test_a_full_backlog_refuses():
    desk = Desk(max_backlog=2)
    desk.job(1, 2, 3)
    assert desk.sent() == [("", 503, 3)]
    desk.beat("a")
    desk.job(4)
    assert desk.sent() == [("a", 1)]
    desk.job(5)
    assert desk.sent() == [("", 503, 5)]


def test_those_for_whom_an_idle_worker_is_there_do_not_wait():
    desk = Desk(max_backlog=0)
    desk.beat("a", "b")
    desk.job(1, 2, 3)
    assert desk.sent() == [("", 503, 3), ("a", 1), ("b", 2)]


def test_the_bytes_of_all_jobs_are_bounded():
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


def test_a_single_job_is_taken_however_big_it_is():
    desk = Desk(max_queued_bytes=0)
    desk.job(1, 2)
    assert desk.sent() == [("", 503, 2)]
    desk.beat("a")
    assert desk.sent() == [("a", 1)]


def test_what_can_not_make_its_deadline_is_refused_at_once():
    desk = Desk()
    desk.job(100)
    desk.beat("a")
    desk.sent()
    desk.later(1_000)
    desk.beat("a")
    desk.job(1, 2, 3, time_left=3_000)
    assert desk.stats("wait_us") == 3_000
    desk.job(4, time_left=3_999)
    desk.job(5, time_left=4_000)
    desk.job(6)
    assert desk.sent() == [("", 503, 4), ("a", 1)]
    assert desk.refused() == {503: 1}


def test_a_refusal_tells_when_all_that_is_here_will_be_done():
    desk = Desk(max_backlog=6)
    desk.ours("a", "b", window=1, service=500_000)
    desk.job(*range(9))
    refusals = [frames for where, frames in desk.messages() if where == "sessions"]
    ((info_frame,),) = refusals
    refused = RequestInfo.from_bytes(info_frame)
    assert (refused.code, refused.time_left) == (503, 8 * 500_000 // 2)


def test_what_is_pipelined_waits_behind_what_is_not_and_gives_way_to_it():
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


def test_what_is_pipelined_has_every_eighth_turn():
    desk = Desk()
    desk.job(*range(3), flags=IDEMPOTENT | BEHIND)
    desk.job(*range(100, 116))
    order = []
    for _ in range(19):
        desk.beat("a")
        order += [number for _, number in desk.sent()]
    assert order == [*range(100, 107), 0, *range(107, 114), 1, 114, 115, 2]


def test_without_workers_jobs_wait_for_the_first_one():
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


# --- cancelled and doubled ----------------------------------------------------------------------------------------------------------------


def test_a_queued_job_that_nobody_waits_for_is_dropped():
    desk = Desk()
    desk.job(1, 2, 3)
    desk.cancel(2, 2, 9)
    desk.beat("a", "b", "c")
    assert desk.sent() == [("a", 1), ("b", 3)]
    assert desk.stats("cancelled", "queued_bytes") == (1, 2 * (72 + 9))


def test_a_peer_upstream_cancels_by_an_info_alone():
    desk = Desk()
    desk.job(1, 2, sender="srv")
    for number in (1, 9):
        assert desk.balancer.submit_frames([info(number, flags=CANCEL).to_bytes()], b"srv", now=desk.now)
    assert not desk.balancer.submit_frames([info(2).to_bytes()], b"srv", now=desk.now)
    desk.beat("a", "b")
    assert desk.sent() == [("srv", "hello"), ("a", 2)]
    assert desk.stats("received", "cancelled", "malformed") == (2, 1, 1)


@pytest.mark.parametrize("end", ["finished", "returned", "lost", "unsent"])
def test_a_job_with_a_worker_that_nobody_waits_for_is_not_redelivered(end):
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
        desk.report("a", **{end: [1]})
        assert desk.sent() == [("a", 2)]
        desk.report("a", finished=[2])
    desk.beat("b")
    assert desk.sent() == ([("b", 2)] if end in ("lost", "unsent") else [])
    assert desk.stats("cancelled", "strikes", "redelivered") == (1, 0, 0)
    assert desk.refused() == {}


def test_the_same_job_again_is_dropped_as_long_as_it_is_here():
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


def test_a_job_that_its_worker_forwards_to_the_same_stage_is_not_the_same():
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


def test_a_cancelled_job_may_come_again():
    desk = Desk()
    desk.beat("a", "b")
    desk.job(1)
    desk.sent()
    desk.cancel(1)
    desk.job(1, attempt=1)
    assert desk.sent() == [("b", 1)]


def test_two_servers_without_our_extension_may_use_the_same_key():
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


# --- many ---------------------------------------------------------------------------------------------------------------------------------


def test_many_jobs_and_workers_come_and_go():
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


def test_what_is_left_is_freed_with_the_balancer():
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


def test_the_wire_of_a_report():
    """The helper writes what the module documents."""
    frame = report(flags=1, window=2, finished=[3], returned=[4], service=5, busy=6, running=7)
    assert struct.unpack("<4sBBHHHIqQQ8xQQQQ", frame) == (b"PRSR", 1, 1, 2, 1, 1, 5, 6, LIFE, key(7), LIFE, key(3), LIFE, key(4))
    assert key(3) == 3 | STAMP << 32
