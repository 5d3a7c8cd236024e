"""The work function that a command is told by name: `module:attribute`, as it is written behind `prime_server run`.

One place for all commands, so that a mistake is told in the same words everywhere: what could not be had, and the cause in the user's own code.
"""

import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any

from prime_server._ext.nativework import NativeWork
from prime_server.errors import PrimeServerError

__all__ = ["ApplicationError", "load"]

_SPEC = re.compile(r"(?P<module>\w+(?:\.\w+)*):(?P<attribute>\w+(?:\.\w+)*)")


class ApplicationError(PrimeServerError):
    """A work function that can't be had: its module isn't importable, there is no such attribute, or it isn't callable.

    The message is one line that names the cause; `__cause__` is the exception of the user's code where there was one.
    """


def load(spec: str) -> Callable[..., Any] | NativeWork:
    """The work function that `module:attribute` names, with the current directory on `sys.path`. Raises `ApplicationError`.

    The attribute may be dotted (`app:Model.work`); what it names is a callable or a `NativeWork`. An async function is neither: nobody awaits it.
    """
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise ApplicationError(f"{spec!r} names no work function; it should be module:function, like app:work for `def work(job)` in app.py")
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    name = match["module"]
    try:
        found: Any = importlib.import_module(name)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ApplicationError(f"{spec}: {_why(error, name, here)}") from error
    for part in match["attribute"].split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise ApplicationError(f"{spec}: {error}") from error
    if not callable(found) and not isinstance(found, NativeWork):
        raise ApplicationError(f"{spec}: a work function is callable, and this is of type {type(found).__name__}")
    try:
        check_plain(found)
    except TypeError as error:
        raise ApplicationError(f"{spec}: {error}") from error
    work: Callable[..., Any] | NativeWork = found
    return work


def check_plain(work: Any) -> None:
    """Raises `TypeError` for an async function, or an object that is called like one: nobody awaits it."""
    if not isinstance(work, NativeWork) and (_is_async(work) or (callable(work) and _is_async(type(work).__call__))):
        raise TypeError("a work function is called, not awaited, and this one is async; make it a plain def")


def _is_async(found: object) -> bool:
    return inspect.iscoroutinefunction(found) or inspect.isasyncgenfunction(found)


def _why(error: BaseException, name: str, here: str) -> str:
    """The cause in one line: which error, and where in the user's code."""
    if isinstance(error, ModuleNotFoundError) and error.name is not None and (name == error.name or name.startswith(error.name + ".")):
        right = f"; it is written without .py, as {name.removesuffix('.py')}" if name.endswith(".py") else ""
        return f"there is no module {error.name}, neither in {here} nor installed{right}"
    said = " ".join(str(error).split())
    where = _where(error, error.__traceback__)
    return f"{name} can't be imported: {type(error).__name__}{': ' + said if said else ''}{where}"


def _where(error: BaseException, trace: TracebackType | None) -> str:
    if isinstance(error, SyntaxError):
        return ""  # its text has file and line already
    frames = [frame for frame in traceback.extract_tb(trace) if "importlib" not in frame.filename and frame.filename != __file__]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
