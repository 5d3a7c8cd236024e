"""Primality against a sieve, gmpy2 and numbers known to mislead weaker tests."""

import random

import gmpy2
import pytest

from prime_server._ext.primality import is_prime, is_prime_checked


def test_every_small_number_agrees_with_a_sieve():
    size = 200_000
    sieve = bytearray([1]) * size
    sieve[:2] = b"\0\0"
    for p in range(2, 450):
        if sieve[p]:
            sieve[p * p :: p] = bytes(len(range(p * p, size, p)))
    assert [n for n in range(size) if is_prime(n) != bool(sieve[n])] == []


@pytest.mark.parametrize("bits", range(17, 90))
def test_random_numbers_agree_with_gmpy2(bits):
    numbers = random.Random(bits)
    for _ in range(500):
        n = numbers.getrandbits(bits) | 1
        assert is_prime(n) == gmpy2.is_prime(n, 24), n


@pytest.mark.parametrize("n", [2047, 1373653, 25326001, 3215031751, 3825123056546413051, 341550071728321, 561, 2**64 - 1])
def test_strong_pseudoprimes_are_composite(n):
    assert not is_prime(n)


@pytest.mark.parametrize("n", [2, 3, 37, 41, 2**61 - 1, 2**64 - 59, 2**89 - 1, 32416190071])
def test_primes_are_prime(n):
    assert is_prime(n) is True


@pytest.mark.parametrize("n", [-7, 0, 1, 2**64, 2**64 + 1])
def test_others_are_not(n):
    assert is_prime(n) is False


@pytest.mark.parametrize("wrong", [True, 2.0, "7", None, b"7"])
def test_what_is_no_integer_is_refused_by_name(wrong):
    with pytest.raises(TypeError, match=type(wrong).__name__):
        is_prime(wrong)


def test_a_checked_test_asks_between_its_steps():
    asked = []
    assert is_prime_checked(2**521 - 1, lambda: asked.append(1))
    assert len(asked) >= 2
    assert not is_prime_checked(2**521 + 1, lambda: None)


def test_what_check_raises_ends_the_test():
    def check():
        raise LookupError

    with pytest.raises(LookupError):
        is_prime_checked(2**521 - 1, check)
