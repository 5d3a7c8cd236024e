"""The installed commands as their users meet them: processes, real sockets, and the clients that people have."""

import contextlib
import errno
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, Process, Start
from peers import tool

NOT_PRIME = b"18446744073709551615"
PRIME = 32416190071
DIGITS_4300 = "1" + "0" * 4298 + "1"

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
needs_ab = pytest.mark.skipif(shutil.which("ab") is None, reason="ab (apache2-utils) is not installed")


@contextmanager
def connected(address: tuple[str, int]) -> Iterator[socket.socket]:
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        yield connection


def read_all(connection: socket.socket) -> bytes:
    """All until the server closes, which it has to do."""
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def ask(address: tuple[str, int], method: str, target: str, **options: Any) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection(*address, timeout=PATIENCE)
    try:
        connection.request(method, target, **options)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


@pytest.fixture
def server(start: Start) -> Process:
    return start("prime_serverd", "tcp://127.0.0.1:0", "2", "5")


@needs_curl
def test_curl_gets_the_promised_answer(server: Process) -> None:
    """The line that the server says to try."""
    line = server.wait_for(rb"try: (curl '[^']+')")[1].decode()
    assert tool("sh", "-c", f"{line} --silent") == str(PRIME)
    host, port = server.address()
    assert tool("curl", "--silent", "--data", str(PRIME), f"http://{host}:{port}/is_prime") == str(PRIME)


@pytest.mark.parametrize(
    ("target", "status", "body"),
    [
        (f"/is_prime?possible_prime={PRIME}", 200, str(PRIME).encode()),
        (f"/is_prime?possible_prime={PRIME + 1}", 200, NOT_PRIME),
        ("/is_prime?possible_prime=2", 200, b"2"),
        ("/is_prime?possible_prime=1", 200, NOT_PRIME),
        ("/is_prime?possible_prime=0", 200, NOT_PRIME),
        ("/is_prime?possible_prime=18446744073709551557", 200, b"18446744073709551557"),
        (f"/is_prime?possible_prime={2**127 - 1}", 200, str(2**127 - 1).encode()),
        (f"/is_prime?possible_prime={2**127 + 1}", 200, NOT_PRIME),
        (f"/is_prime?possible_prime={DIGITS_4300}", 200, NOT_PRIME),
        ("/is_prime?other=1&possible_prime=7&more=", 200, b"7"),
        ("/is_prime?possible%5Fprime=%37", 200, b"7"),
        ("/%69s%5Fprime?possible_prime=7", 200, b"7"),
        (f"/is_prime?possible_prime={DIGITS_4300}0", 400, None),
        ("/is_prime?possible_prime=-7", 400, None),
        ("/is_prime?possible_prime=seven", 400, None),
        ("/is_prime?possible_prime=7.0", 400, None),
        ("/is_prime?possible_prime=", 400, None),
        ("/is_prime?", 400, None),
        ("/is_prime", 400, None),
        ("/", 404, None),
        ("/is_composite?possible_prime=7", 404, None),
    ],
)
def test_queries(shared_server: tuple[str, int], target: str, status: int, body: bytes | None) -> None:
    got_status, headers, got_body = ask(shared_server, "GET", target)
    assert got_status == status
    assert headers["Content-Length"] == str(len(got_body))
    if body is None:
        assert b"requests should look like" in got_body
    else:
        assert got_body == body


@pytest.fixture(scope="module")
def shared_server() -> Iterator[tuple[str, int]]:
    from conftest import command_path

    process = Process([command_path("prime_serverd"), "tcp://127.0.0.1:0", "2", "5", "--max-request", "64K"])
    try:
        yield process.address()
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("method", "body", "status", "answer"),
    [
        ("POST", b"7", 200, b"7"),
        ("POST", b" 7\n", 200, b"7"),
        ("POST", b"9", 200, NOT_PRIME),
        ("POST", b"", 400, None),
        ("POST", b"seven", 400, None),
        ("POST", b"-7", 400, None),
        ("HEAD", None, 400, b""),
        ("PUT", b"7", 405, None),
        ("DELETE", None, 405, None),
    ],
)
def test_methods(shared_server: tuple[str, int], method: str, body: bytes | None, status: int, answer: bytes | None) -> None:
    got, headers, said = ask(shared_server, method, "/is_prime", body=body)
    assert got == status
    assert ("Allow" in headers) == (status == 405)
    if answer is None:
        assert b"requests should look like" in said
    else:
        assert said == answer


