"""The server's core, fed by hand: what clients send, what workers answer, and in which order it leaves."""

import random
import re
from dataclasses import replace
from typing import Any

import pytest
from questions import GET, REFUSAL, SECOND, bodies, info_of, request, result

from prime_server._ext.fed_sessions import FedSessions as Sessions
from prime_server._ext.info import RequestInfo


def test_a_request_becomes_a_job_and_its_result_the_answer() -> None:
    sessions = Sessions()
    connection = sessions.connect()
    sessions.receive(connection, request("/x"))
    (job,) = sessions.jobs_for_workers()
    assert job[1] == request("/x")
    info = info_of(job)
    assert info.extended
    assert (info.life, info.version, info.flags, info.time_left) == (sessions.life, 1, 1, 60 * SECOND)
    sessions.result_frames(result(job))
    answer = sessions.output(connection)
    assert re.fullmatch(rb"HTTP/1.1 200 OK\r\nDate: \w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT\r\nContent-Length: 2\r\n\r\nok", answer)
    assert sessions.state(connection)["waiting"] == "request"
    assert not sessions.state(connection)["finished"]


def test_answers_leave_in_the_order_of_the_questions() -> None:
    sessions = Sessions()
    connection = sessions.connect()
    sessions.receive(connection, b"".join(GET % number for number in range(20)))
    jobs = sessions.jobs_for_workers()
    assert len(jobs) == 20
    order = list(range(20))
    random.Random(7).shuffle(order)
    output = b""
    for number in order:
        sessions.result_frames(result(jobs[number], b"%d" % number))
        output += sessions.output(connection)
    assert bodies(output) == [b"%d" % number for number in range(20)]


def test_ids_count_up_and_keys_are_unique() -> None:
    sessions = Sessions()
    connection = sessions.connect()
    sessions.receive(connection, request() * 5)
    ids = [info_of(job).id for job in sessions.jobs_for_workers()]
    assert [(one - ids[0]) % 2**32 for one in ids] == [0, 1, 2, 3, 4]
    assert Sessions().life != sessions.life


@pytest.mark.parametrize(
    ("change", "counter"),
    [
        ({"id": 1}, "results_late"),
        ({"time_stamp": 1}, "results_late"),
        ({"life": 1}, "results_late"),
        ({"sequence": 3}, "results_late"),
    ],
    ids=["unknown id", "other second", "earlier life", "out of sequence"],
)
def test_a_result_for_something_else_is_dropped(change: dict[str, Any], counter: str) -> None:
    sessions = Sessions()
    connection = sessions.connect()
    sessions.receive(connection, request())
    (job,) = sessions.jobs_for_workers()
    wrong = result(job)
    wrong[0] = replace(RequestInfo.from_bytes(wrong[0]), **change).to_bytes()
    sessions.result_frames(wrong)
    assert sessions.output(connection) == b""
    assert sessions.stats()[counter] == 1
    sessions.result_frames(result(job))
    assert bodies(sessions.output(connection)) == [b"ok"]
    sessions.result_frames(result(job))
    assert sessions.output(connection) == b""
    assert sessions.stats()["results_late"] == 2


@pytest.mark.parametrize("frames", [[], [b""], [b"short"], [b"x" * 2000, b"y"], [b"\0" * 40, b"y"]], ids=["none", "empty", "short", "long", "zeros"])
def test_malformed_results_are_dropped_with_a_warning(frames: list[bytes], caplog: pytest.LogCaptureFixture) -> None:
    sessions = Sessions()
    connection = sessions.connect()
    sessions.receive(connection, request())
    sessions.result_frames(frames)
    assert sessions.output(connection) == b""
    counters = sessions.stats()
    assert counters["results_malformed"] + counters["results_late"] == 1
    assert counters["requests_in_flight"] == 1


@pytest.mark.parametrize("response", [None, b"", b"no response", b"HTTP/1.1 20", b"HTTP/1.1 abc OK\r\n\r\n"])
def test_a_result_that_is_no_response_is_answered_502(response: bytes | None) -> None:
    sessions = Sessions()
    connection = sessions.connect()
    sessions.receive(connection, request() * 2)
    first, second = sessions.jobs_for_workers()
    sessions.result_frames([result(first)[0], *([] if response is None else [response])])
    assert sessions.output(connection).startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    sessions.result_frames(result(second))
    assert bodies(sessions.output(connection)) == [b"ok"]


