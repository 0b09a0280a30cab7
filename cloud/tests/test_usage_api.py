"""What nodes use, over real TLS: asked of the node when somebody asks who may, and never waited for without end."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from cloud import certificates, usage_api
from cloud.apiserver import pki
from cloud.delegated_access import DelegatedAccess
from cloud.kubelet_api import KubeletApi
from cloud.node_streams import NodeStreams
from cloud.sessions import Sessions
from cloud.tests.kubelet_desk import DEADLINE_S, Node
from cloud.usage_api import UsageApi
from cloud.writes import Answer, Request
from edgewire.streams import CHUNK, Closed, Data, Opened
from edgewire.usage import ContainerUsage, NodeUsage, encode

METRICS, SUMMARY = "/nodes/edge1/metrics/resource", "/nodes/edge1/stats/summary"
CONTAINERS = tuple(ContainerUsage("default", f"web{n}", f"u{n}", "c", 2.0, 1.0, 1000, 4096) for n in range(40))
USAGE = NodeUsage(2.0, 1.0, 1000, 4096, CONTAINERS)


class Desk:
    """The API with one node, and an API server that knows one token."""

    def __init__(self, folder: Path) -> None:
        self._authority = certificates.ensure_ca(folder / "link")
        server = certificates.ensure_server(folder / "link", ["127.0.0.1"])
        pki.make_server(folder / "kubernetes", ["localhost"])
        self.pki = folder / "kubernetes" / "pki"
        sessions = Sessions()
        streams = NodeStreams(sessions)
        sessions.attach([streams], [])
        self.node = Node(sessions)
        usage = UsageApi(streams, DelegatedAccess(self._send, asyncio.get_running_loop().time))
        files = server.certificate, server.key, self.pki / "ca.crt"
        self.api = KubeletApi(streams, lambda id: "", *files, "127.0.0.1", 0, usage.routes())

    async def _send(self, request: Request) -> Answer:
        if b"TokenReview" in request.body:
            known = b'"good"' in request.body or b'"weak"' in request.body
            name = b"weak" if b'"weak"' in request.body else b"good"
            body = b'{"status": {"authenticated": true, "user": {"username": "%s"}}}' % name
            return Answer(201, "", body if known else b'{"status": {}}')
        return Answer(201, "", b'{"status": {"allowed": %s}}' % (b"false" if b'"weak"' in request.body else b"true"))

    def client(self, *, master: bool = False, token: str = "") -> aiohttp.ClientSession:
        context = ssl.create_default_context(cafile=self._authority.certificate)
        if master:
            context.load_cert_chain(self.pki / "kubelet-client.crt", self.pki / "kubelet-client.key")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connector = aiohttp.TCPConnector(ssl=context, force_close=True)
        return aiohttp.ClientSession(f"https://127.0.0.1:{self.api.port}", connector=connector, headers=headers)

    async def answer(self) -> None:
        opened = await self.node.next()
        assert isinstance(opened, Opened)
        assert (opened.kind, opened.request) == ("usage", {})
        content = encode(USAGE)
        for begin in range(0, len(content), CHUNK):
            self.node.say(Data(opened.id, content[begin : begin + CHUNK]))
        self.node.say(Closed(opened.id))


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


async def test_a_node_is_asked_and_its_answer_comes_as_text_and_as_a_summary(desk: Desk) -> None:
    async with desk.client(master=True) as client, asyncio.timeout(DEADLINE_S):
        asking = asyncio.create_task(client.get(METRICS))
        await desk.answer()
        async with await asking as answer:
            assert (answer.status, answer.content_type) == (200, "text/plain")
            assert (
                'container_cpu_usage_seconds_total{container="c",namespace="default",pod="web39"}'
                in await answer.text()
            )
        asking = asyncio.create_task(client.get(SUMMARY))
        await desk.answer()
        async with await asking as answer:
            assert len((await answer.json())["pods"]) == 40


@pytest.mark.parametrize(("token", "status"), [("", 401), ("bad", 401), ("weak", 403)])
async def test_who_may_not_is_refused_and_the_node_is_not_asked(desk: Desk, token: str, status: int) -> None:
    async with desk.client(token=token) as client, asyncio.timeout(DEADLINE_S), client.get(METRICS) as answer:
        assert answer.status == status
    assert desk.node.parts.empty()


async def test_a_token_with_the_right_is_enough_here_and_nowhere_else(desk: Desk) -> None:
    async with desk.client(token="good") as client, asyncio.timeout(DEADLINE_S):
        asking = asyncio.create_task(client.get(METRICS))
        await desk.answer()
        async with await asking as answer:
            assert answer.status == 200
        async with client.get("/containerLogs/default/web/c") as answer:
            assert answer.status == 403


async def test_a_node_that_is_away_is_said_to_be(desk: Desk) -> None:
    desk.node.leave()
    async with desk.client(master=True) as client, asyncio.timeout(DEADLINE_S), client.get(METRICS) as answer:
        assert (answer.status, await answer.text()) == (503, "node edge1 is not connected\n")


async def test_a_node_that_does_not_answer_is_not_waited_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_api, "ANSWER_S", 0.05)
    async with desk.client(master=True) as client, asyncio.timeout(DEADLINE_S):
        async with client.get(METRICS) as answer:
            assert answer.status == 504
        opened, closed = await desk.node.next(), await desk.node.next()
        assert closed == Closed(opened.id)


async def test_a_node_that_knows_no_such_stream_or_talks_nonsense_harms_nobody(desk: Desk) -> None:
    async with desk.client(master=True) as client, asyncio.timeout(DEADLINE_S):
        never = encode(NodeUsage(2.0, 1e300, 1000, 4096))
        for said, end in ((b"{", Closed("", 501, "no streams of usage")), (b"{", Closed("")), (never, Closed(""))):
            asking = asyncio.create_task(client.get(SUMMARY))
            opened = await desk.node.next()
            desk.node.say(Data(opened.id, said))
            desk.node.say(Closed(opened.id, end.code, end.reason))
            async with await asking as answer:
                assert answer.status == 502
