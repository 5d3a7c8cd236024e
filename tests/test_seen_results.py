"""Jobs that are finished by their result: the hub that hosts server and proxies sees it, and the worker says no more of them."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from balancing import LEAVING, Desk, info
from stage_standin import GET, LIFE, PATIENCE, StandIn, key, received
from standins import ask

from prime_server import Job, Response, Threads
from prime_server._ext.info import RequestInfo

FINISHED = 0x1000

# --- the proxy --------------------------------------------------------------------------------------------------------------------------


def seen(desk: Desk, number: int, **fields: int) -> bool:
    return desk.balancer.done_by(info(number, **{"hops": 1, "attempt": 1, **fields}).to_bytes(), now=desk.now)


def test_a_job_is_done_by_its_own_attempt_and_hop_alone() -> None:
    desk = Desk()
    desk.ours("a")
    desk.job(1)
    assert desk.sent() == [("a", 1)]
    assert not seen(desk, 2)
    assert not seen(desk, 1, life=5)
    assert not seen(desk, 1, attempt=2)
    assert not seen(desk, 1, hops=3)
    assert desk.stats("held", "finished") == (1, 0)
    assert seen(desk, 1)
    assert not seen(desk, 1)
    assert desk.stats("held", "finished", "idle") == (0, 1, 1)


def test_a_late_result_of_a_lost_worker_saves_the_second_run_until_it_has_begun() -> None:
    desk = Desk()
    desk.ours("a")
    desk.job(1, 2)
    desk.report("a", window=2, running=1, busy=100)
    assert desk.sent() == [("a", 1)]
    desk.lose("a")
    assert desk.stats("backlog") == 2
    desk.ours_again("b")
    assert desk.sent() == [("b", 1)]
    assert not seen(desk, 1)  # the first worker's: the second one goes on
    assert desk.stats("held") == 1
    assert seen(desk, 1, attempt=2)
    assert desk.sent() == [("b", 2)]
    desk.lose("b")
    assert seen(desk, 2)
    desk.ours_again("c")
    assert desk.sent() == []
    assert desk.stats("finished", "backlog", "held", "queued_bytes") == (2, 0, 0, 0)


def test_the_originals_workers_tell_by_themselves() -> None:
    desk = Desk()
    desk.beat("a")
    desk.job(1, 2)
    assert desk.sent() == [("a", 1)]
    assert not seen(desk, 1)
    assert desk.sent() == []
    desk.beat("a")
    assert desk.sent() == [("a", 2)]


def test_the_service_time_is_learnt_from_what_is_seen() -> None:
    desk = Desk()
    desk.ours("a")
    desk.report("a", window=64)
    desk.job(1, served=1_000)
    desk.job(2, 3, 4)
    assert desk.sent() == [("a", 1)]
    assert seen(desk, 1, served=1_100)  # 100 us of it here: two may be held
    assert desk.stats("service_us", "window") == (100, 2)
    assert desk.sent() == [("a", 2), ("a", 3)]


def test_what_was_seen_may_be_named_again_by_a_worker_that_leaves() -> None:
    desk = Desk()
    desk.ours("a", window=4, service=1)
    desk.job(1, 2, 3)
    assert desk.sent() == [("a", 1), ("a", 2), ("a", 3)]
    assert seen(desk, 1)
    desk.report("a", flags=LEAVING, finished=[1, 2], returned=[3])
    assert desk.sent() == [("a", "hello")]
    assert desk.stats("unknown", "workers", "backlog") == (1, 0, 1)  # the one by which the service time became known


def test_a_worker_that_leaves_is_forgotten_with_its_last_result() -> None:
    desk = Desk()
    desk.ours("a")
    desk.job(1)
    desk.sent()
    desk.report("a", flags=LEAVING)
    assert desk.stats("workers") == 1
    assert seen(desk, 1)
    assert desk.stats("workers", "finished") == (0, 1)


def test_an_idle_worker_is_believed_in_the_end() -> None:
    """The result that would have ended the job was lost."""
    desk = Desk()
    desk.ours("a")
    desk.job(1, 2)
    assert desk.sent() == [("a", 1)]
    for _ in range(4):
        desk.later(1_000_000)
        desk.report("a")
        assert desk.sent() == []
    desk.later(1_000_000)
    desk.report("a", flags=0, busy=1_000, running=1)  # it does work
    assert desk.sent() == []
    desk.report("a")
    assert desk.sent() == [("a", 2)]


# --- the worker -------------------------------------------------------------------------------------------------------------------------


def ok(job: Job) -> Response:
    return Response(200)


def test_a_worker_reports_nothing_that_its_hub_sees() -> None:
    """What runs long by accident is reported."""
    around = StandIn()
    flagged, reported = set(), set()
    with around.worker(ok, window=1) as worker:
        around.hello(LIFE)
        for number in range(1, 101):
            around.job(number)
            result = around.result().info
            assert result.id == number
            if result.flags & FINISHED:
                flagged.add(key(number))
            else:
                reported |= {name for report in around.reports_until(finished=1) for name in report.finished}
        assert flagged
        assert flagged | reported == {key(number) for number in range(1, 101)}
        assert not flagged & reported
        worker.stop()
        last = around.report()
        while not last.flags & LEAVING:
            last = around.report()
        around.hello(LIFE)
        assert set(last.finished) == set(sorted(flagged)[-64:])  # for the proxy to be sure
    around.close()


def slow(job: Job) -> Response:
    time.sleep(0.3)  # the guardian tells that it is busy meanwhile
    return Response(200)


def favours(job: Job) -> Response:
    job.heartbeat = b"%d" % job.info.id
    return Response(200)


@pytest.mark.parametrize(
    ("work", "options", "life"),
    [(ok, {}, LIFE + 1), (ok, {}, 0), (ok, {"cleanup": dict}, LIFE), (slow, {}, LIFE), (favours, {}, LIFE)],
    ids=["another life", "none", "cleanup", "long", "heartbeat"],
)
def test_a_worker_reports_what_its_hub_does_not_see(work: Callable[[Job], Any], options: dict[str, Any], life: int) -> None:
    around = StandIn()
    with around.worker(work, window=1, **options):
        around.hello(life)
        for number in (1, 2):
            around.job(number, life=LIFE if life else 0)
            assert not around.result().info.flags & FINISHED
            reports = around.reports_until(finished=1)
            assert reports[-1].finished == [key(number)]
            if work is favours:
                assert reports[-1].heartbeat == b"%d" % number
    around.close()


def test_what_goes_to_a_next_stage_is_seen_once_its_proxy_is_known_to_be_the_hubs() -> None:
    around = StandIn(stages=True)
    with around.worker(lambda job: job.forward(b"on"), window=1):
        around.hello(LIFE)
        around.job(1)
        peer, forwarded, _ = received(around.stages["only"])
        assert not RequestInfo.from_bytes(forwarded).flags & FINISHED
        assert around.reports_until(finished=1)[-1].finished == [key(1)]
        around.stages["only"].send_multipart([peer, struct.pack("<4sIQ", b"PRSH", 1, LIFE)])
        deadline = time.monotonic() + PATIENCE / 1000
        number = 1
        while not RequestInfo.from_bytes(forwarded).flags & FINISHED:
            assert time.monotonic() < deadline
            number += 1
            around.job(number, GET, flags=FINISHED)  # of the worker before: it says nothing of this one
            _, forwarded, _ = received(around.stages["only"])
    around.close()


# --- all of it --------------------------------------------------------------------------------------------------------------------------


def test_a_pipeline_learns_all_from_its_results() -> None:
    """Two stages on threads, and what some of the jobs hand on, return and raise: nothing stays held, and nothing is in doubt."""

    def parse(job: Job) -> Any:
        number = int(job.request.query["n"][0])
        if number % 10 == 0:
            raise ValueError("a tenth of them")
        return Response(200, "early") if number % 10 == 1 else job.forward(b"%d" % number)

    def compute(job: Job) -> Response:
        return Response(200, bytes(job.frames[0]))

    with Threads("tcp://127.0.0.1:0", [parse, compute], workers=[2, 3]) as pipeline:
        host, port = pipeline.endpoint.removeprefix("tcp://").split(":")
        asked = [b"GET /?n=%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(50)]
        answers: list[list[bytes]] = []
        clients = [threading.Thread(target=lambda: answers.append(ask((host, int(port)), asked))) for _ in range(10)]
        for client in clients:
            client.start()
        for client in clients:
            client.join(PATIENCE / 1000)
        expected = [b"early" if n % 10 == 1 else b"%d" % n if n % 10 else None for n in range(50)]
        assert len(answers) == len(clients)
        for bodies in answers:
            assert [body if wanted else None for body, wanted in zip(bodies, expected, strict=True)] == expected
        deadline = time.monotonic() + PATIENCE / 1000
        while any(stage["held"] for stage in pipeline.stats()["stages"]) and time.monotonic() < deadline:
            time.sleep(0.01)
        stages = pipeline.stats()["stages"]
        assert [stage["received"] for stage in stages] == [500, 400]
        for stage in stages:
            assert stage["finished"] == stage["received"]
            assert (stage["unknown"], stage["redelivered"], stage["held"]) == (0, 0, 0)
