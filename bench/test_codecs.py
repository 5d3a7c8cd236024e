"""How fast requests, responses and netstrings are read, from Python beside httptools, and from C.

    python -m pytest --benchmark-only bench/test_codecs.py

The ratio to httptools is of interleaved runs, the best of each, and stands in the column of extra information of the JSON (--benchmark-json FILE).
"""

import importlib.util
import sys
import timeit
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from prime_server._ext.parsers import NetstringParser, RequestParser, ResponseParser

httptools = pytest.importorskip("httptools")

SMALL = b"GET / HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: example\r\nAccept: */*\r\n\r\n"
USUAL = (
    b"GET /is_prime?possible_prime=32416190071 HTTP/1.1\r\nHost: 127.0.0.1:8002\r\nUser-Agent: python/2.31.000\r\nAccept: */*\r\n"
    b"Connection: Keep-Alive\r\n\r\n"
)
BROWSER = (
    b"GET /images/2024/03/landscape-with-river-and-mountains.jpg HTTP/1.1\r\nHost: www.example.com\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    b"Accept-Language: en-US,en;q=0.7,de;q=0.3\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nReferer: https://www.example.com/images/2024/\r\n"
    b"Connection: keep-alive\r\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark; visits=17; last=1718000000\r\n"
    b"Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\nPriority: u=0, i\r\n\r\n"
)
POST = b"POST /is_prime HTTP/1.1\r\nHost: 127.0.0.1:8002\r\nContent-Length: 1000\r\n\r\n" + b"7" * 1000
CHUNKED = b"POST /is_prime HTTP/1.1\r\nHost: 127.0.0.1:8002\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED += b"64\r\n%b\r\n" % (b"7" * 100) * 10 + b"0\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/plain\r\nContent-Length: 11\r\n\r\n32416190071"

REQUESTS = {"75 bytes": SMALL, "141 bytes": USUAL, "647 bytes": BROWSER, "body": POST, "chunked": CHUNKED, "16 pipelined": USUAL * 16}


class Collect:
    """What a server keeps of a request: the least that httptools can be used for."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.done = 0

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.done += 1


def by_httptools(data: bytes) -> Any:
    collect = Collect()
    parser = httptools.HttpRequestParser(collect)
    parser.feed_data(data)
    return parser.get_method(), collect.url, parser.should_keep_alive(), collect.headers


def by_us(data: bytes) -> Any:
    requests = RequestParser().feed(data)
    last = requests[-1]
    return last.method, last.target, last.keep_alive, last.headers


def ratio(ours: Callable[[], object], theirs: Callable[[], object], rounds: int = 40, calls: int = 250) -> float:
    """Of the best times of short interleaved runs."""
    times = [(timeit.timeit(ours, number=calls), timeit.timeit(theirs, number=calls)) for _ in range(rounds)]
    return min(one for one, _ in times) / min(other for _, other in times)


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("who", [by_us, by_httptools])
def test_requests(benchmark: Any, name: str, who: Callable[[bytes], Any]) -> None:
    data = REQUESTS[name]
    benchmark.group = f"request, {name}: a new parser, method, target, keep-alive and all headers"
    benchmark(who, data)
    if who is by_us:
        benchmark.extra_info["ratio to httptools"] = ratio(lambda: by_us(data), lambda: by_httptools(data))
        assert name != "141 bytes" or benchmark.extra_info["ratio to httptools"] <= 0.5


@pytest.mark.parametrize("who", ["prime_server", "httptools"])
def test_requests_on_one_connection(benchmark: Any, who: str) -> None:
    """The parser's own time: nothing is asked of the request."""
    benchmark.group = "request, 141 bytes: the parser of a connection that is there already, no callbacks"
    if who == "prime_server":
        benchmark(RequestParser().feed, USUAL)
    else:
        benchmark(httptools.HttpRequestParser(object()).feed_data, USUAL)


@pytest.mark.parametrize("who", ["prime_server", "httptools"])
def test_responses(benchmark: Any, who: str) -> None:
    benchmark.group = "response"
    benchmark(ResponseParser().feed if who == "prime_server" else httptools.HttpResponseParser(object()).feed_data, RESPONSE)


def test_netstrings(benchmark: Any) -> None:
    benchmark(NetstringParser().feed, b"11:32416190071,")


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """bench/native_codecs.pyx, built against the installed package: as anybody may who cimports it."""
    cythonize = pytest.importorskip("Cython.Build").cythonize
    from setuptools import Distribution, Extension

    where = tmp_path_factory.mktemp("native")
    source = where / "native_codecs.pyx"
    source.write_bytes(Path(__file__).with_name("native_codecs.pyx").read_bytes())
    import prime_server

    extension = Extension("native_codecs", [str(source)], extra_compile_args=["-O2"])
    root = str(Path(prime_server.__file__).parent.parent)
    modules = cythonize([extension], include_path=[root], compiler_directives={"language_level": 3}, quiet=True)
    build = Distribution({"ext_modules": modules}).get_command_obj("build_ext")
    build.build_lib = build.build_temp = str(where)
    build.ensure_finalized()
    build.run()
    spec = importlib.util.spec_from_file_location("native_codecs", next(where.glob("native_codecs*.so")))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["75 bytes", "141 bytes", "647 bytes"])
def test_requests_from_c(benchmark: Any, native: ModuleType, name: str) -> None:
    """One round reads the request 1,000 times; the figures printed below the table are for one, without and with its message."""
    data = REQUESTS[name]
    benchmark.group = f"request, {name}: 1,000 times, from C"
    benchmark(native.parse, data, 1000)
    whole = min(native.parse(data, 1000) for _ in range(200))
    copying = min(native.copy(data, 1000) for _ in range(200))
    benchmark.extra_info |= {"ns per request": whole, "ns without the message": whole - copying}
    print(f"\n{name}: {whole - copying:.0f} ns to read it, {whole:.0f} ns with its message", file=sys.stderr)
