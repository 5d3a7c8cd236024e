"""`python -m prime_server.primes`: answers to numbers and to streams, as a well-behaved Unix tool."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE

from prime_server import __version__, is_prime
from prime_server.commands import cli
from prime_server.commands.primes import command

COMMAND = [sys.executable, "-W", "error", "-m", "prime_server.primes"]


def run(*arguments: str, stdin: bytes = b"") -> tuple[int, list[str], str]:
    """The exit status, the lines on stdout, and stderr."""
    ran = subprocess.run([*COMMAND, *arguments], input=stdin, capture_output=True, timeout=PATIENCE, check=False)
    return ran.returncode, ran.stdout.decode().splitlines(), ran.stderr.decode()


Call = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> Call:
    """`run` within this process: for mistakes, of which there are many kinds, and each start of a process takes a while."""

    def called(*arguments: str, stdin: bytes = b"") -> tuple[int, list[str], str]:
        (tmp_path / "stdin").write_bytes(stdin)
        with (tmp_path / "stdin").open() as stream:
            monkeypatch.setattr(sys, "stdin", stream)
            with pytest.raises(SystemExit) as ended:
                cli.run(command, arguments)
        captured = capsysbinary.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, captured.out.decode().splitlines(), captured.err.decode()

    return called


@contextmanager
def started(*arguments: str, **options: Any) -> Iterator["subprocess.Popen[bytes]"]:
    streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    with subprocess.Popen([*COMMAND, *arguments], bufsize=0, **streams) as process:
        try:
            yield process
        finally:
            process.kill()


def expected(n: int) -> str:
    return f"{n} is {'prime' if is_prime(n) else 'composite' if n > 1 else 'not prime'}"


def read_until(descriptor: int, wanted: bytes) -> bytes:
    data = b""
    while wanted not in data:
        assert select.select([descriptor], [], [], PATIENCE)[0], data
        piece = os.read(descriptor, 65536)
        assert piece, data
        data += piece
    return data


def test_numbers() -> None:
    numbers = [2305843009213693951, 4, 2, 1, 0, -7, 2**64 - 59, 2**64 + 13, 2**89 - 1, 2**521 - 1, 10**4400 + 1]
    sys.set_int_max_str_digits(0)
    try:
        texts = [str(n) for n in numbers]
    finally:
        sys.set_int_max_str_digits(4300)
    verdicts = ["prime", "composite", "prime", "not prime", "not prime", "not prime", "prime", "prime", "prime", "prime", "composite"]
    status, lines, errors = run(*texts)
    assert (status, errors) == (0, "")
    assert lines == [f"{text} is {verdict}" for text, verdict in zip(texts, verdicts, strict=True)]
    assert run("--stdin", stdin="\n".join(texts).encode()) == (0, lines, "")


def test_help_and_version() -> None:
    status, lines, errors = run("--help")
    assert (status, errors) == (0, "")
    assert lines[0].startswith("Usage: python -m prime_server.primes ")
    assert any("--stdin" in line for line in lines)
    assert run("--version")[1] == [f"python -m prime_server.primes, version {__version__}"]


@pytest.mark.parametrize("bad", ["abc", "7.5", "", "7 8", "1_000", "0x7", "1e9", "٣", "--prime", "-", "+", "--7"])
def test_an_argument_that_is_no_number(bad: str, call: Call) -> None:
    status, lines, errors = call("7", bad)
    assert (status, lines) == (2, [])
    assert f"{bad!r} is no number; it should be a whole one in decimal digits" in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize("arguments", [[], ["7", "--stdin"]])
def test_numbers_or_a_stream(arguments: list[str], call: Call) -> None:
    status, lines, errors = call(*arguments)
    assert (status, lines) == (2, [])
    assert "--stdin" in errors


def test_a_stream(call: Call) -> None:
    numbers = [*range(-20, 20_000), *range(2**64 - 500, 2**64 + 500)]
    right = [expected(n) for n in numbers]
    assert run("--stdin", stdin="\n".join(map(str, numbers)).encode()) == (0, right, "")
    for text in ("".join(f" {n}\t\r\n" for n in numbers), "".join(f"\n\n{n}\n" for n in numbers)):
        assert call("--stdin", stdin=text.encode()) == (0, right, "")
    assert call("--stdin") == (0, [], "")


@pytest.mark.parametrize("bad", [b"12x", b"7 8", b"\xff", b"1_0", b"--", b"9" * 60 + b".", b"\0"])
def test_a_line_that_is_no_number(bad: bytes, call: Call) -> None:
    before = list(range(30_000))
    lines = "\n".join(map(str, before)).encode()
    status, answers, errors = call("--stdin", stdin=lines + b"\n\n" + bad + b"\n7\n")
    assert status == 2
    assert answers == [expected(n) for n in before]
    assert "line 30002: " in errors
    assert "is no number; it should be a whole one" in errors
    assert len(errors.splitlines()) == 1


def test_mistakes_end_a_process() -> None:
    for arguments, stdin, answers, told in (
        (("7", "x"), b"", [], "'x' is no number"),
        (("--stdin",), b"7\n\nx\n", ["7 is prime"], "line 3: 'x' is no"),
    ):
        status, lines, errors = run(*arguments, stdin=stdin)
        assert (status, lines) == (2, answers)
        assert told in errors
        assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(("arguments", "closed"), [(["7"], "stdout"), (["--stdin"], "stdout"), (["--stdin"], "stdin")])
def test_a_closed_stream_is_told(arguments: list[str], closed: str) -> None:
    shell = ["sh", "-c", f'exec "$@" {">&-" if closed == "stdout" else "<&-"}', "sh", *COMMAND, *arguments]
    ran = subprocess.run(shell, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert ran.stderr.decode().splitlines() == [f"python -m prime_server.primes: {closed} is closed"]


def test_a_line_without_an_end(call: Call) -> None:
    status, answers, errors = call("--stdin", stdin=b"7\n" + b"1" * 3_000_000)
    assert (status, answers) == (2, ["7 is prime"])
    assert "line 2 has more than 1048576 bytes" in errors


def test_a_slow_stream_is_answered_as_it_comes() -> None:
    with started("--stdin") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for n in (7, 2**89 - 1, 9):
            process.stdin.write(b"%d\n" % n)
            assert read_until(process.stdout.fileno(), b"\n").decode() == expected(n) + "\n"
        process.stdin.write(b"1")
        process.stdin.write(b"1")
        process.stdin.close()
        assert process.stdout.read() == b"11 is prime\n"
        assert process.wait(PATIENCE) == 0


def test_a_closed_pipe_ends_it_without_a_word() -> None:
    with started("--stdin") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"7\n")
        read_until(process.stdout.fileno(), b"7 is prime\n")
        process.stdout.close()
        process.stdin.write(b"7\n")
        assert process.wait(PATIENCE) == -signal.SIGPIPE
        assert process.stderr.read() == b""


def test_interrupts_end_it_without_a_word() -> None:
    """While it waits, and in the middle of a number that takes long."""
    for line in (b"7\n", b"7\n" + b"%d\n" % (2**9941 - 1)):
        with started("--stdin") as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdin.write(line)
            read_until(process.stdout.fileno(), b"7 is prime\n")
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == -signal.SIGINT
            assert process.stderr.read() == b""


def test_progress_on_a_terminal(tmp_path: Path) -> None:
    numbers = b"".join(b"%d\n" % n for n in range(50_000))
    file = tmp_path / "numbers"
    file.write_bytes(numbers)
    for source, last in ((file.open("rb"), b"100%"), (None, b"50000 numbers")):
        terminal, side = os.openpty()
        output = (tmp_path / "answers").open("wb")
        try:
            with started("--stdin", stdin=source.fileno() if source else subprocess.PIPE, stdout=output.fileno(), stderr=side) as process:
                os.close(side)
                if process.stdin is not None:
                    process.stdin.write(numbers[:200_000])
                    process.stdin.write(numbers[200_000:])
                    process.stdin.close()
                shown = read_until(terminal, last)
                assert process.wait(PATIENCE) == 0
        finally:
            os.close(terminal)
            output.close()
            if source:
                source.close()
        assert b"\r" in shown
        assert (tmp_path / "answers").read_text().splitlines() == [expected(n) for n in range(50_000)]
