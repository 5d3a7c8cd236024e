"""Every path that `are_prime` can take on this machine, against a sieve, gmpy2 and the test of a single number.

The environment chooses the path of a process once, so each has a process of its own, which is sent numbers and sends back its answers.
"""

import array
import itertools
import math
import os
import random
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator

import gmpy2
import pytest
from conftest import PATIENCE, primes_below

from prime_server import are_prime, is_prime
from prime_server._ext.primality import SIMD, SIMD_PATHS

U64 = 2**64

# A buffer of `count` numbers that begins `offset` bytes behind an address that suits any number.
CHILD = """
import struct, sys
from prime_server import are_prime
receive, send = sys.stdin.buffer, sys.stdout.buffer
while head := receive.read(24):
    letter, offset, size = struct.unpack("8sQQ", head)
    memory = memoryview(bytearray(offset) + receive.read(size))
    send.write(are_prime(memory[offset:].cast(letter.rstrip(b"\\0").decode())))
    send.flush()
"""


class Path:
    """A process on one of the paths."""

    def __init__(self, name: str) -> None:
        environment = {**os.environ, "PRIME_SERVER_SIMD": name}
        self.popen = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

    def __call__(self, numbers: "array.array[int]", offset: int = 0) -> bytes:
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        data = numbers.tobytes()
        self.popen.stdin.write(struct.pack("8sQQ", numbers.typecode.encode(), offset, len(data)) + data)
        self.popen.stdin.flush()
        return self.popen.stdout.read(len(numbers))

    def close(self) -> None:
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        self.popen.stdin.close()
        status = self.popen.wait(PATIENCE)
        self.popen.stdout.close()
        assert status == 0


@pytest.fixture(scope="module", params=SIMD_PATHS)
def path(request: pytest.FixtureRequest) -> Iterator[Path]:
    process = Path(request.param)
    yield process
    process.close()


def truth(numbers: Iterable[int]) -> bytes:
    """The oracle: on no line of code of ours."""
    return bytes(n > 1 and gmpy2.is_prime(n, 25) for n in numbers)


def differing(numbers: "array.array[int]", found: bytes, right: bytes) -> list[int]:
    assert len(found) == len(right) == len(numbers)
    return [] if found == right else [n for n, one, other in zip(numbers, found, right, strict=True) if one != other][:20]


# --- the choice --------------------------------------------------------------------------------------------------------------------------------


def ask(name: str | None) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PRIME_SERVER_SIMD"}
    if name is not None:
        environment["PRIME_SERVER_SIMD"] = name
    probe = "from prime_server.primes import SIMD; print(SIMD)"
    return subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=PATIENCE, check=False, env=environment)


def test_the_environment_forces_a_path() -> None:
    assert SIMD in SIMD_PATHS
    assert SIMD_PATHS[0] == "scalar"
    for name in SIMD_PATHS:
        assert ask(name).stdout == f"{name}\n"
    assert ask(None).stdout == ask("").stdout == f"{SIMD_PATHS[-1]}\n"


@pytest.mark.parametrize("name", ["sse2", "AVX2", *{"avx2", "avx512"}.difference(SIMD_PATHS)])
def test_a_path_that_is_not_there_is_told(name: str) -> None:
    asked = ask(name)
    assert asked.returncode != 0
    assert f"PRIME_SERVER_SIMD={name!r}" in asked.stderr.splitlines()[-1]
    assert "scalar" in asked.stderr.splitlines()[-1]


# --- exactness ---------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sieved() -> tuple["array.array[int]", bytes]:
    return array.array("I", range(1 << 24)), bytes(primes_below(1 << 24))


def test_every_number_below_2_24(path: Path, sieved: tuple["array.array[int]", bytes]) -> None:
    numbers, right = sieved
    assert differing(numbers, path(numbers), right) == []


def batch(numbers: Iterable[int]) -> tuple["array.array[int]", bytes]:
    """Numbers below 2^64 and the oracle's answers."""
    kept = array.array("Q", numbers)
    return kept, truth(kept)


@pytest.fixture(scope="module")
def around_powers() -> tuple["array.array[int]", bytes]:
    return batch(n for k in range(65) for n in range(max(0, 2**k - 3000), min(U64, 2**k + 3001)))


@pytest.fixture(scope="module")
def topmost() -> tuple["array.array[int]", bytes]:
    return batch(range(U64 - 200_000, U64))


@pytest.fixture(scope="module")
def randoms() -> tuple["array.array[int]", bytes]:
    """Of every length, and primes that follow on some of them."""
    numbers = random.Random(8)
    drawn = [numbers.getrandbits(numbers.randrange(1, 65)) for _ in range(100_000)]
    drawn += [int(gmpy2.next_prime(n)) for n in drawn[:20_000] if n < U64 - 1000]
    numbers.shuffle(drawn)
    return batch(drawn)


