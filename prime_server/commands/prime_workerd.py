"""`prime_workerd`: one worker of a stage, as a process of its own."""

import os
import sys
from pathlib import Path
from typing import Any

import click
import zmq

from prime_server._ext.lifecycle import quiesce
from prime_server.application import ApplicationError, load
from prime_server.commands import cli
from prime_server.files import Files
from prime_server.lifeline import Lifeline
from prime_server.run import EXIT_AFTER
from prime_server.worker import Worker

APPLICATION_FAILED = 4  # exit status


def read_downstream(text: str) -> str | None:
    return None if text in ("", "-") else cli.read_connected(text)


@click.command(
    name="prime_workerd",
    context_settings=cli.CONTEXT,
    epilog="""\b
Examples:
  prime_workerd ipc:///run/app/down - ipc:///run/app/loopback ipc:///run/app/interrupt
  prime_workerd tcp://[::1]:8006 tcp://[::1]:8007 tcp://[::1]:8004 tcp://[::1]:8005 10 --work app:work""",
)
@cli.connected_argument("upstream")
@click.argument("downstream", callback=cli.read_by(read_downstream))
@cli.connected_argument("loopback")
@cli.connected_argument("interrupt")
@cli.drain_argument
@click.option("--work", metavar="MODULE:FUNCTION", help="What to call for each job; without it, files below the current directory are served.")
@click.option(
    "--window", metavar="N", default="64", show_default=True, callback=cli.read_by(cli.read_window),
    help="Most jobs that it may be given ahead, where they are far shorter than the way to it; 1 for none.",
)  # fmt: skip
@click.option(
    "--grace", metavar="SECONDS", default="0", show_default=True, callback=cli.read_by(cli.read_seconds),
    help="How long a job may go on past its request's deadline before its worker process is killed, with exit status 75; 0 for ever.",
)  # fmt: skip
@click.option("--heartbeat", metavar="TEXT", default="", help="What the proxy's choose function sees of this worker while it is idle.")
@click.option("--lifeline", type=int, hidden=True)
@click.option("--direct", type=(int, int), hidden=True)
@click.version_option(package_name="prime-server")
def command(
    upstream: str,
    downstream: str | None,
    loopback: str,
    interrupt: str,
    drain_seconds: float,
    work: str | None,
    window: int,
    grace: float,
    heartbeat: str,
    lifeline: int | None,
    direct: tuple[int, int] | None,
) -> int:
    """Work on what the proxy at UPSTREAM hands out: answer over the server's LOOPBACK or forward to the proxy of the next stage at DOWNSTREAM,
    and heed the server's INTERRUPT.

    All are tcp:// or ipc:// endpoints and are connected to, in any order of start; DOWNSTREAM may be - where there is no next stage. After SIGTERM
    the running job may take DRAIN_SECONDS. Exit status 4: the function can't be imported or isn't callable.
    """
    line = Lifeline(lifeline) if lifeline is not None else None
    try:
        function: Any = load(work) if work is not None else Files(Path.cwd())
    except ApplicationError as error:
        if line is not None:
            line.say(str(error))
        else:
            click.echo(f"prime_workerd: {error}", err=True)
        return APPLICATION_FAILED
    quiesce(drain_seconds, exit_after=EXIT_AFTER)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        options: dict[str, Any] = {"heartbeat": heartbeat.encode(), "window": window, "grace_seconds": grace}
        with Worker(context, upstream, downstream, loopback, interrupt, function, **options) as worker:
            if direct is not None:
                os.set_inheritable(direct[0], False)
                worker.set_direct(*direct)
            if line is not None:
                line.ready()
            else:
                click.echo(f"working for {upstream}", err=True)
            worker.work()
    finally:
        context.destroy()
    return 0


def main() -> None:
    try:
        cli.run(command)
    except SystemExit as ended:
        if ended.code == APPLICATION_FAILED:
            sys.stdout.flush()
            os._exit(APPLICATION_FAILED)  # threads that the application's module has started would keep the process
        raise


if __name__ == "__main__":
    main()
