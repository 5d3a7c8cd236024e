"""What the commands have in common: how arguments are read and how mistakes are told.

A wrong argument is one line on stderr that names the argument and its right form, and exit status 2; what fails later, such as a port that is
taken, is one line and exit status 1. Positional arguments are those of the original `prime_server`, so that scripts for it go on working.
"""

import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import click
import zmq

from prime_server.endpoints import check_internal, parse_listen

_SIZE = re.compile(r"(?P<number>\d{1,15})(?P<unit>[KMG]?)(i?B)?", re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


def run(command: click.Command, arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs a command as a process does, by the process's own arguments unless others are given, and exits."""
    name = command.name
    try:
        status = command.main(arguments, name, standalone_mode=False)
    except click.ClickException as error:
        whose = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx is not None else name
        hint = f" (see {whose} --help)" if isinstance(error, click.UsageError) else ""
        click.echo(f"{name}: {error.format_message().rstrip('.')}{hint}", err=True)
        sys.exit(error.exit_code)
    except (OSError, zmq.ZMQError) as error:
        click.echo(f"{name}: {error}", err=True)
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)


def read_by(read: Callable[[str], T]) -> Callable[[click.Context, click.Parameter, str | None], T | None]:
    """A parameter's callback that turns its text into a value by `read`, which raises `ValueError` with the right form."""

    def convert(context: click.Context, parameter: click.Parameter, text: str | None) -> T | None:
        try:
            return None if text is None else read(text)
        except ValueError as error:
            raise click.BadParameter(str(error), context, parameter) from error

    return convert


def read_endpoint(text: str) -> str:
    """An endpoint to listen on, unchanged once it is known to be one."""
    parse_listen(text)
    return text


def read_bound(text: str) -> str:
    """An endpoint between the parts that is bound to."""
    check_internal(text, bind=True)
    return text


def read_connected(text: str) -> str:
    """An endpoint between the parts that is connected to."""
    check_internal(text, bind=False)
    return text


def read_drain(text: str) -> float:
    """Seconds. The original's `drain,shutdown` is taken too: together they are the time until the process is gone."""
    try:
        parts = [float(part) for part in text.split(",")]
    except ValueError:
        parts = []
    if not 1 <= len(parts) <= 2 or not all(0 <= part <= 1e9 for part in parts):
        raise ValueError(f"{text!r} is no time; it should be a number of seconds, 0 or more, like 10")
    return sum(parts)


def read_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 1e9:
        raise ValueError(f"{text!r} is no time; it should be a number of seconds, 0 or more, like 60")
    return seconds


def read_health(text: str) -> str:
    if not re.fullmatch(r"/[!-~]*", text):
        raise ValueError(f"{text!r} is no path for the health check; it should look like /health")
    return text


def read_size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None or not int(match["number"]):
        raise ValueError(f"{text!r} is no size; it should be a number of bytes like 1048576, 64K or 10M")
    return int(match["number"]) * _UNITS[match["unit"].upper()]


def _number_reader(what: str, most: int) -> Callable[[str], int]:
    digits = re.compile(f"[0-9]{{1,{len(str(most))}}}")

    def read(text: str) -> int:
        if digits.fullmatch(text) is None or not 1 <= int(text) <= most:
            raise ValueError(f"{text!r} is no {what}; it should be a whole number in 1…{most}")
        return int(text)

    return read


read_workers = _number_reader("number of workers", 1024)
read_window = _number_reader("window", 1024)
read_attempts = _number_reader("number of attempts", 255)
read_requests = _number_reader("number of requests", 999_999_999)
read_jobs = _number_reader("number of jobs", 999_999_999)
read_count = _number_reader("number", 999_999_999)


def bound_argument(name: str) -> Callable[[F], F]:
    return click.argument(name, callback=read_by(read_bound))


def connected_argument(name: str) -> Callable[[F], F]:
    return click.argument(name, callback=read_by(read_connected))


def listen_argument(function: F) -> F:
    return click.argument("listen", callback=read_by(read_endpoint))(function)


def workers_argument(default: int) -> Callable[[F], F]:
    return click.argument("workers", default=str(default), callback=read_by(read_workers))


def drain_argument(function: F) -> F:
    return click.argument("drain_seconds", default="10", callback=read_by(read_drain))(function)


def health_argument(function: F) -> F:
    return click.argument("health_check", metavar="[/HEALTH]", required=False, callback=read_by(read_health))(function)


def in_flight_option(function: F) -> F:
    return click.option(
        "--max-in-flight", metavar="N", default="65536", show_default=True, callback=read_by(read_requests),
        help="Requests that may be unanswered at a time; more are answered 503 with Retry-After.",
    )(function)  # fmt: skip


def queued_option(function: F) -> F:
    return click.option(
        "--max-queued-bytes", metavar="BYTES", default="256M", show_default=True, callback=read_by(read_size),
        help="Bytes that all of them may have together; over it 503, too.",
    )(function)  # fmt: skip


def serving_options(log: str | None = "-") -> Callable[[F], F]:
    """The named options of every command that serves; `log` is the access log's default."""
    options: list[Callable[[F], F]] = [
        click.option(
            "--timeout", metavar="SECONDS", default="60", show_default=True, callback=read_by(read_seconds), help="A request's deadline; 0 for none."
        ),
        click.option(
            "--max-request", metavar="BYTES", default="10M", show_default=True, callback=read_by(read_size), help="Largest body of a request."
        ),
        in_flight_option,
        queued_option,
        click.option("--log", default=log, show_default=log is not None, metavar="PATH|-|none", help="Access log; - is stdout."),
        click.version_option(package_name="prime-server"),
    ]

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def retryable_option(what: str) -> Callable[[F], F]:
    return click.option("--retryable", is_flag=True, help=f"{what} may be run again when a worker dies, whatever its method.")


def attempts_option(function: F) -> F:
    return click.option(
        "--max-attempts", metavar="N", default="3", show_default=True, callback=read_by(read_attempts),
        help="Workers that a job is given to at most when they die while they run it; after two it is given up anyway.",
    )(function)  # fmt: skip


def log_of(option: str) -> str | None:
    """What `--log` stands for, as `Hub` takes it. The original's true and false are taken too."""
    return {"none": None, "false": None, "true": "-", "stdout": "-"}.get(option, option)


def say_ready(example: str) -> Callable[[str], None]:
    """What to do with the endpoint that is listened on: tell it on stderr, with a line to try. `example` is the path and query to ask for."""

    def ready(endpoint: str) -> None:
        address = endpoint.removeprefix("tcp://").replace("*:", "127.0.0.1:").replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:")
        where = f"--unix-socket {endpoint.removeprefix('unix:')} 'http://localhost" if endpoint.startswith("unix:") else f"'http://{address}"
        click.echo(f"listening on {endpoint}, try: curl {where}{example}'", err=True)

    return ready
