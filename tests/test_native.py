"""Native work functions: the interface of prime_server.h by ctypes, and the demonstration's stages."""

import ctypes
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from stage_standin import GET, PATIENCE, StandIn, key, received

import prime_server
from prime_server import Job, NativeWork, Response, is_prime
from prime_server import primes as demo
from prime_server._ext.info import RequestInfo
from prime_server.echo import echo

DONE, PYTHON, INTERRUPTED, FAILED = range(4)
NETSTRING = 0x100
NOT_PRIME = b"18446744073709551615"


class Slice(ctypes.Structure):
    _fields_: ClassVar = [("data", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class PrimeJob(ctypes.Structure):
    pass


Respond = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(PrimeJob), ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t
)
ForwardOn = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(PrimeJob), ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)
PrimeJob._fields_ = [
    ("size", ctypes.c_size_t),
    ("frame_count", ctypes.c_size_t),
    ("frames", ctypes.POINTER(Slice)),
    ("info", ctypes.c_void_p),
    ("info_size", ctypes.c_size_t),
    ("interrupted", ctypes.POINTER(ctypes.c_int)),
    ("deadline", ctypes.c_int64),
    ("respond", Respond),
    ("forward", ForwardOn),
]
Function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(PrimeJob), ctypes.c_void_p)

new_capsule = ctypes.pythonapi.PyCapsule_New
new_capsule.restype = ctypes.py_object
new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
set_context = ctypes.pythonapi.PyCapsule_SetContext
set_context.argtypes = [ctypes.py_object, ctypes.c_void_p]

kept: list[object] = []  # a capsule owns neither its function nor its name


def capsule(function: Callable[[Any, Any], int], name: bytes = b"prime_server.work.1") -> Any:
    pointer = Function(function)
    kept.extend([pointer, name])
    return new_capsule(ctypes.cast(pointer, ctypes.c_void_p), name, None)


def native(function: Callable[[Any], int], fallback: Any = None) -> NativeWork:
    return NativeWork(capsule(lambda job, data: function(job)), fallback=fallback)


def respond(job: Any, status: int = 200, kind: bytes | None = None, fields: bytes | None = None, body: bytes = b"fine") -> int:
    return int(job.contents.respond(job, status, kind, fields, body, len(body)))


def forward(job: Any, data: bytes, stage: bytes | None = None) -> int:
    return int(job.contents.forward(job, stage, data, len(data)))


# --- the interface -----------------------------------------------------------------------------------------------------------------------------


def test_what_a_native_function_gets(around: StandIn) -> None:
    seen: list[Any] = []

    def work(job: Any) -> int:
        told = job.contents
        frames = [ctypes.string_at(told.frames[index].data, told.frames[index].size) for index in range(told.frame_count)]
        seen.append((frames, ctypes.string_at(told.info, told.info_size), told.interrupted[0], told.deadline, told.size))
        return respond(job)

    info = RequestInfo(id=1, time_stamp=5, extended=True, life=7)
    with around.worker(native(work)):
        around.job(1, b"one", b"", b"3" * 100, info=info.to_bytes())
        assert around.result().body == b"fine"
    frames, told, interrupted, deadline, size = seen[0]
    assert frames == [b"one", b"", b"3" * 100]
    assert told == info.to_bytes()
    assert (interrupted, deadline, size) == (0, 0, ctypes.sizeof(PrimeJob))


def test_context_is_handed_on(around: StandIn) -> None:
    seen = []

    def work(job: Any, data: Any) -> int:
        seen.append(data)
        return respond(job)

    made = capsule(work)
    set_context(made, 4711)
    with around.worker(NativeWork(made)):
        around.job(1)
        around.result()
    assert seen == [4711]


def test_a_native_response_has_type_and_fields(around: StandIn) -> None:
    with around.worker(native(lambda job: respond(job, 405, b"text/css", b"Allow: GET\r\n", b"no"))):
        around.job(1)
        result = around.result()
        assert (result.status, result.info.code, result.body) == (405, 405, b"no")
        assert b"\r\nContent-Type: text/css\r\n" in result.frames[0]
        assert b"\r\nAllow: GET\r\n" in result.frames[0]


FIELDS_TO_REFUSE = [
    b"A: b", b"A: b\n", b"A: b\r", b"A: b\r\n\r\n", b"A: b\r\nc", b"A : b\r\n", b": b\r\n", b"A\r\n", b" A: b\r\n", b"A: \x01\r\n", b"A: b\r\n c\r\n",
    b"Content-Length: 4\r\n", b"A: b\r\ntransfer-encoding: chunked\r\n", b"Connection: close\r\n", b"Date: x\r\n", b"Upgrade: x\r\n",
]  # fmt: skip


def test_native_fields_are_checked(around: StandIn) -> None:
    seen: list[int] = []

    def work(job: Any) -> int:
        seen.extend(respond(job, fields=fields) for fields in FIELDS_TO_REFUSE)
        return respond(job, fields=b"A:b\r\nC: \xe9 d\r\n")

    with around.worker(native(work)):
        around.job(1)
        assert b"\r\nA:b\r\nC: \xe9 d\r\n" in around.result().frames[0]
    assert seen == [-1] * len(FIELDS_TO_REFUSE)


