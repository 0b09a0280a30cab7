"""Which log is meant: the cloud asks for a pod and a container, and gets the log of the right attempt."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import msgspec

from edge_gateway.edged.container_life import ContainerLife
from edge_gateway.edged.log_reader import read
from edge_gateway.edged.orders import Orders
from edge_gateway.edged.pod_life import PodLife
from edge_gateway.edged.records import State
from edge_gateway.stream_server import StreamError
from edgewire import resource
from edgewire.resource import Resource
from edgewire.streams import LogRequest


class LogSource:
    """The logs of a node's pods. A `stream_server.Source`."""

    def __init__(self, life_of: Callable[[Resource], PodLife | None], orders: Orders) -> None:
        """`life_of` gives the pod of a name."""
        self._life_of = life_of
        self._orders = orders

    async def __call__(self, request: dict[str, Any]) -> AsyncGenerator[bytes]:
        """The log that a `LogRequest` asks for. Raises StreamError."""
        try:
            asked = msgspec.convert(request, LogRequest)
        except msgspec.ValidationError as error:
            raise StreamError(400, str(error)) from error
        life = self._life_of(Resource(asked.namespace, resource.POD, asked.pod))
        container = life.of(asked.container) if life is not None else None
        if life is None or container is None:
            raise StreamError(404, f"container {asked.container} of pod {asked.namespace}/{asked.pod} is not here")
        attempt = _attempt_of(container, asked.previous)
        if attempt is None:
            what = f'container "{asked.container}" in pod "{asked.pod}"'
            if asked.previous:
                raise StreamError(400, f"previous terminated {what} not found")
            raise StreamError(400, f"{what} is waiting to start: {container.waiting[0]}")
        file = self._orders.log_file(life.pod, container.name, attempt)
        async with aclosing(read(file, asked, lambda: container.runs(attempt))) as pieces:
            async for piece in pieces:
                yield piece


def _attempt_of(container: ContainerLife, previous: bool) -> int | None:
    """The attempt whose log is wanted: the newest that was started, or the one before; None where there is none."""
    record = container.record
    started = [ended.attempt for ended in (record.last, record.ended) if ended is not None]
    if container.state is State.RUNNING:
        started.append(record.attempt)
    if previous:
        started = [attempt for attempt in started if attempt < record.attempt]
    return max(started, default=None)