def test_head_is_get_without_the_body(shared_server: tuple[str, int]) -> None:
    status, headers, body = ask(shared_server, "HEAD", f"/is_prime?possible_prime={PRIME}")
    assert (status, headers["Content-Length"], body) == (200, str(len(str(PRIME))), b"")


def test_one_connection_for_many_requests(shared_server: tuple[str, int], sieve: bytearray) -> None:
    connection = http.client.HTTPConnection(*shared_server, timeout=PATIENCE)
    connection.connect()
    local = connection.sock.getsockname()
    for n in range(1000):
        if n % 2:
            connection.request("POST", "/is_prime", body=str(n))
        else:
            connection.request("GET", f"/is_prime?possible_prime={n}")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, str(n).encode() if sieve[n] else NOT_PRIME)
    assert connection.sock.getsockname() == local
    connection.close()


def test_a_chunked_upload(shared_server: tuple[str, int]) -> None:
    pieces = [b"32", b"4161", b"90071"]
    assert ask(shared_server, "POST", "/is_prime", body=iter(pieces), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})[::2] == (
        200,
        str(PRIME).encode(),
    )
    with connected(shared_server) as connection:
        connection.sendall(
            b"POST /is_prime HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            b"2;with=extension\r\n32\r\n09\r\n416190071\r\n0\r\nTrailer: too\r\n\r\n"
        )
        assert read_all(connection).endswith(b"\r\n\r\n" + str(PRIME).encode())