def test_native_results_come_in_order_and_are_reported(around: StandIn) -> None:
    with around.worker(native(respond)):
        around.hello()
        reports = around.carry(range(100))
        assert sorted(one for report in reports for one in report.finished) == [key(number) for number in range(100)]
        assert sorted(around.result().info.id for _ in range(100)) == list(range(100))


def nothing(job: Any) -> int:
    return DONE


def answers_and_fails(job: Any) -> int:
    respond(job)
    return FAILED


def answers_and_leaves_to_python(job: Any) -> int:
    respond(job)
    return PYTHON


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (nothing, "neither answered nor forwarded"),
        (answers_and_fails, "returned 3"),
        (answers_and_leaves_to_python, "no fallback"),
        (lambda job: FAILED, "returned 3"),
        (lambda job: 99, "returned 99"),
        (lambda job: PYTHON, "no fallback"),
        (lambda job: INTERRUPTED, "was not interrupted"),
        (lambda job: DONE if respond(job, 99) else FAILED, "neither answered"),
        (lambda job: DONE if respond(job, 200, b"a\r\nb: c") else FAILED, "neither answered"),
        (lambda job: DONE if forward(job, b"x") else FAILED, "neither answered"),
        (lambda job: DONE if forward(job, b"x", b"nowhere") else FAILED, "neither answered"),
    ],
)
def test_what_is_no_native_result_is_answered_and_logged(around: StandIn, caplog: pytest.LogCaptureFixture, work: Any, said: str) -> None:
    with around.worker(native(work)) as worker:
        around.job(1)
        result = around.result()
        assert (result.status, result.body) == (500, b"Internal Server Error")
        assert around.report().finished == [key(1)]
        assert said in caplog.text
        assert worker.stats()["failed"] == 1


def test_the_second_answer_is_refused(around: StandIn) -> None:
    refused = []

    def work(job: Any) -> int:
        respond(job)
        refused.append(respond(job, body=b"again"))
        refused.append(forward(job, b"x"))
        return DONE

    with around.worker(native(work)):
        around.job(1)
        assert around.result().body == b"fine"
        assert refused == [-1, -1]


def test_python_does_what_the_native_function_leaves(around: StandIn) -> None:
    def fallback(job: Job) -> Response:
        return Response(200, bytes(job.frames[0])[::-1])

    def work(job: Any) -> int:
        return PYTHON if ctypes.string_at(job.contents.frames[0].data, 1) == b"p" else respond(job)

    calls: list[int] = []
    with around.worker(native(work, fallback), cleanup=lambda: calls.append(1)):
        for number, payload in enumerate([b"pn", b"n", b"pnn"]):
            around.job(number, payload)
        assert [around.result().body for _ in range(3)] == [b"np", b"fine", b"nnp"]
        around.reports_until(finished=3)
    assert len(calls) == 3


