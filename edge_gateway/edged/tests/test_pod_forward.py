"""Connections to ports of pods: a real node with a real pod; who listens on the port that it names is the test."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_gateway.edged.network_entry import socket_in
from edge_gateway.edged.tests.node import DEADLINE_S, Node, manifest
from edge_gateway.stream_server import Heard, StreamError
from edgewire.streams import CHUNK, WINDOW, cost

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
END_OF_INPUT, END_OF_OUTPUT = b"\xff\x00", b"\xff\x01"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    node = await Node(tmp_path).start()
    yield node
    await node.end()


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[int]:
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def with_port(node: Node, port: int) -> dict[str, Any]:
    """A pod that runs, and names this port."""
    pod = manifest()
    pod["spec"]["containers"][0]["ports"] = [{"containerPort": port}]
    node.send("pod", pod)
    await node.until(lambda: node.status().get("phase") == "Running", "it runs")
    return pod


class User:
    """Who has a connection forwarded."""

    def __init__(self, node: Node, port: int, pod: str = "web") -> None:
        self.allowed = WINDOW
        self._more = asyncio.Event()
        self._heard = Heard(self._allow)
        request: dict[str, Any] = {"namespace": "default", "pod": pod, "port": port}
        self.pieces = node.edged.forwards(request, self._heard)

    def _allow(self, size: int) -> None:
        self.allowed += size
        self._more.set()

    async def may_say(self, piece: bytes) -> None:
        """Wait until this is allowed."""
        while self.allowed < cost(piece):
            self._more.clear()
            await self._more.wait()

    def say(self, piece: bytes) -> None:
        self.allowed -= cost(piece)
        assert self._heard.came(piece)

    async def hear(self) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            return await anext(self.pieces)

    async def refused(self) -> StreamError:
        with pytest.raises(StreamError) as raised:
            await self.hear()
        return raised.value


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"all: " + await reader.read())
    writer.close()


async def test_each_way_has_its_own_end(node: Node) -> None:
    async with listening(echo) as port:
        await with_port(node, port)
        user = User(node, port)
        user.say(b"\x00one ")
        user.say(b"\x00two")
        user.say(END_OF_INPUT)
        said = b""
        while (piece := await user.hear()) != END_OF_OUTPUT:
            assert piece[:1] == b"\x01"
            said += piece[1:]
        assert said == b"all: one two"
        with pytest.raises(StopAsyncIteration):
            await user.hear()


async def test_who_says_all_first_can_still_be_told_something(node: Node) -> None:
    told: list[bytes] = []
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.write_eof()
        told.append(await reader.read())
        writer.close()
        over.set()

    async with listening(serve) as port:
        await with_port(node, port)
        user = User(node, port)
        assert [await user.hear(), await user.hear()] == [b"\x01hello", END_OF_OUTPUT]
        user.say(b"\x00late")
        user.say(END_OF_INPUT)
        with pytest.raises(StopAsyncIteration):
            await user.hear()
        async with asyncio.timeout(DEADLINE_S):
            await over.wait()
    assert told == [b"late"]


async def test_a_pod_that_does_not_read_holds_its_user_up_and_nothing_is_lost(node: Node) -> None:
    goes_on, content = asyncio.Event(), os.urandom(20_000_000)
    got = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await goes_on.wait()
        while data := await reader.read(1 << 20):
            got.extend(data)
        writer.close()

    async with listening(serve) as port:
        await with_port(node, port)
        user = User(node, port)
        async with aclosing(user.pieces):
            hearing = asyncio.create_task(user.hear())
            sent = 0
            async with asyncio.timeout(DEADLINE_S):
                while sent < len(content):
                    piece = b"\x00" + content[sent : sent + CHUNK - 1]
                    try:
                        async with asyncio.timeout(0.5):
                            await user.may_say(piece)
                    except TimeoutError:
                        goes_on.set()  # the kernel takes no more, and so nothing is allowed
                        await user.may_say(piece)
                    user.say(piece)
                    sent += len(piece) - 1
                assert goes_on.is_set()
                await user.may_say(END_OF_INPUT)
                user.say(END_OF_INPUT)
                assert await hearing == END_OF_OUTPUT
    assert bytes(got) == content


async def test_a_connection_ends_with_its_pod_and_with_its_user(node: Node) -> None:
    ended: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        ended.put_nowait(await reader.read())
        writer.close()

    async with listening(serve) as port, asyncio.timeout(DEADLINE_S):
        pod = await with_port(node, port)
        first, second = User(node, port), User(node, port)
        assert [await first.hear(), await second.hear()] == [b"\x01hello"] * 2
        await first.pieces.aclose()
        assert await ended.get() == b""
        node.gone(pod)
        assert await second.hear() == END_OF_OUTPUT
        with pytest.raises(StopAsyncIteration):
            await second.hear()
        assert await ended.get() == b""


async def test_what_cannot_be_connected_to_is_refused_with_a_reason(node: Node) -> None:
    async with listening(echo) as port, listening(echo) as other:
        assert (await User(node, port, "none").refused()).reason == "pod default/none is not here"
        await with_port(node, port)
        refused = await User(node, other).refused()
        assert refused.reason.startswith(f"error forwarding port {other} to pod web_default, uid u1: ")
        assert f"{other} is none of the containerPorts that it names there" in refused.reason
    refused = await User(node, port).refused()
    where = f'failed to connect to localhost:{port} inside namespace "host"'
    assert (
        f"{where}, IPv4: dial tcp4 127.0.0.1:{port}: connect: connection refused IPv6 dial tcp6 [::1]" in refused.reason
    )
    with pytest.raises(StreamError, match="port"):
        await anext(node.edged.forwards({"namespace": "default", "pod": "web"}, Heard(lambda size: None)))


async def test_a_network_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await socket_in(str(tmp_path / "none"), socket.AF_INET)
    with pytest.raises(OSError, match="cannot enter the network of the pod"):
        await socket_in("/proc/self/ns/mnt", socket.AF_INET)
