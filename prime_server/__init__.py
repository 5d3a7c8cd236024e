"""An HTTP server married to a distributed backend on ZeroMQ, for pipelines of CPU-heavy stages."""

from prime_server._ext.primality import is_prime
from prime_server.errors import Interrupted, PrimeServerError, ProtocolError

__all__ = ["Interrupted", "PrimeServerError", "ProtocolError", "is_prime"]
