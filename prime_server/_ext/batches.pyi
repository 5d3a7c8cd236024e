"""Primality of many numbers in one call."""

from collections.abc import Iterable
from typing import Any, SupportsIndex, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

_Array = NDArray[np.integer[Any]]
_Out = TypeVar("_Out", bound=Buffer | NDArray[Any])

@overload
def are_prime(numbers: _Array, out: None = None) -> NDArray[np.bool_]: ...  # type: ignore[overload-overlap]  # arrays are buffers too
@overload
def are_prime(numbers: Buffer | Iterable[SupportsIndex], out: None = None) -> bytearray: ...
@overload
def are_prime(numbers: _Array | Buffer | Iterable[SupportsIndex], out: _Out) -> _Out:
    """Whether each of the numbers is prime, as `is_prime` tells it: the fast way to ask about more than one.

    `numbers` is a buffer of one dimension, C-contiguous at any address, of uint64, int64, uint32 or int32 in the machine's byte order (a numpy array,
    `array.array`, `memoryview`), or an iterable of what `is_prime` takes, of any size. Negative numbers aren't prime.

    Returns, in the order of the numbers, a numpy array of bool for one of numpy's, and else a `bytearray` of 0 and 1. With `out`, a writable buffer
    of bool or uint8, of one dimension, contiguous, as long as `numbers`, and apart from it in memory, that is filled and returned.

    The GIL is released but for a few numbers, at most 16. An iterable is read to its end first: if it fails, `out` is as it was.

    >>> list(are_prime(range(8)))
    [0, 0, 1, 1, 0, 1, 0, 1]

    Raises `TypeError` for numbers or an `out` of another type, and `ValueError` for another shape, layout or length.
    """
