"""`prime_filed`: the files below a directory, by GET and HEAD."""

from pathlib import Path

import click

from prime_server.commands import cli, edge
from prime_server.files import Files
from prime_server.run import run_threads


def read_root(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise ValueError(f"{text!r} is no directory")
    return path


@click.command(
    name="prime_filed",
    context_settings=cli.CONTEXT,
    epilog="""\b
Examples:
  prime_filed tcp://127.0.0.1:8004
  prime_filed 'tcp://*:8004' /srv/www 10 /health
  curl -I http://127.0.0.1:8004/index.html""",
)
@cli.listen_argument
@click.argument("root", default=".", callback=cli.read_by(read_root))
@cli.drain_argument
@cli.health_argument
@click.option(
    "--workers", metavar="NUMBER", default="2", show_default=True, callback=cli.read_by(cli.read_workers), help="Number of worker threads."
)
@edge.options
@cli.serving_options()
def command(
    listen: str,
    root: Path,
    drain_seconds: float,
    health_check: str | None,
    workers: int,
    timeout: float,
    max_request: int,
    max_in_flight: int,
    max_queued_bytes: int,
    log: str,
) -> None:
    """Serve the files below ROOT (default: the current directory) by GET and HEAD on LISTEN.

    LISTEN is tcp://HOST:PORT (HOST may be *, PORT 0 for a free one) or unix:PATH, DRAIN_SECONDS how long requests in flight may take after
    SIGTERM, /HEALTH a path that is answered 200, and 503 from SIGTERM on. Nothing outside of ROOT can be reached, by symbolic links neither.
    """
    run_threads(
        listen,
        [Files(root)],
        workers,
        drain_seconds=drain_seconds,
        health_check=health_check,
        limits=edge.limits_of(request_timeout=timeout, max_request=max_request, max_in_flight=max_in_flight, max_payload=max_queued_bytes),
        log=cli.log_of(log),
        max_queued_bytes=max_queued_bytes,
        on_ready=cli.say_ready("/"),
        **edge.options_of(),
    )


def main() -> None:
    cli.run(command)


if __name__ == "__main__":
    main()
