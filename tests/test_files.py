"""The work function of prime_filed: what it serves, and that no path leaves the root."""

import http.client
import os
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import PATIENCE, Process, Start

from prime_server._ext.request import Request
from prime_server._ext.response import Response
from prime_server.files import Blocks, Files, content_type


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree with a secret beside it, and links that lead there."""
    (tmp_path / "secret.txt").write_text("secret")
    root = tmp_path / "root"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "index.html").write_text("<p>home</p>")
    (root / "a b.txt").write_text("space")
    (root / "ünï.txt").write_text("unicode")
    (root / "sub" / "index.html").write_text("<p>sub</p>")
    (root / "sub" / "empty.css").write_text("")
    (root / "big.bin").write_bytes(bytes(range(256)) * 1024)
    (root / "inside.txt").symlink_to("sub/index.html")
    (root / "outside.txt").symlink_to(tmp_path / "secret.txt")
    (root / "up").symlink_to("..")
    (root / "loop").symlink_to("loop")
    (root / "dangling").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    (tmp_path / "root-sibling").mkdir()
    (tmp_path / "root-sibling" / "index.html").write_text("secret")
    return root


def peak(process: Process) -> int:
    """Bytes that it has had in memory at most."""
    return 1024 * int(Path(f"/proc/{process.pid}/status").read_text().partition("VmHWM:")[2].split()[0])


def get(root: Path, target: str, method: str = "GET") -> Response:
    return Files(root)(SimpleNamespace(request=Request(method, target)))


@pytest.mark.parametrize(
    ("target", "kind", "body"),
    [
        ("/", "text/html", b"<p>home</p>"),
        ("/index.html", "text/html", b"<p>home</p>"),
        ("/index.html?version=3", "text/html", b"<p>home</p>"),
        ("//index.html", "text/html", b"<p>home</p>"),
        ("/./sub/../index.html", "text/html", b"<p>home</p>"),
        ("/sub", "text/html", b"<p>sub</p>"),
        ("/sub/", "text/html", b"<p>sub</p>"),
        ("/sub/empty.css", "text/css", b""),
        ("/a%20b.txt", "text/plain", b"space"),
        ("/%C3%BCn%C3%AF.txt", "text/plain", b"unicode"),
        ("/inside.txt", "text/plain", b"<p>sub</p>"),
        ("/big.bin", "application/octet-stream", bytes(range(256)) * 1024),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_served(root: Path, method: str, target: str, kind: str, body: bytes) -> None:
    response = get(root, target, method)
    assert (response.status, response.headers["Content-Type"], response.body) == (200, kind, body)


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + 1, pytest.param(1 << 28, marks=pytest.mark.timing)])
def test_a_big_file_leaves_in_blocks(start: Start, tmp_path: Path, size: int) -> None:
    """As a whole it would take its size in memory. What is sparse needs no room on the disk."""
    with open(tmp_path / "big", "wb") as file:
        file.write(b"begin")
        file.seek(size - 3)
        file.write(b"end")
    server = start("prime_filed", "tcp://127.0.0.1:0", str(tmp_path))
    with closing(http.client.HTTPConnection(*server.address(), timeout=PATIENCE)) as client:
        client.request("GET", "/nothing")
        assert client.getresponse().read()
        before = peak(server)
        for method in ("HEAD", "GET"):
            client.request(method, "/big")
            answer = client.getresponse()
            assert (answer.getheader("Content-Length"), answer.getheader("Transfer-Encoding")) == (str(size), None)
            begin, end, came = b"", b"", 0
            while piece := answer.read(1 << 20):
                begin, end, came = begin or piece[:5], (end + piece)[-3:], came + len(piece)
            assert (begin, end, came) == ((b"begin", b"end", size) if method == "GET" else (b"", b"", 0))
        assert peak(server) - before <= 16 << 20
    assert server.stop() == 0


def test_what_becomes_of_a_big_file_meanwhile(root: Path) -> None:
    """What it had when it was opened is what leaves; less when it is cut short, and that is for the sender to see."""
    size = 1 << 20
    for change, left in ((size + 5, size), (size - 5, size - 5), (0, 0)):
        (root / "file").write_bytes(bytes(size))
        name, file = Files(root).open("/file")
        with closing(Blocks(file, size)) as blocks:
            os.truncate(root / "file", change)
            assert (name, sum(map(len, blocks))) == ("file", left)
        assert file.closed


@pytest.mark.parametrize(
    "target",
    [
        "/nothing",
        "/index.html/",
        "/index.html/more",
        "/sub/deep",
        "/../secret.txt",
        "/sub/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e%2fsecret.txt",
        "/sub/%2e%2e/%2e%2e/secret.txt",
        "/outside.txt",
        "/up/secret.txt",
        "/up/root/../secret.txt",
        "/../root-sibling/index.html",
        "/../root-sibling/",
        "/loop",
        "/dangling",
        "/pipe",
        "/" + "a" * 300,
        "/" + "a/" * 3000,
        "/%ff%fe",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/C:%5Cwindows",
    ],
)
def test_not_found(root: Path, target: str) -> None:
    response = get(root, target)
    assert response.status == 404
    assert b"secret" not in bytes(response.body)


def test_nul_bytes_are_refused(root: Path) -> None:
    assert get(root, "/index.html%00.png").status == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods(root: Path, method: str) -> None:
    response = get(root, "/index.html", method)
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files_are_forbidden(root: Path) -> None:
    (root / "index.html").chmod(0)
    assert get(root, "/index.html").status == 403


def test_a_link_put_in_the_way_leads_nowhere(root: Path) -> None:
    """What was resolved is opened part by part without following links."""
    files = Files(root)
    (root / "sub").rename(root / "real")
    (root / "sub").symlink_to(root.parent)
    with pytest.raises(OSError):
        os.close(files._open(("sub", "secret.txt")))


def test_the_root_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert get(tmp_path / "link", "/sub/").status == 200


def test_the_root_is_a_directory(root: Path) -> None:
    with pytest.raises(NotADirectoryError):
        Files(root / "index.html")
    with pytest.raises(FileNotFoundError):
        Files(root / "nothing")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.html", "text/html"),
        ("a.JSON", "application/json"),
        ("a.tar.gz", "application/gzip"),
        ("a.svg", "image/svg+xml"),
        ("README", "application/octet-stream"),
        ("a.unheardof", "application/octet-stream"),
    ],
)
def test_content_types(name: str, kind: str) -> None:
    assert content_type(name) == kind


def test_no_descriptor_stays_open(root: Path) -> None:
    before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    if before is None:
        pytest.skip("needs /proc")
    for target in ("/", "/pipe", "/outside.txt", "/nothing", "/sub/deep", "/big.bin"):
        get(root, target)
    assert len(os.listdir("/proc/self/fd")) == len(before)
