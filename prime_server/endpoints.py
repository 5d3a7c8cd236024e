"""Endpoints as users write them, and the sockets behind them: public ones for web clients, ZeroMQ's between the parts."""

import errno
import os
import re
import socket
import stat
from typing import Any

import zmq

__all__ = ["listen", "name_of", "parse_listen", "zmq_socket"]

BACKLOG = 4096  # connections that wait to be accepted; the kernel takes its own maximum when that is lower

HEARTBEAT_MS = 1000  # ZMTP heartbeats between the parts: a stopped process or lost machine is noticed
LINGER_MS = 1000  # for what was sent last, when a part leaves

_TCP = re.compile(r"tcp://(?:\[(?P<six>[^\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>\d{1,5}|\*)", re.ASCII)


def parse_listen(endpoint: str) -> tuple[str, int] | str:
    """The `(host, port)` of `tcp://HOST:PORT`, or the path of `unix:PATH` or `ipc://PATH`.

    The host may be a name, an IPv4 address, an IPv6 address in brackets, or `*` for all; port 0 or `*` is any free one. Raises `ValueError`.
    """
    match = _TCP.fullmatch(endpoint)
    if match:
        port = 0 if match["port"] == "*" else int(match["port"])
        host = match["six"] if match["six"] is not None else match["host"]
        if port < 65536 and host:
            return host, port
    for scheme in ("unix://", "unix:", "ipc://"):
        if endpoint.startswith(scheme) and len(endpoint) > len(scheme):
            return endpoint[len(scheme) :]
    raise ValueError(
        f"{endpoint!r} is no endpoint to listen on: tcp://127.0.0.1:8002, tcp://[::1]:8002, tcp://*:8002, unix:/run/app.sock or ipc:///run/app.sock are"
    )


def listen(endpoint: str) -> socket.socket:
    """A listening, non-blocking socket. Raises `ValueError` for a wrong endpoint, `OSError` where it can't be bound."""
    where = parse_listen(endpoint)
    if isinstance(where, str):
        return _listen_unix(where)
    host, port = where
    dual = host == "*" and socket.has_dualstack_ipv6()
    if dual:
        return _listening(socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG))
    try:
        found = socket.getaddrinfo("0.0.0.0" if host == "*" else host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise OSError(error.errno, f"{host}: {error.strerror}") from error
    family, _, _, _, address = found[0]
    return _listening(socket.create_server(address, family=family, backlog=BACKLOG))


def _listen_unix(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            listener.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not _is_stale(path):
                raise
            os.unlink(path)
            listener.bind(path)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return _listening(listener)


def _is_stale(path: str) -> bool:
    """Whether a socket file was left behind by a process that is gone."""
    if not stat.S_ISSOCK(os.stat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _listening(listener: socket.socket) -> socket.socket:
    listener.setblocking(False)
    return listener


def name_of(listener: socket.socket) -> str:
    """The endpoint that a socket listens on, with the port that it was given."""
    name: Any = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{name}"
    if listener.family == socket.AF_INET6:
        return f"tcp://[{name[0]}]:{name[1]}"
    return f"tcp://{name[0]}:{name[1]}"


def zmq_socket(
    context: zmq.Context[Any],
    kind: int,
    *,
    bind: str | None = None,
    connect: str | None = None,
    heartbeat_ms: int = HEARTBEAT_MS,
    linger: int = LINGER_MS,
) -> zmq.Socket[bytes]:
    """A socket between the parts (wire.md), bound or connected. A peer that has been silent for three heartbeats is cut off. Raises `zmq.ZMQError` with the endpoint in its text."""
    made: zmq.Socket[bytes] = context.socket(kind)
    try:
        made.linger = linger
        made.sndhwm = 0  # the work is bounded elsewhere; a full queue here would drop or block
        made.rcvhwm = 0
        made.ipv6 = True
        made.setsockopt(zmq.HEARTBEAT_IVL, heartbeat_ms)
        made.setsockopt(zmq.HEARTBEAT_TIMEOUT, 3 * heartbeat_ms)
        if kind == zmq.ROUTER:
            made.setsockopt(zmq.ROUTER_MANDATORY, 1)  # a message to a peer that has gone is refused, not lost
        if kind == zmq.SUB:
            made.subscribe(b"")
        if kind in (zmq.DEALER, zmq.PUSH):
            made.immediate = True  # nothing is queued for a peer that isn't there: a new one would be given what is stale
        endpoint = bind if bind is not None else connect
        try:
            if bind is not None:
                made.bind(bind)
            elif connect is not None:
                made.connect(connect)
        except zmq.ZMQError as error:
            raise zmq.ZMQError(error.errno, f"{endpoint}: {error.strerror}") from None
    except BaseException:
        made.close(0)
        raise
    return made
