"""Responses, as work functions make them, as clients get them, and as the wire has them."""

from collections.abc import Iterable, Mapping

from typing_extensions import Buffer

from prime_server._ext.headers import Headers
from prime_server._ext.libzmq import Frame

class Response:
    """An HTTP response: what a work function answers with, and what a `Client` yields.

    `body` is a str (sent as UTF-8) or bytes-like; from 64 KiB on it is sent without a copy, so don't change it afterwards. `headers` is a mapping
    or an iterable of pairs, in which a name may come more than once. Without a `content_type` and a Content-Type among the headers, a str
    that isn't empty is `text/plain; charset=utf-8` and other bytes are `application/octet-stream`. `reason` is the usual phrase unless given.

    `body` may also be an iterable of such parts, like a generator, or a file, which is read block by block and closed. The head leaves with the first
    part that isn't empty, every further part when it is there, as the client's pace allows; under HTTP/1.0 the connection ends with the last one.
    What is raised before the first part is answered as ever, what is raised midway closes the connection, so that the client knows. If the client
    leaves, the iterator is closed (a generator sees `GeneratorExit`), as it is in the end anyway. The request's deadline ends with the first part.
    With a `length`, in bytes, the answer has a Content-Length instead of chunks, and its last part leaves when the iterator has ended; more bytes
    than that, or fewer, are an error. For clients that need the whole in one (netstring, a C++ server) the parts are joined, up to 64 MiB.

    Raises `ValueError` for a status outside 100 to 999 (an answer has 200 to 599), a header name that is no token, a value with control
    characters, and for Content-Length, Transfer-Encoding, Connection, Keep-Alive, Upgrade and Date, which the server sets; `TypeError` for other
    types.
    A response to HEAD is made like that to GET: the server leaves the body out.

    >>> Response(405, "only GET here\\n", headers={"Allow": "GET, HEAD"})
    <Response 405 Method Not Allowed, 14 bytes>
    """

    def __init__(
        self,
        status: int = 200,
        body: Buffer | str | Iterable[Buffer | str] = b"",
        *,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        content_type: str | None = None,
        reason: str | None = None,
        length: int | None = None,
    ) -> None: ...
    @property
    def status(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def body(self) -> bytes:
        """The body, a str as its UTF-8. Raises `ValueError` for a response in parts."""
    @property
    def text(self) -> str:
        """The body as text, by the charset of its Content-Type, UTF-8 without one; what can't be decoded is replaced by U+FFFD."""

def response_frames(response: Response, info: Buffer) -> list[Frame]:
    """The frames in which a worker sends a response to a request with this info frame. Raises `ValueError` for a status that is no final one."""

def plain_frames(status: int, content_type: bytes | None, body: Buffer, info: Buffer, extra: bytes | None = None) -> list[Frame]:
    """The same as native work functions do it. Raises `ValueError` where it can't be written."""

def stream_frames(response: Response, stream: Iterable[Buffer | str], info: Buffer) -> list[list[Frame]]:
    """The messages of a response in parts: the head, one for each part, the end."""
