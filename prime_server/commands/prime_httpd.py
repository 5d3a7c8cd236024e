"""`prime_httpd`: the part that web clients talk to, as a process of its own."""

import click
import zmq

from prime_server._ext.lifecycle import quiesce
from prime_server.commands import cli, edge
from prime_server.run import EXIT_AFTER
from prime_server.server import Server


@click.command(
    name="prime_httpd",
    context_settings=cli.CONTEXT,
    epilog="""\b
Examples:
  prime_httpd tcp://127.0.0.1:8002 ipc:///run/app/proxy ipc:///run/app/loopback ipc:///run/app/interrupt
  prime_httpd 'tcp://*:8002' tcp://[::1]:8003 tcp://[::1]:8004 tcp://[::1]:8005 none 10M 60 10 /health
  curl http://127.0.0.1:8002/""",
)
@cli.listen_argument
@cli.connected_argument("proxy")
@cli.bound_argument("loopback")
@cli.bound_argument("interrupt")
@click.argument("log", default="-")
@click.argument("max_request_bytes", default="10M", callback=cli.read_by(cli.read_size))
@click.argument("request_timeout_s", default="60", callback=cli.read_by(cli.read_seconds))
@cli.drain_argument
@cli.health_argument
@click.option(
    "--protocol", metavar="NAME", type=click.Choice(["http", "netstring"]), default="http", show_default=True,
    help="What clients speak: http or netstring.",
)  # fmt: skip
@cli.in_flight_option
@cli.queued_option
@cli.retryable_option("Any request")
@edge.options
@click.version_option(package_name="prime-server")
def command(
    listen: str,
    proxy: str,
    loopback: str,
    interrupt: str,
    log: str,
    max_request_bytes: int,
    request_timeout_s: float,
    drain_seconds: float,
    health_check: str | None,
    protocol: str,
    max_in_flight: int,
    max_queued_bytes: int,
    retryable: bool,
) -> None:
    """Take requests at LISTEN, send them to the first stage's PROXY and answer with what workers send to the LOOPBACK; tell the workers over
    INTERRUPT of clients that have left.

    LISTEN is tcp://HOST:PORT (HOST may be *, PORT 0 for a free one) or unix:PATH. The others are tcp:// or ipc:// endpoints between the parts:
    PROXY is connected to, in any order of start, LOOPBACK and INTERRUPT are bound to. LOG is a file for the access log, - or true for stdout
    (default), none or false for none. REQUEST_TIMEOUT_S is a request's deadline, 0 for none. DRAIN_SECONDS is how long requests in flight may
    take after SIGTERM, /HEALTH a path that is answered 200, and 503 from SIGTERM on.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    limits = edge.limits_of(
        request_timeout=request_timeout_s, max_request=max_request_bytes, max_in_flight=max_in_flight, max_payload=max_queued_bytes
    )
    try:
        with Server(
            context,
            listen,
            proxy,
            loopback,
            interrupt,
            protocol=protocol,
            limits=limits,
            log=cli.log_of(log),
            health_check=health_check,
            retryable=retryable,
            **edge.options_of(),
        ) as server:
            quiesce(drain_seconds, exit_after=EXIT_AFTER)
            cli.say_ready("/")(server.endpoint)
            server.serve()
    finally:
        context.destroy(linger=0)


def main() -> None:
    cli.run(command)


if __name__ == "__main__":
    main()
