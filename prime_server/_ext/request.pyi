"""Requests as the stages get them."""

from collections.abc import Iterable, Iterator, Mapping

from typing_extensions import Buffer

from prime_server._ext.headers import Headers

class Query(Mapping[str, list[str]]):
    """The query of a request: an immutable mapping of each parameter's name to the list of its values.

    Names stand in the order in which they first came, and so do the values; a parameter without a value has `""`. A `+` is a space; escapes are
    decoded once, as UTF-8 where that is valid and to surrogate escapes (PEP 383) where it isn't. As `urllib.parse.parse_qs` reads it with
    `keep_blank_values=True, errors="surrogateescape"`.

    >>> Query(b"n=3&n=5&verbose")["n"]
    ['3', '5']
    """

    def __init__(self, query: Buffer | str = b"") -> None: ...
    def __getitem__(self, name: str, /) -> list[str]: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
    def pairs(self) -> list[tuple[str, str]]:
        """All parameters with their values, in the order they came."""

class Request:
    """An HTTP request.

    The one that a job carries stands over the received frame: nothing is read before it is asked for and the body is not copied. A payload that
    is no request raises `ProtocolError` (400) at the first access.

    Made by hand it is what `Client` sends: `target` is percent-encoded already, `body` is bytes-like or a str (UTF-8). Content-Length follows from
    the body; a `Host` field that is missing is the client's to add. Raises `ValueError` for a method, target or header that can't be sent.
    """

    def __init__(
        self,
        method: str = "GET",
        target: str | bytes = "/",
        *,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        body: Buffer | str = b"",
        version: str = "1.1",
    ) -> None: ...
    @staticmethod
    def from_payload(payload: Buffer) -> Request:
        """The request that a payload frame holds: HTTP/1.x text, of which the body is all that follows the header section."""
    @property
    def method(self) -> str:
        """As it came, `"GET"`."""
    @property
    def target(self) -> bytes:
        """The raw request target, as the client sent it."""
    @property
    def host(self) -> str:
        """Whom it is for, `"app.example:8080"`: of a target in absolute form the host there, whatever the Host field says (RFC 9112 section 3.2.2);
        of CONNECT the target; else the Host field, `""` where HTTP/1.0 has none."""
    @property
    def path(self) -> str:
        """The target's path, percent-decoded once: as UTF-8 where that is valid, with surrogate escapes (PEP 383) for other bytes."""
    @property
    def query(self) -> Query:
        """The target's query; empty without one."""
    @property
    def headers(self) -> Headers: ...
    @property
    def body(self) -> memoryview:
        """The body, in place: it lies in the received frame, which it keeps alive."""
    @property
    def version(self) -> str:
        """`"1.1"` or `"1.0"`."""
    def serialize(self) -> bytes:
        """The text of the request, as `bytes(request)`."""
    def __bytes__(self) -> bytes: ...

def payload_query_value(payload: Buffer, name: bytes, room: int = 4096) -> bytes | None:
    """The first value of a query parameter as native stages read it; None without one.

    Raises `ProtocolError` for a malformed payload and `ValueError` for a value longer than `room` bytes.
    """
