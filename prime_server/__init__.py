"""An HTTP server married to a distributed backend on ZeroMQ, for pipelines of CPU-heavy stages."""

from prime_server._ext.job import Forward, Job
from prime_server._ext.nativework import NativeWork
from prime_server._ext.primality import is_prime
from prime_server._ext.response import Response
from prime_server.errors import Interrupted, PrimeServerError, ProtocolError
from prime_server.worker import Worker

__all__ = [
    "Forward",
    "Interrupted",
    "Job",
    "NativeWork",
    "PrimeServerError",
    "ProtocolError",
    "Response",
    "Worker",
    "is_prime",
]
