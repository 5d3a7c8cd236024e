"""A balancer fed by hand."""

from collections.abc import Iterable
from typing import Literal

from typing_extensions import Buffer

from prime_server._ext.balancer import Balancer

class FedBalancer(Balancer):
    """A proxy's core, told of jobs, workers and time by hand. Times are in microseconds of the monotonic clock; `now` is the current time unless it
    is given. It is not thread-safe."""

    def __len__(self) -> int:
        """Jobs that are queued here or with workers."""
    def submit_frames(self, frames: Iterable[Buffer], sender: Buffer = b"", *, now: int | None = None) -> bool:
        """A job `[info][payload…]` has come from the upstream peer `sender`, or from the sessions hosted beside. False: it is malformed.

        The info alone, with the flag for it, cancels the request as `cancel_request` does."""
    def heard_frames(self, frames: Iterable[Buffer], *, now: int | None = None) -> bool:
        """A worker said `[routing id][heartbeat]` or `[routing id][heartbeat][report]`. False: it is malformed."""
    def done_by(self, info: Buffer, *, now: int | None = None) -> bool:
        """A result with this info has come, whose worker says no more of the job. False: it ends no job of a worker here.

        Raises `ValueError` where it is no info."""
    def lost_worker(self, worker: Buffer, *, now: int | None = None) -> None:
        """A worker's connection is closed, and what it had sent before has been heard."""
    def peer_left(self, peer: Buffer, *, now: int | None = None) -> None:
        """An upstream peer's connection is closed."""
    def give_back_frames(self, frames: Iterable[Buffer]) -> None:
        """What was taken for a worker could not be sent: its job never left. Of several jobs of a worker the last one comes first."""
    def unsent_frames(self, frames: Iterable[Buffer], *, now: int | None = None) -> None:
        """What was taken for a worker could not be sent: its job never left, and the worker is lost."""
    def cancel_request(self, life: int, key: int, *, now: int | None = None) -> None:
        """Nobody waits for the request any more."""
    def tick_at(self, now: int | None = None) -> int | None:
        """Time has passed. Returns when it wants to be called next, None for never; `take_frames` may have something after it."""
    def take_frames(self, now: int | None = None) -> tuple[Literal["worker", "upstream", "sessions"], list[bytes]] | None:
        """The next thing to send and where.

        `[worker][info][payload…]`, `[peer][hello]`, `[peer][info: refusal]`, or `[info: refusal]` for the sessions.
        """
