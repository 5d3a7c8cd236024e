"""Options of the commands that face web clients, and what they stand for.

`@edge.options` declares them, and in the command `edge.options_of()` tells what was given. They don't appear among its parameters: there are many,
and all go to the server.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from prime_server.commands.cli import read_by
from prime_server.cors import Cors, is_token
from prime_server.hub import check_server_header

F = TypeVar("F", bound=Callable[..., Any])

_KEY = "prime_server.commands.edge"


def _kept(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    context.meta.setdefault(_KEY, {})[parameter.name] = value


def _each(read: Callable[[str], str]) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], None]:
    """For an option that may come more than once."""

    def convert(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> None:
        _kept(context, parameter, tuple(read_by(read)(context, parameter, text) for text in texts))

    return convert


def _one(read: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, str | None], None]:
    def convert(context: click.Context, parameter: click.Parameter, text: str | None) -> None:
        _kept(context, parameter, read_by(read)(context, parameter, text))

    return convert


def read_method(text: str) -> str:
    if not is_token(text) or len(text) > 32:
        raise ValueError(f"{text!r} is no method; it should be a name of at most 32 letters and digits, like PURGE")
    return text


def read_origin(text: str) -> str:
    return Cors(origins=[text]).origins[0]


def read_name(text: str) -> str:
    if not is_token(text):
        raise ValueError(f"{text!r} is no name of a header field; it should look like X-Token")
    return text


def read_max_age(text: str) -> int:
    seconds = int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else -1
    if not 0 <= seconds <= 2**31 - 1:
        raise ValueError(f"{text!r} is no age; it should be a whole number of seconds, like 600")
    return seconds


def read_server_header(text: str) -> str:
    check_server_header(text)
    return text


_OPTIONS = [
    click.option(
        "--cors-origin", "origins", metavar="ORIGIN", multiple=True, callback=_each(read_origin), expose_value=False,
        help="Origin whose pages may use the server, like https://app.example, or * for any. It answers their preflights itself. May come again.",
    ),
    click.option(
        "--cors-method", "methods", metavar="NAME", multiple=True, callback=_each(read_method), expose_value=False,
        help="Method that such pages may use, instead of all the usual ones. May come again.",
    ),
    click.option(
        "--cors-header", "headers", metavar="NAME", multiple=True, callback=_each(read_name), expose_value=False,
        help="Header field that they may send, instead of Authorization and Content-Type; * for any. May come again.",
    ),
    click.option(
        "--cors-expose", "expose", metavar="NAME", multiple=True, callback=_each(read_name), expose_value=False,
        help="Header field that they may read in answers. May come again.",
    ),
    click.option(
        "--cors-max-age", "max_age", metavar="SECONDS", default="600", show_default=True, callback=_one(read_max_age), expose_value=False,
        help="How long browsers may keep the answer to a preflight.",
    ),
    click.option(
        "--cors-credentials", "credentials", is_flag=True, callback=_kept, expose_value=False, help="Such pages may send cookies and the like."
    ),
    click.option(
        "--method", "more_methods", metavar="NAME", multiple=True, callback=_each(read_method), expose_value=False,
        help="Method to take besides those of RFC 9110 and PATCH, like PURGE. May come again.",
    ),
    click.option(
        "--raw-targets", "raw_targets", is_flag=True, callback=_kept, expose_value=False,
        help="Take [ ] { } | ^ ` in targets, which browsers send as they are and RFC 3986 wants encoded.",
    ),
    click.option(
        "--server-header", "server_header", metavar="TEXT", callback=_one(read_server_header), expose_value=False,
        help="Server field of all answers; there is none without.",
    ),
]  # fmt: skip


def options(function: F) -> F:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def _cors(given: Mapping[str, Any]) -> Cors | None:
    chosen = {name: given[name] for name in ("origins", "methods", "headers", "expose") if given[name]}
    if not given["origins"]:
        if len(chosen) or given["credentials"]:
            raise click.UsageError("--cors-… options need a --cors-origin")
        return None
    try:
        return Cors(**chosen, max_age=given["max_age"], credentials=given["credentials"])
    except ValueError as error:
        raise click.UsageError(f"--cors-…: {error}") from error


def options_of() -> dict[str, Any]:
    """What was given, as keywords for `Hub` and its like."""
    given = click.get_current_context().meta[_KEY]
    return {
        "cors": _cors(given),
        "methods": given["more_methods"],
        "raw_targets": given["raw_targets"],
        "server_header": given["server_header"],
    }
