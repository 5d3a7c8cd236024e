"""The clients that people have, against one server: plain requests, uploads, streams, pipelining and hanging up early."""

import asyncio
import http.client
import io
import json
import re
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from asking import address_of, ask, request
from conftest import PATIENCE
from peers import ENVIRONMENT, PARTS, Application, digest, serving, tool
from pipelines import wait_until

PIECES = [bytes([number]) * 50_000 for number in range(60)]
WHOLE = b"".join(PIECES)


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


class Served:
    def __init__(self, server: Any, application: Application) -> None:
        self.server = server
        self.application = application
        self.host, self.port = address_of(server)
        self.url = f"http://{self.host}:{self.port}"

    def hung_up(self) -> None:
        """Waits until the iterator of `/endless` has been ended, as its client has left."""
        assert self.application.left.wait(PATIENCE)
        self.application.left.clear()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    application = Application()
    with serving(application) as server:
        yield Served(server, application)
        assert server.stats()["results_malformed"] == 0


def uploaded(said: dict[str, Any]) -> tuple[str, int, str]:
    return said["method"], said["size"], said["digest"]


def told(method: str) -> tuple[str, int, str]:
    return method, len(WHOLE), digest(WHOLE)


# --- curl ----------------------------------------------------------------------------------------------------------------------------------


@needs("curl")
@pytest.mark.parametrize("options", [[], ["--http1.0"], ["--header", "Connection: close"], ["--header", "Connection: Keep-Alive", "--http1.0"]])
def test_curl_gets(served: Served, options: list[str]) -> None:
    said = json.loads(tool("curl", "--silent", "--fail", *options, f"{served.url}/a%20b?c=d&e="))
    assert (said["method"], said["target"]) == ("GET", "/a%20b?c=d&e=")
    head = tool("curl", "--silent", "--head", *options, f"{served.url}/a")
    assert head.startswith("HTTP/1.1 200 OK\n")
    assert "Content-Length: " in head


@needs("curl")
@pytest.mark.parametrize("options", [[], ["--header", "Transfer-Encoding: chunked"], ["--header", "Expect: 100-continue"], ["--http1.0"]])
def test_curl_uploads(served: Served, tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "upload").write_bytes(WHOLE)
    for arguments, method in ((["--upload-file", str(tmp_path / "upload")], "PUT"), (["--data-binary", f"@{tmp_path}/upload"], "POST")):
        # No second is lost in waiting for 100 Continue, after which curl sends all the same.
        shown = tool("curl", "--silent", "--fail", "--expect100-timeout", "60", *options, *arguments, f"{served.url}/x")
        assert uploaded(json.loads(shown)) == told(method)


@needs("curl")
def test_curl_is_not_asked_for_what_would_be_refused(served: Served, tmp_path: Path) -> None:
    with open(tmp_path / "large", "wb") as file:
        file.truncate(11 << 20)
    options = ["--header", "Expect: 100-continue", "--upload-file", str(tmp_path / "large"), "--write-out", " %{http_code} %{size_upload}"]
    shown = tool("curl", "--silent", *options, served.url)
    assert shown.endswith(" 413 0")


