"""The balancer by scenarios: each tells it of jobs and workers, and looks at what it wants to send."""

import struct

from prime_server._ext.balancer import Balancer
from prime_server._ext.info import RequestInfo

LIFE = 9
IDEMPOTENT, RETRYABLE, REFUSAL, FROM_PROXY = 0x01, 0x02, 0x40, 0x80
IDLE, LEAVING = 1, 2


def info(number: int, *, flags: int = IDEMPOTENT, **fields) -> RequestInfo:
    return RequestInfo(id=number, time_stamp=5, extended=True, life=LIFE, flags=flags, **fields)


def report(*, flags=IDLE, window=1, finished=(), returned=(), service=0, busy=0, running=None) -> bytes:
    names = [(LIFE, info(number).key) for number in (running or 0, *finished, *returned)]
    return struct.pack(
        "<IBBHHHIqQQ8x",
        *(0x52535250, 1, flags, window, len(finished), len(returned), service, busy),
        *(names[0] if running else (0, 0)),
    ) + b"".join(struct.pack("<QQ", *name) for name in names[1:])


def test_a_job_goes_to_an_idle_worker_and_is_finished():
    balancer = Balancer(life=77)
    assert balancer.submit_frames([info(1).to_bytes(), b"payload"], now=100)
    assert balancer.take_frames(100) is None
    assert balancer.heard_frames([b"worker", b""], now=150)
    where, (worker, sent, payload) = balancer.take_frames(150)
    assert (where, worker, payload) == ("worker", b"worker", b"payload")
    assert RequestInfo.from_bytes(sent) == info(1, flags=IDEMPOTENT | FROM_PROXY, attempt=1, hops=1, queued=50)
    assert balancer.take_frames(150) is None
    assert len(balancer) == 1
    assert balancer.heard_frames([b"worker", b""], now=160)
    assert len(balancer) == 0


def test_a_worker_of_ours_is_greeted_and_reports_names():
    balancer = Balancer(life=77)
    balancer.submit_frames([info(1).to_bytes(), b"payload"], now=100)
    balancer.heard_frames([b"worker", b"", report(window=8)], now=100)
    assert balancer.take_frames(100) == ("worker", [b"worker", struct.pack("<IB3xQ", 0x48535250, 1, 77)])
    assert balancer.take_frames(100)[1][2] == b"payload"
    balancer.heard_frames([b"worker", b"", report(window=8)], now=101)
    assert len(balancer) == 1  # an idle flag may have crossed with the job
    balancer.heard_frames([b"worker", b"", report(window=8, finished=[1])], now=102)
    assert len(balancer) == 0
