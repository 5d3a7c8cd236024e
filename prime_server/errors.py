"""The exceptions of prime_server: one root, so that a caller can catch all that is ours.

A protocol error carries the HTTP status that answers it.
"""

import logging

__all__ = ["Interrupted", "PrimeServerError", "ProtocolError", "logger"]

logger = logging.getLogger("prime_server")


class PrimeServerError(Exception):
    """The root of every exception that prime_server raises of its own."""


class ProtocolError(PrimeServerError):
    """Bytes that are not what the protocol allows.

    `status` is the HTTP status code that answers them.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Interrupted(PrimeServerError):  # noqa: N818 - named for what has happened to the job, as KeyboardInterrupt is
    """Raised by `Job.check()`: nobody waits for this job's answer any more.

    The client has left, the request's deadline has passed, or the worker is shutting down. Let it pass through the work function.
    """
