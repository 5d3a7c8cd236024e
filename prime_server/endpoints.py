"""Endpoints as users write them, and the sockets behind them: public ones for web clients, ZeroMQ's between the parts."""

import contextlib
import errno
import fcntl
import ipaddress
import itertools
import os
import re
import socket
import stat
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import zmq

from prime_server.errors import logger

__all__ = ["check_internal", "listen", "name_of", "parse_listen", "zmq_socket"]

BACKLOG = 4096  # connections that wait to be accepted; the kernel takes its own maximum when that is lower

HEARTBEAT_MS = 1000  # ZMTP heartbeats between the parts: a stopped process or lost machine is noticed
WORKER_HEARTBEAT_MS = 200  # a proxy's to its workers, of which it has to know within a second
LINGER_MS = 1000  # for what was sent last, when a part leaves

_MAX_PATH = 107  # bytes of a unix socket's path: `sun_path` on Linux, less its end

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
            path = endpoint.removeprefix(scheme)
            _check_length(endpoint, path)
            return path
    raise ValueError(
        f"{endpoint!r} is no endpoint to listen on: tcp://127.0.0.1:8002, tcp://[::1]:8002, tcp://*:8002, unix:/run/app.sock or "
        "ipc:///run/app.sock are"
    )


def _check_length(endpoint: str, path: str) -> None:
    if len(os.fsencode(path)) > _MAX_PATH:
        raise ValueError(f"{endpoint!r} is too long: a path has at most {_MAX_PATH} bytes")


def listen(endpoint: str) -> socket.socket:
    """A listening, non-blocking socket; of a unix one the file goes when it is closed.

    Raises `ValueError` for a wrong endpoint, `OSError` with the endpoint in its text where it can't be bound.
    """
    where = parse_listen(endpoint)
    try:
        listener = _listen_unix(where) if isinstance(where, str) else _listen_tcp(*where)
    except socket.gaierror as error:
        raise OSError(error.errno, f"{endpoint}: {error.strerror}") from error
    except OSError as error:
        raise OSError(error.errno, f"{endpoint}: {os.strerror(error.errno) if error.errno else error}") from error
    listener.setblocking(False)
    return listener


