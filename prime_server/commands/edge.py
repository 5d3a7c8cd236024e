"""Options of the commands that face web clients, and what they stand for.

`@edge.options` declares them, and in the command `edge.limits_of()` and `edge.options_of()` tell what was given. They don't appear among its
parameters: there are many, and all go to the server.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from prime_server.commands.cli import read_by, read_count, read_seconds, read_size
from prime_server.cors import Cors, is_token
from prime_server.hub import check_server_header
from prime_server.limits import Limits

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


def read_count_or_0(text: str) -> int:
    return 0 if text == "0" else read_count(text)


def _limit(name: str, metavar: str, read: Callable[[str], float], text: str) -> Callable[[F], F]:
    """An option for one of the `Limits`, whose default it shows."""
    default = getattr(Limits(), name)
    shown = f"{default >> 10}K" if metavar == "BYTES" and default >= 1024 else f"{default:g}"
    option = f"--{name.replace('_', '-')}"
    return click.option(option, name, metavar=metavar, default=shown, show_default=True, callback=_one(read), expose_value=False, help=text)


def _several(option: str, name: str, metavar: str, read: Callable[[str], str], text: str) -> Callable[[F], F]:
    """An option that may come more than once."""
    return click.option(option, name, metavar=metavar, multiple=True, callback=_each(read), expose_value=False, help=f"{text} May come again.")


_LIMITS = {
    "header_timeout": ("SECONDS", read_seconds, "How long a request's head may take to come in; then 408."),
    "body_timeout": ("SECONDS", read_seconds, "How long the body may be slower than --min-body-rate; then 408."),
    "min_body_rate": ("BYTES", read_count_or_0, "Bytes per second that a body comes with at least."),
    "keep_alive_timeout": ("SECONDS", read_seconds, "How long a connection may be idle between requests; then it is closed."),
    "write_timeout": ("SECONDS", read_seconds, "How long a client may take nothing of its answer; then it is closed."),
    "max_connections": ("N", read_count, "Connections; one more takes the place of an idle one, or is answered 503."),
    "max_connections_per_address": ("N", read_count_or_0, "Connections of one address; more are answered 429. 0: any number."),
    "max_pipelined": ("N", read_count, "Requests in flight of one connection, which then isn't read."),
    "max_unread": ("BYTES", read_size, "Response bytes that wait for a slow client, which then isn't read."),
    "max_unread_in_all": ("BYTES", read_size, "Response bytes that wait for all of them; then the one that has taken nothing longest is closed."),
    "max_target": ("BYTES", read_size, "Longest target; then 414."),
    "max_head": ("BYTES", read_size, "Largest head of a request; then 431."),
    "max_fields": ("N", read_count, "Header fields of a request; then 431."),
}

_OPTIONS = [
    *(_limit(name, *limit) for name, limit in _LIMITS.items()),
    _several(
        "--cors-origin", "origins", "ORIGIN", read_origin,
        "Origin whose pages may use the server, like https://app.example, or * for any. It answers their preflights itself.",
    ),
    _several("--cors-method", "methods", "NAME", read_method, "Method that such pages may use, instead of all the usual ones."),
    _several(
        "--cors-header", "headers", "NAME", read_name,
        "Header field that they may send, instead of Authorization and Content-Type; * for any.",
    ),
    _several("--cors-expose", "expose", "NAME", read_name, "Header field that they may read in answers."),
    click.option(
        "--cors-max-age", "max_age", metavar="SECONDS", default="600", show_default=True, callback=_one(read_max_age), expose_value=False,
        help="How long browsers may keep the answer to a preflight.",
    ),
    click.option(
        "--cors-credentials", "credentials", is_flag=True, callback=_kept, expose_value=False, help="Such pages may send cookies and the like."
    ),
    _several("--method", "more_methods", "NAME", read_method, "Method to take besides those of RFC 9110 and PATCH, like PURGE."),
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


def limits_of(**others: Any) -> Limits:
    """The limits that were given, and others that the command reads itself."""
    given = click.get_current_context().meta[_KEY]
    return Limits(**{name: given[name] for name in _LIMITS}, **others)


def options_of() -> dict[str, Any]:
    """What was given, as keywords for `Hub` and its like."""
    given = click.get_current_context().meta[_KEY]
    return {
        "cors": _cors(given),
        "methods": given["more_methods"],
        "raw_targets": given["raw_targets"],
        "server_header": given["server_header"],
    }
