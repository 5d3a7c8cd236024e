"""The demonstration's work functions: `parse` and `compute` as two stages, `work` as one.

`GET /is_prime?possible_prime=N` and `POST /is_prime` with N as the body are answered by N if it is prime, else by 18446744073709551615.
"""

from prime_server._ext.job import Job
from prime_server._ext.nativework import NativeWork
from prime_server._ext.primality import SIMD, is_prime_checked
from prime_server._ext.response import Response
from prime_server._ext.stages import COMPUTE, NOT_PRIME, PARSE, WORK

__all__ = ["SIMD", "compute", "parse", "work"]


def _judge(job: Job, n: int) -> Response:
    return Response(200, str(n) if is_prime_checked(n, job.check) else NOT_PRIME, content_type="text/plain")


def _compute_big(job: Job) -> Response:
    return _judge(job, int(bytes(job.frames[0])))


def _work_big(job: Job) -> Response:
    # The native half has seen that the request is right: only its number was too big for it.
    payload = bytes(job.frames[0])
    if payload.strip()[:1].isdigit():  # netstring: the number and nothing else
        return _judge(job, int(payload))
    request = job.request
    return _judge(job, int(bytes(request.body)) if request.method == "POST" else int(request.query["possible_prime"][0]))


parse = NativeWork(PARSE)
"""The first stage: forwards the digits of the number, or tells how a request should look."""

compute = NativeWork(COMPUTE, fallback=_compute_big)
"""The second stage: answers the number if it is prime."""

work = NativeWork(WORK, fallback=_work_big)
"""Both in one stage."""

if __name__ == "__main__":
    from prime_server.commands.primes import main

    main()
