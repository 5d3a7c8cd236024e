"""Sessions fed by hand."""

from collections.abc import Sequence
from typing import Any

from typing_extensions import Buffer

from prime_server._ext.sessions import Sessions

class FedSessions(Sessions):
    """The server's core, told of bytes, results and time (µs of any clock that doesn't go back) by hand: for tests and the curious."""

    def connect(self, now: int = 0) -> int:
        """A new connection; its number names it from now on."""
    def receive(self, number: int, data: bytes, now: int = 0) -> None:
        """Bytes have come on a connection."""
    def leave(self, number: int, now: int = 0, *, broken: bool = False) -> None:
        """The client has closed its side, or (`broken`) the connection."""
    def disconnect(self, number: int) -> None:
        """The connection is closed and forgotten."""
    def output(self, number: int, now: int = 0, *, size: int | None = None) -> bytes:
        """Takes what is to be sent on a connection, at most `size` bytes."""
    def state(self, number: int) -> dict[str, Any]:
        """`reads`, `finished`, `in_flight`, `unsent` and `held` (bytes), and what it is `waiting` for."""
    def jobs_for_workers(self) -> list[list[bytes]]:
        """Takes the jobs that are new, each as its frames."""
    def interrupts_for_workers(self) -> list[int]:
        """Takes the keys of requests that nobody waits for any more."""
    def credits_for_workers(self) -> list[tuple[int, int]]:
        """Takes the keys of responses in parts and how many bytes their workers may send in all."""
    def result_frames(self, frames: Sequence[Buffer], now: int = 0) -> None:
        """A result has come on the loopback."""
    def proxy_came_back(self, now: int) -> None:
        """There is a new connection to the first stage's proxy: what may be repeated is among the jobs again."""
    def advance_time(self, now: int) -> int:
        """Applies deadlines and timeouts; returns when it wants to be called next, -1 for never."""
    def begin_drain(self, now: int = 0, *, close_idle: bool = True) -> None:
        """From now on connections end with the answers that are due."""
