"""`prime_serverd`: the whole pipeline in one process, answering whether numbers are prime.

Given a count or a range instead of an endpoint, it asks itself, through the very same server, proxies and workers on a free port of the
loopback, and prints how many primes there were.
"""

import os
from dataclasses import replace

import click
from tqdm import tqdm

from prime_server.client import Client
from prime_server.commands import cli, edge
from prime_server.primes import compute, parse
from prime_server.run import Threads, run_threads

REQUEST = b"GET /is_prime?possible_prime=%d HTTP/1.1\r\nHost: localhost\r\n\r\n"
NOT_PRIME = b"18446744073709551615"
_DIGITS = 4300  # of a number that the server takes, as Python's int()
STAGES = (parse, compute)
MOST = 10**12  # numbers asked for in one run
_FORMS = "it should be an endpoint (tcp://127.0.0.1:8002), a count (1000000) or a range (1000000,2000000)"


def read_target(text: str) -> str | range:
    """An endpoint as it is, or the odd numbers to ask for: the first COUNT from 3 on, or those of a closed range FROM,TO."""
    if ":" in text:
        return cli.read_endpoint(text)
    parts = text.split(",")
    if len(parts) > 2 or not all(part.isascii() and part.isdigit() and len(part) <= _DIGITS for part in parts):
        raise ValueError(f"{text!r} is neither; {_FORMS}")
    if len(parts) == 1:
        count = int(text)
        if not 1 <= count <= MOST:
            raise ValueError(f"{text!r} is no count; it should be a whole number in 1…{MOST}")
        return range(3, 3 + 2 * count, 2)
    first, last = map(int, parts)
    if first > last:
        raise ValueError(f"{text!r} is no range; FROM should not be greater than TO")
    numbers = range(first | 1, last + 1, 2)
    if size_of(numbers) > MOST:
        raise ValueError(f"{text!r} is too much; a range should have at most {MOST} odd numbers")
    return numbers


@click.command(
    name="prime_serverd",
    context_settings=cli.CONTEXT,
    epilog="""\b
Examples:
  prime_serverd tcp://127.0.0.1:8002             serve
  prime_serverd 'tcp://*:8002' 4 10 /health      with 4 workers a stage, 10 s to drain and a health check
  prime_serverd 1000000 8                        how many of the first 1000000 odd numbers from 3 on are prime
  prime_serverd 100000000000000,100000000008000  how many of the odd numbers in that range are
  curl 'http://127.0.0.1:8002/is_prime?possible_prime=32416190071'
  curl -d 32416190071 http://127.0.0.1:8002/is_prime""",
)
@click.argument("target", metavar="ENDPOINT|COUNT|FROM,TO", callback=cli.read_by(read_target))
@cli.workers_argument(default=os.cpu_count() or 1)
@cli.drain_argument
@cli.health_argument
@edge.options
@cli.serving_options(log=None)
def command(
    target: str | range,
    workers: int,
    drain_seconds: float,
    health_check: str | None,
    timeout: float,
    max_request: int,
    max_in_flight: int,
    max_queued_bytes: int,
    log: str | None,
) -> None:
    """Tell whether numbers are prime, by a server, two proxies and two stages of WORKERS threads each in one process.

    With an ENDPOINT (tcp://HOST:PORT, HOST may be *, PORT 0 for a free one; or unix:PATH) it serves GET /is_prime?possible_prime=N and
    POST /is_prime with the body N, which are answered with N if that is prime and else with 18446744073709551615. DRAIN_SECONDS is how long
    requests in flight may take after SIGTERM, /HEALTH a path that is answered 200, and 503 from SIGTERM on.

    With a COUNT it asks itself about the first COUNT odd numbers from 3 on, with FROM,TO about the odd numbers in that range, and prints
    how many primes it found.
    """
    limits = edge.limits_of(request_timeout=timeout, max_request=max_request, max_in_flight=max_in_flight, max_payload=max_queued_bytes)
    if isinstance(target, str):
        run_threads(
            target,
            STAGES,
            workers,
            drain_seconds=drain_seconds,
            health_check=health_check,
            limits=limits,
            log=cli.log_of(log or "-"),
            max_queued_bytes=max_queued_bytes,
            on_ready=cli.say_ready("/is_prime?possible_prime=32416190071"),
            **edge.options_of(),
        )
    else:
        # One client of whom all is known: the more it may have in flight, the fewer are the wake-ups.
        limits = replace(limits, max_pipelined=1024)
        with Threads("tcp://127.0.0.1:0", STAGES, workers, limits=limits, log=cli.log_of(log or "none")) as pipeline:
            found = count_primes(pipeline.endpoint, target)
        click.echo(f"{found} primes found")


def count_primes(endpoint: str, numbers: range) -> int:
    """Asks a server about each of the numbers, with a bar on stderr where that is a terminal. Raises `ClickException` for an answer that is none."""
    found = 0
    with Client(None, endpoint) as client:
        # The numbers become requests without a line of Python each: all of this shares the cores with the pipeline that answers.
        answers = client.fetch(map(REQUEST.__mod__, numbers))
        for n, answer in zip(numbers, tqdm(answers, total=size_of(numbers), unit=" numbers", disable=None), strict=True):
            body = answer.body
            if body == NOT_PRIME:
                continue
            if answer.status != 200 or body != b"%d" % n:
                raise click.ClickException(f"asked about {n}, the server answered {answer.status}: {answer.text.strip()}")
            found += 1
    return found


def size_of(numbers: range) -> int:
    """The length of a range, however large its numbers are."""
    return max(0, (numbers.stop - numbers.start + numbers.step - 1) // numbers.step)


def main() -> None:
    cli.run(command)


if __name__ == "__main__":
    main()
