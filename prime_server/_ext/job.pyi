"""One job as a work function sees it."""

from typing_extensions import Buffer

from prime_server._ext.info import RequestInfo
from prime_server._ext.libzmq import Frame
from prime_server._ext.request import Request

class Forward:
    """What `Job.forward` makes: a message for the next stage, to be returned from the work function."""

    @property
    def frames(self) -> tuple[Buffer, ...]: ...
    @property
    def to(self) -> str | None: ...
    @property
    def retryable(self) -> bool: ...

class Job:
    """One job of a worker, given to its work function.

    The worker makes them; `Job(frame, …)` makes one for trying a work function out, from the frames of a payload. It may be kept after the
    function has returned; it costs its memory then, and nothing else.
    """

    def __init__(self, *frames: Buffer, info: RequestInfo | None = None, deadline: float | None = None, stages: tuple[str, ...] = ()) -> None: ...
    @property
    def request(self) -> Request:
        """The web request over the first frame, read when it is asked for.

        Under HTTP, and in the first stage: further stages get what the stage before forwarded, which is in `frames`.
        """
    @property
    def frames(self) -> tuple[Frame, ...]:
        """The payload, at least one frame: read-only buffers on the message's own memory, nothing is copied."""
    @property
    def info(self) -> RequestInfo:
        """What the server tells about the request."""
    @property
    def deadline(self) -> float | None:
        """When nobody waits any more, by the clock of `time.monotonic()` in seconds; None for never."""
    def time_left(self) -> float | None:
        """Seconds until the deadline, 0.0 once it has passed; None without one."""
    @property
    def interrupted(self) -> bool:
        """Whether `check()` would raise."""
    def check(self) -> None:
        """Raises `Interrupted` when the client has left, the deadline has passed or the worker is shutting down.

        Costs some 30 ns, so call it freely; it knows within 10 ms of the event.
        """
    def sleep(self, seconds: float) -> None:
        """Sleeps, without the GIL, and raises `Interrupted` as `check()` does as soon as there is a reason, within 20 ms.

        For answers in parts that yield only now and then. Raises `ValueError` for a negative number.
        """
    def forward(self, *frames: Buffer, to: str | None = None, retryable: bool = False) -> Forward:
        """A message for the next stage: return it from the work function.

        `to` names the stage; it may be left out where there is only one. Frames of this job's own payload go on without a copy, and so do
        buffers of 64 KiB and more, which must not change from here on. `retryable` says that the next stage may begin this job again when a worker
        dies of it, whatever the request's method; a request that is idempotent is repeated anyway.

        Raises `ValueError` for no frames or more than 255, `TypeError` for what is not bytes-like, `LookupError` for a stage that there isn't.
        """
    @property
    def heartbeat(self) -> bytes | None:
        """What the worker's proxy sees of this worker from this job on, instead of the worker's heartbeat; None leaves it. Set it bytes-like."""
    @heartbeat.setter
    def heartbeat(self, value: Buffer | None) -> None: ...
