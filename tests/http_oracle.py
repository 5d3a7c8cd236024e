"""A slow and obviously right reader of HTTP/1.x requests: the grammar of the RFCs as regular expressions over all of the input at once."""

import ipaddress
import re

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
PERCENT = rb"%[0-9A-Fa-f]{2}"
NAME = rb"(?:[0-9A-Za-z\-._~!$&'()*+,;=]|" + PERCENT + rb")"
PCHAR = rb"(?:[0-9A-Za-z\-._~!$&'()*+,;=:@]|" + PERCENT + rb")"
PATH = rb"(?:/" + PCHAR + rb"*)*"
QUERY = rb"(?:\?(?:" + PCHAR + rb"|[/?])*)?"
AUTHORITY = rb"(?P<host>\[[^\]]*\]|" + NAME + rb"*)(?::(?P<port>[0-9]*))?"
TEXT = rb"[\t\x20-\x7e\x80-\xff]*"

HEAD = re.compile(
    rb"(?P<method>" + TOKEN + rb") (?P<target>[^ ]+) HTTP/(?P<major>[0-9])\.(?P<minor>[0-9])\r\n"
    rb"(?P<fields>(?:" + TOKEN + rb":" + TEXT + rb"\r\n)*)\r\n"
)
FIELDS = re.compile(rb"(" + TOKEN + rb"):[ \t]*(" + TEXT + rb"?)[ \t]*\r\n")
ORIGIN = re.compile(rb"/" + PCHAR + rb"*" + PATH + QUERY)
ABSOLUTE = re.compile(rb"(?i:https?)://" + AUTHORITY + PATH + QUERY)
EXTENSION = rb"(?:[ \t]*;[ \t]*" + TOKEN + rb"(?:[ \t]*=[ \t]*(?:" + TOKEN + rb'|"(?:[\t !#-\[\]-~\x80-\xff]|\\' + TEXT[:-1] + rb')*"))?)*'
CHUNK = re.compile(rb"([0-9A-Fa-f]+)" + EXTENSION + rb"\r\n")
TRAILERS = re.compile(rb"(?:" + TOKEN + rb":" + TEXT + rb"\r\n)*\r\n")

METHODS = {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"}


class RefusedError(Exception):
    pass


class IncompleteError(Exception):
    pass


def host_is_right(match: re.Match[bytes] | None, *, name: bool, port: bool) -> bool:
    if match is None or (name and not match["host"]) or (port and not match["port"]):
        return False
    if int(match["port"] or 0) > 65535:
        return False
    if not match["host"].startswith(b"["):
        return True
    inside = match["host"][1:-1].decode("latin-1")
    if re.fullmatch(r"[vV][0-9A-Fa-f]+\.[0-9A-Za-z\-._~!$&'()*+,;=:]+", inside):
        return True
    try:
        return "%" not in inside and bool(ipaddress.IPv6Address(inside))
    except ValueError:
        return False


def target_is_right(method: bytes, target: bytes) -> bool:
    if method == b"CONNECT":
        return host_is_right(re.fullmatch(AUTHORITY, target), name=True, port=True)
    if target == b"*":
        return method == b"OPTIONS"
    return bool(ORIGIN.fullmatch(target)) or host_is_right(ABSOLUTE.fullmatch(target), name=True, port=False)


def members(fields: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    text = b",".join(value for field, value in fields if field.lower() == name)
    return [member for member in (part.strip(b" \t").lower() for part in text.split(b",")) if member]


def read_chunks(data: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, found, _ = data.partition(b"\r\n")
        if not found:
            raise IncompleteError
        match = CHUNK.match(data)
        if not match or match.end() != len(line) + 2:
            raise RefusedError
        size, data = int(match[1], 16), data[match.end() :]
        if size == 0:
            break
        if len(data) < size + 2:
            raise IncompleteError
        if data[size : size + 2] != b"\r\n":
            raise RefusedError
        body, data = body + data[:size], data[size + 2 :]
    match = TRAILERS.match(data)
    if match:
        return body, data[match.end() :]
    raise IncompleteError if b"\r\n\r\n" not in b"\r\n" + data else RefusedError


def read_request(data: bytes) -> tuple[tuple[object, ...], bytes]:
    """The first request and what is behind it."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        raise IncompleteError
    match = HEAD.fullmatch(data[: end + 4])
    if not match:
        raise RefusedError
    fields = FIELDS.findall(match["fields"])
    method, target, rest = match["method"], match["target"], data[end + 4 :]
    old = match["minor"] == b"0"
    hosts = [value for name, value in fields if name.lower() == b"host"]
    lengths = [value for name, value in fields if name.lower() == b"content-length"]
    coded = any(name.lower() == b"transfer-encoding" for name, _ in fields)
    if match["major"] != b"1" or method not in METHODS or not target_is_right(method, target):
        raise RefusedError
    if len(hosts) > 1 or (not hosts and not old) or not all(host_is_right(re.fullmatch(AUTHORITY, host), name=False, port=False) for host in hosts):
        raise RefusedError
    if len(lengths) > 1 or not all(re.fullmatch(rb"[0-9]+", length) for length in lengths):
        raise RefusedError
    if coded and (old or lengths or members(fields, b"transfer-encoding") != [b"chunked"]):
        raise RefusedError
    if any(member != b"100-continue" for member in members(fields, b"expect")):
        raise RefusedError
    says = members(fields, b"connection")
    keep_alive = b"close" not in says and (not old or b"keep-alive" in says)
    if coded:
        body, rest = read_chunks(rest)
    else:
        size = int(lengths[0]) if lengths else 0
        if len(rest) < size:
            raise IncompleteError
        body, rest = rest[:size], rest[size:]
    return (method.decode(), target, "1.0" if old else "1.1", keep_alive, fields, body), rest


def read_all(data: bytes) -> tuple[list[tuple[object, ...]], str]:
    """All requests in the data, and what came behind them: "nothing", "incomplete" or "refused"."""
    found: list[tuple[object, ...]] = []
    while True:
        # The one empty line before a request is ignored (RFC 9112, section 2.2): half of it is nothing of a request either.
        if data == b"\r":
            return found, "nothing"
        data = data.removeprefix(b"\r\n")
        if not data:
            return found, "nothing"
        try:
            request, data = read_request(data)
        except IncompleteError:
            return found, "incomplete"
        except RefusedError:
            return found, "refused"
        found.append(request)
