"""`python -m prime_server.primes`: whether the numbers given, or those of a stream, are prime.

A stream is read as it comes: all whole lines that have arrived go through `are_prime` together and their answers leave at once, so that a fast stream
is tested in large batches and a slow one is answered line by line. A closed pipe and Ctrl-C end the process by their signals, as with any Unix tool.
"""

import os
import re
import signal
import stat
import sys
from collections.abc import Iterator

import click
import gmpy2
from tqdm import tqdm

from prime_server._ext.batches import are_prime
from prime_server.commands import cli

_PIECE = 1 << 16  # bytes read at once
_LONGEST = 1 << 20  # of a line
_LONG = 40  # bytes of a line: numbers beyond take a time each, and so are answered each for itself
_SHOWN = 40  # characters of what is no number
_NUMBER = re.compile(rb"[+-]?[0-9]+")


class Failed(click.ClickException):
    """A stream that can't be read on."""

    exit_code = 2


def read_number(text: bytes) -> int:
    """An integer of any length. Raises `ValueError` with the right form."""
    if not _NUMBER.fullmatch(text):
        shown = text.decode(errors="replace")
        shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
        raise ValueError(f"{shown!r} is no number; it should be a whole one in decimal digits, like 2305843009213693951")
    # Beyond what Python's int() takes, gmpy2 knows no limit; a plus is not for it.
    return int(text) if len(text) < 4300 else gmpy2.mpz(text.lstrip(b"+").decode())


def answer(texts: list[bytes], numbers: list[int]) -> bytes:
    """A line for each number."""
    return b"".join(
        text + (b" is prime\n" if prime else b" is composite\n" if n > 1 else b" is not prime\n")
        for text, n, prime in zip(texts, numbers, are_prime(numbers), strict=True)
    )


def pieces(descriptor: int) -> Iterator[list[bytes]]:
    """The lines that have come since the last ones. Raises `ClickException` for a line that doesn't end in time."""
    rest = b""
    line = 1
    while piece := os.read(descriptor, _PIECE):
        *lines, last = piece.split(b"\n")
        if lines:
            lines[0] = rest + lines[0]
            yield lines
            line += len(lines)
            rest = last
        else:
            rest += last
        if len(rest) > _LONGEST:
            raise Failed(f"line {line} has more than {_LONGEST} bytes")
    if rest:
        yield [rest]


def write(text: bytes) -> None:
    with tqdm.external_write_mode(file=sys.stdout):
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()


def answer_lines(lines: list[bytes], number: int) -> int:
    """Answers lines, of which the first has this number; empty ones are passed over. Returns how many were answered. Raises `Failed`."""
    texts: list[bytes] = []
    numbers: list[int] = []
    answered = 0
    failed: Failed | None = None
    for at, line in enumerate(lines, number):
        text = line.strip()
        if not text:
            continue
        try:
            n = read_number(text)
        except ValueError as error:
            failed = Failed(f"line {at}: {error}")
            break
        if len(text) > _LONG:
            if texts:
                write(answer(texts, numbers))
                answered += len(texts)
                texts, numbers = [], []
            write(answer([text], [n]))
            answered += 1
        else:
            texts.append(text)
            numbers.append(n)
    if texts:
        write(answer(texts, numbers))
    if failed is not None:
        raise failed
    return answered + len(texts)


def answer_stream(descriptor: int) -> None:
    """With a bar on stderr where that is a terminal: of bytes where it is known how many will come, else of numbers."""
    status = os.fstat(descriptor)
    size = status.st_size if stat.S_ISREG(status.st_mode) else None
    line = 1
    # A terminal that tells no size, as many a pseudo-terminal, would be shown none of it.
    sizeless = sys.stderr is not None and sys.stderr.isatty() and 0 in os.get_terminal_size(sys.stderr.fileno())
    shape = {"ncols": 80, "nrows": 24} if sizeless else {}
    with tqdm(total=size, unit=" numbers" if size is None else "B", unit_scale=size is not None, disable=None, **shape) as bar:
        for lines in pieces(descriptor):
            answered = answer_lines(lines, line)
            line += len(lines)
            bar.update(answered if size is None else sum(map(len, lines)) + len(lines))


@click.command(
    "python -m prime_server.primes",
    context_settings={**cli.CONTEXT, "ignore_unknown_options": True},  # for -7
)
@click.argument("numbers", nargs=-1)
@click.option("--stdin", "stream", is_flag=True, help="Numbers from stdin, one a line, answered as they come; empty lines are passed over.")
@click.version_option(package_name="prime-server")
def command(numbers: tuple[str, ...], stream: bool) -> None:
    """Tells whether each of the NUMBERS is prime, a line each: `N is prime`, `N is composite`, or `N is not prime` for 1, 0 and negative ones.

    Exact below 2^64; above, what is called prime has passed the Baillie-PSW test, of which no counter-example is known. What is no number ends it
    with exit status 2 and, of a stream, the number of the line, after the answers to those before.

    \b
    Examples:
      python -m prime_server.primes 2305843009213693951 2305843009213693953
      seq 1000000 | python -m prime_server.primes --stdin | grep -c 'is prime'
    """
    if stream and numbers:
        raise click.UsageError("give numbers or --stdin, not both")
    if sys.stdout is None:
        raise click.ClickException("stdout is closed")
    if stream:
        if sys.stdin is None:
            raise click.ClickException("stdin is closed")
        answer_stream(sys.stdin.fileno())
        return
    if not numbers:
        raise click.UsageError("no number given; give some, like 2305843009213693951, or --stdin")
    texts = [text.encode(errors="surrogateescape").strip() for text in numbers]
    try:
        values = [read_number(text) for text in texts]
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    for text, value in zip(texts, values, strict=True):
        write(answer([text], [value]))


def main() -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and not ignored, as by nohup
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    cli.run(command)
