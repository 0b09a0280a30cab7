"""Commands over SPDY, as kube-apiserver asks for them: over real TLS, with a node at the other end of its link."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloud import spdy_commands, spdy_session
from cloud.spdy_session import UNREAD_BYTES
from cloud.tests.kubelet_desk import DEADLINE_S, Desk, served
from cloud.tests.spdy_client import SpdyClient
from edgewire.streams import WINDOW, Closed, Credit, Data, Opened, Part

V4 = "v4.channel.k8s.io"
EXEC = "/exec/default/web/c?command=cat&command=-u&input=1&output=1&error=1"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with served(tmp_path) as desk:
        yield desk


async def conversation(desk: Desk, path: str, *types: str) -> tuple[SpdyClient, list[int], Opened]:
    client = await desk.spdy(path, V4, "v3.channel.k8s.io")
    assert client.head.startswith("HTTP/1.1 101 ")
    ids = [client.open(streamType=type) for type in types]
    await client.until(replied=set(ids))
    opened = await desk.node.next()
    assert isinstance(opened, Opened)
    return client, ids, opened


async def said(desk: Desk) -> Part:
    part = await desk.node.next()
    while isinstance(part, Credit):
        part = await desk.node.next()
    return part


async def test_a_command_is_a_conversation_over_streams(desk: Desk) -> None:
    client, [errors, stdin, stdout, stderr], opened = await conversation(
        desk, EXEC, "error", "stdin", "stdout", "stderr"
    )
    agreed = [line for line in client.head.lower().splitlines() if line.startswith("x-stream-protocol-version")]
    assert agreed == [f"x-stream-protocol-version: {V4}"]
    assert (opened.kind, opened.request["command"], opened.request["stdin"]) == ("exec", ["cat", "-u"], True)
    client.send(stdin, b"hello")
    assert await said(desk) == Data(opened.id, b"\x00hello")
    client.send(stdin, b"", fin=True)
    assert await said(desk) == Data(opened.id, b"\xff\x00")
    desk.node.say(Data(opened.id, b"\x01out"))
    desk.node.say(Data(opened.id, b"\x02err"))
    desk.node.say(Data(opened.id, b'\x03{"status":"Success"}'))
    desk.node.say(Closed(opened.id))
    await client.until(ended={errors, stdin, stdout, stderr})
    assert (client.came[stdout], client.came[stderr]) == (b"out", b"err")
    assert client.came[errors] == b'{"status":"Success"}'
    client.close()


async def test_a_terminal_has_one_output_and_a_size(desk: Desk) -> None:
    path = "/exec/default/web/c?command=sh&input=1&output=1&error=1&tty=1"
    client, ids, opened = await conversation(desk, path, "error", "stdin", "stdout", "resize")
    assert opened.request["tty"] is True
    client.send(ids[3], b'{"Width":80,"Height":2')
    client.send(ids[3], b'4}\n{"Width":7')
    assert await said(desk) == Data(opened.id, b'\x04{"Width":80,"Height":24}')
    client.close()
    assert isinstance(await said(desk), Closed)


async def test_a_link_that_is_lost_ends_a_command_with_a_reason(desk: Desk) -> None:
    client, [errors, _], _ = await conversation(desk, "/attach/default/web/c?output=1", "error", "stdout")
    desk.node.leave()
    await client.until(ended={errors})
    assert b"node edge1 has lost its link" in client.came[errors]
    client.close()


async def test_a_client_that_goes_ends_its_command_also_while_its_input_waits(desk: Desk) -> None:
    client, ids, opened = await conversation(desk, EXEC, "error", "stdin", "stdout", "stderr")
    client.send(ids[1], bytes(WINDOW + UNREAD_BYTES // 2))
    got = 0
    while got < WINDOW - 1024:
        part = await said(desk)
        assert isinstance(part, Data)
        got += len(part.content)
    client.close()
    while not isinstance(part := await said(desk), Closed):
        pass
    assert part.id == opened.id


async def test_a_client_that_goes_while_nothing_is_read_from_it_is_noticed_by_pings(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spdy_session, "PING_S", 0.05)
    client, ids, opened = await conversation(desk, EXEC, "error", "stdin", "stdout", "stderr")
    async with asyncio.timeout(DEADLINE_S):
        while b"\x80\x03\x00\x06" not in client.heard:
            await client.hear()
        client.send(ids[1], bytes(WINDOW + UNREAD_BYTES + 65536))
        got = 0
        while got < WINDOW - 1024:
            part = await said(desk)
            assert isinstance(part, Data)
            got += len(part.content)
    client.close()
    while not isinstance(part := await said(desk), Closed):
        pass
    assert part.id == opened.id


async def test_a_command_that_ends_before_its_input_does_is_over_for_its_user(desk: Desk) -> None:
    client, ids, opened = await conversation(desk, EXEC, "error", "stdin", "stdout", "stderr")
    client.send(ids[1], bytes(4 * UNREAD_BYTES))
    desk.node.say(Data(opened.id, b"\x01enough"))
    desk.node.say(Closed(opened.id))
    await client.until(ended=set(ids))
    assert client.came[ids[2]] == b"enough"
    client.close()


async def test_streams_that_nobody_asked_for_are_refused(desk: Desk) -> None:
    client = await desk.spdy("/attach/default/web/c?output=1", V4)
    odd = client.open(streamType="stdin")
    ids = {client.open(streamType="error"), client.open(streamType="stdout")}
    await client.until(replied=ids)
    assert client.reset == {odd}
    client.close()


async def test_who_opens_no_streams_is_let_go(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spdy_commands, "STREAMS_S", 0.05)
    client = await desk.spdy(EXEC, V4)
    client.open(streamType="error")
    async with asyncio.timeout(DEADLINE_S):
        while b"\x80\x03\x00\x07" not in client.heard:
            await client.hear()
    client.close()
    assert desk.node.parts.empty()


async def test_what_is_not_spdy_ends_the_connection(desk: Desk) -> None:
    client = await desk.spdy(EXEC, V4)
    client.write(b"GET / HTTP/1.1\r\n\r\n")
    await client.until_closed()
    assert desk.node.parts.empty()
    client.close()


async def test_a_protocol_that_is_not_known_is_refused_with_those_that_are(desk: Desk) -> None:
    client = await desk.spdy(EXEC, "v9.channel.k8s.io")
    assert client.head.startswith("HTTP/1.1 403 ")
    assert "X-Accepted-Stream-Protocol-Versions: v4.channel.k8s.io" in client.head
    assert "unable to upgrade: client supports ['v9.channel.k8s.io']" in await client.body()
    client.close()
    desk.node.leave()
    client = await desk.spdy(EXEC, V4)
    assert client.head.startswith("HTTP/1.1 503 ")
    assert await client.body() == "node edge1 is not connected\n"
    client.close()
