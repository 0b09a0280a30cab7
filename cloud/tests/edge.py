"""A node at the end of a real connection: stores what it is offered, reports what it is told to, and speaks only the link."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from cloud.tests.desk import version_of
from edgewire import link as links
from edgewire import message as wire
from edgewire import resource, twin
from edgewire.link import Link
from edgewire.message import Message

PROJECT = "e632aba927ea4ac2b575ec1603d56f10"


def tls_of(pki: Path, node: str | None) -> ssl.SSLContext:
    """A node's side of the mutual TLS; None comes without a certificate."""
    context = ssl.create_default_context(cafile=pki / "ca.crt")
    if node is not None:
        context.load_cert_chain(pki / "nodes" / f"{node}.crt", pki / "nodes" / f"{node}.key")
    return context


def dial(port: int, pki: Path, node: str, *, certificate: str | None = "", header: str | None = None) -> connect:
    """A connection attempt; certificate and header are the node's own unless said otherwise."""
    return connect(
        f"wss://localhost:{port}/{PROJECT}/{node}/events",
        ssl=tls_of(pki, node if certificate == "" else certificate),
        additional_headers={
            "node_id": node if header is None else header,
            "project_id": PROJECT,
            "ConnectionUse": "msg",
        },
        max_size=wire.MAX_FRAME,
        compression=None,
        proxy=None,
    )


class EdgeClient:
    """One connection of a node."""

    def __init__(self, connection: ClientConnection, has: dict[str, str]) -> None:
        self.connection = connection
        self.link = Link(source="edgehub", now=self._now(), keepalive_s=15.0, resend_after_s=1.0, resend_limit=60)
        self.versions = has
        """Object -> version on this node; outlives the connection."""
        self.objects: dict[str, dict[str, Any]] = {}
        self.offered: list[str] = []
        self.delivered: set[str] = set()
        self.refused: dict[str, tuple[int, str]] = {}
        self.refuse: dict[str, str] = {}
        self._wake = asyncio.Event()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def send(self, operation: str, about: str, content: Any) -> Message:
        message = wire.build(operation, about, content, source="edgehub")
        self.link.offer(message.id, lambda: message)
        self._wake.set()
        return message

    def tell_inventory(self) -> Message:
        return self.send(wire.GET, resource.INVENTORY, {"objects": self.versions})

    def report(self, id: str, at: int, **values: str) -> Message:
        twins: dict[str, twin.Twin | None] = {
            p: twin.Twin(reported=twin.Value(v, twin.Stamp(at))) for p, v in values.items()
        }
        return self.send(
            wire.UPDATE, resource.device_report(id, resource.TWIN_UPDATED), twin.updated_content("", at, twins)
        )

    async def run(self) -> None:
        """Move frames until the connection ends."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read())
            tasks.create_task(self._write())

    async def _read(self) -> None:
        while True:
            frame = await self.connection.recv(decode=False)
            for event in self.link.receive(frame, self._now()):
                match event:
                    case links.Received(message):
                        self._store(message)
                    case links.Delivered(_, message):
                        self.delivered.add(message.id)
                    case links.Refused(_, message, code, reason):
                        self.refused[message.id] = (code, reason)
            self._wake.set()

    async def _write(self) -> None:
        while True:
            self._wake.clear()
            self.link.tick(self._now())
            for frame in self.link.frames(self._now()):
                await self.connection.send(frame, text=True)
            due = self.link.next_tick()
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - self._now())):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _store(self, message: Message) -> None:
        self.offered.append(f"{message.operation} {message.resource}")
        if message.resource == resource.MEMBERSHIP:
            return
        if (why := self.refuse.get(message.resource)) is not None:
            self.link.refuse(message, 400, why)
            return
        if message.operation == wire.DELETE:
            self.versions.pop(message.resource, None)
            self.objects.pop(message.resource, None)
        else:
            self.versions[message.resource] = version_of(message)
            self.objects[message.resource] = msgspec.json.decode(message.content)
        self.link.acknowledge(message)


@asynccontextmanager
async def edge(
    port: int, pki: Path, node: str = "edge1", has: dict[str, str] | None = None
) -> AsyncIterator[EdgeClient]:
    """A connected node that has told its inventory; `has` is what it has, and is kept up to date."""
    async with dial(port, pki, node) as connection:
        client = EdgeClient(connection, {} if has is None else has)
        client.tell_inventory()
        running = asyncio.create_task(client.run(), name=f"edge {node}")
        try:
            yield client
        finally:
            running.cancel()
            try:
                await running
            except* (asyncio.CancelledError, ConnectionClosed):
                pass
