"""Conversations that are passed on to a kubelet: one that agrees, refuses, says nothing, or is not there."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from cloud import certificates
from cloud.apiserver import kubelets, pki
from cloud.apiserver.kubelets import Kubelets
from cloud.apiserver.status import ApiError
from cloud.apiserver.subresources import Upstream

DEADLINE_S = 20.0
PROTOCOL = "v4.channel.k8s.io"
ASKED = (
    b"POST / HTTP/1.1\r\nHost: api\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: a\r\n"
    b"X-Stream-Protocol-Version: b\r\nAuthorization: Bearer secret\r\nContent-Length: 0\r\n\r\n"
)
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Front:
    """An API server that does nothing but pass on."""

    def __init__(self, folder: Path) -> None:
        pki.make_server(folder, ["localhost"])
        self._authority = certificates.ensure_ca(folder / "link")
        self._shown = certificates.ensure_server(folder / "link", ["127.0.0.1"])
        self.kubelets = Kubelets(folder / "pki")
        self.upstream = Upstream("127.0.0.1", 1, "exec/default/web/c", (("command", "a b&c"),), (PROTOCOL,))
        self.heads: list[str] = []
        self.port = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self.kubelets.pass_on(request, self.upstream)
        except ApiError as error:
            return web.Response(status=error.code, text=str(error))

    @asynccontextmanager
    async def kubelet(self, answer: Answer) -> AsyncIterator[None]:
        """A kubelet that reads a request, and then does that."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                await answer(reader, writer)
            finally:
                writer.close()

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._shown.certificate, self._shown.key)
        async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
            self.upstream = self.upstream._replace(port=server.sockets[0].getsockname()[1])
            yield

    async def ask(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Ask for SPDY."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(ASKED)
        return reader, writer

    async def answer(self) -> str:
        """All that is answered to that."""
        reader, writer = await self.ask()
        try:
            async with asyncio.timeout(DEADLINE_S):
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                size = next(int(line[15:]) for line in head.splitlines() if line.startswith("Content-Length:"))
                return head + (await reader.readexactly(size)).decode()
        finally:
            writer.close()


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    front = Front(tmp_path)
    runner = web.ServerRunner(web.Server(front.handle, handler_cancellation=True), shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    front.port = runner.addresses[0][1]
    yield front
    await front.kubelets.close()
    await runner.cleanup()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n")
    writer.write(b"X-Stream-Protocol-Version: b\r\nX-Other: 1\r\n\r\nat once ")
    while data := await reader.read(1000):
        writer.write(data.upper())


async def test_bytes_are_passed_on_both_ways_and_the_end_too(front: Front) -> None:
    async with front.kubelet(echo), asyncio.timeout(DEADLINE_S):
        reader, writer = await front.ask()
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("HTTP/1.1 101 ")
        assert "X-Stream-Protocol-Version: b\r\n" in head
        assert "X-Other" not in head
        writer.write(b"hello")
        assert await reader.readexactly(13) == b"at once HELLO"
        asked = front.heads[0]
        assert asked.startswith("POST /exec/default/web/c?command=a+b%26c HTTP/1.1\r\n")
        assert [line for line in asked.splitlines() if "stream-protocol" in line.lower()] == [
            "X-Stream-Protocol-Version: a",
            "X-Stream-Protocol-Version: b",
        ]
        assert "secret" not in asked, "what proves who the user is, is nothing to a kubelet"
        writer.close()


async def test_a_kubelet_that_closes_ends_the_conversation(front: Front) -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nbye")

    async with front.kubelet(leave), asyncio.timeout(DEADLINE_S):
        reader, writer = await front.ask()
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == b"bye"
        writer.close()


async def test_what_a_kubelet_refuses_is_said_with_its_status(front: Front) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 9\r\n\r\nnode away")
        await writer.drain()

    async with front.kubelet(refuse):
        said = await front.answer()
    assert said.startswith("HTTP/1.1 503 ")
    assert said.endswith("node away")


@pytest.mark.parametrize(
    ("says", "reason"), [(b"", "the kubelet closed the connection"), (b"no HTTP\r\n\r\n", "illegal status line")]
)
async def test_a_kubelet_that_makes_no_sense_is_said_to(front: Front, says: bytes, reason: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        await writer.drain()

    async with front.kubelet(answer):
        said = await front.answer()
    assert said.startswith("HTTP/1.1 500 ")
    assert f'Get "https://127.0.0.1:{front.upstream.port}/exec/default/web/c": ' in said
    assert reason in said


async def test_a_kubelet_that_says_nothing_is_waited_for_but_not_for_ever(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubelets, "ANSWER_S", 0.1)

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with front.kubelet(wait):
        said = await front.answer()
        assert said.startswith("HTTP/1.1 500 ")
        assert said.endswith("TimeoutError")
        async with aiohttp.ClientSession() as client, asyncio.timeout(DEADLINE_S):
            with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
                await client.ws_connect(f"http://127.0.0.1:{front.port}/", protocols=[PROTOCOL])
        assert raised.value.status == 500


async def test_a_kubelet_that_is_not_there_is_said_to_be(front: Front) -> None:
    said = await front.answer()
    assert said.startswith("HTTP/1.1 500 ")
    assert 'Get "https://127.0.0.1:1/exec/default/web/c": ' in said