def test_pipelined_requests_are_answered_in_order(shared_server: tuple[str, int], sieve: bytearray) -> None:
    """Uneven ones, on 2 workers a stage: the slow one first."""
    numbers = [2**4423 - 1 if n == 100 else n for n in range(500)]
    wanted = b"".join(b"\r\n\r\n" + (str(n).encode() if n > 10**6 or sieve[n] else NOT_PRIME) for n in numbers if n < 10**6)
    with connected(shared_server) as connection:
        connection.sendall(b"".join(b"GET /is_prime?possible_prime=%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in numbers if n < 10**6))
        connection.sendall(b"GET /is_prime?possible_prime=7 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        bodies = re.findall(rb"\r\n\r\n(\d+)", read_all(connection))
    assert b"".join(b"\r\n\r\n" + body for body in bodies) == wanted + b"\r\n\r\n7"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /is_prime\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", 431),
        (b"POST /is_prime HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n", 413),
        (b"POST /is_prime HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 413),
        (b"POST /is_prime HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"4000\r\n" + b"7" * 0x4000 + b"\r\nC001\r\n", 413),
        (b"POST /is_prime HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"POST /is_prime HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ],
)
def test_what_is_refused_leaves_others_alone(shared_server: tuple[str, int], request_bytes: bytes, status: int) -> None:
    with connected(shared_server) as good, connected(shared_server) as bad:
        bad.sendall(request_bytes)
        answer = b""
        try:
            while piece := bad.recv(65536):
                answer += piece
        except ConnectionResetError:  # it was closed with bytes of ours unread
            pass
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert b"connection: close\r\n" in answer.lower()
        good.sendall(b"GET /is_prime?possible_prime=7 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert read_all(good).endswith(b"\r\n\r\n7")


def test_a_large_request_goes_through(shared_server: tuple[str, int]) -> None:
    """Just as large as it may be; the number's digits are few, so it's refused for what it says, not for its size."""
    status, _, body = ask(shared_server, "POST", "/is_prime", body=b"7" * 65536)
    assert (status, b"requests should look like" in body) == (400, True)


@needs_ab
@pytest.mark.parametrize("options", [["-k"], []], ids=["keep-alive", "a connection each"])
def test_ab_sees_no_failures(shared_server: tuple[str, int], options: list[str]) -> None:
    count = 20_000 if options else 2_000
    url = f"http://{shared_server[0]}:{shared_server[1]}/is_prime?possible_prime={PRIME}"
    shown = tool("ab", "-q", *options, "-n", str(count), "-c", "8", url)
    assert re.search(rf"Complete requests: +{count}\n", shown)
    assert re.search(r"Failed requests: +0\n", shown)
    assert "Non-2xx" not in shown


def test_the_access_log(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    server = start("prime_serverd", "tcp://127.0.0.1:0", "1", "5", "--log", str(log))
    address = server.address()
    assert ask(address, "GET", "/is_prime?possible_prime=7")[0] == 200
    assert ask(address, "GET", "/nowhere")[0] == 404
    assert server.stop() == 0
    lines = log.read_text().splitlines()
    assert len(lines) == 4
    first, second = (re.fullmatch(r"(\d+) (\d+\.\d+) GET (\S+) HTTP/1\.1", line) for line in (lines[0], lines[2]))
    assert first
    assert second
    assert (first[3], second[3]) == ("/is_prime?possible_prime=7", "/nowhere")
    assert re.fullmatch(rf"{first[1]} \d+\.\d+ 200 \d+", lines[1])
    assert re.fullmatch(rf"{second[1]} \d+\.\d+ 404 \d+", lines[3])


def test_the_access_log_goes_to_stdout_unless_told_otherwise(start: Start) -> None:
    server = start("prime_serverd", "tcp://127.0.0.1:0", "1", "5", stdout=subprocess.PIPE)
    assert ask(server.address(), "GET", "/is_prime?possible_prime=7")[0] == 200
    server.signal(signal.SIGTERM)
    out, _ = server.popen.communicate(timeout=PATIENCE)
    assert out.count(b"\n") == 2
    assert b" GET /is_prime?possible_prime=7 HTTP/1.1\n" in out


def test_the_health_check_turns_503_before_the_end(start: Start) -> None:
    """The drain takes as long as there is something in flight; whoever asks meanwhile is told."""
    server = start("prime_serverd", "tcp://127.0.0.1:0", "1", "20", "/health")
    address = server.address()
    status, _, body = ask(address, "GET", "/health")
    assert (status, body) == (200, b"OK\n")
    server.signal(signal.SIGTERM)
    status = 200
    while status == 200:
        status, headers, _ = ask(address, "GET", "/health")
    assert (status, headers["Connection"].lower()) == (503, "close")
    assert server.finish() == 0


def test_sigterm_answers_what_is_in_flight(start: Start) -> None:
    server = start("prime_serverd", "tcp://127.0.0.1:0", "1", "20")
    slow = 2**11213 - 1  # of fewer than 4,300 digits, and of some work
    with connected(server.address()) as connection:
        connection.sendall(b"POST /is_prime HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(str(slow)), str(slow).encode()))
        # An answer to a later request on another connection shows that the slow one has been taken.
        assert ask(server.address(), "GET", "/nowhere")[0] == 404
        server.signal(signal.SIGTERM)
        assert read_all(connection).endswith(str(slow).encode())
    assert server.finish() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", [("prime_serverd", "tcp://127.0.0.1:0", "8"), ("prime_echod", "tcp://127.0.0.1:0"), ("prime_filed", "tcp://127.0.0.1:0")])
def test_an_idle_command_ends_at_once(start: Start, command: tuple[str, ...], number: int) -> None:
    server = start(*command)
    address = server.address()
    with connected(address):  # an idle client doesn't hold it up
        server.signal(number)
        assert server.finish(timeout=5.0) == 0
    with pytest.raises(OSError):
        socket.create_connection(address, timeout=PATIENCE)


def test_a_port_that_is_taken(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = start("prime_serverd", f"tcp://127.0.0.1:{taken.getsockname()[1]}")
        assert server.finish() == 1
    assert server.stderr.count(b"\n") == 1
    assert os.strerror(errno.EADDRINUSE).encode() in server.stderr


def test_ipv6(start: Start) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 loopback here")
    server = start("prime_serverd", "tcp://[::1]:0", "1")
    assert ask(server.address(), "GET", "/is_prime?possible_prime=7")[2] == b"7"


def test_all_addresses(start: Start) -> None:
    server = start("prime_serverd", "tcp://*:0", "1")
    _, port = server.address()
    assert ask(("127.0.0.1", port), "GET", "/is_prime?possible_prime=7")[2] == b"7"


@needs_curl
def test_a_unix_socket(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "s"
    server = start("prime_serverd", f"unix:{path}", "1")
    server.endpoint()
    assert tool("curl", "--silent", "--unix-socket", str(path), "http://localhost/is_prime?possible_prime=7") == "7"


@pytest.mark.parametrize(
    ("numbers", "found"),
    [("1", 1), ("1000", 302), ("49999", 9591), ("4,4", 0), ("5,5", 1), ("100000000000000,100000000008000", 238), (f"{2**89 - 1},{2**89 + 9}", 1)],
)
def test_it_asks_itself(start: Start, numbers: str, found: int) -> None:
    asking = start("prime_serverd", numbers, "2", stdout=subprocess.PIPE)
    out, err = asking.popen.communicate(timeout=PATIENCE)
    assert (out, err, asking.popen.returncode) == (b"%d primes found\n" % found, b"", 0)


def test_progress_is_shown_on_a_terminal(start: Start) -> None:
    terminal, side = os.openpty()
    try:
        termios.tcsetwinsize(side, (25, 80))
        asking = start("prime_serverd", "20000", "2", stdout=subprocess.PIPE, stderr=side)
        os.close(side)
        out, _ = asking.popen.communicate(timeout=PATIENCE)
        shown = b""
        with contextlib.suppress(OSError):  # the end of a terminal that nobody writes to any more
            while piece := os.read(terminal, 65536):
                shown += piece
    finally:
        os.close(terminal)
    assert out == b"4202 primes found\n"
    assert b"20000" in shown
    assert b"numbers/s" in shown


@needs_curl
def test_echo(start: Start) -> None:
    host, port = start("prime_echod", "tcp://127.0.0.1:0", "2").address()
    assert tool("curl", "--silent", "--data", "anyone there?", f"http://{host}:{port}/") == "anyone there?"
    assert tool("curl", "--silent", f"http://{host}:{port}/hello?is=anyone+there") == "/hello?is=anyone+there"


@needs_curl
def test_files(start: Start, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "root"
    root.mkdir()
    (root / "page.html").write_text("<p>page</p>")
    (root / "large").write_bytes(os.urandom(5_000_000))
    host, port = start("prime_filed", "tcp://127.0.0.1:0", str(root), "5", "/health").address()
    base = f"http://{host}:{port}"
    assert tool("curl", "--silent", f"{base}/page.html") == "<p>page</p>"
    assert tool("curl", "--silent", f"{base}/health") == "OK\n"
    shown = tool("curl", "--silent", "--head", f"{base}/page.html").lower()
    assert "content-type: text/html" in shown
    assert "content-length: 11" in shown
    tool("curl", "--silent", "--output", str(tmp_path / "copy"), f"{base}/large")
    assert (tmp_path / "copy").read_bytes() == (root / "large").read_bytes()
    for path in ("/../secret", "/%2e%2e/secret", "/..%2fsecret", "//../secret", "/nothing"):
        shown = tool("curl", "--silent", "--path-as-is", "--write-out", " %{http_code}", base + path)
        assert shown.endswith(" 404")
        assert "secret" not in shown


def test_the_readme_keeps_its_promise(start: Start, tmp_path: Path) -> None:
    """Its app.py, word for word, and its commands but for the port."""
    readme = Path(__file__).resolve().parent.parent / "README.md"
    if not readme.exists():
        pytest.skip("needs the checkout")
    program = re.search(r"```python\n# app.py\n(.*?)```", readme.read_text(), re.DOTALL)
    shown = re.search(r"\$ prime_server run (.*?) &\n.*?\$ curl 'http://127\.0\.0\.1:8002(.*?)'\n(.*?)\n", readme.read_text(), re.DOTALL)
    assert program
    assert shown
    (tmp_path / "app.py").write_text(program[1])
    server = start("prime_server", "run", *shown[1].split(), "--listen", "tcp://127.0.0.1:0", cwd=tmp_path)
    address = server.address()
    assert ask(address, "GET", shown[2])[::2] == (200, shown[3].encode())
    assert ask(address, "GET", "/?n=8")[::2] == (200, b"8 is composite")
    assert ask(address, "GET", "/")[0] == 500
    assert ask(address, "GET", shown[2])[::2] == (200, shown[3].encode())
    assert server.stop() == 0
    assert b"KeyError" in server.stderr


def test_a_file_of_the_applications_may_be_named_like_a_module_of_pythons(start: Start, tmp_path: Path) -> None:
    for name in ("random", "click", "zmq", "prime_server"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not this one')\n")
    (tmp_path / "beside.py").write_text("text = 'from beside'\n")
    (tmp_path / "app.py").write_text("import beside\nfrom prime_server import Response\ndef work(job):\n    return Response(200, beside.text)\n")
    server = start("prime_server", "run", "app:work", "--listen", "tcp://127.0.0.1:0", cwd=tmp_path)
    assert ask(server.address(), "GET", "/")[::2] == (200, b"from beside")
    assert server.stop() == 0


def test_an_application_whose_thread_outlives_its_import_is_told_too(start: Start, directory: Path) -> None:
    (directory / "stays.py").write_text("import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\nraise ValueError('no')\n")
    server = start("prime_server", "run", "stays:work", "--listen", "tcp://127.0.0.1:0", cwd=directory)
    assert server.finish() == 4
    assert b"ValueError: no" in server.stderr
    assert server.stderr.count(b"\n") == 1
