"""Which requests nobody waits for any more."""

class InterruptSet:
    """A bounded set of interrupted requests, as each worker has one: an interrupt may be there before its job.

    At least the latest 65,536 are known; the oldest are forgotten, many at a time.
    """

    def add(self, key: int, life: int = 0) -> None:
        """Life 0 is that of a server which doesn't speak our extension: it names the key under any life."""
    def __contains__(self, life_and_key: tuple[int, int], /) -> bool: ...
    def __len__(self) -> int: ...
