"""`python -m bench.primality`: nanoseconds per number, ours and the peers', side by side.

In each round every test gets the same fresh numbers, one test after the other and in another order each time, so that what the machine does besides
hits all alike and no branch predictor has seen a number. The figures are medians over the rounds, of processor time, those of single calls with the
Python loop around them; before that all answers are held against each other. `PRIME_SERVER_SIMD` (avx512, avx2, scalar) sets the path of the batches.
"""

import argparse
import array
import contextlib
import datetime
import json
import math
import os
import random
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

import gmpy2

from bench import peers
from bench.report import machine, progress
from prime_server import Client, are_prime, is_prime
from prime_server.primes import SIMD

NOT_PRIME = b"18446744073709551615"
REQUEST = b"GET /is_prime?possible_prime=%d HTTP/1.1\r\nHost: localhost\r\n\r\n"
SERVED = 400  # numbers asked of a server in a round

Test = Callable[[Sequence[int]], Iterable[int]]
Draw = Callable[[random.Random], int]
Results = dict[str, dict[str, list[float]]]


# --- the tests ---------------------------------------------------------------------------------------------------------------------------------


def by_calls(function: Callable[[int], bool]) -> Test:
    return lambda numbers: [function(n) for n in numbers]


def by_gmpy2(numbers: Sequence[int]) -> Sequence[int]:
    test = gmpy2.is_prime
    return [test(n) for n in numbers]


def by_gmpy2_24(numbers: Sequence[int]) -> Sequence[int]:
    """Baillie-PSW alone, which is what we do above 2^64."""
    test = gmpy2.is_prime
    return [test(n, 24) for n in numbers]


def by_flint(numbers: Sequence[int]) -> Sequence[int]:
    from flint import fmpz

    return [fmpz(n).is_prime() for n in numbers]


def by_sympy(numbers: Sequence[int]) -> Sequence[int]:
    from sympy import isprime

    return [isprime(n) for n in numbers]


def by_numpy(numbers: Sequence[int]) -> Iterable[int]:
    """Trial division of all numbers at once, below 2^32: by each prime below 2^16, of what is left."""
    import numpy

    sieve = numpy.frombuffer(are_prime(range(1 << 16)), bool)
    left, places = numpy.array(numbers, "uint32"), numpy.arange(len(numbers))
    for p in numpy.flatnonzero(sieve).astype("uint32"):
        kept = (left % p != 0) | (left == p)
        if not kept.all():
            left, places = left[kept], places[kept]
    primes = numpy.zeros(len(numbers), bool)
    primes[places] = left > 1
    return primes


def by_batch(numbers: Sequence[int]) -> Sequence[int]:
    return are_prime(numbers)


OURS, BATCH = "is_prime", "are_prime"
NEEDS = {"python-flint": ("flint", "python-flint"), "gmpy2": ("gmpy2", "gmpy2"), "gmpy2 (24)": ("gmpy2", "gmpy2"), "sympy": ("sympy", "sympy"),
         "numpy": ("numpy", "numpy")}  # fmt: skip
SINGLE: dict[str, Test] = {OURS: by_calls(is_prime), "python-flint": by_flint, "gmpy2": by_gmpy2, "sympy": by_sympy}
MANY: dict[str, Test] = {BATCH: by_batch, "python-flint": by_flint, "gmpy2": by_gmpy2}
SHORT = MANY | {"numpy": by_numpy}
BIG: dict[str, Test] = {OURS: by_calls(is_prime), "gmpy2 (24)": by_gmpy2_24}


# --- the numbers -------------------------------------------------------------------------------------------------------------------------------


def odd(bits: int) -> Draw:
    return lambda numbers: numbers.getrandbits(bits) | 1


def prime(bits: int) -> Draw:
    """Of exactly so many bits."""

    def draw(numbers: random.Random) -> int:
        while (n := int(gmpy2.next_prime(numbers.getrandbits(bits) | 1 << (bits - 1)))) >> bits:
            pass
        return n

    return draw


