"""`prime_server run`: one's own functions behind HTTP, each stage in processes of its own."""

import re

import click

from prime_server.application import ApplicationError
from prime_server.commands import cli, edge
from prime_server.supervisor import run_processes

APPLICATION_FAILED = 4  # exit status


class _Run(click.Command):
    """`--workers 4 2` takes a number for each stage, as `--workers 4,2` does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        joined: list[str] = []
        rest = list(args)
        while rest:
            word = rest.pop(0)
            if word == "--workers" and rest:
                numbers = [rest.pop(0)]
                while rest and re.fullmatch(r"\d+", rest[0]):
                    numbers.append(rest.pop(0))
                word = f"--workers={','.join(numbers)}"
            joined.append(word)
        return super().parse_args(ctx, joined)


def _how_many(functions: int, numbers: int) -> str:
    take = "1 function takes 1 number" if functions == 1 else f"{functions} functions take 1 number or {functions}"
    return f"{take}, not {numbers}"


def read_numbers(text: str) -> list[int]:
    return [cli.read_workers(number) for number in text.split(",")]


@click.group(name="prime_server", context_settings=cli.CONTEXT, no_args_is_help=False)
@click.version_option(package_name="prime-server")
def command() -> None:
    """Put slow Python functions behind HTTP, without short jobs waiting behind long ones."""


@command.command(
    name="run",
    cls=_Run,
    context_settings=cli.CONTEXT,
    epilog="""\b
Examples:
  prime_server run app:work
  prime_server run app:work --listen tcp://127.0.0.1:8002 --workers 8
  prime_server run app:parse app:compute --workers 1 8 --health /health --log -
  curl 'http://127.0.0.1:8002/?possible_prime=97'""",
)
@click.argument("applications", metavar="MODULE:FUNCTION...", nargs=-1, required=True)
@click.option(
    "--listen", metavar="ENDPOINT", default="tcp://127.0.0.1:8002", show_default=True, callback=cli.read_by(cli.read_endpoint),
    help="tcp://HOST:PORT or unix:PATH.",
)  # fmt: skip
@click.option(
    "--workers", metavar="N [N ...]", default="1", show_default=True, callback=cli.read_by(read_numbers),
    help="Processes: for each stage, or one number for all.",
)  # fmt: skip
@click.option("--health", "health_check", metavar="PATH", callback=cli.read_by(cli.read_health), help="Path of the health check.")
@click.option(
    "--drain", "drain_seconds", metavar="SECONDS", default="10", show_default=True, callback=cli.read_by(cli.read_drain),
    help="How long requests in flight may take after SIGTERM.",
)  # fmt: skip
@click.option(
    "--window", metavar="N", default="64", show_default=True, callback=cli.read_by(cli.read_window),
    help="Most jobs that a worker may be given ahead, where they are far shorter than the way to it; 1 for none.",
)  # fmt: skip
@click.option(
    "--grace", metavar="SECONDS", default="2", show_default=True, callback=cli.read_by(cli.read_seconds),
    help="How long a job may go on past its request's deadline before its worker process is killed and replaced; 0 for ever.",
)  # fmt: skip
@cli.attempts_option
@cli.retryable_option("Any request")
@edge.options
@cli.serving_options(log="none")
def run(
    applications: tuple[str, ...],
    listen: str,
    workers: list[int],
    health_check: str | None,
    drain_seconds: float,
    window: int,
    grace: float,
    max_attempts: int,
    retryable: bool,
    timeout: float,
    max_request: int,
    max_in_flight: int,
    max_queued_bytes: int,
    log: str,
) -> int:
    """Serve the pipeline of the functions MODULE:FUNCTION, in this order, each in worker processes of its own.

    A function takes a job and returns a prime_server.Response, or job.forward(...) to hand it on to the next. A worker process that dies is started
    again, one whose job hangs past its deadline is replaced.

    SIGTERM or Ctrl-C drains and ends all, a second one ends all at once. Exit status 4: a function can't be imported or isn't callable.
    """
    if len(workers) not in (1, len(applications)):
        raise click.BadParameter(_how_many(len(applications), len(workers)), param_hint="'--workers'")
    limits = edge.limits_of(request_timeout=timeout, max_request=max_request, max_in_flight=max_in_flight, max_payload=max_queued_bytes)
    try:
        run_processes(
            listen,
            applications,
            workers if len(workers) == len(applications) else workers * len(applications),
            drain_seconds=drain_seconds,
            health_check=health_check,
            window=window,
            grace_seconds=grace,
            max_attempts=max_attempts,
            retryable=retryable,
            on_ready=cli.say_ready("/"),
            limits=limits,
            log=cli.log_of(log),
            max_queued_bytes=max_queued_bytes,
            **edge.options_of(),
        )
    except ApplicationError as error:
        click.echo(f"prime_server: {error}", err=True)
        return APPLICATION_FAILED
    return 0


def main() -> None:
    cli.run(command)


if __name__ == "__main__":
    main()