def test_a_foreign_workers_response_passes_but_for_what_every_server_must_send() -> None:
    sessions = Sessions()
    connection = sessions.connect()
    sessions.receive(connection, request() + request(method="HEAD") + request("/", "Connection: close"))
    one, head, last = sessions.jobs_for_workers()
    # a foreign worker passes our info on whole, or makes one of its own with the original's twelve bytes
    sessions.result_frames([one[0], b"HTTP/1.0 200 OK\r\ndate: now\r\nContent-Length: 2\r\n\r\nhi"])
    assert sessions.output(connection) == b"HTTP/1.0 200 OK\r\ndate: now\r\nContent-Length: 2\r\n\r\nhi"
    sessions.result_frames([head[0][:12], b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"])
    assert re.fullmatch(rb"HTTP/1.1 200 OK\r\nDate: [^\r]*\r\nContent-Length: 2\r\n\r\n", sessions.output(connection))
    sessions.result_frames([last[0], b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"])
    answer = sessions.output(connection)
    assert re.fullmatch(rb"HTTP/1.1 200 OK\r\nDate: [^\r]*\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", answer)
    assert sessions.state(connection)["finished"]


@pytest.mark.parametrize(
    ("asked", "closes", "says"),
    [
        (request(), False, None),
        (request("/", "Connection: Close"), True, b"close"),
        (request("/", "Connection: x, CLOSE, y"), True, b"close"),
        (request(version="1.0"), True, b"close"),
        (request("/", "Connection: Keep-Alive", version="1.0"), False, b"keep-alive"),
    ],
)
def test_keep_alive_by_version_and_field(asked: bytes, closes: bool, says: bytes | None) -> None:
    sessions = Sessions()
    connection = sessions.connect()
    sessions.receive(connection, asked)
    (job,) = sessions.jobs_for_workers()
    sessions.result_frames(result(job))
    answer = sessions.output(connection)
    assert (re.findall(rb"Connection: ([^\r]*)", answer) or [None])[0] == says
    assert sessions.state(connection)["finished"] is closes


def test_good_requests_before_a_bad_one_are_answered_first() -> None:
    sessions = Sessions()
    connection = sessions.connect()
    sessions.receive(connection, request() * 2 + b"BAD\r\n\r\n" + request())
    jobs = sessions.jobs_for_workers()
    assert len(jobs) == 2
    assert sessions.output(connection) == b""
    for job in reversed(jobs):
        sessions.result_frames(result(job))
    answer = sessions.output(connection)
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.index(b"HTTP/1.1 400 Bad Request") > answer.rindex(b"HTTP/1.1 200 OK")
    assert answer.count(b"Connection: close") == 1
    state = sessions.state(connection)
    # the client may still be sending: what it sends is read and thrown away for a moment, or it would lose the answer to a reset
    assert (state["reads"], state["waiting"]) == (True, "end")
    sessions.receive(connection, b"more" * 100)
    sessions.leave(connection)
    assert sessions.state(connection)["finished"]


def test_expectation_is_answered_in_its_turn() -> None:
    sessions = Sessions()
    connection = sessions.connect()
    sessions.receive(connection, request() + b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    (first,) = sessions.jobs_for_workers()
    assert sessions.output(connection) == b""
    sessions.result_frames(result(first))
    assert sessions.output(connection).endswith(b"okHTTP/1.1 100 Continue\r\n\r\n")
    sessions.receive(connection, b"abc")
    (second,) = sessions.jobs_for_workers()
    assert second[1].endswith(b"abc")
    sessions.result_frames(result(second))
    assert bodies(sessions.output(connection)) == [b"ok"]


@pytest.mark.parametrize("path", ["/health", "/health?x", "/healthy", "/other"])
def test_health_check(path: str) -> None:
    sessions = Sessions(health_check="/health")
    connection = sessions.connect()
    sessions.receive(connection, request(path))
    jobs = sessions.jobs_for_workers()
    if path.partition("?")[0] != "/health":
        assert len(jobs) == 1
        return
    assert jobs == []
    assert sessions.output(connection).startswith(b"HTTP/1.1 200 OK\r\n")
    sessions.begin_drain(close_idle=False)
    sessions.receive(connection, request(path))
    answer = sessions.output(connection)
    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"Connection: close\r\n" in answer
    assert sessions.state(connection)["waiting"] == "end"


def test_big_bodies_are_put_together_whole() -> None:
    sessions = Sessions()
    connection = sessions.connect()
    body = random.Random(1).randbytes(3_000_000)
    text = request(method="POST", body=body)
    for at in range(0, len(text), 65536):
        sessions.receive(connection, text[at : at + 65536])
    (job,) = sessions.jobs_for_workers()
    assert job[1] == text
    sessions.result_frames(result(job, body))
    answer = sessions.output(connection, size=1_000_000) + sessions.output(connection)
    assert bodies(answer) == [body]


def test_a_refusal_is_the_clients_answer() -> None:
    sessions = Sessions()
    connection = sessions.connect()
    sessions.receive(connection, request() + request(method="HEAD"))
    one, head = sessions.jobs_for_workers()
    sessions.result_frames([replace(info_of(one), flags=REFUSAL, code=502).to_bytes()])
    assert sessions.output(connection).startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    sessions.result_frames([replace(info_of(head), flags=REFUSAL, code=503).to_bytes()])
    answer = sessions.output(connection)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert answer.endswith(b"\r\n\r\n")


def test_draining_answers_what_is_due_and_ends() -> None:
    sessions = Sessions()
    idle, busy, half = sessions.connect(), sessions.connect(), sessions.connect()
    sessions.receive(busy, request() * 2)
    sessions.receive(half, b"GET / HTTP/1.1\r\n")
    jobs = sessions.jobs_for_workers()
    sessions.begin_drain()
    for job in jobs:
        sessions.result_frames(result(job))
    answer = sessions.output(busy)
    assert bodies(answer) == [b"ok", b"ok"]
    assert answer.count(b"Connection: close") == 1
    assert answer.index(b"Connection: close") > answer.index(b"ok")
    sessions.receive(half, b"Host: a\r\n\r\n")
    sessions.result_frames(result(sessions.jobs_for_workers()[0]))
    assert b"Connection: close" in sessions.output(half)
    assert [sessions.state(connection)["waiting"] for connection in (idle, busy, half)] == ["request", "end", "end"]
    sessions.leave(busy)
    assert sessions.state(busy)["finished"]
    sessions.advance_time(SECOND)  # in which one has asked for nothing, and one has not gone although it was told to
    assert sessions.state(idle)["waiting"] == "end"
    assert sessions.state(half)["finished"]


def test_what_comes_on_an_idle_connection_while_it_drains_is_answered() -> None:
    sessions = Sessions()
    connection, quiet = sessions.connect(now=0), sessions.connect(now=0)
    sessions.receive(connection, request(), now=3 * SECOND)
    sessions.result_frames(result(sessions.jobs_for_workers()[0]), now=3 * SECOND)
    assert b"Connection: close" not in sessions.output(connection, 3 * SECOND)
    sessions.begin_drain(now=3 * SECOND)
    assert sessions.advance_time(3 * SECOND) == 3.5 * SECOND  # when whoever was quiet long ago is closed, and 4 s for the other
    assert (sessions.state(connection)["waiting"], sessions.state(quiet)["waiting"]) == ("request", "end")
    sessions.receive(connection, request() * 2, now=39 * SECOND // 10)
    jobs = sessions.jobs_for_workers()
    assert len(jobs) == 2
    sessions.receive(connection, request(), now=4 * SECOND)  # by now nothing more is taken behind these
    jobs += sessions.jobs_for_workers()
    sessions.receive(connection, request(), now=4 * SECOND)
    assert len(jobs) == 3
    assert sessions.jobs_for_workers() == []
    for job in jobs:
        sessions.result_frames(result(job), now=4 * SECOND)
    answer = sessions.output(connection, 4 * SECOND)
    assert bodies(answer) == [b"ok"] * 3
    assert answer.count(b"Connection: close") == 1
    assert sessions.state(connection)["waiting"] == "end"


def test_nothing_is_left_when_all_is_quiet() -> None:
    sessions = Sessions()
    generator = random.Random(3)
    waiting: list[list[bytes]] = []
    connections = [sessions.connect() for _ in range(20)]
    for _ in range(2000):
        connection = generator.choice(connections)
        match generator.randrange(4):
            case 0:
                sessions.receive(connection, request() * generator.randrange(1, 5))
                waiting += sessions.jobs_for_workers()
            case 1 | 2:
                for _ in range(min(len(waiting), 3)):
                    sessions.result_frames(result(waiting.pop(generator.randrange(len(waiting)))))
                sessions.output(connection)
            case 3 if generator.random() < 0.1:
                sessions.leave(connection)
                sessions.disconnect(connection)
                connections[connections.index(connection)] = sessions.connect()
    for connection in connections:
        sessions.leave(connection, broken=True)
        sessions.disconnect(connection)
    counters = sessions.stats()
    assert (counters["connections"], counters["requests_in_flight"], counters["request_bytes_in_flight"]) == (0, 0, 0)
    assert counters["requests"] == counters["answers"] + counters["requests_interrupted"]
