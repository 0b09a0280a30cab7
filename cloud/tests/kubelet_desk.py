"""The kubelets' API over real TLS, with one node at the other end of its link, and a client as the API server is one."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from cloud import certificates
from cloud.apiserver import pki
from cloud.kubelet_api import KubeletApi
from cloud.node_streams import NodeStreams
from cloud.sessions import Sessions
from cloud.tests.spdy_client import SpdyClient
from edgewire import link as links
from edgewire import message as wire
from edgewire import streams
from edgewire.link import Link
from edgewire.streams import Part

DEADLINE_S = 20.0


class Node:
    """A node's end of the link, moved by its session's `wake`."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._link = Link(source="edgehub", now=0.0)
        self._session = sessions.open("edge1", 0.0, self._woken)
        self.parts: asyncio.Queue[Part] = asyncio.Queue()

    def _woken(self) -> None:
        for frame in self._session.link.frames(0.0) if hasattr(self, "_session") else ():
            for event in self._link.receive(frame, 0.0):
                if isinstance(event, links.Received) and event.message.group == streams.GROUP:
                    self.parts.put_nowait(streams.decode(event.message))
            for receipt in self._link.frames(0.0):
                self._sessions.receive(self._session, receipt, 0.0)

    def say(self, part: Part) -> None:
        frame = wire.encode(streams.encode(part, "edged"))
        self._sessions.receive(self._session, frame, 0.0)

    async def next(self) -> Part:
        async with asyncio.timeout(DEADLINE_S):
            return await self.parts.get()

    def leave(self) -> None:
        self._sessions.close(self._session)


class Desk:
    """The API, served, with one node, and a client as the API server is one."""

    def __init__(self, folder: Path) -> None:
        authority = certificates.ensure_ca(folder / "link")
        server = certificates.ensure_server(folder / "link", ["127.0.0.1"])
        pki.make_server(folder / "kubernetes", ["localhost"])
        self.folder, self._authority = folder, authority
        self.sessions = Sessions()
        node_streams = NodeStreams(self.sessions)
        self.sessions.attach([node_streams], [])
        self.node = Node(self.sessions)
        clients = folder / "kubernetes" / "pki" / "ca.crt"
        node_of = {"default/web": "edge1"}.get
        self.api = KubeletApi(
            node_streams, lambda id: node_of(id) or "", server.certificate, server.key, clients, "127.0.0.1", 0
        )

    def _tls(self, certificate: Path, key: Path) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._authority.certificate)
        context.load_cert_chain(certificate, key)
        return context

    async def spdy(self, path: str, *protocols: str) -> SpdyClient:
        folder = self.folder / "kubernetes" / "pki"
        context = self._tls(folder / "kubelet-client.crt", folder / "kubelet-client.key")
        return await SpdyClient.ask(self.api.port, context, path, *protocols)

    def client(self, certificate: Path, key: Path) -> aiohttp.ClientSession:
        context = self._tls(certificate, key)
        return aiohttp.ClientSession(
            f"https://127.0.0.1:{self.api.port}", connector=aiohttp.TCPConnector(ssl=context, force_close=True)
        )

    def api_server(self) -> aiohttp.ClientSession:
        folder = self.folder / "kubernetes" / "pki"
        return self.client(folder / "kubelet-client.crt", folder / "kubelet-client.key")


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Desk]:
    """A desk while it serves."""
    desk = Desk(folder)
    ready = asyncio.Event()
    serving = asyncio.create_task(desk.api.run(ready))
    async with asyncio.timeout(DEADLINE_S):
        await ready.wait()
    try:
        yield desk
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
