"""Primality of integers of any size."""

from collections.abc import Callable
from typing import SupportsIndex

SIMD: str
"""The path that `are_prime` takes: "avx512", "avx2" or "scalar", the fastest of those the machine has or what PRIME_SERVER_SIMD in the environment
said at the first import, which fails with `ImportError` where the machine lacks that."""

SIMD_PATHS: tuple[str, ...]
"""Those that this machine has."""

def is_prime(n: SupportsIndex, /) -> bool:
    """Whether n is prime; 0, 1 and negative numbers aren't.

    Exact for n < 2^64: a table below 2^20; below 2^32 the strong test to base 2 and the list of all its pseudoprimes; from there on the strong test
    to base 2 and an almost extra strong Lucas test, which together have no counter-example below 2^64 (Dana Jacobsen, on Jan Feitsma's list of
    the base-2 pseudoprimes; https://ntheory.org/pseudoprimes.html).

    From 2^64 on the Baillie-PSW test of GMP, of which no counter-example is known: what is called composite is; what is called prime is so as far
    as anybody has found. It runs with the GIL released where gmpy2's GMP allows that.

    `n` is an `int` or anything with `__index__`: numpy's integers, `gmpy2.mpz`. Raises `TypeError` for what is no integer; a `bool` isn't one here.
    """

def is_probable_prime(n: SupportsIndex, /, rounds: int = 25) -> bool:
    """`is_prime`, and for n >= 2^64 that many rounds of Miller-Rabin on top, each to a random base.

    A round lets through a composite number with a probability of at most 1/4, whoever has chosen the number: the bases come from the system's
    source of randomness. Below 2^64 there is nothing to add.

    Raises `TypeError` for what is no integer and `ValueError` for rounds below 0.
    """

def is_prime_checked(n: SupportsIndex, check: Callable[[], object], /) -> bool:
    """`is_prime`, which calls `check()` (`Job.check`, say) between the steps of a long test; what that raises ends the test."""
