"""Commands in a container, and what it says, over SPDY: `kubectl exec` and `attach` as kubelets answer kube-apiserver.

The protocol is `v4.channel.k8s.io`: the client opens a stream for each of what it wants, with the header `streamType`; the
last word is a Kubernetes Status on the one for errors (k8s.io/apimachinery/pkg/util/remotecommand).
"""

import asyncio

from cloud.conversations import Conversation, failure, first_of
from cloud.spdy_session import SpdySession, SpdyStream
from edgewire.streams import RESIZE, STATUS, STDERR, STDIN, STDOUT, ExecRequest

PROTOCOLS = ("v4.channel.k8s.io",)
STREAMS_S = 30.0
"""For the client to open its streams; kubelets' `DefaultStreamCreationTimeout`."""
TYPE = "streamtype"
SIZE_BYTES = 1024
"""Of what says how large a terminal is."""


async def streams_of(session: SpdySession, wanted: set[str]) -> dict[str, SpdyStream] | None:
    """The streams that a client opens, by their type; None when it does not open them all in time."""
    found: dict[str, SpdyStream] = {}
    try:
        async with asyncio.timeout(STREAMS_S):
            while wanted - found.keys():
                stream = await session.accept()
                if stream is None:
                    return None
                type = stream.headers.get(TYPE, "")
                if type in wanted - found.keys():
                    found[type] = stream
                    await stream.accept()
                else:
                    await stream.reject()
    except (OSError, TimeoutError):
        return None
    return found


def wanted_by(asked: ExecRequest, *, output: bool, errors: bool) -> set[str]:
    """The types of the streams that a client opens for what it asks for."""
    flags = {
        "error": True,
        "stdin": asked.stdin,
        "stdout": output,
        "stderr": errors and not asked.tty,
        "resize": asked.tty,
    }
    return {type for type, flag in flags.items() if flag}


async def converse(session: SpdySession, streams: dict[str, SpdyStream], conversation: Conversation) -> None:
    """Pass on what both say until the node has said all, or the client goes."""
    ways = [_from_node(streams, conversation), _until_gone(session)]
    if "stdin" in streams:
        ways.append(_input(streams["stdin"], conversation))
    if "resize" in streams:
        ways.append(_sizes(streams["resize"], conversation))
    await first_of(*ways)


async def _until_gone(session: SpdySession) -> None:
    while (stream := await session.accept()) is not None:
        await stream.reject()


async def _input(stream: SpdyStream, conversation: Conversation) -> None:
    while data := await stream.read():
        await conversation.say(STDIN, data)
    if not stream.was_reset:
        await conversation.half_close(STDIN)
    await asyncio.get_running_loop().create_future()  # the others tell the end


async def _sizes(stream: SpdyStream, conversation: Conversation) -> None:
    """Each is a line of JSON."""
    rest = b""
    while data := await stream.read():
        *lines, rest = (rest + data).split(b"\n")
        for line in lines[-1:]:
            await conversation.say(RESIZE, line[:SIZE_BYTES])
        rest = rest[:SIZE_BYTES]
    await asyncio.get_running_loop().create_future()


async def _from_node(streams: dict[str, SpdyStream], conversation: Conversation) -> None:
    to = {STDOUT: streams.get("stdout"), STDERR: streams.get("stderr"), STATUS: streams["error"]}
    try:
        async for pieces in conversation.pieces():
            for piece in pieces:
                stream = to.get(piece[0])
                if stream is not None:
                    await stream.write(piece[1:])
        if conversation.end is not None and conversation.end.code:
            await streams["error"].write(failure(conversation.end))
        for stream in streams.values():
            await stream.finish()
    except (OSError, TimeoutError):
        return
