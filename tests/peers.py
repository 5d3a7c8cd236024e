"""What the tests with other people's programs share: an application that they ask, and the programs, started without what the sanitizers preload."""

import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

from conftest import PATIENCE

from prime_server import Limits, Response
from prime_server.run import Threads

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
PARTS = 3


def tool(*arguments: str, timeout: float = PATIENCE) -> str:
    """What a program prints. It must succeed."""
    ran = subprocess.run(arguments, capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL, env=ENVIRONMENT)
    assert ran.returncode == 0, f"{arguments} ended with {ran.returncode}: {ran.stdout}{ran.stderr}"
    return ran.stdout


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Application:
    """Tells what it was asked, or streams: each part of `/stream` but the first leaves when the test lets it, `/endless` leaves none out."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.left = threading.Event()

    def __call__(self, job: Any) -> Any:
        request = job.request
        if request.path == "/stream":
            return self.parts()
        if request.path == "/endless":
            return self.endless()
        body = bytes(request.body)
        fields = {name.lower(): value for name, value in request.headers.fields()}
        said = {"method": request.method, "target": request.target.decode(), "size": len(body), "digest": digest(body), "fields": fields}
        return Response(200, json.dumps(said), content_type="application/json")

    def parts(self) -> Iterator[bytes]:
        yield b"part 0"
        for number in range(1, PARTS):
            assert self.go.acquire(timeout=PATIENCE)
            yield b"part %d" % number

    def endless(self) -> Iterator[bytes]:
        try:
            while True:
                yield bytes(65536)
        finally:
            self.left.set()


def serving(application: Application, **limits: Any) -> Threads:
    return Threads("tcp://127.0.0.1:0", [application], 2, limits=Limits(**limits), drain_seconds=0)
