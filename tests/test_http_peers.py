"""The corpus against h11 and httptools: where they and we differ, docs/http.md says who is right. And all agree on what is plainly right."""

import random
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import CHECKOUT
from fuzz.http_request import TOKENS
from fuzz.runner import mutate, requests
from hypothesis import given, settings
from test_http_properties import messages, request_lines

from prime_server._ext.parsers import RequestParser

h11 = pytest.importorskip("h11")
httptools = pytest.importorskip("httptools")

CORPUS = Path(__file__).with_name("requests")

# What the peers take and we refuse, or the other way round.
TAKEN_BY_H11 = {
    "asterisk-for-get", "bare-line-feeds", "chunked-in-1.0", "folded-field", "folded-trailer", "fragment", "half-percent", "host-with-path",
    "host-with-user", "http-2-preface", "http-3", "length-and-chunked", "length-list", "long-target", "lower-case-method",
    "many-fields", "unknown-expectation", "unknown-method",
}  # fmt: skip
REFUSED_BY_H11 = {"chunk-extensions-with-spaces", "leading-empty-line", "trailers-that-frame"}
TAKEN_BY_HTTPTOOLS = {
    "asterisk-for-get", "chunked-in-1.0", "fragment", "gzip-then-chunked", "half-percent", "host-with-path", "host-with-user", "long-target",
    "many-fields", "no-host", "two-hosts", "two-spaces", "unknown-expectation",
}  # fmt: skip
REFUSED_BY_HTTPTOOLS = {"chunk-extensions-with-spaces", "later-minor-version", "tabs-around-values", "trailers-that-frame"}


def by_us(data: bytes) -> Any:
    """The first request as (method, target, fields, body), or None."""
    found = RequestParser().feed(data)
    if not found:
        return None
    fields = [(name.lower(), value) for name, value in found[0].headers]
    if (b"transfer-encoding", b"chunked") in fields:
        fields.pop()  # the length that was added
    return found[0].method, found[0].target, fields, bytes(found[0].body)


def by_h11(data: bytes) -> Any:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=65536)
    connection.receive_data(data)
    request: Any = None
    body = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return request.method.decode(), request.target, [(bytes(name), bytes(value)) for name, value in request.headers], body
            else:
                return None
    except h11.RemoteProtocolError:
        return None


class Callbacks:
    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.complete: tuple[str, bytes, list[tuple[bytes, bytes]], bytes] | None = None
        self.on_message_begin()

    def on_message_begin(self) -> None:
        self.url, self.body, self.head = b"", b"", True
        self.fields: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head:  # trailers come by the same way
            self.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.head = False

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = self.complete or (self.parser.get_method().decode(), self.url, self.fields, self.body)


def by_httptools(data: bytes) -> Any:
    callbacks = Callbacks()
    try:
        callbacks.parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        pass  # of what comes behind, or in it: then it isn't complete
    return callbacks.complete


@pytest.mark.parametrize(
    ("peer", "taken", "refused"),
    [(by_h11, TAKEN_BY_H11, REFUSED_BY_H11), (by_httptools, TAKEN_BY_HTTPTOOLS, REFUSED_BY_HTTPTOOLS)],
    ids=["h11", "httptools"],
)
def test_where_peers_differ(peer: Any, taken: Any, refused: Any) -> None:
    differ: dict[bool, set[str]] = {True: set(), False: set()}
    for path in sorted(CORPUS.glob("*/*.http")):
        data = path.read_bytes()
        ours, theirs = by_us(data), peer(data)
        if (ours is None) != (theirs is None):
            differ[ours is None].add(path.stem)
        elif ours is not None:
            assert ours[:2] == theirs[:2] and ours[3] == theirs[3], path.stem
    assert differ == {True: taken, False: refused}


# Over a generated corpus: why we refuse what they take. docs/http.md has a row for each of these.
TAKEN_FOR_A_REASON = {
    "h11": {
        "Content-Length is not a number of decimal digits", "Content-Length together with Transfer-Encoding", "Transfer-Encoding in HTTP/1.0",
        "a carriage return without a line feed", "a chunk extension without a name or value", "a chunk size or extension that is malformed",
        "a control byte in a chunk extension", "a control byte in a field value", "a field line that goes on in the next line",
        "a field name that is empty or no token", "a major version other than 1", "a malformed Host", "a malformed request target",
        "a method that is not implemented", "a request line that does not end in a version like HTTP/1.1 and a line end",
        "a request target that is empty, holds what it may not, or is not followed by one space", "an expectation other than 100-continue",
        "more than one Content-Length", "no Host", "too many header fields",
    },
    "httptools": {
        "Transfer-Encoding in HTTP/1.0", "a carriage return without a line feed", "a chunk extension without a name or value",
        "a major version other than 1", "a malformed Host", "a malformed request target",
        "a request line that does not begin with a method and one space",
        "a request line that does not end in a version like HTTP/1.1 and a line end",
        "a request target that is empty, holds what it may not, or is not followed by one space", "a transfer coding other than chunked",
        "an expectation other than 100-continue", "more than one Host", "no Host", "too many header fields",
    },
}  # fmt: skip
# And what they refuse of what we take, by something in it: the rows for these files say why.
REFUSED_FOR_A_REASON = {
    "h11": rb"(?s)\A\r\n|\n[0-9A-Fa-f]+[ \t]*;?[^\r]*[ \t][^\r]*\r\n|\r\n0+(;[^\r]*)?\r\n.*(?i:transfer-encoding|content-length)",
    "httptools": rb"(?s)HTTP/1\.[2-9]\r|\n[0-9A-Fa-f]+[ \t]*;?[^\r]*[ \t][^\r]*\r\n|(?i:transfer-encoding):[^\r]*\t|"
    rb"\r\n0+(;[^\r]*)?\r\n.*(?i:transfer-encoding|content-length)",
}


