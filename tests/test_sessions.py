"""The server's core, fed by hand: what clients send, what workers answer, and time."""

import random
import re
from dataclasses import replace

import pytest

from prime_server._ext.fed_sessions import FedSessions as Sessions
from prime_server._ext.info import RequestInfo
from prime_server.errors import ProtocolError

RESULT, MORE, REFUSAL, BROKEN = 0x10, 0x20, 0x40, 0x400
SECOND = 1_000_000

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"


def request(path: str = "/", *fields: str, method: str = "GET", version: str = "1.1", body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: a", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def info_of(job: list[bytes]) -> RequestInfo:
    return RequestInfo.from_bytes(job[0])


def result(job: list[bytes], body: bytes = b"ok", *, flags: int = RESULT, sequence: int = 0, fields: bytes = b"") -> list[bytes]:
    info = info_of(job)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n" % (len(body), fields)
    return [replace(info, flags=info.flags | flags, code=200, sequence=sequence).to_bytes(), head + body]


def bodies(output: bytes) -> list[bytes]:
    """The bodies of responses with a Content-Length, one behind the other."""
    found = []
    while output:
        head, _, output = output.partition(b"\r\n\r\n")
        length = int(re.search(rb"Content-Length: (\d+)", head)[1])  # type: ignore[index]
        found.append(output[:length])
        output = output[length:]
    return found


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
def test_a_result_for_something_else_is_dropped(change: dict[str, int], counter: str) -> None:
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
    sessions.receive(connection, request() * 2, now=3.9 * SECOND)
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


def test_netstrings() -> None:
    sessions = Sessions(protocol="netstring", max_request=10)
    connection = sessions.connect()
    sessions.receive(connection, b"3:abc,0:,")
    first, second = sessions.jobs_for_workers()
    assert (first[1], second[1]) == (b"abc", b"")
    sessions.result_frames([replace(info_of(second), flags=RESULT, code=200).to_bytes(), b"1:2,"])
    sessions.result_frames([replace(info_of(first), flags=RESULT, code=200).to_bytes(), b"1:1,"])
    assert sessions.output(connection) == b"1:1,1:2,"
    sessions.receive(connection, b"11:")
    answer = sessions.output(connection)
    assert re.fullmatch(rb"\d+:413 [^,]*,", answer)
    assert sessions.state(connection)["waiting"] == "end"


class Lines:
    """A protocol of one's own: a request is a line; `quit` ends the connection, a line with a zero byte is refused."""

    def feed(self, connection, data):  # type: ignore[no-untyped-def]
        connection.rest = getattr(connection, "rest", b"") + data
        *lines, connection.rest = connection.rest.split(b"\n")
        for line in lines:
            if b"\0" in line:
                raise ProtocolError("zero byte")
            yield line

    def serialize(self, request):  # type: ignore[no-untyped-def]
        return [request, b"second frame"]

    def reject(self, error):  # type: ignore[no-untyped-def]
        return b"! %s %d\n" % (str(error).encode(), error.status)

    def timeout(self):  # type: ignore[no-untyped-def]
        return b"! timeout\n"

    def keep_alive(self, info):  # type: ignore[no-untyped-def]
        return True


def test_a_protocol_of_ones_own() -> None:
    sessions = Sessions(protocol=Lines(), request_timeout=1.0)
    connection = sessions.connect()
    sessions.receive(connection, b"one\ntw")
    sessions.receive(connection, b"o\nthree")
    first, second = sessions.jobs_for_workers()
    assert (first[1:], second[1:]) == ([b"one", b"second frame"], [b"two", b"second frame"])
    sessions.result_frames([replace(info_of(second), flags=RESULT, code=200).to_bytes(), b"2\n"])
    sessions.result_frames([replace(info_of(first), flags=RESULT, code=200).to_bytes(), b"1\n"])
    assert sessions.output(connection) == b"1\n2\n"
    sessions.receive(connection, b"\n")
    sessions.advance_time(SECOND)
    assert sessions.output(connection) == b"! timeout\n"
    sessions.receive(connection, b"a\0b\n")
    assert sessions.output(connection) == b"! zero byte 400\n"
    sessions.leave(connection)
    assert sessions.state(connection)["finished"]


class Broken(Lines):
    def feed(self, connection, data):  # type: ignore[no-untyped-def]
        raise RuntimeError("a mistake")


def test_a_protocol_that_fails_costs_its_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    sessions = Sessions(protocol=Broken())
    connection = sessions.connect()
    sessions.receive(connection, b"one\n")
    assert sessions.state(connection)["finished"]
    assert "a mistake" in caplog.text


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


# --- responses in parts -------------------------------------------------------------------------------------------------------------------

WINDOW = 512 * 1024
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def part(job: list[bytes], sequence: int, data: bytes | None, *, flags: int = RESULT | MORE, attempt: int = 1, source: int = 9) -> list[bytes]:
    """A message of a response in parts, with the head in front of the first."""
    info = info_of(job)
    info = replace(info, flags=info.flags | flags, code=200, sequence=sequence, attempt=attempt, source=source)
    return [info.to_bytes(), *([HEAD] if sequence == 0 else []), *([] if data is None else [data])]


def streaming(**options: float) -> tuple[Sessions, int, list[bytes]]:
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
def test_parts_are_never_mixed(message: dict[str, int], cut_off: bool) -> None:
    sessions, connection, job = streaming()
    sessions.result_frames(part(job, **{"data": b"<wrong>", **message}))  # type: ignore[arg-type]
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
