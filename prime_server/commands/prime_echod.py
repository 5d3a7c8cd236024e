"""`prime_echod`: answers a request with what it says. The pipeline with no work in it."""

import click

from prime_server.commands import cli, edge
from prime_server.echo import echo
from prime_server.run import run_threads


@click.command(
    name="prime_echod",
    context_settings=cli.CONTEXT,
    epilog="""\b
Examples:
  prime_echod tcp://127.0.0.1:8003
  prime_echod 'tcp://*:8003' 4 --log none
  curl -d 'anyone there?' http://127.0.0.1:8003/""",
)
@cli.listen_argument
@cli.workers_argument(default=1)
@cli.drain_argument
@edge.options
@cli.serving_options()
def command(
    listen: str, workers: int, drain_seconds: float, timeout: float, max_request: int, max_in_flight: int, max_queued_bytes: int, log: str
) -> None:
    """Answer every HTTP request on LISTEN with its body, or with its target where it has none.

    LISTEN is tcp://HOST:PORT (HOST may be *, PORT 0 for a free one) or unix:PATH, WORKERS the number of worker threads, DRAIN_SECONDS how long
    requests in flight may take after SIGTERM.
    """
    run_threads(
        listen,
        [echo],
        workers,
        drain_seconds=drain_seconds,
        limits=edge.limits_of(request_timeout=timeout, max_request=max_request, max_in_flight=max_in_flight, max_payload=max_queued_bytes),
        log=cli.log_of(log),
        max_queued_bytes=max_queued_bytes,
        on_ready=cli.say_ready("/echo"),
        **edge.options_of(),
    )


def main() -> None:
    cli.run(command)


if __name__ == "__main__":
    main()
