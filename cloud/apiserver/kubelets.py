"""What a kubelet would answer, asked of whoever stands in for it, and passed on as it comes: the logs of pods, commands in them,
connections to their ports.

The server shows its client certificate of the folder's CA, and does not verify the other's, as kube-apiserver does not unless it
is told a CA.
"""

import asyncio
import ssl
from pathlib import Path

import aiohttp
import h11
from aiohttp import web

from cloud.apiserver import kubelet_upgrades
from cloud.apiserver.status import ApiError
from cloud.apiserver.subresources import Upstream
from cloud.upgrades import IDLE_S, Socket, is_upgrade, pings

CONNECT_S = 5.0
MESSAGE_BYTES = 1024 * 1024
ANSWER_S = 15.0
"""For a kubelet to agree to a conversation, or not."""


class Kubelets:
    """The client of one server; it connects when somebody asks."""

    def __init__(self, pki: Path) -> None:
        """`pki` is the folder of the client certificate."""
        self._pki = pki
        self._session: aiohttp.ClientSession | None = None
        self._context: ssl.SSLContext | None = None

    async def close(self) -> None:
        """End what is under way."""
        if self._session is not None:
            await self._session.close()

    async def pass_on(self, request: web.BaseRequest, upstream: Upstream) -> web.StreamResponse:
        """Answer a request with what is said there. Raises ApiError when that says no, or nothing.

        An answer that breaks off has its connection cut, so that nobody takes it for whole.
        """
        if upstream.protocols and is_upgrade(request, kubelet_upgrades.PROTOCOL):
            return await self._upgrade(request, upstream)
        if upstream.protocols:
            socket = web.WebSocketResponse(protocols=upstream.protocols, max_msg_size=MESSAGE_BYTES)
            if (ready := socket.can_prepare(request)) and ready.protocol is not None:
                return await self._converse(request, upstream, socket, ready.protocol)
        response: web.StreamResponse | None = None
        url = _url(upstream)
        try:
            async with self._client().get(url, params=upstream.query) as answer:
                if answer.status != 200:
                    raise await _error_of(answer)
                response = web.StreamResponse(headers={"Content-Type": "text/plain"})
                await response.prepare(request)
                async for piece in answer.content.iter_any():
                    await response.write(piece)
                await response.write_eof()
                return response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if response is not None:
                if request.transport is not None:
                    request.transport.abort()
                return response
            raise _unreachable(url, error) from error

    async def _upgrade(self, request: web.BaseRequest, upstream: Upstream) -> web.StreamResponse:
        """Pass on SPDY. Raises ApiError."""
        try:
            answer = await kubelet_upgrades.dial(request, upstream, self._tls(), CONNECT_S, ANSWER_S)
        except (OSError, TimeoutError, h11.RemoteProtocolError) as error:
            raise _unreachable(_url(upstream), error) from error
        if isinstance(answer, kubelet_upgrades.Refused):
            raise _refusal(answer.status, answer.text)
        return await kubelet_upgrades.join(request, answer)

    async def fetch(self, address: str, port: int, path: str) -> bytes:
        """What is said there, all of it. Raises ApiError."""
        url = f"https://{address}:{port}/{path}"
        try:
            async with self._client().get(url) as answer:
                if answer.status != 200:
                    raise await _error_of(answer)
                return await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(500, "InternalError", f'Get "{url}": {str(error) or type(error).__name__}') from error

    async def _converse(
        self, request: web.BaseRequest, upstream: Upstream, socket: web.WebSocketResponse, protocol: str
    ) -> web.StreamResponse:
        other = await self._dial(upstream, protocol)
        async with other:
            await socket.prepare(request)
            ways = [
                asyncio.create_task(_pass_messages(socket, other), name=f"to {upstream.path}"),
                asyncio.create_task(_pass_messages(other, socket), name=f"from {upstream.path}"),
                asyncio.create_task(pings(socket, other), name=f"pings {upstream.path}"),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
            code = other.close_code or aiohttp.WSCloseCode.OK
            await socket.close(code=code if code != aiohttp.WSCloseCode.ABNORMAL_CLOSURE else 1011)
        return socket

    async def _dial(self, upstream: Upstream, protocol: str) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket to whoever stands in for the kubelet. Raises ApiError."""
        url = _url(upstream)
        client = self._client()
        try:
            try:
                async with asyncio.timeout(ANSWER_S):
                    return await client.ws_connect(
                        url,
                        params=upstream.query,
                        protocols=[protocol],
                        max_msg_size=MESSAGE_BYTES,
                    )
            except aiohttp.WSServerHandshakeError as error:
                # A handshake that is refused does not keep the reason: ask for it, which starts nothing.
                async with asyncio.timeout(ANSWER_S), client.get(url, params=upstream.query) as answer:
                    raise await _error_of(answer) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(url, error) from error

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
            connector = aiohttp.TCPConnector(ssl=self._tls(), limit=0, force_close=True)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self._session

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            context = self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.load_cert_chain(self._pki / "kubelet-client.crt", self._pki / "kubelet-client.key")
        return self._context


_REASONS = {400: "BadRequest", 403: "Forbidden", 404: "NotFound", 503: "ServiceUnavailable"}


def _url(upstream: Upstream) -> str:
    return f"https://{upstream.address}:{upstream.port}/{upstream.path}"


def _unreachable(url: str, error: Exception) -> ApiError:
    why = str(error) or type(error).__name__
    return ApiError(500, "InternalError", f'Get "{url}": {why}')


def _refusal(status: int, why: str) -> ApiError:
    return ApiError(status, _REASONS.get(status, "InternalError"), why)


async def _error_of(answer: aiohttp.ClientResponse) -> ApiError:
    return _refusal(answer.status, (await answer.text()).strip())


async def _pass_messages(source: Socket, target: Socket) -> None:
    """Pass on what one end says, until it closes, or the other does."""
    async for message in source:
        try:
            async with asyncio.timeout(IDLE_S):
                if message.type == aiohttp.WSMsgType.BINARY:
                    await target.send_bytes(message.data)
                elif message.type == aiohttp.WSMsgType.TEXT:
                    await target.send_str(message.data)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return
