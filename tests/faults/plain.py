"""A part of the original's kind as a process:

plain.py worker UPSTREAM DOWNSTREAM LOOPBACK INTERRUPT
plain.py proxy UPSTREAM DOWNSTREAM
plain.py server PROXY LOOPBACK INTERRUPT
"""

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
    if "size" in query:
        return "answer", job.response(200, bytes(range(250)) * (int(query["size"][0]) // 250))
    return "answer", job.response(200, query["n"][0].encode())


def main(part: str, *ends: str) -> None:
    if part == "worker":
        upstream, downstream, loopback, interrupt = ends
        made: standins.Part = standins.Worker(upstream, downstream, loopback, interrupt, work)
        says = f"working for {ends[0]}"
    elif part == "proxy":
        made = standins.Proxy(*ends)
        says = f"forwarding from {ends[0]}"
    else:
        made = standins.Server(*ends)
        says = "listening on tcp://{}:{}".format(*made.address)
    signal.signal(signal.SIGTERM, lambda *_: os.write(made.stopping, b"x"))
    made.thread.start()
    print(says, file=sys.stderr, flush=True)
    while made.thread.is_alive():
        made.thread.join(0.1)
    made.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
