"""Connections to ports of pods that somebody has from afar: `kubectl port-forward`, as a `stream_server.Talk`.

They are made as a kubelet makes them, in the pod's own network, to its 127.0.0.1 or ::1, and end with the pod. Where a pod has
the machine's network, all that the machine runs is there too: only ports that the pod names as its containers' are connected to.
"""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any

import msgspec

from edge_gateway.edged.network_entry import socket_in
from edge_gateway.edged.pod_life import PodLife
from edge_gateway.edged.pods import Pod
from edge_gateway.edged.runtime import Runtime, RuntimeTrouble
from edge_gateway.stream_server import Heard, StreamError
from edgewire import resource
from edgewire.resource import Resource
from edgewire.streams import CHUNK, HALF_CLOSE, STDIN, STDOUT, WINDOW, ForwardRequest

log = logging.getLogger(__name__)

CONNECT_S = 10.0
LOOK_S = 1.0
"""Between two looks whether the pod still runs: a connection ends with it."""
_PLACES = ((socket.AF_INET, "tcp4", "127.0.0.1"), (socket.AF_INET6, "tcp6", "::1"))
_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Forwards:
    """Those to a node's pods."""

    def __init__(self, life_of: Callable[[Resource], PodLife | None], runtime: Runtime) -> None:
        """`life_of` gives the pod of a name."""
        self._life_of = life_of
        self._runtime = runtime

    async def __call__(self, request: dict[str, Any], heard: Heard) -> AsyncGenerator[bytes]:
        """Connect what a `ForwardRequest` asks for. Raises StreamError."""
        try:
            asked = msgspec.convert(request, ForwardRequest)
        except msgspec.ValidationError as error:
            raise StreamError(400, str(error)) from error
        life = self._life_of(Resource(asked.namespace, resource.POD, asked.pod))
        if life is None:
            raise StreamError(404, f"pod {asked.namespace}/{asked.pod} is not here")
        try:
            reader, writer = await self._connect(life, asked.port)
        except (RuntimeTrouble, OSError) as error:
            what = f"port {asked.port} to pod {asked.pod}_{asked.namespace}, uid {life.pod.uid}"
            raise StreamError(500, f"error forwarding {what}: {error}") from error
        log.info("= connection forwarded pod=%s port=%d", life.pod.id, asked.port)
        hearing = asyncio.create_task(_hear(heard, writer), name=f"forward to {life.pod.id}")
        try:
            async for content in _said(reader, life):
                yield bytes([STDOUT]) + content
            yield bytes([HALF_CLOSE, STDOUT])
            while not hearing.done() and _runs(life):
                await asyncio.wait((hearing,), timeout=LOOK_S)
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
            _close(writer)

    async def _connect(self, life: PodLife, port: int) -> _Connection:
        """Raises OSError, RuntimeTrouble."""
        pod = life.pod
        if not _runs(life):
            raise ConnectionError("the pod does not run")
        network = await self._runtime.network(pod)
        if not network and port not in _named(pod):
            raise PermissionError(
                f"the pod has the machine's network, and {port} is none of the containerPorts that it names there"
            )
        said = []
        for family, kind, address in _PLACES:
            made = await socket_in(network, family)
            try:
                async with asyncio.timeout(CONNECT_S):
                    await asyncio.get_running_loop().sock_connect(made, (address, port))
                return await asyncio.open_connection(sock=made, limit=WINDOW)
            except (OSError, TimeoutError) as error:
                made.close()
                where = f"[{address}]" if ":" in address else address
                said.append(f"dial {kind} {where}:{port}: connect: {_why(error)}")
            except BaseException:
                made.close()
                raise
        inside = f'inside namespace "{network or "host"}"'
        raise ConnectionError(f"failed to connect to localhost:{port} {inside}, IPv4: {said[0]} IPv6 {said[1]}")


def _named(pod: Pod) -> set[int]:
    """The TCP ports that a pod names."""
    containers = (*pod.spec.init_containers, *pod.spec.containers)
    return {port.container_port for of in containers for port in of.ports if port.protocol.upper() == "TCP"}


def _why(error: Exception) -> str:
    """As Go says it."""
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number).lower() if number else str(error) or "i/o timeout"


def _runs(life: PodLife) -> bool:
    return any(container.alive for container in life.containers)


async def _said(reader: asyncio.StreamReader, life: PodLife) -> AsyncGenerator[bytes]:
    """What the pod says, until it says no more."""
    while _runs(life):
        try:
            async with asyncio.timeout(LOOK_S):
                content = await reader.read(CHUNK - 1)
        except TimeoutError:
            continue
        except OSError:  # it ended the connection without a word
            return
        if not content:
            return
        yield content


async def _hear(heard: Heard, writer: asyncio.StreamWriter) -> None:
    """Pass on what is said to the pod, until all is said, or the pod hears no more."""
    writer.transport.set_write_buffer_limits(high=WINDOW)
    with suppress(OSError):
        while True:
            piece = await heard.next()
            if piece == bytes([HALF_CLOSE, STDIN]):
                writer.write_eof()
                return
            if piece[:1] == bytes([STDIN]):
                writer.write(piece[1:])
                await writer.drain()


def _close(writer: asyncio.StreamWriter) -> None:
    if writer.transport.get_write_buffer_size():
        writer.transport.abort()  # what a pod does not take would keep it open for ever
    else:
        writer.close()