def rough(bits: int) -> Draw:
    """Without a factor below 1000, most of them composite: for sizes of which primes are slow to find. One test of all is what they take."""
    small = gmpy2.primorial(1000)

    def draw(numbers: random.Random) -> int:
        while True:
            n = numbers.getrandbits(bits) | 1 | 1 << (bits - 1)
            if gmpy2.gcd(n, small) == 1:
                return n

    return draw


def of(draws: Draw) -> Callable[[int, int, int], list[int]]:
    return lambda count, turn, seed: list(map(draws, [random.Random(seed * 1000 + turn)] * count))


def counted(start: int, step: int) -> Callable[[int, int, int], list[int]]:
    return lambda count, turn, _seed: list(range(start + turn * count * step, start + (turn + 1) * count * step, step))


@dataclass(frozen=True)
class Kind:
    """A class of numbers: of which there are `count` in all rounds together."""

    name: str
    draw: Callable[[int, int, int], list[int]]
    tests: dict[str, Test]
    count: int = 20_000


MANY_NUMBERS = 200_000  # of few at a time the figure is that of a processor which has just run something else

KINDS = {
    "single": [
        Kind("even", of(lambda numbers: numbers.getrandbits(62) << 1), SINGLE),
        Kind("97", of(lambda _numbers: 97), SINGLE),
        Kind("primes of 32 bits", of(prime(32)), SINGLE),
        Kind("primes of 62 bits", of(prime(62)), SINGLE),
        Kind("primes of 64 bits", of(prime(64)), SINGLE),
        Kind("odd, up to 64 bits", of(odd(64)), SINGLE),
        Kind("any, up to 64 bits", of(lambda numbers: numbers.getrandbits(64)), SINGLE),
    ],
    "batch": [
        Kind("primes of 32 bits", of(prime(32)), MANY, MANY_NUMBERS),
        Kind("primes of 48 bits", of(prime(48)), MANY, MANY_NUMBERS),
        Kind("primes of 60 bits", of(prime(60)), MANY, MANY_NUMBERS),
        Kind("primes of 64 bits", of(prime(64)), MANY, MANY_NUMBERS),
        Kind("odd, up to 32 bits", of(odd(32)), SHORT, MANY_NUMBERS),
        Kind("odd, up to 64 bits", of(odd(64)), MANY, MANY_NUMBERS),
        Kind("any, up to 64 bits", of(lambda numbers: numbers.getrandbits(64)), MANY, MANY_NUMBERS),
        Kind("odd, from 10^18 on", counted(10**18 + 1, 2), MANY, MANY_NUMBERS),
    ],
    "big": [
        *(Kind(f"primes of {bits} bits", of(prime(bits)), BIG, count) for bits, count in ((65, 20_000), (128, 5_000), (256, 1_000), (512, 200))),
        *(Kind(f"rough, of {bits} bits", of(rough(bits)), BIG, count) for bits, count in ((1024, 200), (2048, 50), (4096, 20))),
    ],
}


# --- measuring ---------------------------------------------------------------------------------------------------------------------------------