def test_exceptions_of_the_fallback_are_answered(around: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    with around.worker(native(lambda job: PYTHON, fallback=lambda job: 1 / 0)):
        around.job(1)
        assert around.result().status == 500
    assert "ZeroDivisionError" in caplog.text


def test_forwards_natively() -> None:
    around = StandIn(stages=("left", "right"))
    try:
        with around.worker(native(lambda job: forward(job, b"on", ctypes.string_at(job.contents.frames[0].data, job.contents.frames[0].size)))):
            for number, name in enumerate(["right", "left"]):
                around.job(number, name.encode())
                _, info, payload = received(around.stages[name])
                assert payload == b"on"
                assert (RequestInfo.from_bytes(info).id, RequestInfo.from_bytes(info).hops) == (number, 1)
    finally:
        around.close()


def test_a_native_function_sees_that_it_is_interrupted(around: StandIn) -> None:
    entered = threading.Event()

    def work(job: Any) -> int:
        entered.set()
        while not job.contents.interrupted[0]:
            pass
        return INTERRUPTED

    with around.worker(native(work)) as worker:
        around.job(1)
        assert entered.wait(PATIENCE / 1000)
        around.say_interrupted(1)
        assert around.report().finished == [key(1)]
        assert around.quiet(around.loopback)
        assert worker.stats()["interrupted"] == 1


@pytest.mark.parametrize("wrong", [None, 7, len, capsule(lambda job, data: 0, b"something else"), new_capsule(1, None, None)])
def test_what_is_no_capsule_of_ours(wrong: object) -> None:
    with pytest.raises(TypeError):
        NativeWork(wrong)


def test_a_fallback_is_callable() -> None:
    number: Any = 7
    with pytest.raises(TypeError):
        NativeWork(demo.work.capsule, fallback=number)
    assert demo.parse.fallback is None
    assert "NativeWork" in repr(demo.parse)


@pytest.mark.parametrize(("compiler", "language"), [("cc", "c"), ("c++", "c++")])
def test_the_header_is_clean(compiler: str, language: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    header = Path(prime_server.__file__).parent / "_ext" / "prime_server.h"
    subprocess.run([compiler, "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-pedantic", "-x", language, header], check=True)


# --- the demonstration -------------------------------------------------------------------------------------------------------------------------


def get(target: str, method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


def post(body: str, target: str = "/is_prime") -> bytes:
    return f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


BIG = "1" + "0" * 998 + "7"
NUMBERS = [
    (get("/is_prime?possible_prime=7"), b"7"),
    (get("/is_prime?a=b&possible_prime=7&possible_prime=8"), b"7"),
    (get("/is_prime?possible_prime=%37"), b"7"),
    (get("/is_prime?possible_prime=0007"), b"7"),
    (get("/is_prime?possible_prime=0"), b"0"),
    (get("/is_prime?possible_prime=000"), b"0"),
    (get("/is_prime?possible_prime=7", "HEAD"), b"7"),
    (b"GET %2Fis_prime%3Fpossible_prime%3D7 HTTP/1.1\r\n\r\n", b"7"),
    (post("18446744073709551616"), b"18446744073709551616"),
    (post(" 7\r\n"), b"7"),
    (post(BIG), BIG.encode()),
    (post("9" * 4300), b"9" * 4300),
]
WRONG = [
    (get("/is_prime"), 400),
    (get("/is_prime?possible_prime="), 400),
    (get("/is_prime?possible_prime"), 400),
    (get("/is_prime?possible_prime=-7"), 400),
    (get("/is_prime?possible_prime=%2B7"), 400),
    (get("/is_prime?possible_prime=+7"), 400),
    (get("/is_prime?possible_prime=7_0"), 400),
    (get("/is_prime?possible_prime=0x7"), 400),
    (get("/is_prime?possible_prime=seven"), 400),
    (get("/is_prime?possible_prime=%D9%A7"), 400),
    (get("/is_prime?possible_prime=7%00"), 400),
    (get("/is_prime?possible_prime=" + "7" * 4301), 400),
    (post(""), 400),
    (post("7" * 4301), 400),
    (post("7 7"), 400),
    (b"", 400),
    (b"\0\1\2", 400),
    (get("/"), 404),
    (get("/is_prime/?possible_prime=7"), 404),
    (post("7", "/other"), 404),
    (get("/is_prime?possible_prime=7", "PUT"), 405),
    (get("/is_prime?possible_prime=7", "OPTIONS"), 405),
]


def test_parse_forwards_the_digits() -> None:
    around = StandIn(stages=True)
    try:
        with around.worker(demo.parse):
            for number, (payload, digits) in enumerate(NUMBERS):
                around.job(number, payload)
                assert received(around.stages["only"])[2] == digits
            around.job(99, b" 12\n", flags=NETSTRING)
            assert received(around.stages["only"])[2] == b"12"
    finally:
        around.close()


@pytest.mark.parametrize("work", [demo.parse, demo.work])
def test_wrong_requests_are_told_how_right_ones_look(work: NativeWork) -> None:
    around = StandIn(stages=True)
    try:
        with around.worker(work):
            for number, (payload, status) in enumerate(WRONG):
                around.job(number, payload)
                result = around.result()
                assert (result.status, result.info.code) == (status, status), payload
                assert b"requests should look like" in result.body
                assert (b"\r\nAllow: GET, HEAD, POST\r\n" in result.frames[0]) == (status == 405)
    finally:
        around.close()


@pytest.mark.parametrize("whole", [False, True])
def test_answers_whether_numbers_are_prime(around: StandIn, whole: bool) -> None:
    numbers = [0, 1, 2, 3, 4, 2**61 - 1, 2**64 - 59, 2**64 - 1, 2**64, 2**64 + 13, 2**89 - 1, 2**89 + 1, (2**61 - 1) * (2**31 - 1)]
    with around.worker(demo.work if whole else demo.compute):
        for number in numbers:
            for payload in [get(f"/is_prime?possible_prime={number}"), post(f"00{number}")] if whole else [b"%d" % number]:
                around.job(1, payload)
                assert around.result().body == (b"%d" % number if is_prime(number) else NOT_PRIME)
        if not whole:
            around.job(1, b"no number")
            assert around.result().status == 400
        for flags in (0, NETSTRING):
            around.job(1, b"%d" % (2**89 - 1) if flags or not whole else post(str(2**89 - 1)), flags=flags)
            assert b"%d" % (2**89 - 1) in b"".join(around.result().frames)


def test_echo(around: StandIn) -> None:
    with around.worker(echo):
        for payload, said in [(post("hello"), b"hello"), (get("/a?b=%20c"), b"/a?b=%20c"), (GET, GET.split(b" ")[1])]:
            around.job(1, payload)
            assert around.result().body == said
        around.job(2, b"no request")
        assert around.result().status == 400
        around.job(3, b"bare", flags=NETSTRING)
        assert around.result().frames == [b"4:bare,"]
