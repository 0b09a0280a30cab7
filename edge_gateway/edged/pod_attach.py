"""Who attaches to a container sees what it says from then on, until it ends: `kubectl attach`, as a `stream_server.Talk`.

That is what its log gets, which does not tell apart here what was an error. Containers have no input that could be given.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from edge_gateway.edged.pod_exec import outcome
from edge_gateway.stream_server import Heard, Source, StreamError
from edgewire.streams import CHUNK, STATUS, STDOUT, ExecRequest, LogRequest


class Attachments:
    """Those to a node's pods."""

    def __init__(self, logs: Source) -> None:
        self._logs = logs

    async def __call__(self, request: dict[str, Any], heard: Heard) -> AsyncGenerator[bytes]:
        """Say what the container says. Raises StreamError."""
        try:
            asked = msgspec.convert(request, ExecRequest)
        except msgspec.ValidationError as error:
            raise StreamError(400, str(error)) from error
        if asked.stdin or asked.tty:
            raise StreamError(400, f"container {asked.container} has no input and no terminal")
        log = LogRequest(asked.namespace, asked.pod, asked.container, follow=True, tail_lines=0)
        async with aclosing(self._logs(msgspec.to_builtins(log))) as blocks:
            async for block in blocks:
                for begin in range(0, len(block), CHUNK - 1):
                    yield bytes([STDOUT]) + block[begin : begin + CHUNK - 1]
        yield bytes([STATUS]) + outcome(0)
