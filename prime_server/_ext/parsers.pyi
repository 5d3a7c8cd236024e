"""The strict parsers of the public edge and of the client, for Python.

Each is fed the bytes of one connection as they come, in pieces of any size, and gives back what is complete. A parser that has met bytes it must
refuse stops there: what was complete before them is given back first, `error` then says what was wrong, and feeding it again raises that error.

>>> parser = RequestParser()
>>> [request.target for request in parser.feed(b"GET /a HTTP/1.1\\r\\nHost: x\\r\\n\\r\\nGET  /b HTTP/1.1\\r\\n")]
[b'/a']
>>> parser.error.status
400
"""

from collections.abc import Iterable

from typing_extensions import Buffer

from prime_server._ext.libzmq import Frame
from prime_server.errors import ProtocolError

class ParsedRequest:
    """A request as the first stage gets it (wire.md): the client's bytes from the request line on, in one message.

    A chunked body is de-chunked; a Content-Length is then added to the head and the Transfer-Encoding stays, while trailers are dropped. The object
    itself is a read-only buffer over all of it, and `payload` and `body` are views: nothing is copied.
    """

    @property
    def method(self) -> str: ...
    @property
    def target(self) -> bytes:
        """As it came."""
    @property
    def version(self) -> str:
        """"1.0" or "1.1"; later minor versions count as 1.1 (RFC 9110 section 6.2)."""
    @property
    def keep_alive(self) -> bool:
        """Whether the connection persists after the answer (RFC 9112 section 9.3)."""
    @property
    def bits(self) -> int:
        """The version and `Connection` bits of the request's info frame (wire.md)."""
    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Names as they came, and values without the white space around them. Read from the payload at each call."""
    @property
    def head_size(self) -> int:
        """Bytes of the payload up to and with the empty line."""
    @property
    def body(self) -> memoryview: ...
    @property
    def payload(self) -> memoryview: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class RequestParser:
    """Reads the requests of one connection, by the letter of RFC 9112 and RFC 9110.

    What is over a limit is refused while it comes in: `max_target` bytes of request target (414), `max_head` bytes of
    request line and header fields and `max_fields` of these (431; also the trailers of a chunked body, and its chunk extensions, 413), `max_body`
    bytes of body (413). `methods` are taken though RFC 9110 and RFC 5789 don't know them: others are a 501; `raw_targets` takes the bytes
    ``[ ] { } | ^ ` `` in targets, which browsers send as they are although RFC 3986 has them encoded. Raises `ValueError` for a
    negative limit.
    """

    def __init__(
        self,
        *,
        max_target: int = 8192,
        max_head: int = 32768,
        max_fields: int = 128,
        max_body: int = 33554432,
        methods: Iterable[str] = (),
        raw_targets: bool = False,
    ) -> None: ...
    def feed(self, data: Buffer, /) -> list[ParsedRequest]:
        """The requests that are complete with these bytes. Raises `ProtocolError` if there was an error before."""
    @property
    def room(self) -> int:
        """While a body of known length comes in, how many of its bytes are still to come; 0 otherwise."""
    def fill(self, data: Buffer, /) -> list[ParsedRequest]:
        """The next bytes of the body for which there is `room`: as `feed`, straight to their place. Raises `ValueError` if they are more."""
    @property
    def error(self) -> ProtocolError | None:
        """What was refused, with the status that answers it."""
    @property
    def wants_continue(self) -> bool:
        """The head that ended the last bytes fed asks for `100 Continue` before its body."""
    @property
    def idle(self) -> bool:
        """Nothing of a request has come since the last one was complete."""
    @property
    def in_body(self) -> bool:
        """A head is complete, its body isn't."""

class ParsedResponse:
    """A response: head and de-chunked body in one message, of which the object is a read-only buffer.

    A body that came in chunks, or until the connection's end, has a Content-Length added to its head.
    """

    @property
    def status(self) -> int: ...
    @property
    def reason(self) -> bytes: ...
    @property
    def version(self) -> str:
        """"1.0" or "1.1"."""
    @property
    def keep_alive(self) -> bool:
        """Whether the connection persists."""
    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Names as they came, and values without the white space around them. Read from the data at each call."""
    @property
    def head_size(self) -> int:
        """Bytes of the data up to and with the empty line."""
    @property
    def body(self) -> memoryview: ...
    @property
    def data(self) -> memoryview: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class ResponseParser:
    """Reads the responses on one connection; interim ones (1xx) are dropped. Limits as for `RequestParser`; every refusal has the status 502."""

    def __init__(self, *, max_head: int = 32768, max_fields: int = 128, max_body: int = 33554432) -> None: ...
    def expect(self, method: str, /) -> None:
        """A request with this method has been sent: the response to a HEAD has no body. Responses not announced are taken for a GET's."""
    def feed(self, data: Buffer, /) -> list[ParsedResponse]:
        """The responses that are complete with these bytes. Raises `ProtocolError` if there was an error before."""
    def eof(self) -> list[ParsedResponse]:
        """The server has closed the connection: a response whose body ends with it, if there is one.

        In the middle of another one it is an error.
        """
    @property
    def error(self) -> ProtocolError | None: ...
    @property
    def idle(self) -> bool:
        """Nothing of a response has come since the last one was complete."""

class NetstringParser:
    """Reads netstrings, `LENGTH:BYTES,`. `max_size` bytes are the longest that is taken (413); what is malformed is a 400."""

    def __init__(self, *, max_size: int = 33554432) -> None: ...
    def feed(self, data: Buffer, /) -> list[Frame]:
        """The strings that are complete with these bytes. Raises `ProtocolError` if there was an error before."""
    @property
    def error(self) -> ProtocolError | None: ...
    @property
    def idle(self) -> bool:
        """Nothing of a string has come since the last one was complete."""
