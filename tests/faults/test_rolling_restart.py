"""Two servers behind a balancer that obeys their health checks, restarted one after the other under load: no request fails."""

import contextlib
import http.client
import itertools
import select
import threading
import time
from collections.abc import Callable

from conftest import PATIENCE, Process, Start
from faulting import prime

LOOK_EVERY = 0.1  # seconds between two looks of the balancer at each health check


class Balancer:
    """Sends each request to the next server whose health check was answered 200 when it last looked, on connections that it keeps.

    One that the server has closed while it was idle is opened anew: a sender that had no turn between a server's first failing check and this
    balancer's next look has not been told to close.
    """

    def __init__(self, ports: list[int]) -> None:
        self.ports = ports
        self.healthy: set[int] = set(ports)
        self.numbers = itertools.count()
        self.right = 0
        self.wrong: list[str] = []
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self._look)] + [threading.Thread(target=self._send) for _ in range(8)]

    def _look(self) -> None:
        while not self.ended.wait(LOOK_EVERY):
            for port in self.ports:
                with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
                    try:
                        connection.request("GET", "/health")
                        healthy = connection.getresponse().status == 200
                    except OSError:
                        healthy = False
                (self.healthy.add if healthy else self.healthy.discard)(port)

    def _send(self) -> None:
        with contextlib.ExitStack() as stack:
            made = {port: http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE) for port in self.ports}
            kept = {port: stack.enter_context(contextlib.closing(connection)) for port, connection in made.items()}
            while not self.ended.is_set():
                n = next(self.numbers)
                question = prime(n)
                there = sorted(self.healthy)
                port = there[n % len(there)]
                if kept[port].sock is not None and select.select([kept[port].sock], [], [], 0)[0]:
                    kept[port].close()
                try:
                    kept[port].request("GET", question.target)
                    response = kept[port].getresponse()
                    body = response.read()
                except (OSError, http.client.HTTPException) as error:
                    kept[port].close()
                    self.wrong.append(f"{port}: {error!r}")
                    continue
                if (response.status, body) == (200, question.answer):
                    self.right += 1
                else:
                    self.wrong.append(f"{port}: {response.status} {body!r}")

    def wait_for(self, true: Callable[..., bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def __enter__(self) -> "Balancer":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join()


def test_no_request_fails_over_a_rolling_restart(start: Start) -> None:
    def serve(port: int) -> Process:
        return start("prime_serverd", f"tcp://127.0.0.1:{port}", "2", "10", "/health", "--log", "none")

    servers = [serve(0), serve(0)]
    ports = [server.address()[1] for server in servers]
    with Balancer(ports) as balancer:
        balancer.wait_for(lambda: balancer.right >= 500)
        for server, port in zip(servers, ports, strict=True):
            since = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - since <= 5  # long before the drain is over, as the balancer has seen it
            serve(port).address()
            balancer.wait_for(lambda port=port: port in balancer.healthy)
            before = balancer.right
            balancer.wait_for(lambda before=before: balancer.right >= before + 200)
    assert balancer.wrong == []
