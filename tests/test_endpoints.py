"""The sockets between the parts: which endpoints are taken, and that nobody takes another's."""

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from prime_server.endpoints import check_internal, listen, zmq_socket


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.mark.parametrize(
    ("endpoint", "bind", "connect"),
    [
        ("tcp://127.0.0.1:8003", True, True),
        ("tcp://[::1]:8003", True, True),
        ("tcp://server.example:8003", True, True),
        ("tcp://*:8003", True, False),
        ("tcp://127.0.0.1:*", True, False),
        ("tcp://127.0.0.1:0", True, False),
        ("tcp://127.0.0.1:65536", False, False),
        ("tcp://127.0.0.1", False, False),
        ("tcp://:8003", False, False),
        ("ipc:///tmp/x", True, True),
        ("ipc://x", True, True),
        ("ipc://*", True, False),
        ("ipc://", False, False),
        ("ipc:///" + 200 * "x", False, False),
        ("inproc://x", False, False),
        ("udp://127.0.0.1:8003", False, False),
        ("", False, False),
    ],
)
def test_which_endpoints_processes_can_meet_at(endpoint: str, bind: bool, connect: bool) -> None:
    for binds, right in ((True, bind), (False, connect)):
        with contextlib.nullcontext() if right else pytest.raises(ValueError, match=r"bytes|is no endpoint"):
            check_internal(endpoint, bind=binds)


def test_an_ipc_path_is_bound_once(context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/up"
    first = zmq_socket(context, zmq.ROUTER, bind=endpoint)
    with pytest.raises(zmq.ZMQError, match="up: it is in use") as caught:
        zmq_socket(context, zmq.ROUTER, bind=endpoint)
    assert caught.value.errno == errno.EADDRINUSE
    with zmq_socket(context, zmq.DEALER, connect=endpoint) as peer:
        peer.send(b"for the first")
        assert first.recv_multipart()[1] == b"for the first"
    first.close()
    assert list(tmp_path.iterdir()) == []
    zmq_socket(context, zmq.ROUTER, bind=endpoint).close()


BINDS = "import sys, zmq; from prime_server.endpoints import zmq_socket; s = zmq_socket(zmq.Context(), zmq.PULL, bind=sys.argv[1]); "


def test_an_ipc_path_of_another_process_is_left_alone_while_it_lives(context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/up"
    other = subprocess.Popen([sys.executable, "-c", BINDS + "print('bound', flush=True); input()", endpoint], stdin=-1, stdout=-1)
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"bound\n"
        with pytest.raises(zmq.ZMQError, match="in use by another process"):
            zmq_socket(context, zmq.PULL, bind=endpoint)
        other.kill()
    assert Path(tmp_path, "up").exists()  # left behind
    zmq_socket(context, zmq.PULL, bind=endpoint).close()


def test_what_other_programs_have_at_a_path_is_left_alone(context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path) -> None:
    path = tmp_path / "up"
    path.write_text("precious")
    with pytest.raises(zmq.ZMQError, match="in use by another program, or no socket"):
        zmq_socket(context, zmq.PULL, bind=f"ipc://{path}")
    assert path.read_text() == "precious"
    path.unlink()
    with context.socket(zmq.PULL) as original:
        original.bind(f"ipc://{path}")
        with pytest.raises(zmq.ZMQError, match="in use by another program"):
            zmq_socket(context, zmq.PULL, bind=f"ipc://{path}")
    assert [entry.name for entry in tmp_path.iterdir()] == ["up"]


def test_a_wrong_directory_is_told(context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        zmq_socket(context, zmq.PULL, bind=f"ipc://{tmp_path}/nowhere/up")


@pytest.mark.parametrize(
    ("endpoint", "warns"),
    [
        ("tcp://127.0.0.1:*", False),
        ("tcp://127.8.9.1:*", False),
        ("tcp://[::1]:*", False),
        ("tcp://localhost:*", False),
        ("tcp://lo:*", False),
        ("tcp://*:*", True),
        ("tcp://0.0.0.0:*", True),
        ("tcp://[::]:*", True),
        ("inproc://somewhere", False),
    ],
)
def test_what_other_machines_can_reach_is_warned_of(
    context: zmq.Context[zmq.Socket[bytes]], caplog: pytest.LogCaptureFixture, endpoint: str, warns: bool
) -> None:
    try:
        zmq_socket(context, zmq.PULL, bind=endpoint).close()
    except zmq.ZMQError as error:
        if error.errno in (errno.EADDRNOTAVAIL, errno.ENODEV):
            pytest.skip(f"{endpoint}: {os.strerror(error.errno)}")
        raise
    assert [record.levelname for record in caplog.records] == (["WARNING"] if warns else [])
    assert all(endpoint in record.getMessage() for record in caplog.records)


def test_the_file_of_a_unix_socket_goes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = listen("unix:s")
    with pytest.raises(OSError, match="unix:s: ") as caught:
        listen("unix:s")
    assert caught.value.errno == errno.EADDRINUSE
    monkeypatch.chdir("/")
    first.close()
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_a_successor_stays(tmp_path: Path) -> None:
    first = listen(f"unix:{tmp_path}/s")
    os.close(first.detach())  # as at the beginning of the drain
    second = listen(f"unix:{tmp_path}/s")
    first.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["s"]
    second.close()
    assert list(tmp_path.iterdir()) == []
