"""The server's core, fed by hand: responses that come in parts, at the pace of their reader."""

from dataclasses import replace
from typing import Any

import pytest
from questions import BROKEN, GET, MORE, REFUSAL, RESULT, SECOND, bodies, info_of, request, result

from prime_server._ext.fed_sessions import FedSessions as Sessions
from prime_server._ext.info import RequestInfo

WINDOW = 512 * 1024
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def part(job: list[bytes], sequence: int, data: bytes | None, *, flags: int = RESULT | MORE, attempt: int = 1, source: int = 9) -> list[bytes]:
    """A message of a response in parts, with the head in front of the first."""
    info = info_of(job)
    info = replace(info, flags=info.flags | flags, code=200, sequence=sequence, attempt=attempt, source=source)
    return [info.to_bytes(), *([HEAD] if sequence == 0 else []), *([] if data is None else [data])]


def streaming(**options: Any) -> tuple[Sessions, int, list[bytes]]:
    """Of a connection whose response has begun."""
    sessions = Sessions(**options)
    connection = sessions.connect()
    sessions.receive(connection, request())
    (job,) = sessions.jobs_for_workers()
    sessions.result_frames(part(job, 0, b"<0>"))
    assert sessions.output(connection).endswith(b"chunked\r\n\r\n<0>")
    return sessions, connection, job


def test_parts_leave_as_they_come() -> None:
    sessions, connection, job = streaming()
    for number in range(1, 5):
        sessions.result_frames(part(job, number, b"<%d>" % number))
        assert sessions.output(connection) == b"<%d>" % number
    assert sessions.stats()["streams"] == 1
    sessions.result_frames(part(job, 5, b"<end>", flags=RESULT))
    assert sessions.output(connection) == b"<end>"
    state = sessions.state(connection)
    assert (state["finished"], state["in_flight"], state["waiting"]) == (False, 0, "request")
    assert [sessions.stats()[name] for name in ("streams", "streams_begun", "streams_broken", "results_late")] == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("message", "cut_off"),
    [
        ({"sequence": 0}, False),
        ({"sequence": 1, "source": 8}, False),
        ({"sequence": 0, "attempt": 0}, False),
        ({"sequence": 1, "attempt": 0}, False),
        ({"sequence": 2}, True),
        ({"sequence": 0, "attempt": 2, "source": 8}, True),
        ({"sequence": 1, "attempt": 2, "source": 8}, True),
    ],
    ids=[
        "twice",
        "of another worker",
        "of an earlier attempt",
        "the next of an earlier attempt",
        "one is missing",
        "of a second attempt",
        "the next of it",
    ],
)
def test_parts_are_never_mixed(message: dict[str, Any], cut_off: bool) -> None:
    sessions, connection, job = streaming()
    sessions.result_frames(part(job, data=b"<wrong>", **message))
    assert sessions.stats()["results_late"] == 1
    assert sessions.state(connection)["finished"] == cut_off
    assert sessions.interrupts_for_workers() == ([info_of(job).key] if cut_off else [])
    sessions.result_frames(part(job, 1, b"<1>"))
    assert sessions.output(connection) == (b"" if cut_off else b"<1>")


def test_what_breaks_off_ends_the_connection_behind_what_has_come() -> None:
    sessions, connection, job = streaming()
    sessions.receive(connection, request("/behind"))
    (behind,) = sessions.jobs_for_workers()
    sessions.result_frames(result(behind))
    sessions.result_frames(part(job, 1, b"<1>"))
    sessions.result_frames(part(job, 2, None, flags=RESULT | BROKEN))
    assert not sessions.state(connection)["finished"]
    assert sessions.output(connection) == b"<1>"
    assert sessions.state(connection)["finished"]
    assert sessions.stats()["streams_broken"] == 1


def test_a_refusal_midway_is_no_second_answer() -> None:
    sessions, connection, job = streaming()
    sessions.result_frames(part(job, 0, None, flags=REFUSAL)[:1])
    assert sessions.output(connection) == b""
    assert sessions.state(connection)["finished"]


