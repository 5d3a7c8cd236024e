"""Small messages between a hub and a worker process that was started with it: what both do, for tests. A message is its kind and its frames."""

from collections.abc import Iterable

def send_packet(descriptor: int, messages: list[tuple[int, Iterable[bytes]]]) -> bool:
    """Sends the messages as one packet, without waiting; False where that can't be done now. Raises `ValueError` for what doesn't fit into one."""

def receive_packet(descriptor: int) -> list[tuple[int, list[bytes]]] | None:
    """The messages of the next packet, None where none is waiting. Raises `ProtocolError` where it is malformed, `EOFError` at the end."""
