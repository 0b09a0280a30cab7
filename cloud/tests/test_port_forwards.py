"""Connections to ports of pods over the kubelets' API: SPDY, SPDY within a WebSocket, and a WebSocket's channels."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from cloud import port_forwards, spdy
from cloud.port_forwards import PortError
from cloud.tests.kubelet_desk import DEADLINE_S, Desk, served
from cloud.tests.spdy_client import SpdyClient
from edgewire.streams import FORWARDS_LIMIT, Closed, Credit, Data, Opened, Part

PATH = "/portForward/default/web"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with served(tmp_path) as desk:
        yield desk


@pytest.fixture
async def client(desk: Desk) -> AsyncIterator[SpdyClient]:
    client = await desk.spdy(PATH, "portforward.k8s.io")
    assert client.head.startswith("HTTP/1.1 101 ")
    yield client
    client.close()


def pair(client: SpdyClient, id: str, port: str = "80") -> tuple[int, int]:
    """The streams of a connection: for errors, and for data."""
    return (
        client.open(streamType="error", port=port, requestID=id),
        client.open(streamType="data", port=port, requestID=id),
    )


async def said(desk: Desk) -> Part:
    part = await desk.node.next()
    while isinstance(part, Credit):
        part = await desk.node.next()
    return part


async def opened(desk: Desk) -> Opened:
    part = await said(desk)
    assert isinstance(part, Opened)
    return part


async def test_a_connection_goes_both_ways_and_each_has_its_end(desk: Desk, client: SpdyClient) -> None:
    errors, data = pair(client, "0", "8080")
    asked = await opened(desk)
    assert (asked.kind, asked.request) == ("forward", {"namespace": "default", "pod": "web", "port": 8080})
    client.send(data, b"asked", fin=True)
    assert await said(desk) == Data(asked.id, b"\x00asked")
    assert await said(desk) == Data(asked.id, b"\xff\x00")
    desk.node.say(Data(asked.id, b"\x01answered"))
    desk.node.say(Data(asked.id, b"\xff\x01"))
    await client.until(ended={data})
    assert client.came[data] == b"answered"
    desk.node.say(Closed(asked.id))
    await client.until(ended={errors})
    assert client.came[errors] == b""


async def test_connections_are_kept_apart(desk: Desk, client: SpdyClient) -> None:
    _, one = pair(client, "0")
    _, two = pair(client, "1", "81")
    first, second = await opened(desk), await opened(desk)
    assert [first.request["port"], second.request["port"]] == [80, 81]
    client.send(one, b"1")
    client.send(two, b"2")
    assert {await said(desk), await said(desk)} == {Data(first.id, b"\x001"), Data(second.id, b"\x002")}
    desk.node.say(Data(second.id, b"\x01two"))
    desk.node.say(Data(first.id, b"\x01one"))
    await client.until_came(one, b"one")
    await client.until_came(two, b"two")


async def test_what_the_node_refuses_is_said_as_the_error_of_that_connection(desk: Desk, client: SpdyClient) -> None:
    errors, data = pair(client, "0")
    _, other = pair(client, "1")
    first, second = await opened(desk), await opened(desk)
    desk.node.say(Closed(first.id, 500, "error forwarding port 80"))
    await client.until(ended={errors, data})
    assert client.came[errors] == b"error forwarding port 80"
    client.send(other, b"x")
    assert await said(desk) == Data(second.id, b"\x00x")


async def test_a_stream_that_is_reset_ends_its_connection_only(desk: Desk, client: SpdyClient) -> None:
    errors, data = pair(client, "0")
    asked = await opened(desk)
    client.cut(data)
    assert await said(desk) == Closed(asked.id)
    await client.until(ended={errors})
    pair(client, "1")
    await opened(desk)


async def test_a_client_that_goes_ends_all_and_is_no_end_of_input(desk: Desk, client: SpdyClient) -> None:
    pair(client, "0")
    pair(client, "1")
    ids = {(await opened(desk)).id, (await opened(desk)).id}
    client.close()
    assert {await said(desk), await said(desk)} == {Closed(id) for id in ids}


async def test_more_connections_than_are_allowed_wait_for_a_place(desk: Desk, client: SpdyClient) -> None:
    for number in range(FORWARDS_LIMIT + 1):
        pair(client, str(number))
    ids = [(await opened(desk)).id for _ in range(FORWARDS_LIMIT)]
    client.connection.ping()
    client.open(streamType="nothing")
    async with asyncio.timeout(DEADLINE_S):
        while not client.reset:
            await client.hear()
    assert desk.node.parts.empty()
    desk.node.say(Closed(ids[0]))
    await opened(desk)


@pytest.mark.parametrize(
    "headers",
    [
        {"streamType": "data"},
        {"streamType": "stdin", "port": "80"},
        {"port": "80"},
        {"streamType": "error", "port": "0"},
        {"streamType": "error", "port": "65536"},
        {"streamType": "error", "port": "eighty"},
    ],
)
async def test_streams_that_make_no_sense_are_refused_and_the_others_live(
    desk: Desk, client: SpdyClient, headers: dict[str, str]
) -> None:
    odd = client.open(**headers)
    pair(client, "0")
    await opened(desk)
    async with asyncio.timeout(DEADLINE_S):
        while odd not in client.reset:
            await client.hear()


async def test_streams_without_a_number_of_their_connection_follow_each_other(desk: Desk, client: SpdyClient) -> None:
    client.open(streamType="error", port="80")
    client.open(streamType="data", port="80")
    assert (await opened(desk)).request["port"] == 80


async def test_half_a_pair_is_waited_for_but_not_for_ever(
    desk: Desk, client: SpdyClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port_forwards, "STREAMS_S", 0.05)
    errors = client.open(streamType="error", port="80", requestID="7")
    await client.until(ended={errors})
    assert client.came[errors] == b"(7) timed out waiting for streams"
    assert desk.node.parts.empty()


async def test_what_a_client_leaves_unfinished_is_bounded(
    desk: Desk, client: SpdyClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port_forwards, "PAIRS", 2)
    for number in range(2):
        client.cut(client.open(streamType="error", port="80", requestID=str(number)))
    odd = client.open(streamType="error", port="80", requestID="2")
    async with asyncio.timeout(DEADLINE_S):
        while odd not in client.reset:
            await client.hear()
    assert desk.node.parts.empty()


async def test_spdy_may_be_within_a_websocket(desk: Desk) -> None:
    core = spdy.Connection(client=True)
    async with (
        desk.api_server() as client,
        asyncio.timeout(DEADLINE_S),
        client.ws_connect(PATH, protocols=[port_forwards.TUNNEL]) as socket,
    ):
        assert socket.protocol == port_forwards.TUNNEL
        core.open({"streamType": "error", "port": "80", "requestID": "0"})
        data = core.open({"streamType": "data", "port": "80", "requestID": "0"})
        line = core.take()
        await socket.send_bytes(line[:10])
        await socket.send_bytes(line[10:])
        asked = await opened(desk)
        desk.node.say(Data(asked.id, b"\x01hello"))
        came: list[spdy.Event] = []
        while spdy.Came(data, b"hello") not in came:
            came += core.receive(await socket.receive_bytes())
    assert await said(desk) == Closed(asked.id)


async def test_a_websocket_has_two_channels_for_each_port(desk: Desk) -> None:
    async with (
        desk.api_server() as client,
        asyncio.timeout(DEADLINE_S),
        client.ws_connect(PATH, params={"port": "8080,81"}, protocols=[port_forwards.CHANNELS]) as socket,
    ):
        first, second = await opened(desk), await opened(desk)
        begins = {await socket.receive_bytes() for _ in range(4)}
        assert begins == {b"\x00\x90\x1f", b"\x01\x90\x1f", b"\x02\x51\x00", b"\x03\x51\x00"}
        await socket.send_bytes(b"\x02hello")
        assert await said(desk) == Data(second.id, b"\x00hello")
        await socket.send_bytes(b"\x01no input")
        await socket.send_bytes(b"\x09no channel")
        await socket.send_bytes(b"\x00x")
        assert await said(desk) == Data(first.id, b"\x00x")
        desk.node.say(Data(first.id, b"\x01answer"))
        assert await socket.receive_bytes() == b"\x00answer"
        desk.node.say(Closed(second.id, 500, "refused"))
        assert await socket.receive_bytes() == b"\x03refused"
        desk.node.say(Data(first.id, b"\xff\x01"))
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE


@pytest.mark.parametrize("query", ["", "port=x", "port=0", "port=80," + "1," * 40 + "1"])
async def test_ports_that_make_no_sense_are_refused(desk: Desk, query: str) -> None:
    async with desk.api_server() as client, asyncio.timeout(DEADLINE_S):
        with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
            await client.ws_connect(f"{PATH}?{query}", protocols=[port_forwards.CHANNELS])
    assert raised.value.status == 400
    assert desk.node.parts.empty()


def test_a_port_is_a_number() -> None:
    assert port_forwards.ports(["80", "1,65535"]) == [80, 1, 65535]
    for wrong in ("", "-1", "8 0", "0x50", "٨٠", "65536", "9" * 5000):
        with pytest.raises(PortError, match="as a port"):
            port_forwards.port(wrong)
