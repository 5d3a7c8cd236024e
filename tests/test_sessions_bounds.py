"""The server's core, fed by hand: what has a bound, in time, number or bytes, and clients that leave."""

import pytest
from questions import GET, SECOND, bodies, info_of, request, result

from prime_server._ext.fed_sessions import FedSessions as Sessions


def test_a_deadline_is_answered_504_and_interrupts_the_worker() -> None:
    sessions = Sessions(request_timeout=2.0)
    connection = sessions.connect(now=0)
    sessions.receive(connection, request(), now=0)
    (job,) = sessions.jobs_for_workers()
    assert sessions.advance_time(1 * SECOND) == 2 * SECOND
    assert sessions.output(connection) == b""
    sessions.advance_time(2 * SECOND)
    assert sessions.output(connection, 2 * SECOND).startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
    assert sessions.interrupts_for_workers() == [info_of(job).key]
    sessions.result_frames(result(job))
    assert sessions.output(connection) == b""
    assert sessions.stats()["results_late"] == 1
    sessions.receive(connection, request(), now=2 * SECOND)  # the connection goes on
    assert len(sessions.jobs_for_workers()) == 1


@pytest.mark.parametrize("broken", [False, True])
def test_a_client_that_leaves_interrupts_what_is_unanswered_only(broken: bool) -> None:
    sessions = Sessions()
    connection = sessions.connect()
    sessions.receive(connection, request() * 3)
    jobs = sessions.jobs_for_workers()
    sessions.result_frames(result(jobs[0]))
    sessions.result_frames(result(jobs[2]))
    sessions.leave(connection, broken=broken)
    assert sessions.interrupts_for_workers() == [info_of(jobs[1]).key]
    state = sessions.state(connection)
    assert state["finished"] is broken  # the first answer was on its way out: it is flushed if it can be
    if not broken:
        assert bodies(sessions.output(connection)) == [b"ok"]
        assert sessions.state(connection)["finished"]
    sessions.disconnect(connection)
    assert sessions.interrupts_for_workers() == []
    assert sessions.stats()["requests_in_flight"] == 0


def test_a_connection_over_its_bound_is_not_read() -> None:
    sessions = Sessions(max_pipelined=4)
    connection = sessions.connect()
    sessions.receive(connection, b"".join(GET % number for number in range(10)))
    output = b""
    served = 0
    while served < 10:
        jobs = sessions.jobs_for_workers()
        assert len(jobs) == min(4, 10 - served)
        assert sessions.state(connection)["reads"] is (10 - served < 4)
        for job in jobs:
            sessions.result_frames(result(job, b"%d" % served))
            served += 1
        output += sessions.output(connection)
    assert bodies(output) == [b"%d" % number for number in range(10)]
    assert sessions.state(connection)["reads"]


def test_a_slow_reader_is_not_read_and_at_last_dropped() -> None:
    sessions = Sessions(max_unread=1000, write_timeout=30.0)
    connection = sessions.connect(now=0)
    sessions.receive(connection, request(), now=0)
    (job,) = sessions.jobs_for_workers()
    sessions.result_frames(result(job, b"x" * 5000), now=0)
    assert not sessions.state(connection)["reads"]
    assert sessions.state(connection)["waiting"] == "reader"
    sessions.output(connection, 20 * SECOND, size=100)  # it takes something: its time begins anew
    sessions.advance_time(40 * SECOND)
    assert not sessions.state(connection)["finished"]
    assert sessions.stats()["timeouts_reader"] == 0
    sessions.advance_time(50 * SECOND)
    assert sessions.state(connection)["finished"]
    assert sessions.stats()["timeouts_reader"] == 1


def test_over_the_bound_in_all_a_request_is_refused_at_once() -> None:
    sessions = Sessions(max_in_flight=2)
    connections = [sessions.connect() for _ in range(3)]
    for connection in connections:
        sessions.receive(connection, request())
    jobs = sessions.jobs_for_workers()
    assert len(jobs) == 2
    answer = sessions.output(connections[2])
    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"Retry-After: 1\r\n" in answer
    assert b"Connection: close" not in answer
    for job in jobs:
        sessions.result_frames(result(job))
    sessions.receive(connections[2], request())
    assert len(sessions.jobs_for_workers()) == 1


