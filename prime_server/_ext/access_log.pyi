"""The access log, written in batches."""

class AccessLog:
    """Two lines a request: `id timestamp method path version` as it comes, `id timestamp code bytes` as its answer is complete.

    The time stamp is in unix seconds with six decimals, the bytes are those of the whole response. `descriptor` is an open file descriptor, which
    stays the caller's; -1 for no log. A log that nobody reads never holds up the server: after 1 MiB lines are dropped and counted.
    """

    def __init__(self, descriptor: int) -> None: ...
    @property
    def dropped(self) -> int:
        """Lines lost because the reader of a pipe was too slow."""
