"""The API of a kubelet, for all nodes: what kube-apiserver asks when somebody wants the log of a pod, or runs a command in it.

    GET https://<here>:10250/containerLogs/<namespace>/<pod>/<container>?follow=…&tailLines=…
    GET https://<here>:10250/exec/<namespace>/<pod>/<container>?command=…&input=1&output=1
    GET https://<here>:10250/attach/<namespace>/<pod>/<container>?output=1
    GET https://<here>:10250/portForward/<namespace>/<pod>?port=…

All but the first are upgraded to SPDY/3.1, which is what kube-apiserver speaks, or to a WebSocket.

The pod says which node it is on; that is asked over its link. Whoever asks shows a certificate of `client_ca`, and is the API
server: its organization is one of `MASTERS`, as kubeadm's `apiserver-kubelet-client` and the embedded API's are.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from cloud import port_forwards, spdy_commands
from cloud.cloud_hub import HubError
from cloud.conversations import PROTOCOLS, Conversation, converse
from cloud.node_streams import NodeStream, NodeStreams
from cloud.spdy_session import SpdySession
from cloud.upgrades import Pipe, SocketPipe, is_upgrade, take_over
from edgewire.streams import ATTACH, EXEC, FORWARD, LOGS, ExecRequest, ForwardRequest, LogRequest

log = logging.getLogger(__name__)

MASTERS = frozenset({"system:masters", "kubeadm:cluster-admins"})
STOP_S = 1.0
MESSAGE_BYTES = 1024 * 1024
"""Of one message of a client; kubectl's are 32 KiB."""
SPDY = "SPDY/3.1"
STREAM_PROTOCOL = "X-Stream-Protocol-Version"
"""What is spoken in the streams of a SPDY connection: offered, and agreed upon (k8s.io/apimachinery/pkg/util/httpstream)."""
_FLAGS = frozenset({"follow", "previous", "timestamps"})
_NUMBERS = frozenset({"tailLines", "sinceSeconds", "limitBytes"})


class KubeletApi:
    """A service; `port` is where it listens once it is ready."""

    name = "kubelet api"

    def __init__(
        self,
        streams: NodeStreams,
        node_of: Callable[[str], str],
        certificate: Path,
        key: Path,
        client_ca: Path,
        host: str,
        port: int,
        beside: Sequence[web.RouteDef] = (),
    ) -> None:
        """`node_of` gives the node of a pod `<namespace>/<name>`, or nothing; `beside` are further paths, which see for
        themselves who asks. Port 0 takes a free one."""
        self._beside = beside
        self._streams = streams
        self._node_of = node_of
        self._files = certificate, key, client_ca
        self._host = host
        self.port = port

    async def run(self, ready: asyncio.Event) -> None:
        """Serve until cancelled. Raises HubError."""
        app = web.Application()
        app.add_routes([*self._routes(), *self._beside])
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=STOP_S)
        await runner.setup()
        try:
            try:
                site = web.TCPSite(runner, self._host, self.port, ssl_context=_tls(*self._files))
                await site.start()
            except OSError as error:
                raise HubError(f"cannot serve kubelets' API on {self._host}:{self.port}: {error}") from error
            self.port = runner.addresses[0][1]
            log.info("= listening for the API server host=%s port=%d", self._host, self.port)
            ready.set()
            await asyncio.get_running_loop().create_future()
        finally:
            await runner.cleanup()

    def _routes(self) -> list[web.RouteDef]:
        """What there is to be asked."""
        container = "{namespace}/{pod}/{container}"
        return [
            web.get(f"/containerLogs/{container}", self._logs),
            web.route("*", f"/exec/{container}", partial(self._converse, EXEC)),
            web.route("*", f"/attach/{container}", partial(self._converse, ATTACH)),
            web.route("*", "/portForward/{namespace}/{pod}", self._forward),
            web.route("*", "/portForward/{namespace}/{pod}/{uid}", self._forward),
        ]

    def _node(self, request: web.Request) -> str:
        """The node that a request is for. Raises HTTPForbidden, HTTPNotFound."""
        if not is_api_server(request):
            raise web.HTTPForbidden(text="this is for the API server\n")
        named = request.match_info
        node = self._node_of(f"{named['namespace']}/{named['pod']}")
        if not node:
            raise web.HTTPNotFound(text=f"pod {named['namespace']}/{named['pod']} is on no node\n")
        return node

    def _connected_node(self, request: web.Request) -> str:
        """Likewise, of one that has a link. Raises HTTPForbidden, HTTPNotFound, HTTPServiceUnavailable."""
        node = self._node(request)
        if not self._streams.is_connected(node):
            raise web.HTTPServiceUnavailable(text=f"node {node} is not connected\n")
        return node

    async def _converse(self, kind: str, request: web.Request) -> web.StreamResponse:
        node = self._connected_node(request)
        query, named = request.query, request.match_info
        command, stdin, tty = tuple(query.getall("command", ())), query.get("input") == "1", query.get("tty") == "1"
        asked = ExecRequest(named["namespace"], named["pod"], named["container"], command, stdin, tty)
        if is_upgrade(request, SPDY):
            return await self._converse_over_spdy(kind, request, node, asked)
        socket, _ = _web_socket(request, PROTOCOLS)
        await socket.prepare(request)
        conversation = Conversation(self._streams, node, kind, asked)
        try:
            await converse(socket, conversation)
        finally:
            conversation.close()
        return socket

    async def _converse_over_spdy(
        self, kind: str, request: web.Request, node: str, asked: ExecRequest
    ) -> web.StreamResponse:
        query = request.query
        wanted = spdy_commands.wanted_by(asked, output=query.get("output") == "1", errors=query.get("error") == "1")
        response, pipe = await _to_spdy(request, spdy_commands.PROTOCOLS)
        async with SpdySession(pipe) as session:
            streams = await spdy_commands.streams_of(session, wanted)
            if streams is not None:
                conversation = Conversation(self._streams, node, kind, asked)
                try:
                    await spdy_commands.converse(session, streams, conversation)
                finally:
                    conversation.close()
        return response

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        node, named = self._connected_node(request), request.match_info

        def begin(port: int) -> Conversation:
            asked = ForwardRequest(named["namespace"], named["pod"], port)
            return Conversation(self._streams, node, FORWARD, asked)

        if is_upgrade(request, SPDY):
            response, pipe = await _to_spdy(request, port_forwards.PROTOCOLS)
            async with SpdySession(pipe) as session:
                await port_forwards.forward(session, begin)
            return response
        socket, protocol = _web_socket(request, (port_forwards.TUNNEL, port_forwards.CHANNELS))
        if protocol == port_forwards.TUNNEL:
            await socket.prepare(request)
            async with SpdySession(SocketPipe(socket)) as session:
                await port_forwards.forward(session, begin)
            return socket
        try:
            ports = port_forwards.ports(request.query.getall("port", []))
        except port_forwards.PortError as error:
            return web.Response(status=400, text=f"{error}\n")
        await socket.prepare(request)
        await port_forwards.forward_over_socket(socket, ports, begin)
        return socket

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        node = self._node(request)
        try:
            asked = msgspec.to_builtins(_log_request(request))
        except (ValueError, msgspec.ValidationError) as error:
            return web.Response(status=400, text=f"{error}\n")
        more = asyncio.Event()
        stream = self._streams.open(node, LOGS, asked, more.set)
        try:
            return await _pour(request, stream, more)
        finally:
            self._streams.close(stream)


