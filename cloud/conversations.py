"""Conversations of a WebSocket with a container: messages are passed to the node and back, no faster than each end takes them.

The protocols are `v5.channel.k8s.io` and `v4.channel.k8s.io`, which lacks the message that ends an input: each message is the
number of a channel and what goes over it.
"""

import asyncio

import msgspec
from aiohttp import ClientError, WSMsgType, web

from cloud.node_streams import NodeStream
from edgewire.streams import CHUNK, STATUS, Closed, cost

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
SEND_S = 60.0
"""For a client to take what it asked for."""


async def converse(socket: web.WebSocketResponse, stream: NodeStream, more: asyncio.Event) -> None:
    """Pass on what both say until the node has said all, or the client goes. `more` is set when the stream has something new."""
    room = asyncio.Event()
    saying = asyncio.create_task(_to_node(socket, stream, room), name=f"{stream.id} to node")
    hearing = asyncio.create_task(_from_node(socket, stream, more, room), name=f"{stream.id} from node")
    try:
        await asyncio.wait((saying, hearing), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (saying, hearing):
            task.cancel()
        await asyncio.gather(saying, hearing, return_exceptions=True)
    await socket.close()


async def _from_node(
    socket: web.WebSocketResponse, stream: NodeStream, more: asyncio.Event, room: asyncio.Event
) -> None:
    try:
        while True:
            more.clear()
            room.set()
            pieces, end = stream.take_each(), stream.end
            async with asyncio.timeout(SEND_S):
                for piece in pieces:
                    await socket.send_bytes(piece)
                if end is not None and end.code:
                    await socket.send_bytes(bytes([STATUS]) + _failure(end))
            if end is not None:
                return
            await more.wait()
    except (ClientError, OSError, TimeoutError):
        return


async def _to_node(socket: web.WebSocketResponse, stream: NodeStream, room: asyncio.Event) -> None:
    async for message in socket:
        if message.type != WSMsgType.BINARY or not message.data:
            continue
        channel, content = message.data[:1], message.data[1:]
        while True:
            piece = channel + content[: CHUNK - 1]
            while stream.room < cost(piece) and stream.end is None:
                room.clear()
                await room.wait()
            stream.say(piece)
            content = content[CHUNK - 1 :]
            if not content:
                break


def _failure(end: Closed) -> bytes:
    """What ended a conversation, as a Kubernetes Status."""
    said = {"metadata": {}, "status": "Failure", "message": end.reason, "reason": "InternalError", "code": end.code}
    return msgspec.json.encode({**said, "details": {"causes": [{"message": end.reason}]}})