@needs("curl")
def test_curl_streams_and_hangs_up(served: Served) -> None:
    for _ in range(PARTS):
        served.application.go.release()
    assert tool("curl", "--silent", "--no-buffer", f"{served.url}/stream") == "".join(f"part {number}" for number in range(PARTS))
    served.application.go.acquire(blocking=False)
    with subprocess.Popen(["curl", "--silent", f"{served.url}/endless"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=ENVIRONMENT) as curl:
        assert curl.stdout is not None
        assert len(curl.stdout.read(1 << 20)) == 1 << 20
        curl.kill()
    served.hung_up()


# --- load generators -----------------------------------------------------------------------------------------------------------------------


@needs("ab")
@pytest.mark.parametrize("options", [["-k"], [], ["-i", "-k"], ["-k", "-p", "upload", "-T", "text/plain"]])
def test_ab(served: Served, tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "upload").write_bytes(b"x" * 1000)
    arguments = [str(tmp_path / "upload") if option == "upload" else option for option in options]
    shown = tool("ab", "-q", *arguments, "-n", "500", "-c", "4", f"{served.url}/a")
    assert re.search(r"Complete requests: +500\n", shown)
    assert re.search(r"Failed requests: +0\n", shown)
    assert "Non-2xx" not in shown
    if "-k" in options:
        assert re.search(r"Keep-Alive requests: +500\n", shown)


@needs("wrk")
@pytest.mark.parametrize("pipelined", [1, 8])
def test_wrk(served: Served, tmp_path: Path, pipelined: int) -> None:
    script = tmp_path / "pipeline.lua"
    script.write_text(f"init = function() batch = string.rep(wrk.format('GET', '/a'), {pipelined}) end\nrequest = function() return batch end\n")
    shown = tool("wrk", "-t1", "-c4", "-d1s", "-s", str(script), served.url)
    (requests,) = re.findall(r"(\d+) requests in", shown)
    assert int(requests) > 0
    assert "Socket errors" not in shown
    assert "Non-2xx" not in shown


# --- Python's ------------------------------------------------------------------------------------------------------------------------------


def test_http_client(served: Served) -> None:
    with closing(http.client.HTTPConnection(served.host, served.port, timeout=PATIENCE)) as connection:
        for body in (WHOLE, iter(PIECES)):
            connection.request("PATCH", "/upload", body=body)
            assert uploaded(json.loads(connection.getresponse().read())) == told("PATCH")
        connection.request("HEAD", "/a")
        head = connection.getresponse()
        assert (head.status, head.read()) == (200, b"")
        local = connection.sock.getsockname()
        connection.request("GET", "/stream")
        response = connection.getresponse()
        for number in range(PARTS):
            assert response.read1(100) == b"part %d" % number
            served.application.go.release()
        assert response.read() == b""
        served.application.go.acquire(blocking=False)
        assert connection.sock.getsockname() == local
        connection.request("GET", "/endless")
        assert len(connection.getresponse().read(1 << 20)) == 1 << 20
    served.hung_up()


def test_requests(served: Served) -> None:
    # Not `requests`: where it isn't installed, the corpus beside this file goes by that name.
    sessions = pytest.importorskip("requests.sessions", reason="requests is not installed")
    with sessions.Session() as session:
        session.trust_env = False
        before = served.server.stats()["connections_accepted"]
        for number in range(20):
            assert session.get(f"{served.url}/{number}", params={"a": "b c"}, timeout=PATIENCE).json()["target"] == f"/{number}?a=b+c"
        for body in (WHOLE, iter(PIECES)):
            assert uploaded(session.put(served.url, data=body, timeout=PATIENCE).json()) == told("PUT")
        assert session.post(served.url, files={"file": ("name", b"content")}, timeout=PATIENCE).json()["size"] > 7
        assert session.options(served.url, timeout=PATIENCE).json()["method"] == "OPTIONS"
        assert served.server.stats()["connections_accepted"] - before == 1
        with session.get(f"{served.url}/endless", stream=True, timeout=PATIENCE) as response:
            assert len(next(response.iter_content(1 << 16))) > 0
    served.hung_up()


def test_aiohttp(served: Served) -> None:
    aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is not installed")

    async def pieces() -> AsyncIterator[bytes]:
        for piece in PIECES:
            yield piece

    async def talk() -> None:
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        async with aiohttp.ClientSession(served.url, timeout=timeout, connector=aiohttp.TCPConnector(limit=8)) as session:

            async def get(number: int) -> str:
                async with session.get(f"/{number}") as response:
                    target: str = (await response.json())["target"]
                    return target

            assert await asyncio.gather(*map(get, range(100))) == [f"/{number}" for number in range(100)]
            for options in ({"data": io.BytesIO(WHOLE)}, {"data": pieces()}, {"data": pieces(), "expect100": True}):
                async with session.post("/", **options) as response:
                    assert uploaded(await response.json()) == told("POST")
            async with session.get("/endless") as response:
                assert len(await response.content.readexactly(1 << 20)) == 1 << 20
                response.close()

    asyncio.run(talk())
    served.hung_up()


# --- who hangs up --------------------------------------------------------------------------------------------------------------------------


def test_clients_that_hang_up_early_leave_nothing_behind(served: Served) -> None:
    start = request("POST / HTTP/1.1", "Content-Length: 1000000", body=b"x" * 1000)
    for data in (b"", b"G", start, request("GET /stream HTTP/1.1"), 50 * request(), request("GET /endless HTTP/1.1")):
        for reset in (False, True):
            with socket.create_connection((served.host, served.port), timeout=PATIENCE) as client:
                client.sendall(data)
                if reset:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    for _ in range(2 * PARTS):
        served.application.go.release()
    wait_until(lambda: served.server.stats()["connections"] == 0 and served.server.stats()["requests_in_flight"] == 0)
    assert ask((served.host, served.port), 100 * request(), 100)[0][-1].status == 200
