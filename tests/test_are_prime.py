"""Primality of many numbers in one call: what is taken, what is refused and how, and the very answers of single calls."""

import array
import ctypes
import importlib
import importlib.util
import struct
import threading
from collections.abc import Iterator
from typing import Any

import gmpy2
import pytest
from conftest import longest_pause_beside
from hypothesis import given
from hypothesis import strategies as st

from prime_server import are_prime, is_prime

numpy: Any = importlib.import_module("numpy") if importlib.util.find_spec("numpy") else None

needs_numpy = pytest.mark.skipif(numpy is None, reason="numpy is not installed")
U64 = 2**64

NUMBERS = [0, 1, 2, 3, 4, 97, 341, 2047, 65537, 2**31 - 1]
PRIMES = bytearray([0, 0, 1, 1, 0, 1, 0, 0, 1, 1])


# --- iterables ---------------------------------------------------------------------------------------------------------------------------------


def test_any_iterable_of_integers() -> None:
    kinds: list[Any] = [NUMBERS, tuple(NUMBERS), iter(NUMBERS), (n for n in NUMBERS), dict.fromkeys(NUMBERS), map(int, map(str, NUMBERS))]
    for kind in kinds:
        primes = are_prime(kind)
        assert type(primes) is bytearray
        assert primes == PRIMES
    assert are_prime({7}) == b"\1"
    assert are_prime(range(-3, 8)) == b"\0\0\0\0\0\1\1\0\1\0\1"
    assert are_prime(numbers=[7], out=None) == b"\1"
    empty: list[int] = []
    for nothing in (empty, (), range(0), iter(()), array.array("Q"), memoryview(b"").cast("q")):
        assert are_prime(nothing) == bytearray()


def test_integers_of_any_size_and_kind() -> None:
    numbers = [2**89 - 1, -7, -(2**89 - 1), U64 - 59, U64, U64 + 13, 2**127 - 1, 2**521 - 1, 2**522 - 1, gmpy2.mpz(97), gmpy2.mpz(2**107 - 1), 5]
    assert are_prime(numbers) == bytes([1, 0, 0, 1, 0, 1, 1, 1, 0, 1, 1, 1])
    assert are_prime(range(U64 - 60, U64 + 20)) == bytes(is_prime(n) for n in range(U64 - 60, U64 + 20))


@given(st.lists(st.integers(min_value=-(2**80), max_value=2**80), max_size=100))
def test_iterables_agree_with_single_calls(numbers: list[int]) -> None:
    assert are_prime(numbers) == are_prime(iter(numbers)) == bytes(map(is_prime, numbers))


@pytest.mark.parametrize("bad", [True, 2.0, "7", None, b"7", [7], 7j])
def test_an_item_that_is_no_integer_is_refused_by_name(bad: Any) -> None:
    out = bytearray(b"ab")
    with pytest.raises(TypeError, match=f"not {type(bad).__name__}$"):
        are_prime([7, bad], out)
    assert out == b"ab"


@pytest.mark.parametrize("bad", [7, None, 7.5, is_prime])
def test_what_is_no_iterable_is_refused_by_name(bad: Any) -> None:
    with pytest.raises(TypeError, match=f"iterable of integers, not {type(bad).__name__}$"):
        are_prime(bad)


def test_what_an_iterable_raises_comes_out() -> None:
    def broken() -> Iterator[int]:
        yield 3
        raise LookupError("out of order")

    out = bytearray(b"ab")
    with pytest.raises(LookupError, match="out of order"):
        are_prime(broken(), out)
    assert out == b"ab"


def test_a_list_that_shrinks_while_it_is_read() -> None:
    class Eleven:
        def __index__(self) -> int:
            del numbers[1:]
            return 11

    numbers: list[Any] = [Eleven(), *range(10_000)]
    assert are_prime(numbers) == b"\1"


