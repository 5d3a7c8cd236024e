"""An HTTP server married to a distributed backend on ZeroMQ, for pipelines of CPU-heavy stages."""

from prime_server._ext.batches import are_prime
from prime_server._ext.info import RequestInfo
from prime_server._ext.job import Forward, Job
from prime_server._ext.libzmq import Frame
from prime_server._ext.lifecycle import draining, quiesce, shutting_down
from prime_server._ext.nativework import NativeWork
from prime_server._ext.primality import is_prime, is_probable_prime
from prime_server._ext.request import Request
from prime_server._ext.response import Response
from prime_server.client import Client
from prime_server.cors import Cors
from prime_server.errors import Interrupted, PrimeServerError, ProtocolError
from prime_server.hub import Hub, Stage
from prime_server.limits import Limits
from prime_server.proxy import Proxy
from prime_server.run import Threads, run_threads
from prime_server.server import Server
from prime_server.supervisor import Processes, run_processes
from prime_server.version import __version__
from prime_server.worker import Worker

__all__ = [
    "Client",
    "Cors",
    "Forward",
    "Frame",
    "Hub",
    "Interrupted",
    "Job",
    "Limits",
    "NativeWork",
    "PrimeServerError",
    "Processes",
    "ProtocolError",
    "Proxy",
    "Request",
    "RequestInfo",
    "Response",
    "Server",
    "Stage",
    "Threads",
    "Worker",
    "__version__",
    "are_prime",
    "draining",
    "is_prime",
    "is_probable_prime",
    "quiesce",
    "run_processes",
    "run_threads",
    "shutting_down",
]
