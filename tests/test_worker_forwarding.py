"""A worker between stages: what it forwards and by which memory, and what it passes on of those behind it."""

import ctypes
import os
import struct
import time
from pathlib import Path
from typing import Any

import zmq
from stage_standin import (
    CANCEL,
    FROM_PROXY,
    IDEMPOTENT,
    LIFE,
    PATIENCE,
    REFUSAL,
    StandIn,
    key,
    received,
)

from prime_server import Job, Response
from prime_server._ext.info import RequestInfo
from prime_server._ext.libzmq import receive_frames


def test_a_jobs_buffer_is_the_messages_memory(around: StandIn) -> None:
    data = os.urandom(1 << 20)
    seen = []

    def work(job: Job) -> Response:
        assert memoryview(job.frames[0]).readonly
        seen.append((job.frames[0].address, bytes(job.frames[0])))
        return Response(200)

    with around.worker(work):
        info = RequestInfo(id=1, time_stamp=5).to_bytes()
        around.proxy.send_multipart([around.worker_id, info, zmq.Frame(data, copy=False)], copy=False)
        around.result()
    assert seen == [(ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value, data)]


def test_forwards_to_the_next_stage(staged: StandIn) -> None:
    with staged.worker(lambda job: job.forward(b"a", bytearray(b"b"), *job.frames)):
        staged.job(1, b"in", flags=IDEMPOTENT | FROM_PROXY, time_left=10_000_000)
        _, info, *payload = received(staged.stages["only"])
        told = RequestInfo.from_bytes(info)
        assert payload == [b"a", b"b", b"in"]
        assert (told.flags, told.hops, told.code) == (IDEMPOTENT, 1, 0)
        assert 0 < told.time_left < 10_000_000
        assert staged.report().finished == [key(1)]
        staged.bare_job(2, b"in")
        _, info, *payload = received(staged.stages["only"])
        assert info == struct.pack("<IIHH", 2, 5, 1, 0)


def test_forwards_big_frames_without_a_copy(staged: StandIn) -> None:
    addresses = []

    def work(job: Job) -> Any:
        addresses.append(job.frames[0].address)
        return job.forward(*job.frames)

    with staged.worker(work):
        staged.job(1, bytes(1 << 20))
        assert staged.stages["only"].poll(PATIENCE)
        frames = receive_frames(staged.stages["only"])
        assert frames is not None
        assert frames[2].address == addresses[0]


def test_forwards_by_name() -> None:
    around = StandIn(stages=("left", "right"))
    try:
        with around.worker(lambda job: job.forward(b"x", to=bytes(job.frames[0]).decode() or None)):
            for number, name in enumerate(["right", "left", "right"]):
                around.job(number, name.encode())
                assert RequestInfo.from_bytes(received(around.stages[name])[1]).id == number
            for number, name in enumerate(["middle", ""]):
                around.job(number, name.encode())
                assert around.result().status == 500
    finally:
        around.close()


def test_what_cant_be_forwarded_yet_waits(tmp_path: Path) -> None:
    around = StandIn()
    around.downstream = f"ipc://{tmp_path}/later"
    try:
        with around.worker(lambda job: job.forward(b"x")) as worker:
            around.hello()
            for number in range(1, 4):
                around.job(number)
            around.job(4, time_left=1000)
            while worker.stats()["unsent"] < 3:
                pass
            early = [] if around.quiet(around.proxy) else around.report().finished
            assert early in ([], [key(4)])  # whose time may be over already
            around.say_interrupted(2)
            stage = around.context.socket(zmq.ROUTER)
            stage.linger = 0
            stage.bind(around.downstream)
            assert {RequestInfo.from_bytes(received(stage)[1]).id for _ in range(2)} <= {1, 2, 3}
            around.reports_until(finished=4 - len(early))
    finally:
        around.close()


def test_passes_refusals_on(staged: StandIn) -> None:
    with staged.worker(lambda job: job.forward(b"x")) as worker:
        staged.job(1)
        sender, info, _ = received(staged.stages["only"])
        staged.stages["only"].send_multipart([sender, struct.pack("<4sIQ", b"PRSH", 1, 9)])
        staged.stages["only"].send_multipart([sender, b"nonsense"])
        staged.stages["only"].send_multipart([sender, info])
        refusal = RequestInfo(id=1, time_stamp=5, extended=True, life=LIFE, flags=REFUSAL, code=503).to_bytes()
        staged.stages["only"].send_multipart([sender, refusal])
        assert received(staged.loopback) == [refusal]
        assert worker.stats()["refused"] == 1
        assert worker.stats()["malformed"] == 2


def test_tells_the_next_stages_proxy_of_a_client_that_has_left(staged: StandIn) -> None:
    stage = staged.stages["only"]
    with staged.worker(lambda job: job.forward(b"x")) as worker:

        def until_heard(count: int) -> None:
            deadline = time.monotonic() + PATIENCE / 1000
            while worker.stats()["malformed"] < count:
                assert time.monotonic() < deadline

        for number in (1, 2, 3):
            staged.job(number)
        sender, *_ = [received(stage)[0] for _ in range(3)]
        staged.say_interrupted(1)  # while the proxy may be one of the original's
        staged.interrupt.send(b"nonsense"[:7])
        until_heard(1)
        stage.send_multipart([sender, struct.pack("<4sIQ", b"PRSH", 1, 9)])
        stage.send_multipart([sender, b"nonsense"])
        until_heard(2)
        for number in (9, 3, 3, 2):  # 9 has not come by here
            staged.say_interrupted(number)
        for number in (3, 2):
            _, cancel = received(stage)
            assert RequestInfo.from_bytes(cancel) == RequestInfo(id=number, time_stamp=5, version=0, extended=True, life=LIFE, flags=CANCEL)
        assert staged.quiet(stage)
