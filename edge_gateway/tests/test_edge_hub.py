"""The edge's end of the link, against a cloud that only listens."""

import asyncio
import ssl
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from edge_gateway.broker.tests.authority import Authority
from edge_gateway.edge_core import EdgeCore
from edge_gateway.edge_hub import EdgeHub, Endpoint
from edgewire.message import Message


class Stumbling(EdgeCore):
    """A core with a mistake in it."""

    def message_for(self, key: str, now_ms: int) -> Message | None:
        raise ZeroDivisionError(key)


async def test_a_mistake_while_writing_ends_the_hub_instead_of_leaving_a_link_that_says_nothing(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    server, client = authority.server(), authority.client("system:node:edge1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)

    async def listen(socket: ServerConnection) -> None:
        await socket.wait_closed()

    core = Stumbling("edge1", wanted=lambda topic: True, machine={})
    async with serve(listen, "127.0.0.1", 0, ssl=context) as cloud:
        url = f"wss://127.0.0.1:{cloud.sockets[0].getsockname()[1]}"
        hub = EdgeHub(core, lambda effects, then: None, Endpoint(url, authority.certificate, *client))
        with pytest.raises(ZeroDivisionError):
            async with asyncio.timeout(5):
                await hub.run(asyncio.Event())
    assert not hub.connected
