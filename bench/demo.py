"""The job of `prime_serverd` as the peers do it in Python: N out of the query, and N or NOT_PRIME as the answer."""

from prime_server import is_prime

NOT_PRIME = 18446744073709551615


def answer(query: bytes) -> bytes:
    """The body for a query of `possible_prime=N`. As little work as Python can do it with, in the peers' favour: nothing is decoded or checked."""
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        if name == b"possible_prime":
            n = int(value)
            return b"%d" % (n if is_prime(n) else NOT_PRIME)
    raise ValueError("requests should look like: /is_prime?possible_prime=N")
