"""Streams of the edge: paced by their reader, ended by either side, and none left when the link is lost."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from edge_gateway.stream_server import Heard, StreamError, StreamServer
from edgewire import streams
from edgewire.message import Message
from edgewire.streams import CHUNK, LEAST, STREAMS_LIMIT, WINDOW, Closed, Credit, Data, Opened, Part

DEADLINE_S = 20.0


class Desk:
    """The cloud's end, and sources to read from."""

    def __init__(self) -> None:
        self.parts: asyncio.Queue[Part] = asyncio.Queue()
        self.ended: asyncio.Queue[None] = asyncio.Queue()
        self.listens = asyncio.Event()
        self.server = StreamServer(
            {"zeros": self._zeros, "broken": self._broken, "endless": self._endless, "defect": self._defect},
            {"echo": self._echo},
        )

    async def _zeros(self, request: dict[str, Any]) -> AsyncGenerator[bytes]:
        yield bytes(request["size"])

    async def _broken(self, request: dict[str, Any]) -> AsyncGenerator[bytes]:
        yield b"begun"
        raise StreamError(404, "no such pod")

    async def _defect(self, request: dict[str, Any]) -> AsyncGenerator[bytes]:
        yield b"begun"
        raise PermissionError("the log is not ours")

    async def _endless(self, request: dict[str, Any]) -> AsyncGenerator[bytes]:
        try:
            yield b"waits"
            await asyncio.get_running_loop().create_future()
        finally:
            self.ended.put_nowait(None)

    async def _echo(self, request: dict[str, Any], heard: Heard) -> AsyncGenerator[bytes]:
        await self.listens.wait()
        while (piece := await heard.next()) != b"over":
            yield piece

    def send(self, part: Part) -> None:
        self.server.received(streams.encode(part, "cloudhub"), self._take)

    def _take(self, message: Message) -> None:
        self.parts.put_nowait(streams.decode(message))

    async def next(self) -> Part:
        async with asyncio.timeout(DEADLINE_S):
            return await self.parts.get()


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_a_stream_is_its_bytes_and_its_end(desk: Desk) -> None:
    desk.send(Opened("s1", "zeros", {"size": CHUNK + 5}))
    assert await desk.next() == Data("s1", bytes(CHUNK))
    assert await desk.next() == Data("s1", bytes(5))
    assert await desk.next() == Closed("s1")


async def test_no_more_is_on_its_way_than_the_reader_allows(desk: Desk) -> None:
    desk.send(Opened("s1", "zeros", {"size": WINDOW * 3}))
    got = 0
    for _ in range(WINDOW // CHUNK):
        part = await desk.next()
        assert isinstance(part, Data)
        got += len(part.content)
    assert got == WINDOW
    await asyncio.sleep(0)
    assert desk.parts.empty()
    little = LEAST + 44
    desk.send(Credit("s1", little))
    assert await desk.next() == Data("s1", bytes(little))
    while not isinstance(part, Closed):
        if desk.parts.empty():
            desk.send(Credit("s1", WINDOW))
        part = await desk.next()
        got += len(part.content) if isinstance(part, Data) else 0
    assert got + little == WINDOW * 3


async def test_credit_beyond_the_window_counts_for_nothing(desk: Desk) -> None:
    desk.send(Opened("s1", "zeros", {"size": WINDOW * 3}))
    desk.send(Credit("s1", WINDOW * 100))
    for _ in range(WINDOW // CHUNK):
        await desk.next()
    await asyncio.sleep(0.01)
    assert desk.parts.empty()


async def test_a_source_that_fails_says_why(desk: Desk) -> None:
    desk.send(Opened("s1", "broken"))
    assert await desk.next() == Data("s1", b"begun")
    assert await desk.next() == Closed("s1", 404, "no such pod")


async def test_a_reader_that_goes_ends_the_source(desk: Desk) -> None:
    desk.send(Opened("s1", "endless"))
    await desk.next()
    desk.send(Closed("s1"))
    async with asyncio.timeout(DEADLINE_S):
        await desk.ended.get()
    assert desk.parts.empty()


async def test_a_lost_link_ends_all(desk: Desk) -> None:
    for number in range(3):
        desk.send(Opened(f"s{number}", "endless"))
        await desk.next()
    desk.server.lost()
    async with asyncio.timeout(DEADLINE_S):
        for _ in range(3):
            await desk.ended.get()
    desk.send(Opened("s0", "zeros", {"size": 1}))
    assert await desk.next() == Data("s0", b"\0")


async def test_what_nobody_gives_and_what_is_too_much_is_refused(desk: Desk) -> None:
    desk.send(Opened("s", "films"))
    assert await desk.next() == Closed("s", 501, "this node has no streams of films")
    for number in range(STREAMS_LIMIT):
        desk.send(Opened(f"s{number}", "endless"))
        await desk.next()
    desk.send(Opened("more", "endless"))
    assert await desk.next() == Closed("more", 429, "too many streams")
    desk.server.lost()


async def test_parts_of_streams_that_are_over_are_nothing(desk: Desk) -> None:
    desk.send(Credit("gone", 5))
    desk.send(Closed("gone"))
    desk.server.received(streams.encode(Data("gone", b"x"), "cloudhub"), desk._take)
    assert desk.parts.empty()


async def test_a_conversation_keeps_its_pieces_whole_and_allows_what_was_heard(desk: Desk) -> None:
    desk.listens.set()
    desk.send(Opened("s1", "echo"))
    for piece in (b"a", bytes(CHUNK), b"over"):
        desk.send(Data("s1", piece))
    parts = [await desk.next() for _ in range(6)]
    assert [part for part in parts if isinstance(part, Data)] == [Data("s1", b"a"), Data("s1", bytes(CHUNK))]
    assert [part.bytes for part in parts if isinstance(part, Credit)] == [LEAST, CHUNK, LEAST]
    assert parts[-1] == Closed("s1")


async def test_a_piece_of_a_conversation_waits_until_all_of_it_is_allowed(desk: Desk) -> None:
    desk.listens.set()
    desk.send(Opened("s1", "echo"))
    for _ in range(WINDOW // CHUNK):
        desk.send(Data("s1", bytes(CHUNK)))
        assert [await desk.next(), await desk.next()] == [Credit("s1", CHUNK), Data("s1", bytes(CHUNK))]
    desk.send(Data("s1", bytes(CHUNK)))
    assert await desk.next() == Credit("s1", CHUNK)
    desk.send(Credit("s1", CHUNK - 1))
    await asyncio.sleep(0)
    assert desk.parts.empty()
    desk.send(Credit("s1", 1))
    assert await desk.next() == Data("s1", bytes(CHUNK))


async def test_more_than_was_allowed_ends_a_conversation(desk: Desk) -> None:
    desk.send(Opened("s1", "echo"))
    for _ in range(WINDOW // LEAST):
        desk.send(Data("s1", b"x"))
    assert desk.parts.empty()
    desk.send(Data("s1", b"x"))
    assert await desk.next() == Closed("s1", 400, "more than was allowed")


async def test_a_source_that_breaks_tells_its_reader_and_takes_no_place_for_ever(desk: Desk) -> None:
    for number in range(STREAMS_LIMIT + 1):
        desk.send(Opened(f"s{number}", "defect"))
        assert await desk.next() == Data(f"s{number}", b"begun")
        assert await desk.next() == Closed(f"s{number}", 500, "the node cannot give this: the log is not ours")
