"""Runs a fuzz target for a bounded time: by atheris where it is installed, else by a loop of its own.

The loop mutates inputs of a pool that begins with the seeds. A target answers with what came of an input, as a hashable value that is the same for
inputs which took the same way; an input with a new answer joins the pool. So the loop finds its way past checks without an instrumented build. The
input that is being run lies in the file that is named at the start, for the case that the process dies of it.

For atheris to see into the compiled modules, build them with what it listens to, and run with its library preloaded (asan_with_fuzzer.so, beside the
atheris package):

    CC=clang LDSHARED="clang -shared" CFLAGS="-fsanitize=fuzzer-no-link,address -g" python setup.py build_ext --inplace
    LD_PRELOAD=…/asan_with_fuzzer.so PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 python -m tests.fuzz.http_request --seconds 600
"""

import argparse
import importlib.util
import mmap
import random
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

Target = Callable[[bytes], Hashable]

CORPUS = Path(__file__).parent.parent / "requests"
MAX_SIZE = 4096  # bytes of an input


def requests() -> list[bytes]:
    """The file corpus of the request parser, for its seeds."""
    return [data for path in sorted(CORPUS.glob("*/*.http")) if len(data := path.read_bytes()) <= MAX_SIZE]


def mutate(dice: random.Random, data: bytes, pool: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    for _ in range(dice.choice((1, 1, 1, 2, 3, 5))):
        at = dice.randint(0, len(data))
        to = min(len(data), at + dice.choice((1, 1, 2, 4, 16, 64)))
        way = dice.randrange(7)
        if way == 0:  # another byte
            data = data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :]
        elif way == 1:  # a token put in
            data = data[:at] + dice.choice(tokens) + data[at:]
        elif way == 2:  # a token in the place of something
            data = data[:at] + dice.choice(tokens) + data[to:]
        elif way == 3:  # something taken out
            data = data[:at] + data[to:]
        elif way == 4:  # something repeated
            data = data[:to] + data[at:to] * dice.choice((1, 2, 20)) + data[to:]
        elif way == 5:  # the end of another
            other = dice.choice(pool)
            data = data[:at] + other[dice.randint(0, len(other)) :]
        else:  # cut short
            data = data[:at]
    return data[:MAX_SIZE]


def loop(
    target: Target, seeds: Sequence[bytes], tokens: Sequence[bytes], seconds: float, seed: int, held: mmap.mmap | None = None
) -> tuple[int, int]:
    """Runs the target until the time is over. How many inputs were run, and how many different answers there were. Lets its exceptions out."""
    dice = random.Random(seed)
    pool: list[bytes] = []
    answers: set[Hashable] = set()
    runs = 0
    end = time.monotonic() + seconds
    waiting = list(seeds)
    while waiting or time.monotonic() < end:
        data = waiting.pop() if waiting else mutate(dice, dice.choice(pool), pool, tokens)
        if held is not None:
            held[: 4 + len(data)] = struct.pack("<I", len(data)) + data
        try:
            answer = target(data)
        except BaseException:
            print(f"the input was {data!r}", file=sys.stderr)
            raise
        runs += 1
        if answer not in answers or not pool:
            answers.add(answer)
            pool.append(data)
    return runs, len(answers)


def main(target: Target, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    parser = argparse.ArgumentParser(description=sys.modules[target.__module__].__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to run")
    parser.add_argument("--seed", type=int, default=None, help="of the random numbers; another one each time by default")
    parser.add_argument("--loop", action="store_true", help="don't use atheris, even where it is installed")
    options = parser.parse_args()
    seed = random.randrange(1 << 31) if options.seed is None else options.seed
    if not options.loop and importlib.util.find_spec("atheris") is not None:
        run_atheris(target, seeds, options.seconds, seed)
        return
    with tempfile.NamedTemporaryFile(prefix="fuzz-", suffix=".input", delete=False) as file:
        file.truncate(4 + MAX_SIZE)
        held = mmap.mmap(file.fileno(), 4 + MAX_SIZE)
        print(f"seed {seed}, {len(seeds)} inputs to begin with; the one being run is in {file.name}: four bytes of length, then its bytes")
        runs, ways = loop(target, seeds, tokens, options.seconds, seed, held)
        held.close()
    Path(file.name).unlink()
    print(f"{runs} inputs, {ways} different answers, all of them allowed")


def run_atheris(target: Target, seeds: Sequence[bytes], seconds: float, seed: int) -> None:
    import atheris

    def once(data: bytes) -> None:
        target(data)

    corpus = Path(tempfile.mkdtemp(prefix="fuzz-"))
    for index, data in enumerate(seeds):
        (corpus / str(index)).write_bytes(data)
    arguments = [sys.argv[0], str(corpus), f"-max_total_time={max(1, round(seconds))}", f"-max_len={MAX_SIZE}", f"-seed={seed or 1}"]
    print(f"atheris, seed {seed}, {len(seeds)} inputs to begin with, corpus in {corpus}")
    atheris.Setup(arguments, once)
    atheris.Fuzz()
