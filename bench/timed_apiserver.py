"""The embedded Kubernetes API, saying of each answer how long it took: `python -m bench.timed_apiserver --data DIR …`.

`Server-Timing: api;dur=<ms>` counts from the moment the request's head is read to the moment the answer is ready to be sent:
credentials, rights, reading the body, the patch, the schema, and the commit to disk. HTTP's own parsing and TLS are left out.
"""

import sys
import time

from aiohttp import web

from cloud.apiserver import __main__ as apiserver
from cloud.apiserver.handler import Handler

HEADER = "Server-Timing"
_answer = Handler.__call__


async def _timed(self: Handler, request: web.BaseRequest) -> web.StreamResponse:
    began = time.perf_counter()
    response = await _answer(self, request)
    if not response.prepared:  # a watch, whose head is sent long ago
        response.headers[HEADER] = f"api;dur={1e3 * (time.perf_counter() - began):.3f}"
    return response


def main() -> int:
    """Run it."""
    Handler.__call__ = _timed  # type: ignore[method-assign]
    return apiserver.main()


if __name__ == "__main__":
    sys.exit(main())
