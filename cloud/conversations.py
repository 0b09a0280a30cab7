"""Conversations with a container: what is said on either side is passed to the other, no faster than that takes it.

Over a WebSocket the protocols are `v5.channel.k8s.io` and `v4.channel.k8s.io`, which lacks the message that ends an input: each
message is the number of a channel and what goes over it. That is what nodes speak too. `spdy_commands.py` has them over SPDY.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import msgspec
from aiohttp import ClientError, WSMsgType, web

from cloud.node_streams import NodeStreams
from cloud.upgrades import IDLE_S, pings
from edgewire.streams import CHUNK, HALF_CLOSE, STATUS, Closed, cost

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")


class Conversation:
    """One with a node: opened when it is made, and to be closed."""

    def __init__(self, streams: NodeStreams, node: str, kind: str, request: object) -> None:
        """`request` is what `kind` of streams wants to know."""
        self._streams = streams
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._stream = streams.open(node, kind, msgspec.to_builtins(request), self._woken)

    def _woken(self) -> None:
        self._news.set()
        self._room.set()

    @property
    def end(self) -> Closed | None:
        """How it ended, if it has."""
        return self._stream.end

    async def pieces(self) -> AsyncIterator[list[bytes]]:
        """What the node says, until it has said all; there is always room for what has been taken."""
        while True:
            self._news.clear()
            pieces, end = self._stream.take_each(), self._stream.end
            if pieces:
                yield pieces
            elif end is not None:
                return
            else:
                await self._news.wait()

    async def say(self, channel: int, content: bytes) -> None:
        """Say something over a channel, when the node takes it."""
        prefix = bytes([channel])
        while True:
            piece = prefix + content[: CHUNK - 1]
            while self._stream.room < cost(piece) and self._stream.end is None:
                self._room.clear()
                await self._room.wait()
            self._stream.say(piece)
            content = content[CHUNK - 1 :]
            if not content:
                return

    async def half_close(self, channel: int) -> None:
        """Nothing more is said over a channel."""
        await self.say(HALF_CLOSE, bytes([channel]))

    def close(self) -> None:
        """It is over."""
        self._streams.close(self._stream)


async def converse(socket: web.WebSocketResponse, conversation: Conversation) -> None:
    """Pass on what both say until the node has said all, or the client goes."""
    await first_of(_to_node(socket, conversation), _from_node(socket, conversation), pings(socket))
    await socket.close()


async def first_of(*ways: Coroutine[Any, Any, None]) -> None:
    """Go all ways until one is at its end."""
    tasks = [asyncio.create_task(way) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):
            raise end


async def _from_node(socket: web.WebSocketResponse, conversation: Conversation) -> None:
    try:
        async for pieces in conversation.pieces():
            async with asyncio.timeout(IDLE_S):
                for piece in pieces:
                    await socket.send_bytes(piece)
        if conversation.end is not None and conversation.end.code:
            async with asyncio.timeout(IDLE_S):
                await socket.send_bytes(bytes([STATUS]) + failure(conversation.end))
    except (ClientError, OSError, TimeoutError):
        return


async def _to_node(socket: web.WebSocketResponse, conversation: Conversation) -> None:
    async for message in socket:
        if message.type == WSMsgType.BINARY and message.data:
            await conversation.say(message.data[0], message.data[1:])


def failure(end: Closed) -> bytes:
    """What ended a conversation, as a Kubernetes Status."""
    said = {"metadata": {}, "status": "Failure", "message": end.reason, "reason": "InternalError", "code": end.code}
    return msgspec.json.encode({**said, "details": {"causes": [{"message": end.reason}]}})