# --- buffers -----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("letter", "QqLlIi")
def test_arrays_of_the_standard_library(letter: Any) -> None:
    numbers = array.array(letter, NUMBERS)
    for buffer in (numbers, memoryview(numbers), memoryview(numbers.tobytes()).cast(letter)):
        primes = are_prime(buffer)
        assert type(primes) is bytearray
        assert primes == PRIMES


@pytest.mark.parametrize("kind", [ctypes.c_uint64, ctypes.c_int64, ctypes.c_uint32, ctypes.c_int32, ctypes.c_long])
def test_arrays_of_ctypes(kind: Any) -> None:
    assert are_prime((kind * len(NUMBERS))(*NUMBERS)) == PRIMES


@pytest.mark.parametrize(("letter", "width"), [("q", 64), ("l", 8 * struct.calcsize("l")), ("i", 32)])
def test_negative_numbers_are_not_prime(letter: str, width: int) -> None:
    numbers = array.array(letter, [-(2 ** (width - 1)), -7, -1, 7])
    assert are_prime(numbers) == b"\0\0\0\1"


@pytest.mark.parametrize("offset", range(9))
def test_numbers_at_any_address(offset: int) -> None:
    data = bytes(offset) + struct.pack(f"={len(NUMBERS)}Q", *NUMBERS)
    assert are_prime(memoryview(data)[offset:].cast("Q")) == PRIMES


@pytest.mark.parametrize("bad", [b"12345678", bytearray(8), *(array.array(letter, [7]) for letter in "dfBbhH")])
def test_buffers_of_other_types_are_refused(bad: Any) -> None:
    given = f"format '{bad.typecode}'" if isinstance(bad, array.array) else type(bad).__name__
    with pytest.raises(TypeError, match=f"uint64, int64, uint32 or int32 .* not .*{given}$"):
        are_prime(bad)


def test_buffers_of_other_shapes_are_refused() -> None:
    numbers = memoryview(array.array("Q", NUMBERS))
    with pytest.raises(ValueError, match="1 dimension, not 2"):
        are_prime(numbers.cast("B").cast("Q", (5, 2)))
    with pytest.raises(ValueError, match="1 dimension, not 0"):
        are_prime(memoryview(bytes(8)).cast("Q", ()))
    with pytest.raises(ValueError, match="strides of 16 bytes for items of 8"):
        are_prime(numbers[::2])
    with pytest.raises(ValueError, match="strides of -8 bytes"):
        are_prime(numbers[::-1])


@needs_numpy
@pytest.mark.parametrize("dtype", ["uint64", "int64", "uint32", "int32"])
def test_arrays_of_numpy(dtype: str) -> None:
    numbers = numpy.array(NUMBERS, dtype)
    primes = are_prime(numbers)
    assert type(primes) is numpy.ndarray
    assert primes.dtype == bool
    assert bytes(primes) == PRIMES
    assert are_prime(numbers[:0]).shape == (0,)
    assert bytes(are_prime(numbers[3:6])) == PRIMES[3:6]
    assert bytes(are_prime(numbers.astype(f"={numbers.dtype.str[1:]}"))) == PRIMES
    loose = numpy.frombuffer(b"x" + numbers.tobytes(), dtype, len(NUMBERS), 1)
    assert not loose.flags.aligned
    assert bytes(are_prime(loose)) == PRIMES


@needs_numpy
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint16", "f8", "f4", "complex128", ">u8", ">i4", "object", "M8[s]", "S8", "u8,u8"])
def test_arrays_of_numpy_of_other_types_are_refused(dtype: str) -> None:
    numbers = numpy.zeros(3, dtype)
    with pytest.raises(TypeError) as refused:
        are_prime(numbers)
    assert str(refused.value).endswith(f"uint64, int64, uint32 or int32 in the machine's byte order, not {numbers.dtype}")


