"""The demo's job as a plain Python function for `prime_server run bench.app:work`."""

from bench.demo import NOT_PRIME
from prime_server import Job, Response, is_prime


def work(job: Job) -> Response:
    n = int(job.request.query["possible_prime"][0])
    return Response(200, str(n if is_prime(n) else NOT_PRIME))
