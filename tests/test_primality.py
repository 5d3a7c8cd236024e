"""Primality against a sieve, gmpy2 and numbers known to mislead weaker tests."""

import enum
import math
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import gmpy2
import pytest
from conftest import longest_pause_beside, primes_below
from hypothesis import given
from hypothesis import strategies as st

from prime_server import is_prime, is_probable_prime
from prime_server._ext.bigprimes import WITHOUT_GIL
from prime_server._ext.primality import is_prime_checked

U64 = 2**64


def truth(n: int) -> bool:
    """The oracle: gmpy2's test with a round of Miller-Rabin on top of Baillie-PSW, on no line of code of ours."""
    return n > 1 and gmpy2.is_prime(n, 25)


def wrong(numbers: Iterator[int] | list[int] | range) -> list[int]:
    return [n for n in numbers if is_prime(n) != truth(n)]


# --- exactness ---------------------------------------------------------------------------------------------------------------------------------


def test_every_small_number_agrees_with_a_sieve() -> None:
    sieve = primes_below(1 << 20)
    assert [n for n in range(1 << 20) if is_prime(n) != sieve[n]] == []


@pytest.mark.slow
def test_every_number_below_2_24_agrees_with_a_sieve() -> None:
    sieve = primes_below(1 << 24)
    assert [n for n in range(1 << 24) if is_prime(n) != sieve[n]] == []


@pytest.mark.parametrize("bits", range(1, 65))
def test_around_powers_of_2(bits: int) -> None:
    assert wrong(range(max(0, 2**bits - 300), 2**bits + 300)) == []


@pytest.mark.slow
@pytest.mark.parametrize("bits", range(1, 65))
def test_far_around_powers_of_2(bits: int) -> None:
    assert wrong(range(max(0, 2**bits - 3000), 2**bits + 3001)) == []


def test_the_last_numbers_below_2_64() -> None:
    assert wrong(range(U64 - 5001, U64, 2)) == []


@pytest.mark.slow
def test_many_of_the_last_numbers_below_2_64() -> None:
    assert wrong(range(U64 - 200_001, U64, 2)) == []


@pytest.mark.parametrize("bits", range(17, 90))
def test_random_numbers_agree(bits: int) -> None:
    numbers = random.Random(bits)
    assert wrong(numbers.getrandbits(bits) | 1 for _ in range(500)) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_million_random_numbers_agree() -> None:
    numbers = random.Random(7)
    for _ in range(10_000_000):
        n = numbers.getrandbits(numbers.randrange(20, 65)) | 1
        assert is_prime(n) == gmpy2.is_prime(n, 24), n


def neighbours(bits: int, count: int) -> Iterator[tuple[int, int]]:
    p = gmpy2.next_prime(1 << bits)
    for _ in range(count):
        q = gmpy2.next_prime(p)
        yield int(p), int(q)
        p = q


@pytest.mark.parametrize("bits", range(10, 40))
def test_squares_and_products_of_neighbouring_primes_are_composite(bits: int) -> None:
    assert [n for p, q in neighbours(bits, 60) for n in (p * p, p * q) if is_prime(n)] == []


def test_squares_of_the_largest_primes_are_composite() -> None:
    p = 2**32
    for _ in range(50):
        p = int(gmpy2.prev_prime(p)) if hasattr(gmpy2, "prev_prime") else next(q for q in range(p - 1, 0, -1) if truth(q))
        assert is_prime(p)
        assert not is_prime(p * p)


def carmichael() -> Iterator[int]:
    """Chernick's (6 k + 1) (12 k + 1) (18 k + 1), all three of them prime."""
    for k in range(1, 200_000):
        factors = [6 * k + 1, 12 * k + 1, 18 * k + 1]
        if all(map(gmpy2.is_prime, factors)):
            yield math.prod(factors)


def test_carmichael_numbers_are_composite() -> None:
    known = [561, 1105, 1729, 2465, 2821, 6601, 8911, 10585, 15841, 29341, 825265, 321197185, 9746347772161, 3778118040573702001]
    assert [n for n in [*known, *carmichael()] if is_prime(n)] == []


def strong_to_2(n: int) -> bool:
    twos = ((n - 1) & -(n - 1)).bit_length() - 1
    x = pow(2, (n - 1) >> twos, n)
    return x == 1 or any(pow(x, 1 << i, n) == n - 1 for i in range(twos))


def strong_pseudoprimes(start: int, count: int) -> Iterator[int]:
    """(k + 1) (r k + 1), both prime, that pass the strong test to base 2: only the Lucas half, or the list, can tell them."""
    found = 0
    k = start | 1
    while found < count:
        k += 1
        if k & 1 or not gmpy2.is_prime(k + 1):
            continue
        for r in (2, 3, 4, 5, 6):
            n = (k + 1) * (r * k + 1)
            if n < U64 and strong_to_2(n) and gmpy2.is_prime(r * k + 1):
                found += 1
                yield n


@pytest.mark.parametrize("start", [2**11, 2**15, 2**17, 2**22, 2**26, 2**30, 3 * 2**29])
def test_strong_pseudoprimes_to_base_2_are_composite(start: int) -> None:
    numbers = list(strong_pseudoprimes(start, 40))
    assert len(numbers) >= 40
    assert [n for n in numbers if is_prime(n)] == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("start", [2**16, 2**20, 2**24, 2**28])
def test_tens_of_thousands_of_strong_pseudoprimes_are_composite(start: int) -> None:
    assert [n for n in strong_pseudoprimes(start, 10_000) if is_prime(n)] == []