@needs_numpy
def test_arrays_of_numpy_of_other_shapes_are_refused() -> None:
    numbers = numpy.zeros((4, 4), "uint64")
    for bad in (numbers, numbers.T, numbers[0, 0], numpy.array(7, "uint64")):
        with pytest.raises(ValueError, match=f"1 dimension, not {bad.ndim}"):
            are_prime(bad)
    for bad in (numbers[:, 1], numbers[0, ::-1], numbers[0, ::2]):
        with pytest.raises(ValueError, match=f"strides of {bad.strides[0]} bytes"):
            are_prime(bad)


# --- out ---------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("numbers", [NUMBERS, array.array("Q", NUMBERS)])
def test_out_is_filled_and_returned(numbers: Any) -> None:
    room = bytearray(10)
    for out in (bytearray(b"x" * 10), memoryview(room), memoryview(room).cast("?"), array.array("B", bytes(10)), (ctypes.c_uint8 * 10)()):
        assert are_prime(numbers, out) is out
        assert bytes(out) == PRIMES
    room = bytearray(b"x" * 12)
    are_prime(numbers, out=memoryview(room)[1:-1])
    assert room == b"x" + PRIMES + b"x"
    if numpy is not None:
        for dtype in (bool, "uint8"):
            filled = numpy.ones(10, dtype)
            assert are_prime(numpy.array(NUMBERS), filled) is filled
            assert bytes(filled) == PRIMES


@pytest.mark.parametrize("numbers", [NUMBERS, array.array("Q", NUMBERS)])
def test_an_out_that_does_not_fit_is_refused(numbers: Any) -> None:
    bad: list[tuple[Any, type[Exception], str]] = [
        (bytearray(9), ValueError, "as long as numbers, 10, not 9"),
        (bytearray(11), ValueError, "as long as numbers, 10, not 11"),
        (bytes(10), ValueError, "read-only"),
        (memoryview(bytearray(10)).toreadonly(), ValueError, "read-only"),
        (memoryview(bytearray(20))[::2], ValueError, "strides of 2 bytes"),
        (memoryview(bytearray(10)).cast("B", (5, 2)), ValueError, "1 dimension, not 2"),
        (array.array("Q", bytes(80)), TypeError, "bool or uint8, not of format 'Q'"),
        (array.array("b", bytes(10)), TypeError, "bool or uint8, not of format 'b'"),
        ([0] * 10, TypeError, "bool or uint8, not list"),
        (7, TypeError, "bool or uint8, not int"),
    ]
    if numpy is not None:
        bad.append((numpy.zeros(10, "int64"), TypeError, "bool or uint8, not int64"))
    for out, error, message in bad:
        with pytest.raises(error, match=message):
            are_prime(numbers, out)


def test_an_out_within_the_numbers_is_refused() -> None:
    numbers = memoryview(bytearray(80)).cast("Q")
    for start in (0, 35, 70):
        with pytest.raises(ValueError, match="share no memory"):
            are_prime(numbers, numbers.cast("B")[start : start + 10])
    room = memoryview(bytearray(100))
    for apart in (room[:10], room[90:]):
        assert are_prime(room[10:90].cast("Q"), apart) is apart


def test_buffers_are_free_afterwards() -> None:
    numbers, out = array.array("Q", NUMBERS), bytearray(10)
    are_prime(numbers, out)
    with pytest.raises(ValueError, match="share"):
        are_prime(memoryview(out)[:8].cast("Q"), memoryview(out)[:1])
    numbers.append(7)
    out.append(7)  # BufferError if anybody still held them


def test_the_arguments() -> None:
    function: Any = are_prime
    for arguments, options in (((), {}), (([7], None, None), {}), (([7],), {"output": None})):
        with pytest.raises(TypeError):
            function(*arguments, **options)


# --- the whole ---------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.timing
def test_the_gil_is_free_meanwhile() -> None:
    numbers = array.array("Q", [U64 - 59]) * 500_000
    assert longest_pause_beside(threading.Thread(target=are_prime, args=(numbers,))) < 0.5
