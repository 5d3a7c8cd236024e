"""Cross-origin resource sharing: which pages of other origins may use a server, by the Fetch standard."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Cors", "is_token"]

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:\[[0-9a-f:.]+\]|[^\s/?#@,:\[\]\x00-\x1f\x7f-\U0010ffff]+)(?::\d{1,5})?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PORTS = {"http": ":80", "https": ":443"}


def is_token(text: str) -> bool:
    """Whether it can stand as a method's or a field's name."""
    return _TOKEN.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """What a server tells browsers about pages of other origins. Such a page may read its answers if its origin is one of the `origins`.

    The server answers preflights itself, with 204: `OPTIONS` with the fields Origin and Access-Control-Request-Method. Other OPTIONS go to the work
    function. To every answer it adds `Access-Control-Allow-Origin`, where the origin may read it, and `Vary: Origin`, where the origin matters;
    a work function that gives an Access-Control-Allow-Origin of its own decides for itself.

    Raises `ValueError` for what is no origin, method or name.

    >>> Cors(origins=["https://app.example"], headers=["Content-Type", "X-Token"], credentials=True).origins
    ('https://app.example',)
    """

    origins: Sequence[str] = ("*",)
    """`https://app.example` or `http://localhost:8080`; `*` alone for any."""
    methods: Sequence[str] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    """Methods that pages may use."""
    headers: Sequence[str] = ("Authorization", "Content-Type")
    """Names of fields that pages may send besides those that any may; `*` for all but Authorization."""
    expose: Sequence[str] = ()
    """Names of fields that pages may read in answers besides those that any may; `*` for all."""
    max_age: int = 600
    """Seconds that a browser may keep the answer to a preflight."""
    credentials: bool = False
    """Whether pages may send cookies and the like. Then nothing may be `*`."""

    def __post_init__(self) -> None:
        for name in ("origins", "methods", "headers", "expose"):
            value = getattr(self, name)
            values = (value,) if isinstance(value, str) else tuple(value)
            if name == "origins":
                values = tuple(map(_origin, values))
            for item in values if name != "origins" else ():
                if not isinstance(item, str) or not is_token(item):
                    raise ValueError(f"{name} are names like {'GET' if name == 'methods' else 'X-Token'}, not {item!r}")
            if "*" in values and (self.credentials or (name == "origins" and len(values) > 1)):
                why = "with credentials all are named" if self.credentials else "it is enough alone"
                raise ValueError(f"{name} has a '*': {why}")
            object.__setattr__(self, name, values)
        if not self.origins:
            raise ValueError("origins is empty; it should hold origins like https://app.example, or '*' for any")
        if isinstance(self.max_age, bool) or not isinstance(self.max_age, int) or not 0 <= self.max_age <= 2**31 - 1:
            raise ValueError(f"max_age is a whole number of seconds, 0 or more, not {self.max_age!r}")

    def allowed(self) -> list[bytes]:
        """The origins by name, none where any is allowed."""
        return [] if "*" in self.origins else [origin.encode() for origin in self.origins]

    def fields(self) -> list[bytes]:
        """The header lines of an answer: to none of `allowed()`, and to each of them."""
        return self._lines([_line("Access-Control-Expose-Headers", self.expose)] if self.expose else [])

    def preflights(self, methods: Iterable[str] = ()) -> list[bytes]:
        """The header lines of the answer to a preflight, in the same order. `methods` are allowed, too."""
        lines = [_line("Access-Control-Allow-Methods", (*self.methods, *methods)), _line("Access-Control-Allow-Headers", self.headers)]
        return self._lines([*(lines if self.headers else lines[:1]), _line("Access-Control-Max-Age", [str(self.max_age)])])

    def _lines(self, others: list[str]) -> list[bytes]:
        if self.credentials:
            others = ["Access-Control-Allow-Credentials: true\r\n", *others]
        if "*" in self.origins:
            return ["".join(["Access-Control-Allow-Origin: *\r\n", *others]).encode()]
        vary = "Vary: Origin\r\n"
        return [vary.encode(), *("".join([f"Access-Control-Allow-Origin: {origin}\r\n{vary}", *others]).encode() for origin in self.origins)]


def _line(name: str, values: Iterable[str]) -> str:
    return f"{name}: {', '.join(values)}\r\n"


def _origin(text: str) -> str:
    """As browsers write it."""
    if text in ("*", "null"):
        return text
    lower = text.lower() if isinstance(text, str) else ""
    if not _ORIGIN.fullmatch(lower):
        raise ValueError(f"{text!r} is no origin; it should look like https://app.example or http://localhost:8080, or be '*' for any")
    return lower.removesuffix(_PORTS.get(lower.partition("://")[0], "/"))
