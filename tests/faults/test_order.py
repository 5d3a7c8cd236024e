"""320 requests with uneven work, pipelined on 1 and on 20 connections over 4 workers: every answer is right and in the order of the questions. So it
is with `prime_serverd`."""

import random
import socket
import threading
from pathlib import Path

import pytest
from conftest import PATIENCE, Start
from faulting import COMPILED, PLAIN, PYTHON, Question, Rig, number
from standins import take


def in_order(address: tuple[str, int], questions: list[Question], *, connections: int) -> list[tuple[bytes, bytes]]:
    """Sends each connection its share at once. Returns the wrong ones, with what should have come in the place of it."""
    wrong: list[tuple[bytes, bytes]] = []

    def ask(share: list[Question]) -> None:
        with socket.create_connection(address, timeout=PATIENCE) as connection:
            connection.sendall(b"".join(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % question.target.encode() for question in share))
            received = b""
            for question in share:
                while (answer := take(received, False)) is None:
                    more = connection.recv(65536)
                    assert more
                    received += more
                got, received = answer
                if got != question.answer:
                    wrong.append((got, question.answer))
            assert received == b""

    threads = [threading.Thread(target=ask, args=(questions[first::connections],)) for first in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


@pytest.mark.parametrize(("transport", "kind"), [("ipc", PYTHON), ("tcp", COMPILED), ("ipc", PLAIN)])
@pytest.mark.parametrize("connections", [1, 20])
def test_pipelined_answers_come_in_order(start: Start, directory: Path, transport: str, kind: str, connections: int) -> None:
    chance = random.Random(1)
    with Rig(start, directory, transport) as rig:
        rig.run_all(kind)
        questions = [number(n, wait=chance.choice((0, 0, 0.001, 0.005, 0.02))) for n in range(320)]
        assert in_order(rig.address, questions, connections=connections) == []


@pytest.mark.parametrize("connections", [1, 20])
def test_pipelined_answers_of_the_demonstration_come_in_order(start: Start, connections: int) -> None:
    """Small numbers among big ones, whose powers take some ten milliseconds."""
    big = [2**1279 - 1, 2**2203 - 1]
    numbers = [big[n % 2] if n % 16 == 3 else 32416190071 if n % 3 else 1_000_000_000_039 for n in range(320)]
    server = start("prime_serverd", "tcp://127.0.0.1:0", "4", "5", "--log", "none")
    questions = [Question(f"/is_prime?possible_prime={n}", b"%d" % n) for n in numbers]
    assert in_order(server.address(), questions, connections=connections) == []
