"""The routing side: a hub hosts a server, the proxies of its stages, or both, in one loop."""

import re
import socket
import sys
from collections.abc import Callable, Sequence
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

import zmq

from prime_server._ext.access_log import AccessLog
from prime_server._ext.balancer import Balancer
from prime_server._ext.edge import Edge
from prime_server._ext.hub import Hub as Loop
from prime_server._ext.policy import Policy
from prime_server._ext.sessions import Sessions
from prime_server.cors import Cors, is_token
from prime_server.endpoints import HEARTBEAT_MS, WORKER_HEARTBEAT_MS, name_of, zmq_socket
from prime_server.endpoints import listen as listen_on
from prime_server.limits import Limits

__all__ = ["Hub", "Log", "Stage", "check_seconds", "check_server_header", "check_window", "worker_counts"]

_LONGEST_METHOD = 32  # of the parser
_OF_THE_EDGE = ("max_connections", "max_connections_per_address")  # of the limits

Log = int | str | Path | IO[Any] | None

Choose = Callable[[list[bytes], Sequence[Any]], int | None]


class Stage(NamedTuple):
    """The proxy of one stage: where it binds. Without an `upstream` its jobs come from the server hosted with it alone.

    A job whose worker died is given to another one where the request is idempotent by its method; all jobs of the stage are if it is `retryable`.
    """

    upstream: str | None
    downstream: str
    choose: Choose | None = None
    retryable: bool = False