def _web_socket(request: web.Request, protocols: tuple[str, ...]) -> tuple[web.WebSocketResponse, str]:
    """The answer to a request for a WebSocket of one of these protocols, and which. Raises HTTPBadRequest."""
    socket = web.WebSocketResponse(protocols=protocols, max_msg_size=MESSAGE_BYTES)
    if not (ready := socket.can_prepare(request)) or ready.protocol not in protocols:
        why = f"{request.path.split('/')[1]} is done over {SPDY}, or a WebSocket of {' or '.join(protocols)}\n"
        raise web.HTTPBadRequest(text=why)
    return socket, ready.protocol


async def _to_spdy(request: web.Request, protocols: tuple[str, ...]) -> tuple[web.StreamResponse, Pipe]:
    """Upgrade a request's connection, for the first protocol that the client offers and is known. Raises HTTPForbidden."""
    offered = [name.strip() for value in request.headers.getall(STREAM_PROTOCOL, ()) for name in value.split(",")]
    agreed = next((name for name in offered if name in protocols), None)
    if agreed is None:
        why = f"unable to upgrade: client supports {offered}, server accepts {list(protocols)}\n"
        accepted = {"X-Accepted-Stream-Protocol-Versions": ",".join(protocols)}
        raise web.HTTPForbidden(text=why, headers=accepted)
    return await take_over(request, {"Upgrade": SPDY, STREAM_PROTOCOL: agreed})


async def _pour(request: web.Request, stream: NodeStream, more: asyncio.Event) -> web.StreamResponse:
    """Pass a stream on as the answer to a request. An error before the first byte is its status: 400 or 500, for of any other
    kube-apiserver keeps the reason to itself."""
    response: web.StreamResponse | None = None
    while True:
        more.clear()
        content, end = stream.take(), stream.end
        if response is None and (content or end is not None):
            if not content and end is not None and end.code:
                return web.Response(status=end.code if end.code == 400 else 500, text=end.reason)
            response = web.StreamResponse(headers={"Content-Type": "text/plain"})
            await response.prepare(request)
        if response is not None and content:
            await response.write(content)
        elif response is not None and end is not None:
            await response.write_eof()
            return response
        else:
            await more.wait()


def _log_request(request: web.Request) -> LogRequest:
    """What is asked for. Raises ValueError, msgspec.ValidationError."""
    fields: dict[str, Any] = dict(request.match_info)
    for name, value in request.query.items():
        if name in _FLAGS:
            fields[name] = value.lower() in ("true", "1")
        elif name in _NUMBERS:
            fields[name] = int(value)
        elif name == "sinceTime":
            fields[name] = value
    return msgspec.convert(fields, LogRequest)


def is_api_server(request: web.Request) -> bool:
    """Whether who asks has shown the certificate of an API server."""
    certificate = request.get_extra_info("peercert") or {}
    subject = [attribute for names in certificate.get("subject", ()) for attribute in names]
    return any(name == "organizationName" and value in MASTERS for name, value in subject)


def _tls(certificate: Path, key: Path, client_ca: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_OPTIONAL  # metrics-server has a token instead
    context.load_verify_locations(client_ca)
    context.load_cert_chain(certificate, key)
    return context
