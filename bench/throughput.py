"""`python -m bench.throughput`: requests per second and latencies, ours and the peers', side by side.

All servers run all the time; the load goes to one after the other, round by round, so that what the machine does besides hits all alike. The
figures are medians over the rounds, the ratios are those of the medians. Before and after, every number is asked for once and the answers
are held against gmpy2's; while measuring, an answer that isn't 200 counts as an error.
"""

import argparse
import contextlib
import datetime
import json
import statistics
import sys
from pathlib import Path

from bench import load, peers
from bench.report import chosen, machine, progress

NUMBERS = 5_000


def known_servers() -> list[peers.Peer]:
    return [
        peers.prime_serverd(1),
        peers.prime_serverd(8),
        peers.prime_server_run("bench.app:work", 2),
        peers.prime_server_run("bench.app:work", 4, window=1),
        peers.stdlib(),
        peers.uvicorn("bench.asgi_app:app"),
        peers.granian("bench.asgi_app:app"),
    ]


Results = dict[str, dict[int, list[load.Figures]]]


def measure(servers: list[peers.Peer], connections: list[int], rounds: int, seconds: float) -> tuple[Results, dict[str, int]]:
    """The figures of every round, by server and number of connections, and the wrong answers by server."""
    generate = load.with_wrk if load.have_wrk() else load.by_ourselves
    results: Results = {server.name: {count: [] for count in connections} for server in servers}
    wrong = dict.fromkeys(results, 0)
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(peers.running(server)) for server in servers]
        for turn in range(rounds):
            numbers = load.random_numbers(NUMBERS, seed=turn)
            for server in started:
                wrong[server.peer.name] += load.wrong_answers(server.port, numbers)
            for count in connections:
                for server in started:
                    figures = generate(server.port, count, seconds, numbers, turn)
                    results[server.peer.name][count].append(figures)
                    progress(f"round {turn + 1}/{rounds}, {count:3} connections, {server.peer.name:16} {figures.rate:8.0f}/s")
        for server in started:
            wrong[server.peer.name] += load.wrong_answers(server.port, numbers)
    progress("")
    return results, wrong


def median(figures: list[load.Figures], name: str) -> float:
    return float(statistics.median(getattr(each, name) for each in figures))


def table(results: Results, wrong: dict[str, int]) -> str:
    """Markdown, so that it can go into a README as it is."""
    connections = list(next(iter(results.values())))
    heads = [f"{count} connection{'s' * (count > 1)}" for count in connections]
    lines = [f"| requests/s (p50 / p99 in ms) | {' | '.join(heads)} | bad answers |", "|---|" + "---:|" * (len(heads) + 1)]
    for name, by_count in results.items():
        cells = [f"{median(each, 'rate'):,.0f} ({median(each, 'p50'):.2f} / {median(each, 'p99'):.2f})" for each in by_count.values()]
        bad = wrong[name] + sum(run.errors for each in by_count.values() for run in each)
        lines.append(f"| {name} | {' | '.join(cells)} | {bad} |")
    ours = next(iter(results))
    if len(results) > 1:
        lines += ["", f"| {ours} against | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
        for name, by_count in list(results.items())[1:]:
            cells = [f"{median(results[ours][count], 'rate') / median(each, 'rate'):.2f} ×" for count, each in by_count.items()]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.throughput", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run (default: 2)")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--connections", default="1,8,64,256", help="default: 1,8,64,256")
    parser.add_argument("--servers", help="some of them only, by their names and commas; the others are compared with the first")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures there")
    options = parser.parse_args()
    try:
        servers = chosen(known_servers(), options.servers)
    except ValueError as error:
        parser.error(str(error))
    by = "wrk -t1" if load.have_wrk() else "a loop in Python, as wrk is not installed"
    print(f"{machine()}, {datetime.date.today()}")
    print(f"medians of {options.rounds} rounds of {options.seconds:g} s, keep-alive, load by {by}; our access log is on, the peers' are off")
    print("; ".join(f"{server.name}: {versions}" for server in servers if (versions := server.versions())), end="\n\n")
    results, wrong = measure(servers, [int(count) for count in options.connections.split(",")], options.rounds, options.seconds)
    print(table(results, wrong))
    if options.json:
        runs = {name: {count: [run.as_dict() for run in each] for count, each in by_count.items()} for name, by_count in results.items()}
        about = {"machine": machine(), "date": str(datetime.date.today()), "load": by, "seconds": options.seconds, "rounds": options.rounds}
        options.json.write_text(json.dumps({**about, "wrong": wrong, "runs": runs}, indent=1) + "\n")
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