class Hub:
    """One loop hosting a server (`listen`, `loopback`, `interrupt`), the proxies of some stages, or both.

    A server without stages beside it connects to a `proxy` elsewhere. `Server` and `Proxy` are the two halves. `protocol` is "http", "netstring" or
    an object of a class of one's own (see `Server`); `log` is a path, a file, a descriptor or "-" for standard output; a request for the path
    `health_check` is answered by the server itself, 200 while it serves and 503 once it drains. `cors` says which pages of other origins may use it,
    `methods` which methods it takes besides those of RFC 9110 and PATCH, `server_header` what its answers' Server field says; with `raw_targets` it
    takes the bytes ``[ ] { } | ^ ` `` in targets, which browsers send as they are although RFC 3986 has them encoded.

    When a worker or a proxy dies, what it had is done again where the request is idempotent by its method (RFC 9110, section 9.2.2): any may be
    repeated if the server is `retryable`. A job is given to at most `max_attempts` workers that die while they run it. Where the pipeline is `whole`,
    all its stages hosted here, no proxy can be lost alone, and the server need not keep what it has asked for; up to so many worker `processes` that
    whoever makes the hub has started may be tied to it.

    `serve()` blocks until `stop()` or, after `quiesce()`, a signal has ended it. Binds when it is made, so that `endpoint` can be told; raises
    `OSError` or `zmq.ZMQError` where it can't.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        *,
        listen: str | None = None,
        proxy: str | None = None,
        loopback: str | None = None,
        interrupt: str | None = None,
        stages: Sequence[Stage] = (),
        protocol: Any = "http",
        limits: Limits | None = None,
        log: Log = None,
        health_check: str | None = None,
        cors: Cors | None = None,
        methods: Sequence[str] = (),
        server_header: str | None = None,
        raw_targets: bool = False,
        retryable: bool = False,
        whole: bool = False,
        max_attempts: int = 3,
        max_backlog: int = 65536,
        max_queued_bytes: int = 256 * 1024 * 1024,
        processes: int = 0,
    ) -> None:
        self._sockets: list[zmq.Socket[bytes]] = []
        self._watched: list[zmq.Socket[bytes]] = []
        self._log_file: FileIO | None = None
        self._listener = None
        self._loop: Loop | None = None
        try:
            edge = None
            hosted: dict[str, Any] = {}
            if listen is not None:
                if loopback is None or interrupt is None:
                    raise ValueError("a server needs a loopback and an interrupt endpoint")
                threads = loopback.startswith("inproc://")
                policy = _policy(cors, methods, server_header, raw_targets)
                sessions = _sessions(protocol, limits or Limits(), self._open_log(log), health_check, policy, retryable, not whole)
                self._listener = listen_on(listen)
                self._endpoint = name_of(self._listener)
                edge = Edge(sessions, self._listener, threads=threads, **{name: getattr(limits or Limits(), name) for name in _OF_THE_EDGE})
                hosted["loopback"] = self._watched_socket(context, zmq.PULL, bind=loopback)
                hosted["interrupt"] = self._socket(context, zmq.PUB, bind=interrupt)
                if proxy is not None:
                    hosted["proxy"] = self._watched_socket(context, zmq.DEALER, connect=proxy)
            self._balancers = []
            bound = []
            for stage in stages:
                balancer = Balancer(
                    max_attempts=max_attempts,
                    max_backlog=max_backlog,
                    max_queued_bytes=max_queued_bytes,
                    choose=stage.choose,
                    retryable=stage.retryable,
                    # Their common life tells workers that all of it is one hub.
                    life=None if edge is None else sessions.life,
                )
                upstream = None if stage.upstream is None else self._watched_socket(context, zmq.ROUTER, bind=stage.upstream)
                downstream = self._watched_socket(context, zmq.ROUTER, bind=stage.downstream, heartbeat_ms=WORKER_HEARTBEAT_MS)
                bound.append((balancer, upstream, downstream))
                self._balancers.append(balancer)
            self._edge = edge
            self._loop = Loop(edge=edge, stages=bound, processes=processes, **hosted)
        except BaseException:
            self.close()
            raise

    def _socket(self, context: zmq.Context[Any], kind: int, *, bind: str) -> zmq.Socket[bytes]:
        made = zmq_socket(context, kind, bind=bind)
        self._sockets.append(made)
        return made

    def _watched_socket(
        self, context: zmq.Context[Any], kind: int, *, bind: str | None = None, connect: str | None = None, heartbeat_ms: int = HEARTBEAT_MS
    ) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
        """A socket and its monitor."""
        made = zmq_socket(context, kind, bind=bind, connect=connect, heartbeat_ms=heartbeat_ms, monitors=self._sockets)
        self._watched.append(made)
        self._sockets.append(made)
        return made, self._sockets[-2]

    def _open_log(self, log: Log) -> AccessLog:
        if log is None:
            return AccessLog(-1)
        if isinstance(log, int):
            return AccessLog(log)
        if log == "-":
            if sys.stdout is None:
                raise OSError("the access log is to go to standard output, which is closed")
            return AccessLog(sys.stdout.fileno())
        if isinstance(log, (str, Path)):
            log = self._log_file = FileIO(log, "a")
        return AccessLog(log.fileno())

    @property
    def endpoint(self) -> str:
        """Where web clients connect to, with the port that was given for port 0. Raises `ValueError` where no server is hosted."""
        if self._listener is None:
            raise ValueError("no server is hosted here")
        return self._endpoint

    def serve(self) -> None:
        """Blocks until the hub has been stopped and has drained. The GIL is released."""
        if self._loop is None:
            raise ValueError("the hub is closed")
        self._loop.run()

    def stop(self, drain_seconds: float = 0.0) -> None:
        """Ends `serve()` from any thread: takes nothing new, and returns when all is answered, at the latest after `drain_seconds`."""
        if self._loop is not None:
            self._loop.stop(drain_seconds)

    def add_direct(self, index: int, stage: int, end: socket.socket) -> int:
        """Takes the hub's `end` of a pair of sockets that it shares with a worker process, for small messages past ZeroMQ; from any thread.

        `index` is the process's place among `processes`. Returns the number for `Worker.set_direct` in that process.
        """
        if self._loop is None:
            raise ValueError("the hub is closed")
        number = self._loop.add_direct(index, stage, end.fileno())
        end.detach()
        return number

    def stats(self) -> dict[str, Any]:
        """Counters of the server hosted here, if there is one, and those of each stage's proxy, in order, under `stages` (docs/stats.md).

        From any thread, while it serves and after it.
        """
        counters: dict[str, Any] = {} if self._edge is None else self._edge.stats()
        counters["stages"] = [balancer.stats() for balancer in self._balancers]
        return counters

    def close(self) -> None:
        """Closes the sockets. `serve()` must have ended."""
        if self._loop is not None:
            self._loop.close()
        self._loop = None
        for watched in self._watched:
            watched.disable_monitor()  # from here on nobody reads it
        self._watched.clear()
        for made in self._sockets:
            made.close()
        self._sockets.clear()
        if self._listener is not None:
            self._listener.close()
        if self._log_file is not None:
            self._log_file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def check_server_header(text: str) -> None:
    """Raises `ValueError` for what can't be the value of a Server field."""
    if not re.fullmatch(r"[!-~](?:[ -~]*[!-~])?", text):
        raise ValueError(f"a Server field is a line of ASCII text such as 'example/1.0', not {text!r}")


