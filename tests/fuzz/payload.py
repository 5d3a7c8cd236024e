"""The lenient reader of payloads. For any bytes: a request whose parts can be read, or our own error with the status 400, and nothing else; and what
the strict parser lets through, it reads as the same request."""

import re
from collections.abc import Hashable

from prime_server import ProtocolError
from prime_server._ext.parsers import RequestParser
from prime_server._ext.request import Request

from .http_request import TOKENS
from .runner import main, requests

SEEDS = [
    *requests(),
    b"GET %2Fis_prime%3Fpossible_prime%3D3 HTTP/1.1\r\n\r\n",
    b"POST /a?b=%ff+c&d HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\nbody",
]


def target(data: bytes) -> Hashable:
    try:
        request = Request.from_payload(data)
        read = request.method, request.target, request.path, request.query.pairs(), request.headers.fields(), bytes(request.body)
    except ProtocolError as error:
        assert error.status == 400
        answer: Hashable = re.sub(r"b?(['\"]).*\1", "", str(error))
    else:
        assert data.endswith(read[5])
        answer = len(read[2]) > 1, min(len(read[3]), 3), min(len(read[4]), 5), bool(read[5])
    for strict in RequestParser().feed(data):
        same = Request.from_payload(bytes(strict))
        assert (same.method, same.target, bytes(same.body)) == (strict.method, strict.target, bytes(strict.body))
        assert [(name.encode("latin-1"), value.encode("latin-1")) for name, value in same.headers.fields()] == strict.headers
        assert isinstance(same.path, str) and isinstance(same.query.pairs(), list)
    return answer


if __name__ == "__main__":
    main(target, SEEDS, TOKENS)
