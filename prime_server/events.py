"""Server-sent events: a stream of small texts that a browser's `EventSource` reads (https://html.spec.whatwg.org/multipage/server-sent-events.html).

    from prime_server.events import Event, event_stream

    def work(job):
        def ticks():
            for number in itertools.count():
                yield Event(str(number), event="tick", id=str(number))
                job.sleep(1.0)      # ends at once when the client leaves
        return event_stream(ticks())

Each stream keeps a worker for as long as it lasts. A client that comes back tells the last id that it has seen in its field `Last-Event-ID`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prime_server._ext.response import Response

__all__ = ["Event", "comment", "event_stream"]


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its `data`, of any number of lines, and what the client makes of it.

    `event` is the name that listeners are added for ("message" without one), `id` what the client tells as the last one seen when it comes back,
    `retry` after how many milliseconds it comes back. Without `data` the client takes id and retry, and no listener is called.

    Raises `TypeError` for other types, `ValueError` for a name or an id of several lines, an id with a NUL, and a negative `retry`.

    >>> bytes(Event("two\\nlines", event="note", id="7"))
    b'event: note\\nid: 7\\ndata: two\\ndata: lines\\n\\n'
    """

    data: str | None = None
    event: str | None = None
    id: str | None = None
    retry: int | None = None

    def __post_init__(self) -> None:
        for name in ("data", "event", "id"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise TypeError(f"an event's {name} is a str or None, not {type(value).__name__}")
            if name != "data" and value is not None and ("\n" in value or "\r" in value):
                raise ValueError(f"an event's {name} is one line, not {value!r}")
        if self.id is not None and "\0" in self.id:
            raise ValueError(f"an event's id has no NUL, or the client ignores it: {self.id!r}")
        if self.retry is not None and (not isinstance(self.retry, int) or isinstance(self.retry, bool)):
            raise TypeError(f"an event's retry is a number of milliseconds or None, not {type(self.retry).__name__}")
        if self.retry is not None and self.retry < 0:
            raise ValueError(f"an event's retry is 0 or more milliseconds, not {self.retry}")

    def __bytes__(self) -> bytes:
        """The event as it is sent."""
        lines = []
        if self.event is not None:
            lines.append(f"event: {self.event}")
        if self.id is not None:
            lines.append(f"id: {self.id}")
        if self.retry is not None:
            lines.append(f"retry: {self.retry}")
        if self.data is not None:
            lines += [f"data: {line}" for line in _lines(self.data)]
        return "".join(f"{line}\n" for line in [*lines, ""]).encode()


def comment(text: str = "") -> bytes:
    """What clients skip: it keeps a silent connection from being taken for a dead one on its way.

    >>> comment("still here")
    b': still here\\n\\n'
    """
    return "".join(f": {line}\n" for line in _lines(text)).encode() + b"\n"


def event_stream(
    events: Iterable[Event | str | bytes | bytearray | memoryview], *, headers: Mapping[str, str] | Iterable[tuple[str, str]] = (), status: int = 200
) -> Response:
    """The response of these events: each leaves when it is there. A str is an event's data, bytes are sent as they are.

    Its Content-Type is `text/event-stream`. Unless `headers` say otherwise, caches keep none of it (`Cache-Control: no-cache`) and nginx does not
    buffer it (`X-Accel-Buffering: no`).
    """
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    named = {name.lower() for name, _ in pairs}
    for name, value in (("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no")):
        if name.lower() not in named:
            pairs.append((name, value))
    return Response(status, _encoded(events), headers=pairs, content_type="text/event-stream")


def _encoded(events: Iterable[Event | str | bytes | bytearray | memoryview]) -> Iterator[bytes]:
    close = getattr(events, "close", None)
    try:
        for event in events:
            if isinstance(event, str):
                yield bytes(Event(event))
            elif isinstance(event, Event):
                yield bytes(event)
            else:
                yield bytes(memoryview(event))
    finally:
        if close is not None:
            close()


def _lines(text: str) -> list[str]:
    """A line ends with CRLF, LF or CR there, and with nothing else."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