def measure(kind: Kind, tests: dict[str, Test], rounds: int) -> dict[str, list[float]]:
    """Nanoseconds per number in each round. Raises `AssertionError` where two tests differ."""
    figures: dict[str, list[float]] = {name: [] for name in tests}
    count = -(-kind.count // rounds)
    order = deque(tests)
    for turn in range(-1, rounds):  # the first shows whether all agree, and imports what they need
        drawn = kind.draw(count if turn >= 0 else min(count, 500), turn + 1, kind.count)
        packed = array.array("Q", drawn) if BATCH in tests else drawn
        answers = {}
        for name in order:
            numbers = packed if name == BATCH else drawn
            began = time.thread_time_ns()
            answers[name] = tests[name](numbers)
            took = time.thread_time_ns() - began
            if turn >= 0:
                figures[name].append(took / count)
        first, *others = (list(map(bool, each)) for each in answers.values())
        assert all(first == other for other in others), f"{kind.name}: the tests differ"
        order.rotate()
    return figures


def table(results: Results) -> str:
    """Markdown, so that it can go into a README as it is. In brackets, how many times as long as ours."""
    names = list(dict.fromkeys(name for by_name in results.values() for name in by_name))
    lines = [f"| ns per number | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    for kind, by_name in results.items():
        ours = statistics.median(by_name[names[0]])
        cells = []
        for name in names:
            figure = statistics.median(by_name[name]) if name in by_name else math.nan
            shown = f"{figure:,.1f}" if figure < 100 else f"{figure:,.0f}"
            cells.append("" if name not in by_name else shown if name == names[0] else f"{shown} ({figure / ours:.2f} ×)")
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def serve(rounds: int) -> dict[int, list[float]]:
    """Numbers per second of `prime_serverd ENDPOINT 1` and `2`, on those of 300 to 600 digits without a small factor. Raises as `measure`."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    with contextlib.ExitStack() as stack:
        ports = {workers: stack.enter_context(peers.running(peers.prime_serverd(workers))).port for workers in rates}
        for turn in range(rounds):
            numbers = random.Random(turn)
            drawn = [rough(numbers.randrange(997, 1993))(numbers) for _ in range(SERVED)]
            right = [b"%d" % n if gmpy2.is_prime(n, 24) else NOT_PRIME for n in drawn]
            for workers, port in ports.items():
                with Client(None, f"tcp://127.0.0.1:{port}") as client:
                    began = time.perf_counter()
                    answers = [bytes(answer.body) for answer in client.fetch(map(REQUEST.__mod__, drawn))]
                    rates[workers].append(SERVED / (time.perf_counter() - began))
                assert answers == right, f"prime_serverd {workers}: wrong answers"
                progress(f"round {turn + 1}/{rounds}, {workers} workers, {rates[workers][-1]:.1f}/s")
    progress("")
    return rates


def installed(tests: dict[str, Test]) -> dict[str, Test]:
    return {name: test for name, test in tests.items() if name not in NEEDS or util.find_spec(NEEDS[name][0])}


def versions() -> Iterator[str]:
    for module, package in dict.fromkeys(NEEDS.values()):
        yield f"{package} {metadata.version(package)}" if util.find_spec(module) else f"{package} is left out: not installed"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.primality", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10, help="default: 10")
    parser.add_argument("--parts", default="single,batch,big,serve", help="some of them only (default: single,batch,big,serve)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures there")
    options = parser.parse_args()
    parts = options.parts.split(",")
    if unknown := set(parts) - {*KINDS, "serve"}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are: {', '.join(KINDS)}, serve")
    if options.rounds < 1:
        parser.error(f"--rounds should be 1 or more, not {options.rounds}")
    print(f"{machine()}, {datetime.date.today()}; {'; '.join(versions())}")
    print(f"medians of {options.rounds} interleaved rounds, fresh numbers in each; are_prime by {SIMD}")
    found: dict[str, Results] = {}
    for part in parts:
        if part == "serve":
            continue
        found[part] = {}
        for kind in KINDS[part]:
            progress(f"{part}: {kind.name}")
            found[part][kind.name] = measure(kind, installed(kind.tests), options.rounds)
        progress("")
        print(f"\n{table(found[part])}")
    rates: dict[int, list[float]] = {}
    if "serve" in parts:
        rates = serve(options.rounds)
        one, two = (statistics.median(each) for each in rates.values())
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        print(f"\nprime_serverd on numbers of 300 to 600 digits, {cores} cores: 1 worker {one:.1f}/s, 2 workers {two:.1f}/s, {two / one:.2f} ×")
    if options.json:
        about = {"machine": machine(), "date": str(datetime.date.today()), "path": SIMD, "rounds": options.rounds, "versions": list(versions())}
        options.json.write_text(json.dumps({**about, "nanoseconds": found, "served": rates}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
