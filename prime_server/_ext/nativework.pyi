"""Native work functions."""

from collections.abc import Callable
from typing import Any

from prime_server._ext.job import Job

class NativeWork:
    """A work function in native code, which the worker calls without the GIL.

    `capsule` is a PyCapsule named `prime_server.work.1` with a `prime_work_fn` (`prime_server.h`, beside `prime_server._ext`, or
    `from prime_server._ext.native cimport …`). Its context, if it has one, is handed to every call; whatever owns it must stay alive.

    `fallback`, a work function in Python, gets the jobs for which the native one returns `PRIME_PYTHON`.

    Raises `TypeError` when the capsule is none, or has another name.
    """

    def __init__(self, capsule: object, *, fallback: Callable[[Job], Any] | None = None) -> None: ...
    @property
    def capsule(self) -> object: ...
    @property
    def fallback(self) -> Callable[[Job], Any] | None: ...
