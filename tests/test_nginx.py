"""nginx in front, with the configuration in deploy/nginx: TLS, connections that are kept, uploads and streams that pass as they come."""

import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from asking import address_of
from conftest import CHECKOUT, PATIENCE
from peers import ENVIRONMENT, PARTS, Application, digest, serving, tool
from pipelines import wait_until

from prime_server.run import Threads

CONFIGURATION = CHECKOUT / "deploy" / "nginx" / "prime_server.conf"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

pytestmark = [
    pytest.mark.checkout,
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]


class Proxied(NamedTuple):
    port: int
    certificate: Path
    application: Application
    server: Threads

    def connect(self) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self.certificate))
        return http.client.HTTPSConnection("localhost", self.port, timeout=PATIENCE, context=context)


def configured(text: str, directory: Path, port: int, upstream: int) -> str:
    """The configuration as it is, but for what its reader is told to change; and around it the least that nginx wants."""
    for old, new in (
        ("listen 443 ", f"listen 127.0.0.1:{port} "),
        ("127.0.0.1:8002;", f"127.0.0.1:{upstream};"),
        ("server_name prime.example;", "server_name localhost;"),
        ("/etc/ssl/certs/prime.example.pem", f"{directory}/certificate.pem"),
        ("/etc/ssl/private/prime.example.key", f"{directory}/key.pem"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    paths = "".join(f"{kind}_temp_path {directory}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;\n" if os.getuid() == 0 else ""  # whom the directory belongs to
    return f"{user}worker_processes 1;\ndaemon off;\npid {directory}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{paths}{text}}}\n"


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    directory = tmp_path_factory.mktemp("nginx")
    certificate = directory / "certificate.pem"
    tool(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
        "-keyout", str(directory / "key.pem"), "-out", str(certificate),
    )  # fmt: skip
    application = Application()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with serving(application) as server:
        (directory / "nginx.conf").write_text(configured(CONFIGURATION.read_text(), directory, port, address_of(server)[1]))
        assert NGINX is not None
        arguments = [NGINX, "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", str(directory / "error.log")]
        nginx = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=ENVIRONMENT)
        made = Proxied(port, certificate, application, server)

        def listens() -> bool:
            assert nginx.poll() is None, (directory / "error.log").read_text()
            try:
                socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
            except ConnectionRefusedError:
                return False
            return True

        try:
            wait_until(listens)
            yield made
        finally:
            nginx.terminate()
            nginx.communicate(timeout=PATIENCE)
        assert "[emerg]" not in (directory / "error.log").read_text()


def asked(connection: http.client.HTTPSConnection, method: str, target: str, **options: Any) -> dict[str, object]:
    connection.request(method, target, **options)
    response = connection.getresponse()
    assert response.status == 200
    said: dict[str, object] = json.loads(response.read())
    return said


def test_targets_and_fields_go_through(proxied: Proxied) -> None:
    with closing(proxied.connect()) as connection:
        for method, target in (("GET", "/%61%2Fb//c?x=%C3%A4+y&z="), ("PUT", "/?"), ("DELETE", "/a;b")):
            said = asked(connection, method, target)
            assert (said["method"], said["target"]) == (method, target)
        fields = said["fields"]
        assert isinstance(fields, dict)
        assert (fields["host"], fields["x-forwarded-proto"], fields["x-forwarded-for"]) == ("localhost", "https", "127.0.0.1")
        assert "connection" not in fields


def test_connections_are_kept(proxied: Proxied) -> None:
    before = proxied.server.stats()["connections_accepted"]
    for _ in range(5):
        with closing(proxied.connect()) as connection:
            for number in range(20):
                asked(connection, "GET", f"/{number}")
    assert proxied.server.stats()["connections_accepted"] - before <= 2


@pytest.mark.parametrize("chunked", [False, True])
def test_uploads(proxied: Proxied, chunked: bool) -> None:
    pieces = [bytes([number]) * 50_000 for number in range(60)]
    with closing(proxied.connect()) as connection:
        said = asked(connection, "POST", "/upload", body=iter(pieces) if chunked else b"".join(pieces))
    assert (said["size"], said["digest"]) == (3_000_000, digest(b"".join(pieces)))


def test_an_upload_that_is_too_large(proxied: Proxied) -> None:
    with closing(proxied.connect()) as connection:
        connection.request("POST", "/", headers={"Content-Length": str(11 << 20)})
        assert connection.getresponse().status == 413


def test_a_part_leaves_when_it_is_there(proxied: Proxied) -> None:
    with closing(proxied.connect()) as connection:
        connection.request("GET", "/stream")
        response = connection.getresponse()
        for number in range(PARTS):
            assert response.read1(100) == b"part %d" % number  # the next one is let go only now
            proxied.application.go.release()
        assert response.read() == b""
    proxied.application.go.acquire(blocking=False)


def test_a_client_that_leaves_stops_its_stream(proxied: Proxied) -> None:
    proxied.application.left.clear()
    with closing(proxied.connect()) as connection:
        connection.request("GET", "/endless")
        connection.getresponse().read(1 << 20)
        assert not proxied.application.left.is_set()
    assert proxied.application.left.wait(PATIENCE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_http_2_outside(proxied: Proxied) -> None:
    if "HTTP2" not in tool("curl", "--version"):
        pytest.skip("this curl has no HTTP/2")
    url = f"https://localhost:{proxied.port}/a?b=c"
    shown = tool("curl", "--silent", "--http2", "--cacert", str(proxied.certificate), "--write-out", " %{http_version}", url)
    assert re.search(r'"target": "/a\?b=c".* 2$', shown)
