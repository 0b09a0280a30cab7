"""What a kubelet says of its node's resources, for all nodes: `kubectl top`, by way of metrics-server or of the embedded API.

    GET https://<here>:10250/nodes/<node>/metrics/resource       text, as Prometheus reads it
    GET https://<here>:10250/nodes/<node>/stats/summary          JSON

All nodes have one address here, so that the path says which is meant; metrics-server (0.7 and newer) learns it from the Node's
annotation. The node is asked over its link, when somebody asks, and for nothing in between. Who asks shows the API server's
certificate, or a token with the right to get `nodes/metrics` or `nodes/stats`.
"""

import asyncio
import logging

from aiohttp import web

from cloud import node_usage
from cloud.delegated_access import DelegatedAccess
from cloud.kubelet_api import is_api_server
from cloud.node_streams import NodeStream, NodeStreams
from edgewire.streams import USAGE
from edgewire.usage import LIMIT_BYTES, NodeUsage, UsageError, decode

log = logging.getLogger(__name__)

ANSWER_S = 8.0
"""For a node to answer; metrics-server waits ten."""


class UsageApi:
    """The handlers of these paths."""

    def __init__(self, streams: NodeStreams, access: DelegatedAccess) -> None:
        self._streams = streams
        self._access = access

    def routes(self) -> list[web.RouteDef]:
        """What `KubeletApi` serves beside its own."""
        return [
            web.get("/nodes/{node}/metrics/resource", self._metrics),
            web.get("/nodes/{node}/stats/summary", self._summary),
        ]

    async def _metrics(self, request: web.Request) -> web.Response:
        usage = await self._usage(request, "metrics")
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return web.Response(body=node_usage.resource_metrics(usage).encode(), headers=headers)

    async def _summary(self, request: web.Request) -> web.Response:
        usage = await self._usage(request, "stats")
        return web.json_response(node_usage.summary(request.match_info["node"], usage))

    async def _usage(self, request: web.Request, subresource: str) -> NodeUsage:
        """Raises HTTPException."""
        node = request.match_info["node"]
        await self._check(request, node, subresource)
        more = asyncio.Event()
        stream = self._streams.open(node, USAGE, {}, more.set)
        try:
            async with asyncio.timeout(ANSWER_S):
                return decode(await _whole(stream, more))
        except TimeoutError as error:
            raise web.HTTPGatewayTimeout(text=f"node {node} does not answer\n") from error
        except UsageError as error:
            log.warning("< usage makes no sense node=%s reason=%s", node, error)
            raise web.HTTPBadGateway(text=f"node {node} sent something else\n") from error
        finally:
            self._streams.close(stream)

    async def _check(self, request: web.Request, node: str, subresource: str) -> None:
        if is_api_server(request):
            return
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        status = await self._access.check(token, node, subresource) if kind.lower() == "bearer" and token else 401
        match status:
            case 401:
                raise web.HTTPUnauthorized(text="Unauthorized\n")
            case 403:
                raise web.HTTPForbidden(text=f"Forbidden (verb=get, resource=nodes, subresource={subresource})\n")
            case 500:
                raise web.HTTPServiceUnavailable(text="the API server does not say who may\n")


async def _whole(stream: NodeStream, more: asyncio.Event) -> bytes:
    """All that a stream gives. Raises HTTPException, UsageError."""
    content = b""
    while True:
        more.clear()
        content += stream.take()
        if len(content) > LIMIT_BYTES:
            raise UsageError(f"more than {LIMIT_BYTES} bytes")
        end = stream.end
        if end is None:
            await more.wait()
        elif end.code == 503:
            raise web.HTTPServiceUnavailable(text=f"{end.reason}\n")
        elif end.code:
            raise web.HTTPBadGateway(text=f"{end.reason}\n")
        else:
            return content
