"""A worker that answers in parts, against stand-ins of its proxy and server: what it sends, what holds it back, and what it asks."""

import os
import signal
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from stage_standin import LIFE, MORE, PATIENCE, RESULT, Result, StandIn, key

from prime_server import Job, Response, Worker

BROKEN = 0x400
STREAMS = 4  # in a report
WINDOW = 512 * 1024
PART = 64 * 1024


class Endless:
    def __init__(self) -> None:
        self.given = 0
        self.closed = threading.Event()

    def __call__(self, job: Job) -> Any:
        if job.info.id > 1:
            return Response(200, "another")

        def parts() -> Iterator[bytes]:
            try:
                while True:
                    self.given += 1
                    yield bytes(PART)
            finally:
                self.closed.set()

        return Response(200, parts())


def size(result: Result) -> int:
    return sum(len(frame) for frame in result.frames)


def credit(around: StandIn, total: int, number: int = 1, life: int = LIFE) -> None:
    around.interrupt.send(struct.pack("<QQQQ", 0, life, key(number), total))


def take(around: StandIn, credit: int) -> list[Result]:
    """What comes while so many bytes may have been sent: the last message is the one that reaches the sum."""
    results: list[Result] = []
    while sum(map(size, results)) < credit:
        results.append(around.result())
    return results


def test_parts_are_counted_and_of_one_source(around: StandIn) -> None:
    with around.worker(lambda job: iter(["one", b"two"])) as worker:
        around.hello()
        around.job(1, time_left=60_000_000, attempt=3)
        results = [around.result() for _ in range(3)]
        assert [result.info.sequence for result in results] == [0, 1, 2]
        assert [result.info.flags & (RESULT | MORE | BROKEN) for result in results] == [RESULT | MORE, RESULT | MORE, RESULT]
        assert {(result.info.source, result.info.attempt, result.info.key, result.info.code) for result in results} == {
            (results[0].info.source, 3, key(1), 200)
        }
        head, *frames = (frame for result in results for frame in result.frames)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Transfer-Encoding: chunked\r\n" in head
        assert b"".join(frames) == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
        around.job(2)
        assert around.result().info.source != results[0].info.source
        stats = worker.stats()
        assert (stats["streamed"], stats["stalled"], stats["failed"]) == (2, 0, 0)


def test_it_waits_for_credit_and_hands_other_jobs_back(around: StandIn) -> None:
    work = Endless()
    with around.worker(work) as worker:
        around.hello()
        around.job(1)
        around.job(2)
        results = take(around, WINDOW)
        while worker.stats()["stalled"] == 0:
            pass
        given = work.given
        assert sum(map(size, results)) < WINDOW + 2 * PART
        reports = around.reports_until(returned=1)
        assert reports[-1].returned == [key(2)]
        assert any(report.flags & STREAMS and report.running == key(1) for report in reports)
        credit(around, 10 * WINDOW, number=2)  # another's
        credit(around, 10 * WINDOW, life=5)  # an earlier server's
        assert around.quiet(around.loopback, 100)
        assert work.given == given
        for total in (WINDOW + PART, 3 * WINDOW, 2 * WINDOW, 4 * WINDOW):  # one comes late
            credit(around, total)
        results += take(around, 4 * WINDOW - sum(map(size, results)))
        assert [result.info.sequence for result in results] == list(range(len(results)))
        # After a second it asks, with a message that has no content.
        asked = around.result()
        assert (asked.frames, asked.info.sequence, asked.info.flags & MORE) == ([], len(results), MORE)
        around.say_interrupted(1)
        assert work.closed.wait(PATIENCE / 1000)
        around.reports_until(finished=1)
        assert around.quiet(around.loopback)


def test_stopping_cuts_off(around: StandIn) -> None:
    work = Endless()
    with around.worker(work) as worker:
        around.hello()
        around.job(1)
        results = take(around, WINDOW)
        worker.stop(interrupt=True)
        last = around.result()
        assert (last.frames, last.info.sequence, last.info.flags & (MORE | BROKEN)) == ([], len(results), BROKEN)
        assert work.closed.is_set()


def test_the_deadline_is_over_with_the_first_part(around: StandIn) -> None:
    work = Endless()
    with around.worker(work) as worker:
        around.hello()
        around.job(1, time_left=50_000)
        take(around, WINDOW)
        time.sleep(0.1)
        credit(around, 2 * WINDOW)
        take(around, WINDOW - 2 * PART)
        assert not work.closed.is_set()
        assert worker.stats()["expired"] == 0


def test_interrupt_from_the_keyboard_while_it_waits(around: StandIn) -> None:
    """The worker is on the main thread, as in a program of one's own: its exception ends it, behind a last message that cuts the answer off."""
    work = Endless()
    ends = (around.endpoint(around.proxy), None, around.endpoint(around.loopback), around.endpoint(around.interrupt))

    def outside() -> None:
        around.report()
        around.job(1)
        take(around, WINDOW)
        while worker.stats()["stalled"] == 0:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    with Worker(around.context, *ends, work) as worker:
        helper = threading.Thread(target=outside)
        helper.start()
        with pytest.raises(KeyboardInterrupt):
            worker.work()
        helper.join()
        assert around.result().info.flags & BROKEN
        assert work.closed.is_set()
