"""The commands' arguments: what is taken, and that a mistake is one clear line and exit status 2."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import command_path

from prime_server import __version__
from prime_server.commands import cli, prime_server, prime_serverd, prime_workerd

COMMANDS = ("prime_serverd", "prime_echod", "prime_filed", "prime_httpd", "prime_proxyd", "prime_workerd")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("as_module", [False, True])
def test_help_has_examples(command: str, as_module: bool) -> None:
    start = [sys.executable, "-m", f"prime_server.commands.{command}"] if as_module else [command_path(command)]
    shown = run(*start, "--help")
    assert shown.returncode == 0
    assert shown.stdout.startswith(f"Usage: {command} ")
    assert "  Examples:\n" in shown.stdout
    assert f"\n    {command} " in shown.stdout
    assert shown.stderr == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_version(command: str) -> None:
    shown = run(command_path(command), "--version")
    assert (shown.returncode, shown.stdout.split()[-1]) == (0, __version__)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("prime_serverd", "Missing argument"),
        ("prime_serverd nonsense", "'nonsense'"),
        ("prime_serverd 0", "'0'"),
        ("prime_serverd 1.5", "'1.5'"),
        ("prime_serverd -- -5", "'-5'"),
        ("prime_serverd 5,", "'5,'"),
        ("prime_serverd 5,x", "'5,x'"),
        ("prime_serverd 9,5", "FROM"),
        ("prime_serverd 1,2,3", "'1,2,3'"),
        ("prime_serverd ٣", "'٣'"),
        ("prime_serverd 1,99999999999999999999", "at most"),
        ("prime_serverd tcp://", "tcp://"),
        ("prime_serverd tcp://127.0.0.1", "tcp://127.0.0.1:8002"),
        ("prime_serverd tcp://127.0.0.1:65536", "65536"),
        ("prime_serverd tcp://127.0.0.1:http", "http"),
        ("prime_serverd http://127.0.0.1:8002", "http://127.0.0.1:8002"),
        ("prime_serverd udp://127.0.0.1:8002", "udp"),
        ("prime_serverd unix:", "unix:"),
        ("prime_serverd 100 none", "'none'"),
        ("prime_serverd 100 0", "'0'"),
        ("prime_serverd 100 -1", "-1"),
        ("prime_serverd 100 4 soon", "'soon'"),
        ("prime_serverd 100 4 nan", "'nan'"),
        ("prime_serverd 100 4 inf", "'inf'"),
        ("prime_serverd 100 4 10 health", "/health"),
        ("prime_serverd 100 4 10 /health more", "more"),
        ("prime_serverd 100 --timeout=-1", "'-1'"),
        ("prime_serverd 100 --max-request 1T", "'1T'"),
        ("prime_serverd 100 --max-request 0", "'0'"),
        ("prime_serverd 100 --nonsense", "--nonsense"),
        ("prime_serverd tcp://127.0.0.1:0 --header-timeout soon", "'soon'"),
        ("prime_serverd tcp://127.0.0.1:0 --max-connections 0", "'0'"),
        ("prime_serverd tcp://127.0.0.1:0 --max-connections-per-address -1", "'-1'"),
        ("prime_serverd tcp://127.0.0.1:0 --max-head 1X", "'1X'"),
        ("prime_serverd tcp://127.0.0.1:0 --cors-origin app.example", "https://app.example"),
        ("prime_serverd tcp://127.0.0.1:0 --cors-header X-Token", "--cors-origin"),
        ("prime_serverd tcp://127.0.0.1:0 --cors-origin * --cors-credentials", "credentials"),
        ("prime_serverd tcp://127.0.0.1:0 --cors-max-age soon", "'soon'"),
        ("prime_serverd tcp://127.0.0.1:0 --method a,b", "PURGE"),
        ("prime_serverd tcp://127.0.0.1:0 --server-header \u00e4", "ASCII"),
        ("prime_echod 8002", "'8002'"),
        ("prime_echod tcp://127.0.0.1:0 many", "'many'"),
        ("prime_filed tcp://127.0.0.1:0 /does/not/exist", "/does/not/exist"),
        ("prime_filed tcp://127.0.0.1:0 /dev/null", "/dev/null"),
        ("prime_filed tcp://127.0.0.1:0 / 10 health", "'health'"),
        ("prime_httpd tcp://127.0.0.1:0 ipc://p ipc://l", "INTERRUPT"),
        ("prime_httpd 8002 ipc://p ipc://l ipc://i", "'8002'"),
        ("prime_httpd tcp://127.0.0.1:0 tcp://*:8003 ipc://l ipc://i", "connect to"),
        ("prime_httpd tcp://127.0.0.1:0 ipc://p inproc://l ipc://i", "'inproc://l'"),
        ("prime_httpd tcp://127.0.0.1:0 ipc://p ipc://l ipc://", "'ipc://'"),
        ("prime_httpd tcp://127.0.0.1:0 ipc://p ipc://l ipc://i none lots", "'lots'"),
        ("prime_httpd tcp://127.0.0.1:0 ipc://p ipc://l ipc://i none 1M soon", "'soon'"),
        ("prime_httpd tcp://127.0.0.1:0 ipc://p ipc://l ipc://i none 1M 60 10 health", "/health"),
        ("prime_proxyd ipc://u", "DOWNSTREAM"),
        ("prime_proxyd udp://127.0.0.1:1 ipc://d", "bind to"),
        ("prime_proxyd ipc://u ipc://d soon", "'soon'"),
        ("prime_workerd ipc://u - ipc://l", "INTERRUPT"),
        ("prime_workerd ipc://u none ipc://l ipc://i", "'none'"),
        ("prime_workerd tcp://127.0.0.1:0 - ipc://l ipc://i", "connect to"),
        ("prime_workerd ipc://u - ipc://l ipc://i --window 0", "1…1024"),
    ],
)
def test_mistakes(command: str, says: str, capfd: pytest.CaptureFixture[str]) -> None:
    name, *arguments = command.split()
    module = __import__(f"prime_server.commands.{name}", fromlist=["command"])
    with pytest.raises(SystemExit) as ended:
        cli.run(module.command, arguments)
    shown = capfd.readouterr()
    assert ended.value.code == 2
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert shown.err.startswith(f"{name}: ")
    assert says in shown.err
    assert f"{name} --help" in shown.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("", "Missing command (see prime_server --help)"),
        ("walk app:work", "'walk' (see prime_server --help)"),
        ("run", "MODULE:FUNCTION"),
        ("run app:work --workers 0", "'0'"),
        ("run app:work --workers 1 2", "1 function takes 1 number, not 2"),
        ("run app:a app:b app:c --workers 1 2", "3 functions take 1 number or 3, not 2"),
        ("run app:work --listen unix:/" + 120 * "x", "at most 107 bytes"),
        ("run app:work --grace -1", "'-1'"),
    ],
)
def test_mistakes_of_run(arguments: str, says: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run(prime_server.command, arguments.split())
    shown = capfd.readouterr()
    assert (ended.value.code, shown.out, shown.err.count("\n")) == (2, "", 1)
    assert shown.err.startswith("prime_server: ")
    assert says in shown.err
    assert f"(see prime_server{' run' if arguments.startswith('run') else ''} --help)" in shown.err


def test_the_package_runs_as_a_module() -> None:
    shown = run(sys.executable, "-m", "prime_server", "run", "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("Usage: prime_server run ")


@pytest.mark.parametrize(
    "command", ["prime_server run app:work --log - --listen tcp://127.0.0.1:0", "prime_httpd tcp://127.0.0.1:0 ipc://p ipc://l ipc://i"]
)
def test_an_access_log_wants_an_open_stdout(command: str, tmp_path: Path) -> None:
    name, *arguments = command.split()
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", command_path(name), *arguments]
    shown = subprocess.run(closed, stderr=subprocess.PIPE, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL, cwd=tmp_path)
    assert (shown.returncode, shown.stderr.count("\n")) == (1, 1)
    assert "standard output, which is closed" in shown.stderr


def test_a_mistake_ends_the_process_with_status_2() -> None:
    shown = run(command_path("prime_serverd"), "tcp://nowhere")
    assert (shown.returncode, shown.stdout, shown.stderr.count("\n")) == (2, "", 1)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("prime_httpd tcp://127.0.0.1:0 ipc:///nowhere/p ipc:///nowhere/l ipc:///nowhere/i", "/nowhere/l"),
        ("prime_proxyd ipc:///nowhere/u ipc:///nowhere/d", "ipc:///nowhere/u: "),
        ("prime_echod tcp://192.0.2.1:8002", "tcp://192.0.2.1:8002: "),
        ("prime_echod tcp://nobody.invalid:8002", "tcp://nobody.invalid:8002: "),
        ("prime_echod unix:/nowhere/s", "unix:/nowhere/s: "),
        ("prime_proxyd tcp://192.0.2.1:8003 ipc://d", "tcp://192.0.2.1:8003: "),
    ],
)
def test_what_can_not_be_bound_is_one_line_and_exit_status_1(command: str, says: str, capfd: pytest.CaptureFixture[str]) -> None:
    name, *arguments = command.split()
    module = __import__(f"prime_server.commands.{name}", fromlist=["command"])
    with pytest.raises(SystemExit) as ended:
        cli.run(module.command, arguments)
    shown = capfd.readouterr()
    assert (ended.value.code, shown.out, shown.err.count("\n")) == (1, "", 1)
    assert shown.err.startswith(f"{name}: ")
    assert says in shown.err


@pytest.mark.parametrize("spec", ["no_such_module_here:work", "prime_server.echo:ohce", "prime_server:__all__", "app.work"])
def test_an_application_that_can_not_be_loaded_is_one_line_and_exit_status_4(spec: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run(prime_workerd.command, ["ipc://u", "-", "ipc://l", "ipc://i", "--work", spec])
    shown = capfd.readouterr()
    assert (ended.value.code, shown.out, shown.err.count("\n")) == (4, "", 1)
    assert shown.err.startswith("prime_workerd: ")
    assert spec in shown.err


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("tcp://127.0.0.1:8002", "tcp://127.0.0.1:8002"),
        ("tcp://*:0", "tcp://*:0"),
        ("tcp://[::1]:8002", "tcp://[::1]:8002"),
        ("tcp://localhost:8002", "tcp://localhost:8002"),
        ("unix:/tmp/x", "unix:/tmp/x"),
        ("1", range(3, 5, 2)),
        ("1000000", range(3, 2_000_003, 2)),
        ("5,5", range(5, 6, 2)),
        ("4,4", range(5, 5, 2)),
        ("4,9", range(5, 10, 2)),
        ("100000000000000,100000000008000", range(10**14 + 1, 10**14 + 8001, 2)),
        (f"{10**40},{10**40 + 10}", range(10**40 + 1, 10**40 + 11, 2)),
    ],
)
def test_targets(text: str, target: str | range) -> None:
    assert prime_serverd.read_target(text) == target


@pytest.mark.parametrize(
    ("numbers", "size"),
    [(range(3, 5, 2), 1), (range(5, 5, 2), 0), (range(10**30 + 1, 10**30 + 8001, 2), 4000), (range(3, 3), 0)],
)
def test_sizes_of_ranges(numbers: range, size: int) -> None:
    assert prime_serverd.size_of(numbers) == size


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("2.5", 2.5), ("28,1", 29.0)])
def test_drain_times(text: str, seconds: float) -> None:
    assert cli.read_drain(text) == seconds


@pytest.mark.parametrize(("text", "size"), [("1", 1), ("1048576", 1 << 20), ("64K", 1 << 16), ("10m", 10 << 20), ("1GiB", 1 << 30), ("2kB", 2048)])
def test_sizes(text: str, size: int) -> None:
    assert cli.read_size(text) == size


@pytest.mark.parametrize(
    ("endpoint", "line"),
    [
        ("tcp://127.0.0.1:8002", "curl 'http://127.0.0.1:8002/x?y'"),
        ("tcp://0.0.0.0:8002", "curl 'http://127.0.0.1:8002/x?y'"),
        ("tcp://[::]:8002", "curl 'http://[::1]:8002/x?y'"),
        ("unix:/tmp/s", "curl --unix-socket /tmp/s 'http://localhost/x?y'"),
    ],
)
def test_the_line_to_try(endpoint: str, line: str, capfd: pytest.CaptureFixture[str]) -> None:
    cli.say_ready("/x?y")(endpoint)
    assert capfd.readouterr().err == f"listening on {endpoint}, try: {line}\n"
