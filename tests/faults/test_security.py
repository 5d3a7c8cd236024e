"""What docs/security.md says, on real processes: who can reach the internal sockets, and what those who do can and can't bring about.

The 31 kinds of junk are in test_junk.py, the text of exceptions in test_worker_functions.py, and which endpoints are warned of in test_endpoints.py.
"""

import ast
import contextlib
import fcntl
import http.client
import os
import pickle
import re
import stat
import struct
import tempfile
from pathlib import Path
from typing import Any

import pytest
import zmq
from conftest import CHECKOUT, PATIENCE, Process, Start
from faulting import APPLICATION, Rig, number

import prime_server
from prime_server import supervisor


def listening(process: Process) -> tuple[list[str], list[str]]:
    """Where a process listens: the local addresses of TCP, in hexadecimal, and the paths of unix sockets that have one."""
    inodes = set()
    for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes |= set(re.findall(r"socket:\[(\d+)\]", os.readlink(descriptor)))
    tcp = []
    for table in ("tcp", "tcp6"):
        rows = [line.split() for line in Path(f"/proc/{process.pid}/net/{table}").read_text().splitlines()[1:]]
        tcp += [row[1] for row in rows if row[9] in inodes and row[3] == "0A"]
    rows = [line.split() for line in Path(f"/proc/{process.pid}/net/unix").read_text().splitlines()[1:]]
    return tcp, [row[7] for row in rows if len(row) > 7 and row[6] in inodes and row[3] == "00010000"]


def test_a_whole_pipeline_in_one_process_listens_for_its_clients_alone(start: Start) -> None:
    server = start("prime_serverd", "tcp://127.0.0.1:0", "2", "5", "--log", "none")
    port = server.address()[1]
    assert listening(server) == ([f"0100007F:{port:04X}"], [])


def test_run_has_its_sockets_where_nobody_else_gets(start: Start, directory: Path) -> None:
    (directory / "application.py").write_text(APPLICATION)
    environment = {**os.environ, "TMPDIR": str(directory)}
    stages = ("application:forward", "application:work")
    server = start("prime_server", "run", *stages, "--listen", "tcp://127.0.0.1:0", "--workers", "1", "1", cwd=directory, env=environment)
    port = server.address()[1]
    tcp, paths = listening(server)
    assert tcp == [f"0100007F:{port:04X}"]
    (place,) = {Path(path).parent for path in paths}
    assert place.parent == directory
    told = place.stat()
    assert (stat.S_IMODE(told.st_mode), told.st_uid) == (0o700, os.getuid())
    with open(place / supervisor.LOCK, "rb") as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert server.stop() == 0
    assert not place.exists()


