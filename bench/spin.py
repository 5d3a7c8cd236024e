"""A job that costs so many milliseconds of CPU in pure Python, as an ASGI and a WSGI application and as a work function.

`GET /?ms=N`. The time is that of the thread that works, so a job is the same work however busy the machine is.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

from bench.asgi import application
from prime_server import Job, Response


def spin(milliseconds: float) -> None:
    end = time.thread_time() + milliseconds / 1000
    while time.thread_time() < end:
        pass


def work(job: Job) -> Response:
    milliseconds = job.request.query["ms"][0]
    spin(float(milliseconds))
    return Response(200, milliseconds)


def spin_as_asked(query: bytes) -> bytes:
    milliseconds = query.partition(b"=")[2]
    spin(float(milliseconds))
    return milliseconds


def wsgi(environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], Any]) -> Iterable[bytes]:
    body = spin_as_asked(environ["QUERY_STRING"].encode())
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


asgi = application(spin_as_asked, b"text/plain")