def _listen_tcp(host: str, port: int) -> socket.socket:
    dual = host == "*" and socket.has_dualstack_ipv6()
    if dual:
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
    found = socket.getaddrinfo("0.0.0.0" if host == "*" else host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    return socket.create_server(address, family=family, backlog=BACKLOG)


class _UnixListener(socket.socket):
    """Takes its file along when it is closed, unless that is another's by now: of a successor that began while this one drained."""

    _file: tuple[str, tuple[int, ...]] | None = None

    def bind(self, path: Any) -> None:
        super().bind(path)
        self._file = os.path.abspath(path), _identity(path)

    def close(self) -> None:
        super().close()
        if self._file is not None:
            path, identity = self._file
            self._file = None
            with contextlib.suppress(OSError):
                if _identity(path) == identity:
                    os.unlink(path)


def _identity(path: str) -> tuple[int, ...]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino, found.st_mtime_ns  # a new file may be given the old one's number


def _listen_unix(path: str) -> socket.socket:
    listener = _UnixListener(socket.AF_UNIX, socket.SOCK_STREAM)
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
    return listener


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


def name_of(listener: socket.socket) -> str:
    """The endpoint that a socket listens on, with the port that it was given."""
    name: Any = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{name}"
    if listener.family == socket.AF_INET6:
        return f"tcp://[{name[0]}]:{name[1]}"
    return f"tcp://{name[0]}:{name[1]}"


def check_internal(endpoint: str, *, bind: bool) -> None:
    """Whether processes can meet at an endpoint between the parts, and this one bind or connect to it. Raises `ValueError` with the right form."""
    match = _TCP.fullmatch(endpoint)
    if match:
        host = match["six"] if match["six"] is not None else match["host"]
        port = match["port"]
        if bind and host and (port == "*" or int(port) < 65536):
            return
        if not bind and host and host != "*" and port != "*" and 0 < int(port) < 65536:
            return
    elif endpoint.startswith("ipc://"):
        path = endpoint.removeprefix("ipc://")
        _check_length(endpoint, path)
        if path and (bind or path != "*"):
            return
    here = "to bind to" if bind else "to connect to"
    some = "tcp://127.0.0.1:8003, tcp://[::1]:8003, tcp://*:8003" if bind else "tcp://127.0.0.1:8003, tcp://[::1]:8003, tcp://server:8003"
    raise ValueError(f"{endpoint!r} is no endpoint {here}: {some} or ipc:///run/app/proxy are")


class _Guarded(zmq.Socket[bytes]):
    """A socket that has bound ipc paths, each locked for as long.

    A second bind of such a path would take the first one's place without a word (libzmq removes what it finds there), so whoever binds it holds
    a lock on a file beside it. The kernel drops the lock with the process; the file is removed when the socket is closed.
    """

    _locks: Mapping[str, int] = MappingProxyType({})  # declared here, as a socket takes no undeclared attributes

    def guard(self, endpoint: str) -> None:
        """Raises `zmq.ZMQError` where the path is in use."""
        path = endpoint.removeprefix("ipc://")
        lock = _lock(path + ".lock")
        if lock is None:
            raise zmq.ZMQError(errno.EADDRINUSE, "it is in use by another process or socket")
        if os.path.lexists(path) and not _is_stale(path):
            _unlock(path, lock)
            raise zmq.ZMQError(errno.EADDRINUSE, "it is in use by another program, or no socket")
        self._locks = {**self._locks, path: lock}

    def close(self, linger: int | None = None) -> None:
        super().close(linger)
        locks, self._locks = self._locks, {}
        for path, lock in locks.items():
            with contextlib.suppress(OSError):  # libzmq leaves it
                os.unlink(path)
            _unlock(path, lock)


def _lock(path: str) -> int | None:
    """The descriptor of the locked file, made if there is none; None where somebody else has the lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass  # removed by the one before us between our two looks
        os.close(descriptor)


def _unlock(path: str, lock: int) -> None:
    with contextlib.suppress(OSError):  # the directory may be gone already
        os.unlink(path + ".lock")
    os.close(lock)


def _warn_if_public(endpoint: str) -> None:
    """Parts trust each other, so whoever reaches one of their sockets is one of them (docs/security.md)."""
    match = _TCP.fullmatch(endpoint)
    if match is None:
        return
    host = match["six"] if match["six"] is not None else match["host"]
    try:
        private = ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        private = host in ("localhost", "lo", "lo0")
    if not private:
        logger.warning(
            "%s is bound for other machines too, and whoever reaches it can send jobs and results: see that only your own parts can", endpoint
        )


_monitors = itertools.count()


def _monitor(watched: zmq.Socket[bytes]) -> zmq.Socket[bytes]:
    endpoint = f"inproc://prime-server-monitor-{next(_monitors)}"
    watched.monitor(endpoint, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED)
    made: zmq.Socket[bytes] = watched.context.socket(zmq.PAIR)
    made.linger = 0
    made.rcvhwm = 0
    made.connect(endpoint)
    return made


def zmq_socket(
    context: zmq.Context[Any],
    kind: int,
    *,
    bind: str | None = None,
    connect: str | None = None,
    heartbeat_ms: int = HEARTBEAT_MS,
    linger: int = LINGER_MS,
    monitors: list[zmq.Socket[bytes]] | None = None,
) -> zmq.Socket[bytes]:
    """A socket between the parts (wire.md), bound or connected. A peer that has been silent for three heartbeats is cut off.

    To `monitors` a socket is added that hears, from the first on, of its connections' beginnings and ends. That one has
    to be read until this one is closed. It is unbounded, as a full one would stop the whole context's I/O.

    A bound ipc path is locked against others until the socket is closed; binding to more than this machine is warned of. Raises `zmq.ZMQError` with
    the endpoint in its text, `OSError` likewise where an ipc path's directory can't be written to.
    """
    guarded = bind is not None and bind.startswith("ipc://") and not bind.startswith(("ipc://@", "ipc://*"))
    made: zmq.Socket[bytes] = context.socket(kind, socket_class=_Guarded) if guarded else context.socket(kind)
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
        if monitors is not None:
            monitors.append(_monitor(made))
        endpoint = bind if bind is not None else connect
        try:
            if bind is not None:
                if isinstance(made, _Guarded):
                    made.guard(bind)
                made.bind(bind)
                _warn_if_public(bind)
            elif connect is not None:
                made.connect(connect)
        except zmq.ZMQError as error:
            raise zmq.ZMQError(error.errno, f"{endpoint}: {error.strerror}") from None
        except OSError as error:  # of the lock
            raise OSError(error.errno, f"{endpoint}: {error.strerror}") from error
    except BaseException:
        made.close(0)
        raise
    return made
