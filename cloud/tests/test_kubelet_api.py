"""The kubelets' API over real TLS: who may ask, what is asked of the node, and how its answer comes."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cloud import certificates
from cloud.apiserver import pki
from cloud.kubelet_api import KubeletApi
from cloud.node_streams import NodeStreams
from cloud.sessions import Sessions
from edgewire import link as links
from edgewire import message as wire
from edgewire import streams
from edgewire.link import Link
from edgewire.streams import CHUNK, Closed, Data, Opened, Part

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

    def client(self, certificate: Path, key: Path) -> aiohttp.ClientSession:
        context = ssl.create_default_context(cafile=self._authority.certificate)
        context.load_cert_chain(certificate, key)
        return aiohttp.ClientSession(
            f"https://127.0.0.1:{self.api.port}", connector=aiohttp.TCPConnector(ssl=context, force_close=True)
        )

    def api_server(self) -> aiohttp.ClientSession:
        folder = self.folder / "kubernetes" / "pki"
        return self.client(folder / "kubelet-client.crt", folder / "kubelet-client.key")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    ready = asyncio.Event()
    serving = asyncio.create_task(desk.api.run(ready))
    async with asyncio.timeout(DEADLINE_S):
        await ready.wait()
    yield desk
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


LOG = "/containerLogs/default/web/c"


async def test_what_is_asked_reaches_the_node_and_its_answer_comes_back(desk: Desk) -> None:
    async with desk.api_server() as client:
        query = {"follow": "true", "tailLines": "5", "sinceSeconds": "60", "timestamps": "true"}
        asking = asyncio.create_task(client.get(LOG, params=query))
        opened = await desk.node.next()
        assert isinstance(opened, Opened)
        asked: dict[str, Any] = opened.request
        assert (asked["pod"], asked["container"], asked["follow"], asked["tailLines"]) == ("web", "c", True, 5)
        assert (asked["sinceSeconds"], asked["timestamps"], asked["previous"]) == (60, True, False)
        desk.node.say(Data(opened.id, b"line 1\n"))
        async with asyncio.timeout(DEADLINE_S):
            answer = await asking
            assert (answer.status, answer.content_type) == (200, "text/plain")
            assert await answer.content.readline() == b"line 1\n"
            desk.node.say(Data(opened.id, bytes(CHUNK)))
            desk.node.say(Closed(opened.id))
            assert await answer.content.read() == bytes(CHUNK)


async def test_an_empty_log_is_an_empty_answer(desk: Desk) -> None:
    async with desk.api_server() as client:
        asking = asyncio.create_task(client.get(LOG))
        opened = await desk.node.next()
        desk.node.say(Closed(opened.id))
        async with asyncio.timeout(DEADLINE_S), await asking as answer:
            assert (answer.status, await answer.text()) == (200, "")


async def test_what_the_node_refuses_is_the_status_of_the_answer(desk: Desk) -> None:
    async with desk.api_server() as client:
        asking = asyncio.create_task(client.get(LOG))
        opened = await desk.node.next()
        desk.node.say(Closed(opened.id, 400, "waiting to start"))
        async with asyncio.timeout(DEADLINE_S), await asking as answer:
            assert (answer.status, await answer.text()) == (400, "waiting to start")


async def test_a_reader_that_goes_ends_the_stream_on_the_node(desk: Desk) -> None:
    async with desk.api_server() as client:
        asking = asyncio.create_task(client.get(LOG, params={"follow": "true"}))
        opened = await desk.node.next()
        desk.node.say(Data(opened.id, b"x"))
        async with asyncio.timeout(DEADLINE_S):
            (await asking).close()
        part = await desk.node.next()
        while not isinstance(part, Closed):
            part = await desk.node.next()
        assert part.id == opened.id


async def test_a_node_that_is_away_is_said_to_be(desk: Desk) -> None:
    desk.node.leave()
    async with desk.api_server() as client, asyncio.timeout(DEADLINE_S), client.get(LOG) as answer:
        assert (answer.status, await answer.text()) == (503, "node edge1 is not connected")


@pytest.mark.parametrize(
    ("path", "status"),
    [("/containerLogs/default/other/c", 404), (LOG + "?tailLines=many", 400), ("/pods", 404), ("/exec/a/b/c", 404)],
)
async def test_what_cannot_be_asked_is_refused(desk: Desk, path: str, status: int) -> None:
    async with desk.api_server() as client, asyncio.timeout(DEADLINE_S), client.get(path) as answer:
        assert answer.status == status


async def test_a_client_of_the_same_authority_that_is_not_the_api_server_may_not(desk: Desk) -> None:
    made = pki.issue_client(desk.folder / "kubernetes", "somebody", ["developers"])
    certificate, key = desk.folder / "some.crt", desk.folder / "some.key"
    await asyncio.to_thread(certificate.write_bytes, made.certificate)
    await asyncio.to_thread(key.write_bytes, made.key)
    async with desk.client(certificate, key) as client, asyncio.timeout(DEADLINE_S), client.get(LOG) as answer:
        assert answer.status == 403


async def test_a_node_is_not_the_api_server(desk: Desk) -> None:
    node = certificates.ensure_node(desk.folder / "link", "edge1")
    async with desk.client(node.certificate, node.key) as client, asyncio.timeout(DEADLINE_S):
        with pytest.raises(aiohttp.ClientError):
            await client.get(LOG)
