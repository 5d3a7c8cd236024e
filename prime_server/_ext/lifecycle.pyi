"""Whether this process is running, draining or stopping."""

def quiesce(drain_seconds: float = 10.0, *, exit_after: float | None = None) -> None:
    """Makes SIGTERM and SIGINT end this process in an orderly way, instead of at once.

    The first signal starts the drain: servers take nothing new, what is in flight is answered, workers finish their job. Every `serve`, `forward`
    and `work` returns as soon as nothing is left to do, at the latest `drain_seconds` after the signal. A second signal ends the process at once
    with exit status 128 + its number. Replaces the handlers that the process had; may be called from any thread, and again to change the time.

    With `exit_after`, the process ends at the latest so many seconds after the drain time, with exit status 0, whatever it is doing then: also when
    a work function hangs and holds the GIL. None leaves that to the caller.

    Raises `ValueError` for a negative time.
    """

def draining() -> bool:
    """True from the first signal after `quiesce` on."""

def shutting_down() -> bool:
    """True once the drain time is over: leave whatever is unfinished."""