@pytest.fixture(scope="module")
def products() -> tuple["array.array[int]", bytes]:
    """Squares and products of neighbouring primes of all lengths, and the largest of both; Chernick's Carmichael numbers."""
    made: list[int] = []
    for bits in range(1, 32):
        p = gmpy2.next_prime(1 << bits)
        for _ in range(100):
            q = gmpy2.next_prime(p)
            made += [int(p * p), int(p * q)]
            p = q
    p = gmpy2.mpz(2**32)
    for _ in range(100):
        q, p = p, next(n for n in itertools.count(p - 1, -1) if gmpy2.is_prime(n))
        made += [int(p * p), int(p * q)] if q < 2**32 else [int(p * p)]
    for k in range(1, 200_000):
        factors = [6 * k + 1, 12 * k + 1, 18 * k + 1]
        if all(map(gmpy2.is_prime, factors)):
            made.append(math.prod(factors))
    assert max(made) < U64
    return batch(made)


def pseudoprimes() -> Iterator[int]:
    """Products (k + 1) (r k + 1) of two primes that pass the strong test to base 2: only the Lucas half, or the list, can tell them."""
    for start, stop in ((0, 2**17), (2**20, 2**20 + 2**19), (2**25, 2**25 + 2**21), (2**29, 2**29 + 2**21)):
        k = array.array("Q", range(start, stop, 2))
        first = are_prime([each + 1 for each in k])
        k = array.array("Q", itertools.compress(k, first))
        for r in (2, 3, 4, 5, 6, 7):
            for each in itertools.compress(k, are_prime([r * each + 1 for each in k])):
                n = (each + 1) * (r * each + 1)
                if n < U64 and gmpy2.is_strong_prp(n, 2):
                    yield n


@pytest.fixture(scope="module")
def misleading() -> tuple["array.array[int]", bytes]:
    numbers = array.array("Q", pseudoprimes())
    assert len(numbers) > 20_000
    # Psi values: the least strong pseudoprimes to the first 1, 2, 3... primes (Jaeschke; Sorenson and Webster).
    numbers.extend([2047, 1373653, 25326001, 3215031751, 2152302898747, 3474749660383, 341550071728321, 3825123056546413051, U64 - 1])
    return numbers, bytes(len(numbers))


@pytest.mark.parametrize("numbers", ["around_powers", "topmost", "randoms", "products", "misleading"])
def test_answers(numbers: str, path: Path, request: pytest.FixtureRequest) -> None:
    asked, right = request.getfixturevalue(numbers)
    assert differing(asked, path(asked), right) == []


@pytest.mark.parametrize("numbers", ["around_powers", "topmost", "randoms", "products", "misleading"])
def test_answers_of_single_calls(numbers: str, request: pytest.FixtureRequest) -> None:
    asked, right = request.getfixturevalue(numbers)
    assert differing(asked, bytes(map(is_prime, asked)), right) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_million_random_numbers(path: Path) -> None:
    numbers = random.Random(9)
    for _ in range(10):
        drawn = array.array("Q", (numbers.getrandbits(bits) | 1 for bits in numbers.choices(range(20, 65), k=1_000_000)))
        assert differing(drawn, path(drawn), bytes(gmpy2.is_prime(n, 24) for n in drawn)) == []


# --- shapes ------------------------------------------------------------------------------------------------------------------------------------


def drawn_from(numbers: random.Random) -> dict[str, list[int]]:
    """Numbers of one kind, so that vectors fill with them, and of all kinds."""
    sizes = (21, 31, 40, 48, 56, 61, 63)
    primes = {bits: [int(gmpy2.next_prime(numbers.getrandbits(bits - 1) | 1 << (bits - 1))) for _ in range(70)] for bits in sizes}
    kinds = {f"primes of {bits} bits": drawn for bits, drawn in primes.items()}
    others = [numbers.getrandbits(64) for _ in range(200)] + [0, 1, 2, 3, U64 - 1, U64 - 59]
    kinds["all"] = numbers.choices([*itertools.chain(*primes.values()), *others], k=70)
    return kinds


def test_every_length_and_every_start(path: Path) -> None:
    for drawn in drawn_from(random.Random(3)).values():
        right = truth(drawn)
        for count in range(71):
            numbers = array.array("Q", drawn[:count])
            assert path(numbers, offset=count % 9) == right[:count]


@pytest.mark.parametrize("letter", "QqIiLl")
def test_every_type(letter: str, path: Path) -> None:
    bits = 8 * array.array(letter).itemsize
    numbers = random.Random(4)
    for offset in range(9):
        drawn = [numbers.getrandbits(bits - 1) for _ in range(5000)]
        if letter.islower():
            drawn[::3] = [-n for n in drawn[::3]]
        assert path(array.array(letter, drawn), offset) == truth(drawn)


@pytest.mark.parametrize("count", [2047, 2048, 2049, 4096, 10_000, 65_535, 65_536, 65_537, 200_000])
def test_chunks_meet(count: int, path: Path) -> None:
    start = 2**40 - count
    assert path(array.array("Q", range(start, start + count))) == bytes(map(is_prime, range(start, start + count)))
