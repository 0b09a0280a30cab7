"""Commands that somebody runs in a pod's container and talks to: `kubectl exec`, as a `stream_server.Talk`.

What goes over the channels is what kubelets and `kubectl` say to each other (k8s.io/kubelet/pkg/cri/streaming/remotecommand).
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec
from msgspec import Struct

from edge_gateway.edged.container_life import ContainerLife
from edge_gateway.edged.environment import Missing
from edge_gateway.edged.orders import Orders
from edge_gateway.edged.pod_life import PodLife
from edge_gateway.edged.runtime import CannotStart, Runtime, RuntimeTrouble, Session
from edge_gateway.edged.volumes import VolumeError
from edge_gateway.stream_server import Heard, StreamError
from edgewire import resource
from edgewire.resource import Resource
from edgewire.streams import CHUNK, HALF_CLOSE, RESIZE, STATUS, STDERR, STDIN, STDOUT, ExecRequest

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""Between two looks whether the container still runs: a command ends with it."""


class _Size(Struct, rename="pascal"):
    """Of a terminal; with the names that Go gives it."""

    width: int
    height: int


class Commands:
    """The commands of a node's pods."""

    def __init__(self, life_of: Callable[[Resource], PodLife | None], orders: Orders, runtime: Runtime) -> None:
        """`life_of` gives the pod of a name."""
        self._life_of = life_of
        self._orders = orders
        self._runtime = runtime

    async def __call__(self, request: dict[str, Any], heard: Heard) -> AsyncGenerator[bytes]:
        """Run what an `ExecRequest` asks for. Raises StreamError."""
        try:
            asked = msgspec.convert(request, ExecRequest)
        except msgspec.ValidationError as error:
            raise StreamError(400, str(error)) from error
        life = self._life_of(Resource(asked.namespace, resource.POD, asked.pod))
        container = life.of(asked.container) if life is not None else None
        if life is None or container is None:
            raise StreamError(404, f"container {asked.container} of pod {asked.namespace}/{asked.pod} is not here")
        attempt = container.record.attempt
        if not container.runs(attempt) or not asked.command:
            raise StreamError(400, "there is no command" if not asked.command else _not_running(asked))
        try:
            order = self._orders.order(life.pod, container.spec, attempt)
            session = await self._runtime.talk(order, asked.command, stdin=asked.stdin, tty=asked.tty)
        except CannotStart as error:
            yield bytes([STDERR]) + f"{error}\n".encode()[: CHUNK - 1]
            yield bytes([STATUS]) + outcome(error.code)
            return
        except (Missing, VolumeError, RuntimeTrouble) as error:
            raise StreamError(500, str(error)) from error
        log.info("= command begins pod=%s container=%s", life.pod.id, container.name)
        hearing = asyncio.create_task(_hear(heard, session), name=f"exec input {life.pod.id}")
        code = 0
        try:
            async for said in _said(session, container, attempt):
                yield said
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
            code = await session.close()
        yield bytes([STATUS]) + outcome(code)


async def _said(session: Session, container: ContainerLife, attempt: int) -> AsyncGenerator[bytes]:
    while container.runs(attempt):
        try:
            async with asyncio.timeout(LOOK_S):
                said = await session.read(CHUNK - 1)
        except TimeoutError:
            continue
        if said is None:
            return
        is_error, content = said
        yield bytes([STDERR if is_error else STDOUT]) + content


async def _hear(heard: Heard, session: Session) -> None:
    while True:
        piece = await heard.next()
        match piece[:1], piece[1:]:
            case (b"\x00", content):
                await session.write(content)
            case (channel, content) if channel == bytes([RESIZE]):
                try:
                    size = msgspec.json.decode(content, type=_Size)
                except msgspec.DecodeError as error:
                    log.debug("< size of a terminal makes no sense error=%s", error)
                else:
                    session.resize(size.width, size.height)
            case (channel, content) if channel == bytes([HALF_CLOSE]) and content == bytes([STDIN]):
                session.end_input()


def outcome(code: int) -> bytes:
    """How a command ended, as the last message of its conversation says it."""
    if code == 0:
        return msgspec.json.encode({"metadata": {}, "status": "Success"})
    return msgspec.json.encode(
        {
            "metadata": {},
            "status": "Failure",
            "message": f"command terminated with non-zero exit code: exit status {code}",
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
        }
    )


def _not_running(asked: ExecRequest) -> str:
    return f'container "{asked.container}" in pod "{asked.pod}" does not run'