def test_a_response_in_parts_has_no_deadline_once_it_has_begun() -> None:
    sessions, connection, job = streaming(request_timeout=1.0)
    sessions.receive(connection, request("/other"), SECOND // 2)
    sessions.advance_time(SECOND * 3 // 2)
    assert sessions.stats()["answers_timed_out"] == 1  # the other
    sessions.result_frames(part(job, 1, b"<1>"), 3600 * SECOND)
    assert sessions.output(connection) == b"<1>"


def test_a_client_that_takes_nothing_is_closed_and_its_worker_told() -> None:
    sessions, connection, job = streaming(write_timeout=2.0)
    sessions.result_frames(part(job, 1, b"x" * 1000), SECOND)
    sessions.advance_time(SECOND)
    assert sessions.output(connection, 2 * SECOND, size=10)
    sessions.advance_time(4 * SECOND - 1)
    assert not sessions.state(connection)["finished"]
    sessions.advance_time(4 * SECOND)
    assert sessions.state(connection)["finished"]
    sessions.disconnect(connection)
    assert sessions.interrupts_for_workers() == [info_of(job).key]


def test_credit_follows_the_reader() -> None:
    sessions, connection, job = streaming()
    key = info_of(job).key
    total = len(HEAD + b"<0>")
    sequence = 0
    for _ in range(8):  # four windows, of which nothing is read
        sequence += 1
        sessions.result_frames(part(job, sequence, b"x" * (WINDOW // 2)))
        total += WINDOW // 2
    assert sessions.credits_for_workers() == []
    read = len(HEAD + b"<0>")
    known = WINDOW
    while read < total:
        read += len(sessions.output(connection, size=50_000))
        for name, credit in sessions.credits_for_workers():
            assert name == key
            assert known < credit <= read + WINDOW
            known = credit
        assert known > read + WINDOW - WINDOW // 4
    # A message without content asks for it: the word may have been lost.
    sessions.result_frames(part(job, sequence + 1, None))
    assert sessions.credits_for_workers() == [(key, total + WINDOW)]


def test_what_waits_behind_another_answer_gets_no_credit() -> None:
    sessions = Sessions()
    connection = sessions.connect()
    sessions.receive(connection, request("/0") + request("/1"))
    first, second = sessions.jobs_for_workers()
    sessions.result_frames(part(second, 0, b"x" * WINDOW))
    assert sessions.output(connection) == b""
    sessions.result_frames(part(second, 1, None))
    assert [credit for _, credit in sessions.credits_for_workers()] == [WINDOW]
    sessions.result_frames(result(first))
    assert sessions.output(connection).endswith(b"x" * WINDOW)
    assert [credit for _, credit in sessions.credits_for_workers()] == [WINDOW + len(HEAD) + WINDOW]


def test_a_whole_answer_ahead_of_its_reader_is_asked_for_again_instead_of_held() -> None:
    sessions = Sessions()
    connection = sessions.connect()
    sessions.receive(connection, b"".join(GET % number for number in range(5)))
    first, *others = sessions.jobs_for_workers()
    big = [b"%d" % number * (10 << 20) for number in range(4)]
    for job, body in zip(others, big, strict=True):
        sessions.result_frames(result(job, body))
    assert sessions.interrupts_for_workers() == []  # its worker is done with it
    sessions.result_frames(result(first))
    came = sessions.output(connection)
    (again,) = sessions.jobs_for_workers()
    assert info_of(again).key != info_of(others[3]).key
    sessions.result_frames(result(others[3], big[3]))
    assert sessions.output(connection) == b""
    sessions.result_frames(result(again, big[3]))
    assert bodies(came + sessions.output(connection)) == [b"ok", *big]


def test_what_must_not_be_repeated_is_held() -> None:
    sessions = Sessions()
    connection = sessions.connect()
    sessions.receive(connection, b"".join(request("/", method="POST", body=b"x") for _ in range(5)))
    first, *others = sessions.jobs_for_workers()
    for job in others:
        sessions.result_frames(result(job, b"x" * (10 << 20)))
    sessions.result_frames(result(first))
    assert [len(body) for body in bodies(sessions.output(connection))] == [2, *[10 << 20] * 4]


def test_a_worker_that_goes_on_for_nobody_is_told_again() -> None:
    sessions, connection, job = streaming()
    sessions.leave(connection)
    assert sessions.interrupts_for_workers() == [info_of(job).key]
    for _ in range(2):
        sessions.result_frames(part(job, 1, b"<1>"))
        sessions.result_frames(part(job, 2, b"<2>"))
        assert sessions.interrupts_for_workers() == [info_of(job).key]
    sessions.result_frames(part(job, 3, b"<end>", flags=RESULT))
    assert sessions.interrupts_for_workers() == []


def test_in_1_0_the_connection_ends_with_the_last_part() -> None:
    sessions = Sessions()
    connection = sessions.connect()
    sessions.receive(connection, request("/", "Connection: keep-alive", version="1.0"))
    (job,) = sessions.jobs_for_workers()
    sessions.result_frames(part(job, 0, b"<0>"))
    assert b"\r\nConnection: close\r\n" in sessions.output(connection)
    sessions.result_frames(part(job, 1, b"<1>"))
    assert not sessions.state(connection)["finished"]
    sessions.result_frames(part(job, 2, None, flags=RESULT))
    assert sessions.output(connection) == b"<1>"
    assert sessions.state(connection)["finished"]


def test_a_first_part_without_a_head_is_malformed() -> None:
    sessions = Sessions()
    connection = sessions.connect()
    sessions.receive(connection, request())
    (job,) = sessions.jobs_for_workers()
    sessions.result_frames(part(job, 0, None)[:1])
    assert sessions.output(connection).startswith(b"HTTP/1.1 502 ")
    assert sessions.stats()["results_malformed"] == 1


def test_many_streams_and_requests_in_flight_find_their_results() -> None:
    """The table grows while some of its entries are streams."""
    sessions = Sessions(max_pipelined=64)
    jobs = []
    for number in range(60):
        connection = sessions.connect()
        sessions.receive(connection, request() * 60)
        new = sessions.jobs_for_workers()
        sessions.result_frames(part(new[0], 0, b"<0>"))
        jobs.append((connection, new))
        assert sessions.stats()["streams"] == number + 1
    for connection, (first, *others) in jobs:
        sessions.result_frames(part(first, 1, b"", flags=RESULT))
        for job in others:
            sessions.result_frames(result(job))
        assert sessions.output(connection).count(b"HTTP/1.1 200 OK") == 60
    assert sessions.stats()["requests_in_flight"] == 0


def test_a_big_answer_whose_worker_has_gone_silent_is_cut_off() -> None:
    """Its proxy may know it as done, when its last pieces were lost with the worker."""
    sessions = Sessions()
    connection = sessions.connect()
    sessions.receive(connection, request())
    (job,) = sessions.jobs_for_workers()
    about = RequestInfo.from_bytes(job[0])
    first = replace(about, flags=about.flags | 0x10 | 0x20 | 0x4000, time_left=2_000_000, source=7)
    sessions.result_frames([first.to_bytes(), b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n", b"x" * 1000], now=SECOND)
    assert sessions.output(connection, now=SECOND).endswith(b"x" * 1000)
    sessions.advance_time(10 * SECOND)
    assert not sessions.state(connection)["finished"]
    sessions.advance_time(12 * SECOND)
    assert sessions.state(connection)["finished"]


def test_a_response_in_several_messages_leaves_as_it_comes() -> None:
    sessions = Sessions()
    connection = sessions.connect()
    sessions.receive(connection, request() * 2)
    first, second = sessions.jobs_for_workers()
    info = info_of(second)
    parts = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", b"1\r\nb\r\n", b"0\r\n\r\n"]
    for sequence, part in enumerate(parts[:2]):
        sessions.result_frames([replace(info, flags=info.flags | RESULT | MORE, sequence=sequence).to_bytes(), part])
    assert sessions.output(connection) == b""
    sessions.result_frames(result(first))
    assert sessions.output(connection).endswith(b"\r\n\r\n1\r\na\r\n1\r\nb\r\n")
    sessions.result_frames([replace(info, flags=info.flags | RESULT, sequence=2).to_bytes(), parts[2]])
    assert sessions.output(connection) == parts[2]
    assert not sessions.state(connection)["finished"]


def test_a_response_that_breaks_off_ends_the_connection() -> None:
    sessions = Sessions()
    connection = sessions.connect()
    sessions.receive(connection, request() * 2)
    first, second = sessions.jobs_for_workers()
    info = info_of(first)
    sessions.result_frames([replace(info, flags=info.flags | RESULT | MORE).to_bytes(), b"HTTP/1.1 200 OK\r\n\r\nsome"])
    sessions.result_frames([replace(info, flags=info.flags | RESULT | BROKEN, sequence=1).to_bytes()])
    assert sessions.output(connection).endswith(b"some")
    assert sessions.state(connection)["finished"]
    assert sessions.interrupts_for_workers() == [info_of(second).key]
