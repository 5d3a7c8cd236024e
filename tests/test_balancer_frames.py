"""The bytes that a balancer takes and passes on, and those that it drops."""

import struct
from typing import Any

import pytest
from balancing import FROM_PROXY, IDEMPOTENT, LIFE, STAMP, Desk, foreign, hello, info, key, report
from hypothesis import given
from hypothesis import strategies as st

from prime_server._ext.fed_balancer import FedBalancer as Balancer
from prime_server._ext.info import RequestInfo

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
def test_an_info_is_rewritten(before: Any, waits: int, after: Any, sender: bytes) -> None:
    (sent, payload) = hop([info(1, **before).to_bytes(), b"p"], waits, sender)
    expected = {"attempt": 1, "hops": 1, "flags": IDEMPOTENT | FROM_PROXY} | {name: value for name, value in before.items() if name != "flags"}
    assert RequestInfo.from_bytes(sent) == info(1, **(expected | {"attempt": before.get("attempt", 0) + 1, "hops": 1} | after))
    assert payload == b"p"


def test_of_a_later_version_the_rest_is_passed_on() -> None:
    later = bytearray(info(1).to_bytes() + b"what we don't know")
    later[12 + 4] = 2
    later[12 + 5] = len(later) - 12
    (sent, _) = hop([bytes(later), b"p"], 5)
    assert len(sent) == len(later)
    assert sent[72:] == b"what we don't know"
    assert sent[12:18] == later[12:18]
    assert RequestInfo.from_bytes(sent) == info(1, flags=IDEMPOTENT | FROM_PROXY, attempt=1, hops=1, queued=5)


@pytest.mark.parametrize("frame", [b"12345678", b"123456789ab", b"123456789abc", b"123456789abcdefghijklmnopq"])
def test_an_info_that_is_not_ours_is_passed_on_byte_for_byte(frame: bytes) -> None:
    assert hop([frame, b"p"], 5) == [frame, b"p"]


@pytest.mark.parametrize("payload", [[b""], [b"", b"", b"x"], [b"x" * size for size in (32, 33, 34, 4096, 4097, 70_000)], [b"y"] * 254])
@pytest.mark.parametrize("sender", [b"", b"srv"])
def test_the_payload_is_passed_on_byte_for_byte(payload: list[bytes], sender: bytes) -> None:
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
        [bytes(12), b"payload"],
        [info(1).to_bytes(), *[b"x"] * 255],
        [info(1).to_bytes(), *[b"x"] * 300],
    ],
)
def test_malformed_jobs_are_dropped(frames: list[bytes]) -> None:
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
def test_malformed_messages_of_workers_are_dropped(frames: list[bytes]) -> None:
    desk = Desk()
    assert not desk.balancer.heard_frames(frames, now=desk.now)
    desk.job(1)
    assert desk.sent() == []
    assert desk.stats("malformed", "workers") == (1, 0)


@given(st.data())
def test_any_frames_are_taken_or_refused(data: st.DataObject) -> None:
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


def test_frames_as_large_as_they_may_be() -> None:
    desk = Desk()
    assert desk.balancer.submit_frames([info(1).to_bytes(), *[b"x"] * 254], b"s" * 255, now=desk.now)
    assert desk.balancer.heard_frames([b"a" * 255, b"x" * 4096, report(finished=range(200), returned=range(56))], now=desk.now)
    messages = desk.messages()
    assert [len(frames) for _, frames in messages] == [2, 2, 256]
    assert desk.stats("unknown") == 256


def test_the_wire_of_a_report() -> None:
    """The helper writes what the module documents."""
    frame = report(flags=1, window=2, finished=[3], returned=[4], service=5, busy=6, running=7)
    assert struct.unpack("<4sBBHHHIqQQ8xQQQQ", frame) == (b"PRSR", 1, 1, 2, 1, 1, 5, 6, LIFE, key(7), LIFE, key(3), LIFE, key(4))
    assert key(3) == 3 | STAMP << 32
