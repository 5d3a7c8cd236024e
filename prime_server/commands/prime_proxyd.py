"""`prime_proxyd`: the load balancer before one stage's workers, as a process of its own."""

import click
import zmq

from prime_server._ext.lifecycle import quiesce
from prime_server.commands import cli
from prime_server.proxy import Proxy
from prime_server.run import EXIT_AFTER


@click.command(
    name="prime_proxyd",
    context_settings=cli.CONTEXT,
    epilog="""\b
Examples:
  prime_proxyd ipc:///run/app/up ipc:///run/app/down
  prime_proxyd tcp://127.0.0.1:8003 tcp://127.0.0.1:8006 10""",
)
@cli.bound_argument("upstream")
@cli.bound_argument("downstream")
@cli.drain_argument
@cli.attempts_option
@click.option(
    "--max-backlog", metavar="N", default="65536", show_default=True, callback=cli.read_by(cli.read_jobs),
    help="Jobs that may wait for a worker; more are refused with 503.",
)  # fmt: skip
@cli.queued_option
@cli.retryable_option("Any job")
@click.version_option(package_name="prime-server")
def command(
    upstream: str, downstream: str, drain_seconds: float, max_attempts: int, max_backlog: int, max_queued_bytes: int, retryable: bool
) -> None:
    """Take jobs at UPSTREAM, from the server or the workers of the stage before, and give each to a worker at DOWNSTREAM that is free for it.

    Both are tcp:// or ipc:// endpoints and are bound to; the other parts connect to them, in any order of start. DRAIN_SECONDS is how long jobs
    may take after SIGTERM. The job of a worker that dies is given to another one where its request is idempotent by its method.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        with Proxy(
            context, upstream, downstream, max_attempts=max_attempts, max_backlog=max_backlog, max_queued_bytes=max_queued_bytes, retryable=retryable
        ) as proxy:
            quiesce(drain_seconds, exit_after=EXIT_AFTER)
            click.echo(f"forwarding from {upstream} to {downstream}", err=True)
            proxy.forward()
    finally:
        context.destroy(linger=0)


def main() -> None:
    cli.run(command)


if __name__ == "__main__":
    main()
