"""A proxy's decisions, without a socket: told of jobs, workers and time, it says what is to be sent."""

from collections.abc import Callable

from prime_server._ext.libzmq import Frame

class Balancer:
    """Decides which worker gets which job, and what becomes of the jobs whose worker is gone.

    The hub drives it without the GIL; a `FedBalancer` is driven by hand.

    `max_backlog` is the number of jobs that may wait here, `max_queued_bytes` bounds the bytes of all jobs that wait here or are with
    workers: what is over it is refused with 503, except that a single job is always taken. So is what would have to wait longer than until its
    deadline. A job is given to at most `max_attempts` workers that die of it (and, whatever is set here, to no third one), and to one where it may
    not be repeated: that is as its info says, unless all of them are `retryable`. `max_window` bounds the jobs that a worker holds, 1 for none
    behind a running one; `window_us` is how long a job may be expected to wait behind others at a worker. `life` is this proxy's 64-bit number,
    random by default.

    `choose(heartbeats, frames)` picks the worker: it is called with the heartbeats of all idle workers (`list[bytes]`, the one that has been idle
    longest first) and the job's payload (`list[Frame]`), and returns an index into the former, or None to leave the job where it is: then the
    jobs behind it are tried, up to 128 of them, and it is asked again when a worker becomes idle or changes its heartbeat, and every 100 ms.
    When it raises or returns something else, that is logged, and the first worker is taken. With it, only idle workers are given jobs: all
    windows are 1. It is called with the GIL.
    """

    def __init__(
        self,
        *,
        max_backlog: int = 16384,
        max_queued_bytes: int = 268435456,
        max_attempts: int = 3,
        retryable: bool = False,
        max_window: int = 64,
        window_us: int = 250,
        choose: Callable[[list[bytes], list[Frame]], int | None] | None = None,
        life: int | None = None,
    ) -> None:
        """Raises `ValueError` or `TypeError` that names the option, its range and what was given."""
    @property
    def life(self) -> int: ...
    @property
    def choose(self) -> Callable[[list[bytes], list[Frame]], int | None] | None: ...
    def stats(self) -> dict[str, int | float]:
        """Counters since the start, and how it is now: docs/stats.md has them all, under "Proxy"."""
