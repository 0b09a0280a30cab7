"""What a kubelet would answer, asked of whoever stands in for it, and passed on as it comes: the logs of pods.

The server shows its client certificate of the folder's CA, and does not verify the other's, as kube-apiserver does not unless it
is told a CA.
"""

import ssl
from pathlib import Path

import aiohttp
from aiohttp import web

from cloud.apiserver.status import ApiError
from cloud.apiserver.subresources import Upstream

CONNECT_S = 5.0
CHUNK = 32 * 1024


class Kubelets:
    """The client of one server; it connects when somebody asks."""

    def __init__(self, pki: Path) -> None:
        """`pki` is the folder of the client certificate."""
        self._pki = pki
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """End what is under way."""
        if self._session is not None:
            await self._session.close()

    async def pass_on(self, request: web.BaseRequest, upstream: Upstream) -> web.StreamResponse:
        """Answer a request with what is said there. Raises ApiError when that says no, or nothing.

        An answer that breaks off has its connection cut, so that nobody takes it for whole.
        """
        response: web.StreamResponse | None = None
        url = f"https://{upstream.address}:{upstream.port}/{upstream.path}"
        query = {name: value for name, value in request.query.items() if name != "container"}
        try:
            async with self._client().get(url, params=query) as answer:
                if answer.status != 200:
                    why = (await answer.text()).strip()
                    raise ApiError(answer.status, _REASONS.get(answer.status, "InternalError"), why)
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
            raise ApiError(500, "InternalError", f'Get "{url}": {error or type(error).__name__}') from error

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.load_cert_chain(self._pki / "kubelet-client.crt", self._pki / "kubelet-client.key")
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
            connector = aiohttp.TCPConnector(ssl=context, limit=0, force_close=True)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self._session


_REASONS = {400: "BadRequest", 403: "Forbidden", 404: "NotFound", 503: "ServiceUnavailable"}