def test_who_is_refused_is_told_when_to_come_again() -> None:
    """20 in flight, of which 5 were answered in a second: 4 s."""
    sessions = Sessions(max_in_flight=20)
    connections = [sessions.connect() for _ in range(26)]
    for connection in connections[:20]:
        sessions.receive(connection, request())
    jobs = sessions.jobs_for_workers()
    for turn, (job, connection) in enumerate(zip(jobs[:5], connections[20:25], strict=True), 1):
        sessions.result_frames(result(job), now=turn * SECOND // 5)
        sessions.receive(connection, request(), now=turn * SECOND // 5)
    sessions.receive(connections[25], request(), now=SECOND)
    assert b"Retry-After: 4\r\n" in sessions.output(connections[25])


def test_an_eighth_of_the_bound_is_kept_for_those_who_ask_one_thing_at_a_time() -> None:
    sessions = Sessions(max_in_flight=16)
    greedy, modest, late = (sessions.connect() for _ in range(3))
    sessions.receive(greedy, request() * 20)
    assert len(sessions.jobs_for_workers()) == 14
    for connection in (modest, late):
        sessions.receive(connection, request())
    assert len(sessions.jobs_for_workers()) == 2
    assert not sessions.output(late)


def test_bytes_in_flight_are_bounded() -> None:
    sessions = Sessions(max_payload=5000)
    connection = sessions.connect()
    sessions.receive(connection, request(method="POST", body=b"x" * 4000) * 2)
    assert len(sessions.jobs_for_workers()) == 1
    assert sessions.stats()["answers_overloaded"] == 1


@pytest.mark.parametrize(
    ("sent", "waits_for", "at", "answered"),
    [
        (b"", "request", 75, b""),
        (b"GET / HT", "head", 10, b"HTTP/1.1 408 Request Timeout"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc", "body", 10, b"HTTP/1.1 408 Request Timeout"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", "body", 10, b"HTTP/1.1 408 Request Timeout"),
    ],
    ids=["idle", "head", "body", "chunked"],
)
def test_slow_clients_are_dropped(sent: bytes, waits_for: str, at: int, answered: bytes) -> None:
    sessions = Sessions()
    connection = sessions.connect(now=0)
    sessions.receive(connection, sent, now=0)
    assert sessions.state(connection)["waiting"] == waits_for
    assert sessions.advance_time(at * SECOND - 1) == at * SECOND
    assert sessions.output(connection) == b""
    sessions.advance_time(at * SECOND)
    assert sessions.output(connection, at * SECOND).startswith(answered)
    sessions.advance_time((at + 2) * SECOND)
    assert sessions.state(connection)["finished"]


def test_a_head_that_drips_is_not_given_more_time_but_a_body_that_flows_is() -> None:
    sessions = Sessions(header_timeout=10, body_timeout=10, min_body_rate=10)
    dripping, flowing = sessions.connect(now=0), sessions.connect(now=0)
    sessions.receive(flowing, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n", now=0)
    for second in range(10):
        sessions.receive(dripping, b"GET / HTTP/1.1"[second : second + 1], now=second * SECOND)
        sessions.receive(flowing, b"x" * 10, now=second * SECOND)
    sessions.advance_time(10 * SECOND)
    assert sessions.output(dripping).startswith(b"HTTP/1.1 408")
    assert sessions.output(flowing) == b""


def test_a_body_is_bounded_while_it_comes() -> None:
    sessions = Sessions(max_request=1000)
    for asked in (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n",
    ):
        connection = sessions.connect()
        sessions.receive(connection, asked)
        assert sessions.output(connection).startswith(b"HTTP/1.1 413 Content Too Large\r\n")
    connection = sessions.connect()
    sessions.receive(connection, request(method="POST", body=b"x" * 1000))
    assert len(sessions.jobs_for_workers()) == 1
