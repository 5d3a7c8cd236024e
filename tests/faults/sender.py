"""A worker as a process that tells its proxy at once that it is done with a job, while of the answer but a part has left:

sender.py UPSTREAM LOOPBACK

`/whole` is answered whole, in two parts; of anything else there is the first part alone. For each job it says "sent".
"""

import struct
import sys

import zmq

from prime_server._ext.info import RequestInfo

PART = 400_000
RESULT, MORE, WHOLE = 0x10, 0x20, 0x4000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * PART)


def report(*finished: RequestInfo) -> bytes:
    keys = b"".join(struct.pack("<QQ", info.life, info.key) for info in finished)
    return struct.pack("<4sBBHHHIqQQ8x", b"PRSR", 1, 1, 1, len(finished), 0, 0, 0, 0, 0) + keys


def message(info: RequestInfo, sequence: int, flags: int) -> bytes:
    fields = {name: getattr(info, name) for name in ("id", "time_stamp", "version", "keep_alive", "close", "life", "attempt", "hops")}
    return RequestInfo(**fields, extended=True, code=200, source=1, sequence=sequence, time_left=2 * PART, flags=info.flags | flags).to_bytes()


def main(upstream: str, loopback: str) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    proxy, server = context.socket(zmq.DEALER), context.socket(zmq.PUSH)
    proxy.connect(upstream)
    server.connect(loopback)
    proxy.send_multipart([b"", report()])
    while True:
        first, *payload = proxy.recv_multipart()
        if not payload:
            continue  # a hello
        info = RequestInfo.from_bytes(first)
        server.send_multipart([message(info, 0, RESULT | MORE | WHOLE), HEAD, b"x" * PART])
        if payload[0].startswith(b"GET /whole "):
            server.send_multipart([message(info, 1, RESULT | WHOLE), b"x" * PART])
        proxy.send_multipart([b"", report(info)])
        print("sent", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
