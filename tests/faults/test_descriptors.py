"""A server with 64 descriptors and 200 clients: it doesn't spin, serves at least 20 of them meanwhile, takes workers that come meanwhile, and answers
within 5 s when the clients are gone."""

import contextlib
import os
import resource
import select
import socket
import time
from pathlib import Path

from conftest import PATIENCE, Process, Start, command_path
from faulting import Rig, answered_within, number
from pipelines import wait_until


def processor_seconds(process: Process) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def said(client: socket.socket) -> bytes:
    """What has come of it."""
    with contextlib.suppress(OSError):
        return client.recv(65536, socket.MSG_DONTWAIT)
    return b""


def test_out_of_descriptors(start: Start, directory: Path) -> None:
    with Rig(start, directory) as rig:
        ends = [rig.endpoint(name) for name in ("up0", "loopback", "interrupt")]
        listen = f"tcp://127.0.0.1:{rig.address[1]}"
        rig.server = Process(
            [command_path("prime_httpd"), listen, *ends, "none", "10M", "20", "5"],
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
        )
        rig.stack.callback(rig.server.kill)
        rig.processes.append(rig.server)
        rig.forward()
        rig.work(count=2)
        rig.wait()
        rig.ask(20)
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(rig.address)) for _ in range(200)]
            for client in clients:
                client.sendall(f"GET {number(7).target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            wait_until(lambda: len(select.select(clients, [], [], 0)[0]) >= 20)
            before, since = processor_seconds(rig.server), time.monotonic()
            time.sleep(1.0)  # what it takes while nothing changes
            share = (processor_seconds(rig.server) - before) / (time.monotonic() - since)
            served = sum(client.recv(4096).startswith(b"HTTP/1.1 200 ") for client in select.select(clients, [], [], 0)[0])
            assert served >= 20
            assert share <= 0.2
            # Descriptors are kept for workers that come meanwhile.
            for worker in list(rig.workers):
                rig.replace_worker(worker).wait_for(rb"working ")
            for client in clients:
                with contextlib.suppress(OSError):  # some had to make room
                    client.sendall(f"GET {number(8).target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            wait_until(lambda: any(said(client).endswith(b"\r\n8") for client in clients))
        answered_within(rig.address, 5.0)
        rig.ask(100)
        assert rig.server.popen.poll() is None


def test_a_pipeline_of_threads_that_leaves_few_descriptors(start: Start) -> None:
    """Its threads take some fifty of 64."""
    server = start("prime_serverd", "tcp://127.0.0.1:0", "2", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
    address = server.address()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(address)) for _ in range(200)]
        for client in clients:
            client.sendall(b"GET /is_prime?possible_prime=7 HTTP/1.1\r\nHost: a\r\n\r\n")
        # Those that have been served make room after a while.
        wait_until(lambda: len(select.select(clients, [], [], 0)[0]) >= 20)
    since = time.monotonic()
    with socket.create_connection(address, timeout=PATIENCE) as client:
        client.sendall(b"GET /is_prime?possible_prime=11 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(4096).endswith(b"\r\n11")
    assert time.monotonic() - since <= 5
    assert server.stop() == 0


def test_clients_that_say_nothing_make_room(start: Start) -> None:
    server = start("prime_serverd", "tcp://127.0.0.1:0", "2", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
    address = server.address()
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(socket.create_connection(address))
        since = time.monotonic()
        with socket.create_connection(address, timeout=PATIENCE) as client:
            client.sendall(b"GET /is_prime?possible_prime=11 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.recv(4096).endswith(b"\r\n11")
        assert time.monotonic() - since <= 8
