"""Header fields of requests and responses."""

from collections.abc import Iterable, Iterator, Mapping

class Headers(Mapping[str, str]):
    """The header fields of a request or response: an immutable mapping whose names are case-insensitive.

    Several fields of one name are one value here, joined by ", " in the order they came (RFC 9110 section 5.2); `get_all` has them apart, which
    `Set-Cookie` needs. Iterating gives each name once, spelled as it came first. Text is ISO-8859-1, so that every byte survives.

    `Headers(headers)` makes one from a mapping or from pairs. Raises `ValueError` for a name that is no token or a value with control characters.
    Headers that came over the wire are read when they are first asked for; lines that are no fields raise `ProtocolError` then.
    """

    def __init__(self, headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None) -> None: ...
    def __getitem__(self, name: str, /) -> str: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
    def get_all(self, name: str) -> list[str]:
        """The values of each field of this name, in order; an empty list without."""
    def fields(self) -> list[tuple[str, str]]:
        """All fields as pairs, as they came and in order."""