# Psi values (Jaeschke; Sorenson and Webster): the least strong pseudoprimes to the first k primes; and others known from the literature.
PSEUDOPRIMES = [2047, 1373653, 25326001, 3215031751, 2152302898747, 3474749660383, 341550071728321, 3825123056546413051]
LARGE_PSEUDOPRIMES = [318665857834031151167461, 3317044064679887385961981]


@pytest.mark.parametrize("n", [*PSEUDOPRIMES, *LARGE_PSEUDOPRIMES, 561, 4294901761, 4759123141, 1122004669633, U64 - 1, (2**31 - 1) ** 2])
def test_known_pseudoprimes_are_composite(n: int) -> None:
    assert not is_prime(n)
    assert not is_probable_prime(n)


@pytest.mark.parametrize("n", [2, 3, 37, 41, 2**31 - 1, 2**32 - 5, 2**32 + 15, 2**61 - 1, 2**62 - 57, 2**62 + 135, 2**63 - 25, U64 - 59, 2**89 - 1])
def test_primes_are_prime(n: int) -> None:
    assert is_prime(n) is True
    assert is_probable_prime(n, rounds=3) is True


@pytest.mark.parametrize("n", [-7, -(2**70), 0, 1, U64, U64 + 1])
def test_others_are_not(n: int) -> None:
    assert is_prime(n) is False
    assert is_probable_prime(n) is False


# --- the interface -----------------------------------------------------------------------------------------------------------------------------


class Seven:
    def __index__(self) -> int:
        return 7


class Color(enum.IntEnum):
    RED = 13


class Broken:
    def __index__(self) -> int:
        raise LookupError("out of order")


@given(st.integers(min_value=-(2**130), max_value=2**130))
def test_any_integer_of_any_kind(n: int) -> None:
    assert is_prime(n) is truth(n)
    assert is_prime(gmpy2.mpz(n)) is truth(n)
    assert is_probable_prime(n, 1) is truth(n)
    assert is_prime_checked(n, lambda: None) is truth(n)


@given(st.integers(min_value=0, max_value=U64 - 1))
def test_integers_of_numpy(n: int) -> None:
    numpy = pytest.importorskip("numpy")
    assert is_prime(numpy.uint64(n)) is truth(n)
    assert is_prime(numpy.int64(n >> 1)) is truth(n >> 1)
    assert is_prime(numpy.uint8(n & 255)) is truth(n & 255)


def test_what_has_an_index() -> None:
    assert is_prime(Seven()) is is_prime(Color.RED) is True
    with pytest.raises(LookupError):
        is_prime(Broken())


@pytest.mark.parametrize("function", [is_prime, is_probable_prime])
@pytest.mark.parametrize("bad", [True, False, 2.0, "7", None, b"7", [7], 7j])
def test_what_is_no_integer_is_refused_by_name(function: Callable[[object], bool], bad: object) -> None:
    with pytest.raises(TypeError, match=f"not {type(bad).__name__}"):
        function(bad)


def test_the_number_is_a_position() -> None:
    function: Any = is_prime
    with pytest.raises(TypeError):
        function(n=7)
    with pytest.raises(TypeError):
        function()
    with pytest.raises(TypeError):
        function(7, 9)


def test_rounds() -> None:
    assert is_probable_prime(2**127 - 1, rounds=0)
    assert is_probable_prime(2**127 - 1, 50)
    assert not is_probable_prime((2**61 - 1) * (2**31 - 1), 0)
    with pytest.raises(ValueError, match="0 or more, not -1"):
        is_probable_prime(7, -1)
    wrong: tuple[Any, ...] = (True, 1.5, "1")
    for bad in wrong:
        with pytest.raises(TypeError, match=f"rounds .* not {type(bad).__name__}"):
            is_probable_prime(7, bad)


# --- above 2^64 --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [65, 66, 96, 127, 128, 129, 192, 256, 521, 1000, 2048, 4096, 4097])
def test_big_numbers_agree(bits: int) -> None:
    numbers = random.Random(bits)
    prime = int(gmpy2.next_prime(numbers.getrandbits(bits) | 1 << (bits - 1)))
    for n in [*(numbers.getrandbits(bits) | 1 | 1 << (bits - 1) for _ in range(8)), prime, prime - 2, prime * (2**61 - 1)]:
        assert is_prime(n) == is_prime_checked(n, lambda: None) == truth(n), n


@pytest.mark.parametrize("bits", [33, 40, 64, 100, 300])
def test_big_squares_and_products_of_neighbouring_primes(bits: int) -> None:
    for p, q in neighbours(bits, 20):
        for n in (p * p, p * q):
            assert not is_prime(n)
            assert not is_prime_checked(n, lambda: None)


def test_big_mersenne_numbers() -> None:
    prime = [n for n in range(65, 700) if is_prime_checked(2**n - 1, lambda: None)]
    assert prime == [n for n in range(65, 700) if is_prime(2**n - 1)] == [89, 107, 127, 521, 607]


def test_a_checked_test_asks_between_its_steps() -> None:
    asked: list[int] = []
    assert is_prime_checked(2**521 - 1, lambda: asked.append(1))
    assert len(asked) >= 2
    assert not is_prime_checked(2**521 + 1, lambda: None)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_what_check_raises_ends_the_test(steps: int) -> None:
    left = [steps]

    def check() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise LookupError

    with pytest.raises(LookupError):
        is_prime_checked(2**521 - 1, check)


@pytest.mark.skipif(not WITHOUT_GIL, reason="this gmpy2 doesn't let GMP run without the GIL")
@pytest.mark.timing
def test_the_gil_is_free_meanwhile() -> None:
    """What another thread does while a long test runs: much, and not just between two tests."""
    n = 2**9689 - 1
    for test in (is_prime, lambda n: is_prime_checked(n, lambda: None)):
        assert longest_pause_beside(threading.Thread(target=test, args=(n,))) < 0.5
