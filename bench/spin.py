"""A job that costs so many milliseconds of CPU in pure Python, as an ASGI and a WSGI application and as a work function.

`GET /?ms=N`. The time is that of the thread that works, so a job is the same work however busy the machine is.
"""

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from prime_server import Job, Response


def spin(milliseconds: float) -> None:
    end = time.thread_time() + milliseconds / 1000
    while time.thread_time() < end:
        pass


def work(job: Job) -> Response:
    milliseconds = job.request.query["ms"][0]
    spin(float(milliseconds))
    return Response(200, milliseconds)


def wsgi(environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], Any]) -> Iterable[bytes]:
    milliseconds = environ["QUERY_STRING"].partition("=")[2]
    spin(float(milliseconds))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(milliseconds)))])
    return [milliseconds.encode()]


async def asgi(scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    if scope["type"] == "lifespan":
        while True:
            event = (await receive())["type"]
            await send({"type": event + ".complete"})
            if event == "lifespan.shutdown":
                return
    milliseconds = scope["query_string"].partition(b"=")[2]
    spin(float(milliseconds))
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(milliseconds))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": milliseconds})