def test_where_peers_differ_over_a_generated_corpus() -> None:
    dice = random.Random(9112)
    pool = requests()
    compared = 0
    for _ in range(12_000):
        data = mutate(dice, dice.choice(pool), pool, TOKENS)
        ours, parser = by_us(data), RequestParser()
        parser.feed(data)
        for name, peer in (("h11", by_h11), ("httptools", by_httptools)):
            theirs = peer(data)
            if ours is None and theirs is not None:
                assert str(parser.error) in TAKEN_FOR_A_REASON[name], (name, data)
            elif ours is not None and theirs is None:
                assert re.search(REFUSED_FOR_A_REASON[name], data), (name, data)
            elif ours is not None:
                assert ours[:2] == theirs[:2] and ours[3] == theirs[3], (name, data)
                compared += 1
    assert compared > 1000


@pytest.mark.checkout
def test_every_reason_has_its_row() -> None:
    text = (CHECKOUT / "docs/http.md").read_text().partition("\n### Over a generated corpus\n")[2].partition("\n#")[0]
    rows: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("| We refuse"):
            reason, *verdicts = [cell.strip() for cell in line.split("|")[1:4]]
            rows[reason] = verdicts
    assert rows == {
        reason: ["taken" if reason in TAKEN_FOR_A_REASON[name] else "refused" for name in ("h11", "httptools")]
        for reason in sorted(TAKEN_FOR_A_REASON["h11"] | TAKEN_FOR_A_REASON["httptools"])
    }


@pytest.mark.checkout
def test_every_difference_has_its_row() -> None:
    rows: dict[str, list[str]] = {}
    for line in (CHECKOUT / "docs/http.md").read_text().partition("### Over a generated corpus")[0].splitlines():
        names, *verdicts = [cell.strip() for cell in line.split("|")[1:5]] or [""]
        rows |= dict.fromkeys(re.findall("`([^`]+)`", names), verdicts)
    for name in TAKEN_BY_H11 | REFUSED_BY_H11 | TAKEN_BY_HTTPTOOLS | REFUSED_BY_HTTPTOOLS:
        takes = [verdict == "taken" for verdict in rows[name]]
        by_ours = name in REFUSED_BY_H11 | REFUSED_BY_HTTPTOOLS
        assert takes == [
            name in TAKEN_BY_H11 or (by_ours and name not in REFUSED_BY_H11),
            name in TAKEN_BY_HTTPTOOLS or (by_ours and name not in REFUSED_BY_HTTPTOOLS),
            by_ours,
        ], name


@pytest.mark.checkout
def test_every_row_has_its_test() -> None:
    """Of the tables whose last column names tests, each row names some, and they exist. The last table has its own test above."""
    text = (CHECKOUT / "docs/http.md").read_text()
    rows = 0
    for line in text[: text.index("## Where peers differ")].splitlines():
        if not line.startswith("| ") or re.fullmatch(r"\| \*\*[^|]*\*\*[^|]*(\| *)+", line) or line.endswith("| Test |"):
            continue
        named = re.findall(r"`((?:faults/)?test_\w+\.py)::(\w+)`", line.split("|")[-2])
        assert named, f"no test in {line}"
        for file, function in named:
            assert f"def {function}(" in (CHECKOUT / "tests" / file).read_text(), (file, function)
        rows += 1
    assert rows > 60


@settings(deadline=None)
@given(messages(request_lines, (b"%x\r\n", b"%X;a=b\r\n", b"%03x;c\r\n"), blanks=(b" ", b"")))
def test_all_agree_on_what_is_right(message: Any) -> None:
    data, fields, body = message
    ours = by_us(data)
    assert ours is not None and ours[3] == body
    assert by_h11(data) == ours
    theirs = by_httptools(data)
    # httptools leaves the white space behind a value
    assert theirs is not None
    assert (theirs[0], theirs[1], [(name, value.strip(b" \t")) for name, value in theirs[2]], theirs[3]) == ours
    assert len(fields) >= len(ours[2])