def test_a_directory_is_not_taken_for_one_that_was_left_behind(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """However two that start at once come between each other."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(directory))
    lock_file = fcntl.flock

    def between(file: Any, operation: int) -> None:
        if operation == fcntl.LOCK_EX:
            monkeypatch.setattr(fcntl, "flock", lock_file)
            with supervisor.private_directory():
                pass
        lock_file(file, operation)

    monkeypatch.setattr(fcntl, "flock", between)
    with supervisor.private_directory() as first:
        assert first.exists()
        with supervisor.private_directory() as second:
            assert first.exists()
            assert second != first


def test_who_binds_a_path_in_use_is_told_so_and_takes_nothing_over(start: Start, directory: Path) -> None:
    with Rig(start, directory) as rig:
        rig.run_all(workers=2)
        second = rig.command("prime_proxyd", rig.endpoint("up0"), rig.endpoint("down0"), "1")
        assert second.finish() != 0
        rig.forget(second)
        assert b"in use" in second.stderr
        rig.ask(50)


@pytest.mark.parametrize("part", ["prime_httpd", "prime_proxyd"])
def test_what_other_machines_can_reach_is_warned_of(start: Start, part: str) -> None:
    here, everywhere = "tcp://127.0.0.1:*", "tcp://0.0.0.0:*"
    for bound in (here, everywhere):
        ends = ("tcp://127.0.0.1:0", "tcp://127.0.0.1:9", bound, bound) if part == "prime_httpd" else (bound, bound)
        process = start(part, *ends)
        process.wait_for(rb"(listening|forwarding) ")
        assert process.stop() == 0
        assert process.stderr.count(b"is bound for other machines too") == (2 if bound == everywhere else 0)


class Mark:
    """What marks a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_nothing_is_unpickled(start: Start, directory: Path) -> None:
    evil = pickle.dumps(Mark(directory / "mark"))
    info = struct.pack("<IIHH", 7, 1_700_000_000, 1, 0)
    with Rig(start, directory) as rig:
        rig.run_all(workers=2)
        rig.ask(20)
        for name, kind in {"up0": zmq.DEALER, "down0": zmq.DEALER, "loopback": zmq.PUSH, "interrupt": zmq.XSUB}.items():
            with rig.context.socket(kind) as thrower:
                thrower.linger = 1000
                thrower.connect(rig.endpoint(name))
                for frames in ([evil], [info, evil], [b"", evil], [info + evil, evil], [b"\1" + evil]):
                    thrower.send_multipart(frames)
        rig.ask(50)  # of which some were given to what spoke as a worker and is gone
        connection = http.client.HTTPConnection(*rig.address, timeout=PATIENCE)
        connection.request("POST", number(7).target, evil)
        assert connection.getresponse().read() == b"7"
        connection.close()
        assert not (directory / "mark").exists()
    pickle.loads(evil)
    assert (directory / "mark").exists()


@pytest.mark.checkout
def test_nothing_could_be() -> None:
    """No module of ours names what would make code of data."""
    for path in Path(prime_server.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "module", None) or ""
            names = {name, *(alias.name for alias in getattr(node, "names", []) if isinstance(alias, ast.alias))}
            assert not names & {"pickle", "marshal", "shelve", "eval", "exec", "recv_pyobj"}, f"{path}: {names}"
    for path in (CHECKOUT / "_ext").glob("*.pyx"):
        assert not re.search(r"\b(pickle|marshal|shelve|recv_pyobj|eval\(|exec\()", path.read_text()), path


def test_what_is_malformed_is_dropped_and_logged(start: Start, directory: Path) -> None:
    with Rig(start, directory) as rig:
        rig.run_all(workers=1)
        rig.ask(10)
        says = {
            "up0": (zmq.DEALER, rig.proxy, rb"a malformed job was dropped"),
            "down0": (zmq.DEALER, rig.proxy, rb"a malformed message from a worker to its proxy was dropped"),
            "loopback": (zmq.PUSH, rig.server, rb"a result without a readable info frame was dropped"),
        }
        for name, (kind, part, text) in says.items():
            with rig.context.socket(kind) as thrower:
                thrower.linger = 1000
                thrower.connect(rig.endpoint(name))
                thrower.send_multipart([b"x" * 7, b"", b"", b""])
                part.wait_for(text)
        rig.ask(10)


def test_a_result_that_is_not_the_requests_is_dropped(start: Start, directory: Path) -> None:
    """By life, id and time stamp; where it has no life, as the original's, by the others."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    with Rig(start, directory) as rig, contextlib.ExitStack() as stack:
        rig.serve()
        rig.wait()
        proxy, loopback = (stack.enter_context(rig.context.socket(kind)) for kind in (zmq.ROUTER, zmq.PUSH))
        proxy.linger, loopback.linger = 0, 1000
        proxy.bind(rig.endpoint("up0"))
        loopback.connect(rig.endpoint("loopback"))
        connection = stack.enter_context(contextlib.closing(http.client.HTTPConnection(*rig.address, timeout=PATIENCE)))
        for bare in (False, True):
            connection.request("GET", "/")
            assert proxy.poll(1000 * PATIENCE)
            info = proxy.recv_multipart()[1]
            id, stamp = struct.unpack_from("<II", info)
            life = slice(24, 32)
            forged = [
                info[:24] + bytes(byte ^ 1 for byte in info[life]) + info[32:],
                struct.pack("<II", id ^ 1, stamp) + info[8:],
                struct.pack("<II", id, stamp - 1) + info[8:],
                struct.pack("<II", id ^ 1, stamp) + info[8:12],
                struct.pack("<II", id, stamp + 1) + info[8:12],
            ]
            for frames in ([head, answer + b"wrong"] for head in forged):
                loopback.send_multipart(frames)
            right = info[:12] if bare else info
            loopback.send_multipart([right, answer + b"right"])
            loopback.send_multipart([right, answer + b"twice"])
            assert connection.getresponse().read() == b"right"
