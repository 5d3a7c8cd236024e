"""The demo's job as an ASGI application, for uvicorn and granian."""

from bench.asgi import application
from bench.demo import answer

app = application(answer, b"text/plain; charset=utf-8")
