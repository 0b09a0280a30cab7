"""The kubelets' API over real TLS: who may ask, what is asked of the node, and how its answer comes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cloud import certificates, upgrades
from cloud.apiserver import pki
from cloud.tests.kubelet_desk import DEADLINE_S, Desk, served
from edgewire.streams import CHUNK, WINDOW, Closed, Credit, Data, Opened


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with served(tmp_path) as desk:
        yield desk


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
        assert (answer.status, await answer.text()) == (500, "node edge1 is not connected")


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


EXEC = "/exec/default/web/c"
V5 = ("v5.channel.k8s.io",)


async def test_a_command_is_a_conversation_with_the_node(desk: Desk) -> None:
    async with desk.api_server() as client:
        query = [("command", "cat"), ("command", "-u"), ("input", "1"), ("output", "1")]
        async with asyncio.timeout(DEADLINE_S), client.ws_connect(EXEC, params=query, protocols=V5) as socket:
            assert socket.protocol == "v5.channel.k8s.io"
            opened = await desk.node.next()
            assert isinstance(opened, Opened)
            asked = opened.request
            assert (opened.kind, asked["command"]) == ("exec", ["cat", "-u"])
            assert (asked["stdin"], asked["tty"]) == (True, False)
            await socket.send_bytes(b"\x00hello")
            assert await desk.node.next() == Data(opened.id, b"\x00hello")
            desk.node.say(Data(opened.id, b"\x01hello"))
            assert await socket.receive_bytes() == b"\x01hello"
            await socket.send_bytes(b"\xff\x00")
            part = await desk.node.next()
            while isinstance(part, Credit):
                part = await desk.node.next()
            assert part == Data(opened.id, b"\xff\x00")
            desk.node.say(Data(opened.id, b"\x03{}"))
            desk.node.say(Closed(opened.id))
            assert await socket.receive_bytes() == b"\x03{}"
            assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE


async def test_a_container_is_attached_to_by_a_conversation_too(desk: Desk) -> None:
    async with (
        desk.api_server() as client,
        asyncio.timeout(DEADLINE_S),
        client.ws_connect("/attach/default/web/c", params={"output": "1"}, protocols=V5) as socket,
    ):
        opened = await desk.node.next()
        assert isinstance(opened, Opened)
        assert (opened.kind, opened.request["container"], opened.request["command"]) == ("attach", "c", [])
        desk.node.say(Data(opened.id, b"\x01said"))
        assert await socket.receive_bytes() == b"\x01said"


async def test_input_waits_for_a_command_that_does_not_read_it_and_loses_nothing(desk: Desk) -> None:
    content = bytes(range(256)) * 400
    async with (
        desk.api_server() as client,
        asyncio.timeout(DEADLINE_S),
        client.ws_connect(EXEC, params={"command": "cat", "input": "1"}, protocols=V5) as socket,
    ):
        opened = await desk.node.next()
        sending = asyncio.create_task(socket.send_bytes(b"\x00" + content))
        got, allowed, room = b"", 0, WINDOW
        while len(got) < len(content):
            part = await desk.node.next()
            assert isinstance(part, Data)
            assert part.content[:1] == b"\x00"
            room -= len(part.content)
            assert room >= 0
            got += part.content[1:]
            allowed += len(part.content)
            if desk.node.parts.empty():
                desk.node.say(Credit(opened.id, allowed))
                room, allowed = room + allowed, 0
        assert got == content
        await sending


async def test_a_link_that_is_lost_ends_a_conversation_with_a_reason(desk: Desk) -> None:
    async with (
        desk.api_server() as client,
        asyncio.timeout(DEADLINE_S),
        client.ws_connect(EXEC, params={"command": "cat"}, protocols=V5) as socket,
    ):
        await desk.node.next()
        desk.node.leave()
        said = await socket.receive_bytes()
        assert said[:1] == b"\x03"
        assert b"node edge1 has lost its link" in said
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE


async def test_a_client_that_goes_ends_its_command(desk: Desk) -> None:
    async with desk.api_server() as client, asyncio.timeout(DEADLINE_S):
        async with client.ws_connect(EXEC, params={"command": "cat"}, protocols=V5):
            opened = await desk.node.next()
        assert await desk.node.next() == Closed(opened.id)


async def test_a_client_that_answers_no_pings_keeps_its_command(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a paused `less`, behind a kubectl that reads nothing."""
    monkeypatch.setattr(upgrades, "PING_S", 0.02)
    async with desk.api_server() as client, asyncio.timeout(DEADLINE_S):
        silent = client.ws_connect(EXEC, params={"command": "cat"}, protocols=V5, autoping=False)
        async with silent as socket:
            opened = await desk.node.next()
            for _ in range(20):
                assert (await socket.receive()).type is aiohttp.WSMsgType.PING
            desk.node.say(Data(opened.id, b"\x01more"))
            while (message := await socket.receive()).type is aiohttp.WSMsgType.PING:
                pass
            assert message.data == b"\x01more"


async def test_a_command_without_an_upgrade_is_refused_and_starts_nothing(desk: Desk) -> None:
    async with desk.api_server() as client, asyncio.timeout(DEADLINE_S):
        async with client.post(EXEC, params={"command": "cat"}) as answer:
            assert answer.status == 400
            assert "exec is done over SPDY/3.1, or a WebSocket of" in await answer.text()
        desk.node.leave()
        async with client.post(EXEC, params={"command": "cat"}) as answer:
            assert (answer.status, await answer.text()) == (503, "node edge1 is not connected\n")
    assert desk.node.parts.empty()
