"""The corpus against h11 and httptools: where they and we differ, docs/http.md says who is right. And all agree on what is plainly right."""

import re
from pathlib import Path

import pytest
from conftest import CHECKOUT
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
REFUSED_BY_H11 = {"chunk-extensions-with-spaces", "leading-empty-line"}
TAKEN_BY_HTTPTOOLS = {
    "asterisk-for-get", "chunked-in-1.0", "fragment", "gzip-then-chunked", "half-percent", "host-with-path", "host-with-user", "long-target",
    "many-fields", "no-host", "two-hosts", "two-spaces", "unknown-expectation",
}  # fmt: skip
REFUSED_BY_HTTPTOOLS = {"chunk-extensions-with-spaces", "later-minor-version", "tabs-around-values"}


def by_us(data):
    """The first request as (method, target, fields, body), or None."""
    found = RequestParser().feed(data)
    if not found:
        return None
    fields = [(name.lower(), value) for name, value in found[0].headers]
    if (b"transfer-encoding", b"chunked") in fields:
        fields.pop()  # the length that was added
    return found[0].method, found[0].target, fields, bytes(found[0].body)


def by_h11(data):
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=65536)
    connection.receive_data(data)
    request, body = None, b""
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
    def __init__(self):
        self.parser = httptools.HttpRequestParser(self)
        self.complete = None
        self.on_message_begin()

    def on_message_begin(self):
        self.url, self.fields, self.body, self.head = b"", [], b"", True

    def on_url(self, url):
        self.url += url

    def on_header(self, name, value):
        if self.head:  # trailers come by the same way
            self.fields.append((name.lower(), value))

    def on_headers_complete(self):
        self.head = False

    def on_body(self, body):
        self.body += body

    def on_message_complete(self):
        self.complete = self.complete or (self.parser.get_method().decode(), self.url, self.fields, self.body)


def by_httptools(data):
    callbacks = Callbacks()
    try:
        callbacks.parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        return None
    return callbacks.complete


@pytest.mark.parametrize(
    ("peer", "taken", "refused"),
    [(by_h11, TAKEN_BY_H11, REFUSED_BY_H11), (by_httptools, TAKEN_BY_HTTPTOOLS, REFUSED_BY_HTTPTOOLS)],
    ids=["h11", "httptools"],
)
def test_where_peers_differ(peer, taken, refused):
    differ = {True: set(), False: set()}
    for path in sorted(CORPUS.glob("*/*.http")):
        data = path.read_bytes()
        ours, theirs = by_us(data), peer(data)
        if (ours is None) != (theirs is None):
            differ[ours is None].add(path.stem)
        elif ours is not None:
            assert ours[:2] == theirs[:2] and ours[3] == theirs[3], path.stem
    assert differ == {True: taken, False: refused}


@pytest.mark.checkout
def test_every_difference_has_its_row():
    rows = {}
    for line in (CHECKOUT / "docs/http.md").read_text().splitlines():
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
def test_every_row_has_its_test():
    """Of the tables whose last column names tests, each row names some, and they exist. The last table has its own test above."""
    text = (CHECKOUT / "docs/http.md").read_text()
    rows = 0
    for line in text[: text.index("## Where peers differ")].splitlines():
        if not line.startswith("| ") or re.fullmatch(r"\| \*\*[^|]*\*\*[^|]*(\| *)+", line) or line.endswith("| Test |"):
            continue
        named = re.findall(r"`(test_\w+\.py)::(\w+)`", line.split("|")[-2])
        assert named, f"no test in {line}"
        for file, function in named:
            assert f"def {function}(" in (CHECKOUT / "tests" / file).read_text(), (file, function)
        rows += 1
    assert rows > 60


@settings(deadline=None)
@given(messages(request_lines, (b"%x\r\n", b"%X;a=b\r\n", b"%03x;c\r\n"), blanks=(b" ", b"")))
def test_all_agree_on_what_is_right(message):
    data, fields, body = message
    ours = by_us(data)
    assert ours is not None and ours[3] == body
    assert by_h11(data) == ours
    theirs = by_httptools(data)
    # httptools leaves the white space behind a value
    assert theirs is not None
    assert (theirs[0], theirs[1], [(name, value.strip(b" \t")) for name, value in theirs[2]], theirs[3]) == ours
    assert len(fields) >= len(ours[2])
