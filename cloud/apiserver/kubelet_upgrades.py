"""A request for SPDY that is passed on to a kubelet: its connection and the client's become one, as kube-apiserver does it.

HTTP is spoken until the kubelet answers 101; from then on bytes go both ways as they come.
"""

import asyncio
import ssl
from typing import NamedTuple
from urllib.parse import urlencode

import h11
from aiohttp import web

from cloud.apiserver.subresources import Upstream
from cloud.upgrades import IDLE_S, READ_BYTES, take_over

PROTOCOL = "SPDY/3.1"
ANSWER_BYTES = 64 * 1024
"""Of what a kubelet says that does not upgrade."""
_HANDED_ON = ("X-Stream-Protocol-Version",)


class Refused(NamedTuple):
    """The kubelet does not upgrade."""

    status: int
    text: str


class Kubelet(NamedTuple):
    """A connection to a kubelet that has upgraded."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    headers: dict[str, str]
    """Of its answer, those that the client is to see."""
    begun: bytes
    """What it said right behind its answer."""


async def dial(
    request: web.BaseRequest, upstream: Upstream, context: ssl.SSLContext, connect_s: float, answer_s: float
) -> Kubelet | Refused:
    """Ask a kubelet for what the client asks for. Raises OSError, TimeoutError, h11.RemoteProtocolError."""
    async with asyncio.timeout(connect_s):
        reader, writer = await asyncio.open_connection(
            upstream.address, upstream.port, ssl=context, server_hostname="", limit=READ_BYTES
        )
    kept = False
    try:
        async with asyncio.timeout(answer_s):
            answer = await _ask(_request(request, upstream), reader, writer)
        kept = isinstance(answer, Kubelet)
        return answer
    finally:
        if not kept:
            writer.close()


async def join(request: web.BaseRequest, kubelet: Kubelet) -> web.StreamResponse:
    """Upgrade the client's connection too, and pass on what comes until one side closes. Raises OSError."""
    try:
        response, client = await take_over(request, {"Upgrade": PROTOCOL, **kubelet.headers})
    except BaseException:
        kubelet.writer.close()
        raise
    try:
        if kubelet.begun:
            await client.write(kubelet.begun)
        ways = [
            asyncio.create_task(_pass(kubelet.reader, client.writer), name="spdy from kubelet"),
            asyncio.create_task(_pass(client.reader, kubelet.writer), name="spdy to kubelet"),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
    finally:
        kubelet.writer.close()
        await client.close()
    return response


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(READ_BYTES):
            writer.write(data)
            async with asyncio.timeout(IDLE_S):
                await writer.drain()
    except (OSError, TimeoutError):
        return


def _request(request: web.BaseRequest, upstream: Upstream) -> h11.Request:
    query = f"?{urlencode(upstream.query)}" if upstream.query else ""
    headers = [("Host", f"{upstream.address}:{upstream.port}"), ("Connection", "Upgrade"), ("Upgrade", PROTOCOL)]
    headers += [(name, value) for name in _HANDED_ON for value in request.headers.getall(name, ())]
    headers.append(("Content-Length", "0"))
    return h11.Request(method=request.method, target=f"/{upstream.path}{query}", headers=headers)


async def _ask(asked: h11.Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Kubelet | Refused:
    http = h11.Connection(h11.CLIENT)
    said = (http.send(asked) or b"") + (http.send(h11.EndOfMessage()) or b"")
    writer.write(said)
    await writer.drain()
    status, text = 0, b""
    while True:
        match http.next_event():
            case h11.InformationalResponse(status_code=101) as answer:
                shown = {name.decode(): value.decode("latin-1") for name, value in answer.headers}
                headers = {name: shown[name.lower()] for name in _HANDED_ON if name.lower() in shown}
                return Kubelet(reader, writer, headers, http.trailing_data[0])
            case h11.Response(status_code=status):
                pass
            case h11.Data(data=data):
                text = (text + bytes(data))[:ANSWER_BYTES]
            case h11.EndOfMessage():
                return Refused(status, text.decode(errors="replace").strip())
            case h11.NEED_DATA:
                data = await reader.read(READ_BYTES)
                if not data and not status:
                    raise ConnectionResetError("the kubelet closed the connection")
                http.receive_data(data)
            case _:
                pass
