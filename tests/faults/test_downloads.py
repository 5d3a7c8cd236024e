"""Big answers in parts, read by curl: neither the server nor its workers grow by more than 16 MB while 300 MB (10 GB where slow tests are run) go
through them, nor while a client reads slowly, with the workers on threads and in processes."""

import signal
import time
from pathlib import Path

import pytest
from conftest import PATIENCE, Process, Start, curl
from pipelines import wait_until

GROWTH = 16 << 20

APPLICATION = """
import itertools, sys

from prime_server import Response, run_threads


def work(job):
    size, parts = (int(number) for number in job.request.path[1:].split("/"))
    def give():
        try:
            for number in range(parts):
                yield number.to_bytes(8, "little") * (size // 8)  # new bytes for each part
        finally:
            open("closed", "w").close()
    return Response(200, give())


if __name__ == "__main__":
    run_threads("tcp://127.0.0.1:0", [work], workers=2, on_ready=lambda endpoint: print("listening on", endpoint, file=sys.stderr))
"""


class Serving:
    def __init__(self, start: Start, directory: Path, place: str) -> None:
        (directory / "app.py").write_text(APPLICATION)
        self.directory = directory
        if place == "threads":
            self.process: Process = start("python", "app.py", cwd=directory)
        else:
            self.process = start("prime_server", "run", "app:work", "--listen", "tcp://127.0.0.1:0", "--workers", "2", cwd=directory)
        host, port = self.process.address()
        self.url = f"http://{host}:{port}"
        for _ in range(20):  # all has been in use once
            self.get("/65536/20")
        (directory / "closed").unlink()
        self.before = self.peaks()

    def get(self, path: str, *options: str) -> int:
        """Has curl download it, and returns how many bytes there were."""
        client = curl("--output", "/dev/null", "--write-out", "%{size_download}", *options, self.url + path)
        said, errors = client.communicate(timeout=300)
        assert client.returncode == 0, errors
        return int(said)

    def peaks(self) -> dict[str, int]:
        """Of the server and its workers: the most memory they have had."""
        pid = self.process.pid
        pids = [str(pid), *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return {one: 1024 * int(Path(f"/proc/{one}/status").read_text().partition("VmHWM:")[2].split()[0]) for one in pids}

    def growth(self) -> int:
        return max(peak - self.before[pid] for pid, peak in self.peaks().items())


@pytest.fixture(params=["threads", "processes"])
def serving(request: pytest.FixtureRequest, start: Start, directory: Path) -> Serving:
    return Serving(start, directory, request.param)


@pytest.mark.parametrize("size", [300_000_000, pytest.param(10_000_000_000, marks=pytest.mark.slow)])
def test_a_big_download_needs_no_memory(serving: Serving, size: int) -> None:
    assert serving.get(f"/65536/{size // 65536}") == size // 65536 * 65536
    assert serving.get(f"/4000000/{size // 40_000_000}") == size // 40_000_000 * 4_000_000
    assert serving.growth() <= GROWTH
    assert serving.process.stop() == 0


def test_slow_readers_need_no_memory(serving: Serving) -> None:
    """As many as there are workers, of endless answers; others who leave at once come between."""
    clients = [curl("--output", "/dev/null", "--limit-rate", "2M", serving.url + "/1000000/1000000") for _ in range(2)]
    time.sleep(1.0)  # what grew would grow by a hundred times as much
    assert serving.growth() <= GROWTH
    for client in clients:
        assert client.poll() is None
        client.send_signal(signal.SIGTERM)
        client.communicate(timeout=PATIENCE)
    wait_until((serving.directory / "closed").exists)
    assert serving.get("/100/1") == 96
    assert serving.process.stop() == 0