def _policy(cors: Cors | None, methods: Sequence[str], server_header: str | None, raw_targets: bool) -> Policy:
    if isinstance(methods, str):
        raise TypeError(f"methods are a sequence of names, such as [{methods!r}]")
    for method in methods:
        if not is_token(method) or len(method) > _LONGEST_METHOD:
            raise ValueError(f"a method is a name of at most {_LONGEST_METHOD} letters and digits such as PURGE, not {method!r}")
    if server_header is not None:
        check_server_header(server_header)
    return Policy(
        server=b"" if server_header is None else f"Server: {server_header}\r\n".encode(),
        methods=[method.encode() for method in methods],
        raw_targets=raw_targets,
        origins=cors.allowed() if cors else (),
        fields=cors.fields() if cors else (),
        preflights=cors.preflights(methods) if cors else (),
    )


def _sessions(
    protocol: Any, limits: Limits, log: AccessLog, health_check: str | None, policy: Policy, retryable: bool, keeps: bool
) -> Sessions:
    if isinstance(protocol, str) and protocol not in ("http", "netstring"):
        raise ValueError(f'protocol is "http", "netstring" or an object of your own class, not {protocol!r}')
    if isinstance(protocol, type):
        raise TypeError(f"protocol is an object, {protocol.__name__}() and not the class {protocol.__name__}")
    for name in () if isinstance(protocol, str) else ("feed", "serialize", "reject", "timeout", "keep_alive"):
        if not callable(getattr(protocol, name, None)):
            raise TypeError(f"a protocol has the method {name}(); {type(protocol).__name__} has none")
    if policy.shares and protocol != "http":
        raise ValueError("cors is for HTTP alone, not for another protocol")
    if health_check is not None and not health_check.startswith("/"):
        raise ValueError(f"health_check is a path such as /health, not {health_check!r}")
    options = {name: getattr(limits, name) for name in Limits.__dataclass_fields__ if name not in _OF_THE_EDGE}
    return Sessions(protocol=protocol, log=log, health_check=health_check, policy=policy, retryable=retryable, keeps=keeps, **options)


def check_seconds(name: str, value: Any) -> None:
    """Raises `TypeError` or `ValueError` where the argument of this name is no time of 0 seconds or more."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is a number of seconds, not {value!r}")
    if not 0 <= value <= 1e9:
        raise ValueError(f"{name} is a time of 0 to 10^9 seconds, not {value!r}")


def check_window(value: Any) -> None:
    """Raises `TypeError` or `ValueError` where that is no window of a worker."""
    if not isinstance(value, int):
        raise TypeError(f"window is a number of jobs, not {value!r}")
    if not 1 <= value <= 1024:
        raise ValueError(f"window is 1 to 1024 jobs, not {value}")


def worker_counts(stages: Sequence[Any], workers: int | Sequence[int]) -> list[int]:
    """The number of workers of each stage, given so or as one number for all. Raises `ValueError` where they don't fit."""
    if isinstance(stages, (str, bytes)) or callable(stages):
        raise TypeError(f"stages is a list of work functions, one for each stage, not {stages!r} alone")
    if not isinstance(workers, (int, Sequence)) or isinstance(workers, (str, bytes)):
        raise TypeError(f"workers is a number or a list of numbers, not {workers!r}")
    counts = [workers] * len(stages) if isinstance(workers, int) else list(workers)
    if not stages:
        raise ValueError("a pipeline has at least one stage")
    if len(counts) != len(stages):
        raise ValueError(f"{len(stages)} stages need as many numbers of workers, not {len(counts)}")
    if any(count < 1 for count in counts):
        raise ValueError(f"a stage has at least one worker, not {min(counts)}")
    return counts
