"""A worker of the original's kind as a process: `plain_worker.py UPSTREAM DOWNSTREAM LOOPBACK INTERRUPT`."""

import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import standins


def work(job: standins.Job) -> tuple[str, bytes]:
    _, _, query, _ = job.request()
    if "die" in query:
        os.kill(os.getpid(), signal.SIGKILL)
    if "write" in query:
        with open(query["write"][0], "a") as file:
            file.write("x")
    end = time.monotonic() + float(query.get("wait", ["0"])[0])
    while time.monotonic() < end and not job.interrupted():
        time.sleep(0.002)
    return "answer", job.response(200, query["n"][0].encode())


def main() -> None:
    worker = standins.Worker(*sys.argv[1:], work)  # type: ignore[arg-type]
    signal.signal(signal.SIGTERM, lambda *_: os.write(worker.stopping, b"x"))
    worker.thread.start()
    print("working for", sys.argv[1], file=sys.stderr, flush=True)
    while worker.thread.is_alive():
        worker.thread.join(0.1)
    worker.close()


if __name__ == "__main__":
    main()
