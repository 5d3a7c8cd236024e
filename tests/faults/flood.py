"""A flood as a process: `flood.py HOST PORT CONNECTIONS REQUESTS_PER_SECOND SECONDS TARGET [stay]`.

It offers requests, pipelined over its connections, as far as the server takes them, waits for no answer, and counts what it is told, by status. At
the end its connections close, or `stay` until a line comes on stdin; it prints the counts as JSON then.
"""

import collections
import json
import re
import selectors
import socket
import sys
import time

TICK = 0.02
MOST_UNSENT = 65536  # bytes of one connection


class Client:
    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setblocking(False)
        self.unsent = b""
        self.tail = b""
        self.offered = 0
        self.open = True


def main() -> None:
    host, port, connections, rate, seconds, target = sys.argv[1], *map(float, sys.argv[2:6]), sys.argv[6]
    request = f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    clients = [Client((host, int(port))) for _ in range(int(connections))]
    told: collections.Counter[str] = collections.Counter()
    retry: collections.Counter[int] = collections.Counter()
    selector = selectors.DefaultSelector()
    for client in clients:
        selector.register(client.socket, selectors.EVENT_READ, client)

    def read(timeout: float) -> None:
        for key, _ in selector.select(timeout):
            client = key.data
            try:
                data = client.socket.recv(262144)
            except OSError:
                data = b""
            if not data:
                told["closed"] += 1
                client.open = False
                selector.unregister(client.socket)
                client.socket.close()
                continue
            data = client.tail + data
            end = data.rfind(b"\r\n\r\n")
            end = 0 if end < 0 else end
            client.tail = data[end:]
            for status in re.findall(rb"HTTP/1\.1 (\d+)", data[:end]):
                told[status.decode()] += 1
            for value in re.findall(rb"\r\nRetry-After: (\d+)", data[:end]):
                retry[int(value)] += 1

    print("flooding", flush=True)
    since = time.monotonic()
    while (now := time.monotonic()) - since < seconds:
        for client in clients:
            if not client.open:
                continue
            due = int(rate / connections * (now - since)) - client.offered
            client.offered += due
            if len(client.unsent) < MOST_UNSENT:
                client.unsent += request * due
            if client.unsent:
                try:
                    client.unsent = client.unsent[client.socket.send(client.unsent) :]
                except BlockingIOError:
                    pass
                except OSError:
                    pass  # the read tells
        while (left := now + TICK - time.monotonic()) > 0:
            read(left)
    if "stay" in sys.argv:
        print("staying", flush=True)
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        while True:
            # what is still answered is thrown away
            events = selector.select()
            if any(key.fileobj == sys.stdin.fileno() for key, _ in events):
                break
            for key, _ in events:
                assert isinstance(key.fileobj, socket.socket)
                try:
                    if not key.fileobj.recv(262144):
                        selector.unregister(key.fileobj)
                except OSError:
                    selector.unregister(key.fileobj)
    for client in clients:
        client.socket.close()
    print(json.dumps({"offered": sum(client.offered for client in clients), "told": told, "retry_after": retry}), flush=True)


if __name__ == "__main__":
    main()
