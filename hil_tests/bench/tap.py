"""A tap on the link between gateway and cloud: passes frames on, remembers them, and puts in what a test wants to be there.

It is the cloud to the gateway and the gateway to the cloud, with the certificates of both.
"""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from cloud import certificates
from cloud.cloud_hub import tls_context
from edgewire import message as wire
from edgewire.message import Message, MessageError

DEADLINE_S = 10.0
_PASSED_ON = ("node_id", "project_id", "ConnectionUse")


class Tap:
    """Use as `async with`, before the gateway starts; `port` is where it shall look for the cloud."""

    def __init__(self, pki: Path, node: str, cloud_port: int) -> None:
        """`pki` is cloudcore's folder of certificates; what is missing there is made."""
        authority = certificates.ensure_ca(pki)
        server = certificates.ensure_server(pki, ["localhost", "127.0.0.1", "::1"])
        own = certificates.ensure_node(pki, node)
        self._as_cloud = tls_context(authority.certificate, server.certificate, server.key)
        self._as_edge = ssl.create_default_context(cafile=authority.certificate)
        self._as_edge.load_cert_chain(own.certificate, own.key)
        self._cloud_port = cloud_port
        self._changed = asyncio.Event()
        self._cleanup = AsyncExitStack()
        self._edge: ServerConnection | None = None
        self._cloud: ClientConnection | None = None
        self.port = 0
        self.connections = 0
        """How often the gateway has reached the cloud."""
        self.from_edge: list[Message] = []
        self.from_cloud: list[Message] = []

    async def __aenter__(self) -> Self:
        server = await self._cleanup.enter_async_context(
            serve(
                self._join,
                "127.0.0.1",
                0,
                ssl=self._as_cloud,
                compression=None,
                max_size=wire.MAX_FRAME,
                close_timeout=1,
            )
        )
        self.port = next(iter(server.sockets)).getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._cleanup.aclose()

    async def to_edge(self, frame: bytes) -> None:
        """Say this to the gateway, as if the cloud had."""
        assert self._edge is not None
        await self._edge.send(frame, text=True)

    async def to_cloud(self, frame: bytes) -> None:
        """Say this to the cloud, as if the gateway had."""
        assert self._cloud is not None
        await self._cloud.send(frame, text=True)

    async def heard(self, said: list[Message], where: Callable[[Message], bool]) -> Message:
        """The first message in `from_edge` or `from_cloud` that fulfils a condition, once it is there."""
        async with asyncio.timeout(DEADLINE_S):
            while (found := next((message for message in said if where(message)), None)) is None:
                self._changed.clear()
                await self._changed.wait()
            return found

    async def _join(self, edge: ServerConnection) -> None:
        assert edge.request is not None
        headers = {name: edge.request.headers[name] for name in _PASSED_ON}
        url = f"wss://127.0.0.1:{self._cloud_port}{edge.request.path}"
        try:
            async with connect(
                url,
                ssl=self._as_edge,
                additional_headers=headers,
                compression=None,
                max_size=wire.MAX_FRAME,
                proxy=None,
            ) as cloud:
                self._edge, self._cloud = edge, cloud
                self.connections += 1
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pass_on(edge, cloud, self.from_edge))
                    both.create_task(self._pass_on(cloud, edge, self.from_cloud))
        except* (OSError, ConnectionClosed):
            pass  # the other side is closed with it, and the gateway comes again

    async def _pass_on(
        self, origin: ServerConnection | ClientConnection, to: ServerConnection | ClientConnection, said: list[Message]
    ) -> None:
        async for frame in origin:
            await to.send(frame)
            try:
                said.append(wire.decode(frame))
            except MessageError:
                continue
            self._changed.set()
        await to.close()
