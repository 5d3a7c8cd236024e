"""Primality of integers of any size."""

from collections.abc import Callable
from typing import SupportsIndex

def is_prime(n: SupportsIndex, /) -> bool:
    """Whether n is prime; 0, 1 and negative numbers aren't.

    Exact for n < 2^64. Above, the Baillie–PSW test, of which no counter-example is known.

    Raises `TypeError` for what is no integer; a `bool` isn't one here.
    """

def is_prime_checked(n: SupportsIndex, check: Callable[[], object], /) -> bool:
    """`is_prime`, which calls `check()` (`Job.check`, say) between the steps of a long test; what that raises ends the test."""
