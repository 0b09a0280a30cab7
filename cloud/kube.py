"""The Kubernetes API: requests, and list-watches that outlive it. The only file that imports `kubernetes`.

`kubernetes.aio` reads the kubeconfig (or the pod's service account) and makes the HTTP session: TLS, tokens and their
renewal, proxy. Its generated models and its JSON stay out of the way: bodies are bytes in both directions.

`Kube.send` does not raise, whatever the API server answers and when it does not. `Kube.follow` is a list-watch: it tells of
every object (`cloud.objects.Event`), survives dropped connections, a restart of the API server and 410 Gone, and goes on
where it was. After a gap too long to resume it lists anew and tells what has vanished meanwhile.
"""

import asyncio
import logging
import random
import socket
import urllib.request
import weakref
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import msgspec
import yaml
from kubernetes.aio import client, config
from kubernetes.aio.client.rest import RESTClientObject
from msgspec import Raw, Struct
from yarl import URL

from cloud import CloudError
from cloud.objects import Event, ObjectError, ResourceType, Synced, parse
from cloud.reflection import Reflection
from cloud.writes import JSON, NO_ANSWER, Answer, Request
from edgewire import backoff
from edgewire.message import UNREADABLE

log = logging.getLogger(__name__)

PAGE = 500
"""Objects in one answer to a list."""
WATCH_S = 300
"""Seconds after which the API server is asked to end a watch."""
SILENCE_S = 90.0
"""Seconds without a byte after which a watch counts as broken; Kubernetes sends an idle one a bookmark a minute."""
REQUEST_S = 10.0
LIST_S = 60.0
MAX_EVENT = 16 * 1024 * 1024
"""Bytes of the longest line of a watch."""
SETTLED_S = 5.0
"""After a watch that lasted so long, the delays between attempts begin anew."""
RETRY_LIMIT_S = 10.0
_METADATA, _METADATA_LIST = (
    f"application/json;as={kind};v=v1;g=meta.k8s.io,{JSON}"
    for kind in ("PartialObjectMetadata", "PartialObjectMetadataList")
)
"""Of a watch's events, and of a list. kube-apiserver takes the first form that it knows, and then finds that it does not fit."""
CLOSE_S = 1.0
"""For the sockets to be closed in the end."""


class KubeError(CloudError):
    """The API server answered with an error; `status` is HTTP's, or NO_ANSWER when it did not answer."""

    def __init__(self, status: int, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{status} {reason}" if status else reason)
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s


class _ListMetadata(Struct, rename="camel"):
    resource_version: str = ""
    next: str = msgspec.field(name="continue", default="")


class _List(Struct):
    metadata: _ListMetadata
    items: list[Raw] | None = None


class _WatchEvent(Struct):
    type: str
    object: Raw


class _Bookmark(Struct):
    metadata: _ListMetadata


class _Status(Struct):
    message: str = ""
    code: int = 0


_list = msgspec.json.Decoder(_List)
_watch_event = msgspec.json.Decoder(_WatchEvent)
_bookmark = msgspec.json.Decoder(_Bookmark)
_status = msgspec.json.Decoder(_Status)


class Kube:
    """One API server. Close it when done."""

    def __init__(self, kubeconfig: Path | None) -> None:
        """`kubeconfig` None means the service account of the pod this runs in. Nothing is read or opened yet."""
        self._kubeconfig = kubeconfig
        self._connection: _Connection | None = None
        self._connecting = asyncio.Lock()

    async def close(self) -> None:
        """End all connections; what is under way fails."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def send(self, request: Request, timeout_s: float = REQUEST_S) -> Answer:
        """Make a request; NO_ANSWER with the reason when there was no answer."""
        try:
            async with self._response(request, aiohttp.ClientTimeout(total=timeout_s)) as response:
                body = await response.read()
        except KubeError as error:
            return Answer(error.status, error.reason)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return Answer(NO_ANSWER, _explain(error))
        if response.status < 400:
            return Answer(response.status, response.reason or "", body)
        refused = _error_of(response, body)
        return Answer(refused.status, refused.reason, body, refused.retry_after_s)

    async def get(self, path: str) -> Answer:
        """Read an object."""
        return await self.send(Request("GET", path, b"", ""))

    async def follow(
        self, type: ResourceType, selector: str = "", *, metadata_only: bool = False
    ) -> AsyncGenerator[Event]:
        """Every object of a type in all namespaces: those that exist, `Synced`, then every change, without end.

        With a `selector` only those whose labels fit; with `metadata_only` nothing else of them, as far as the API server can.
        """
        of_list, of_watch = (_METADATA_LIST, _METADATA) if metadata_only else (JSON, JSON)
        reflection = Reflection()
        delays = backoff.delays(limit_s=RETRY_LIMIT_S)
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            try:
                if not reflection.version:
                    async with aclosing(self._list(type, selector, reflection, of_list)) as events:
                        async for event in events:
                            yield event
                async with aclosing(self._watch(type, selector, reflection, of_watch)) as events:
                    async for event in events:
                        yield event
                delay = 0.0 if loop.time() - started >= SETTLED_S else next(delays)
            except (KubeError, ObjectError) as error:
                if loop.time() - started >= SETTLED_S:
                    delays = backoff.delays(limit_s=RETRY_LIMIT_S)
                delay = _delay_after(error, reflection, next(delays))
                log.warning("= watch broken type=%s retry_s=%.2f reason=%r", type.plural, delay, str(error))
            await asyncio.sleep(delay)

    async def _list(
        self, type: ResourceType, selector: str, reflection: Reflection, accept: str
    ) -> AsyncGenerator[Event]:
        reflection.begin_list()
        query = {"limit": str(PAGE), **_selecting(selector)}
        while True:
            answer = await self.send(Request("GET", f"{type.path()}?{urlencode(query)}", b"", "", accept), LIST_S)
            if not answer.ok:
                raise KubeError(answer.status, answer.reason, answer.retry_after_s)
            try:
                page = _list.decode(answer.body)
            except UNREADABLE as error:
                raise KubeError(answer.status, f"not a list: {error}") from error
            for event in reflection.listed(map(parse, page.items or ())):
                yield event
            if not page.metadata.next:
                break
            query["continue"] = page.metadata.next
        for event in reflection.end_list(page.metadata.resource_version):
            yield event
        log.debug("= listed type=%s version=%s", type.plural, reflection.version)
        yield Synced()

    async def _watch(
        self, type: ResourceType, selector: str, reflection: Reflection, accept: str
    ) -> AsyncGenerator[Event]:
        query = {
            **_selecting(selector),
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": reflection.version,
            # Not all watches of all clients at once.
            "timeoutSeconds": str(round(WATCH_S * random.uniform(0.8, 1.2))),
        }
        request = Request("GET", f"{type.path()}?{urlencode(query)}", b"", "", accept)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_S, sock_read=SILENCE_S)
        try:
            async with self._response(request, timeout) as response:
                if response.status != 200:
                    raise _error_of(response, await response.read())
                async for line in _lines(response.content):
                    for event in _events(line, reflection):
                        yield event
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise KubeError(NO_ANSWER, _explain(error)) from error

    @asynccontextmanager
    async def _response(
        self, request: Request, timeout: aiohttp.ClientTimeout
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        connection = self._connection or await self._connect()
        async with await connection.open(request, timeout) as response:
            try:
                yield response
            finally:
                await _end(response)
                if response.status == 401 and self._connection is connection:
                    # Tokens of a kubeconfig expire; reading it again renews them.
                    log.warning("= api server refuses the credentials, reading them again")
                    await self.close()

    async def _connect(self) -> "_Connection":
        async with self._connecting:
            if self._connection is None:
                self._connection = await _connection_of(self._kubeconfig)
            return self._connection


def _selecting(selector: str) -> dict[str, str]:
    return {"labelSelector": selector} if selector else {}


class _Connection(RESTClientObject):
    """The client's session, TLS context and credentials, for bodies that are bytes already."""

    def __init__(self, configuration: client.Configuration) -> None:
        super().__init__(configuration)
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def _create_connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(limit=self.maxsize, ssl=self.ssl_context, socket_factory=self._socket)

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        made = socket.socket(address[0], address[1], address[2])
        self._sockets.add(made)
        return made

    async def close(self) -> None:
        """End all connections, and wait until their sockets are closed.

        aiohttp forgets a connection whose request was cancelled while TLS still says farewell to the peer.
        """
        await super().close()
        for left in self._sockets:
            with suppress(OSError):  # it is closed already
                left.shutdown(socket.SHUT_RDWR)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                while any(left.fileno() >= 0 for left in self._sockets):  # noqa: ASYNC110 (a socket tells nobody)
                    await asyncio.sleep(0.001)

    async def open(self, request: Request, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        if self.pool_manager is None:
            self.pool_manager = self._create_pool_manager()
        headers = {"User-Agent": "hedgerow-cloudcore", "Accept": request.accept}
        if request.content_type:
            headers["Content-Type"] = request.content_type
        if token := await self.configuration.get_api_key_with_prefix("BearerToken", alias="authorization"):
            headers["Authorization"] = token
        extra: dict[str, Any] = {}
        if self.configuration.tls_server_name:
            extra["server_hostname"] = self.configuration.tls_server_name
        if self.proxy:
            extra.update(proxy=self.proxy, proxy_headers=self.proxy_headers)
        url = URL(self.configuration.host + request.path, encoded=True)
        body = request.body or None
        response: aiohttp.ClientResponse = await self.pool_manager.request(
            request.method, url, headers=headers, data=body, timeout=timeout, **extra
        )
        return response


async def _connection_of(kubeconfig: Path | None) -> _Connection:
    settings = client.Configuration()
    # Reading proxies and ~/.netrc from the environment costs a thread switch a request; most have none.
    settings.client_session_kwargs = {"trust_env": bool(urllib.request.getproxies_environment())}
    try:
        if kubeconfig is None:
            config.load_incluster_config(settings)  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config(str(kubeconfig), client_configuration=settings)  # type: ignore[no-untyped-call]
        return _Connection(settings)
    except (config.ConfigException, OSError, yaml.YAMLError) as error:
        raise KubeError(NO_ANSWER, f"{kubeconfig or 'service account'}: {error}") from error


async def _end(response: aiohttp.ClientResponse) -> None:
    """Cut the connection of a response that is not read to its end, as a watch's never is.

    Left to itself the session says farewell by TLS and forgets the connection: neither it nor `close` waits for the answer,
    and to a peer that is frozen the socket would stay open for half a minute.
    """
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
        await asyncio.sleep(0)  # the event loop closes the socket before it comes back here


async def _lines(stream: aiohttp.StreamReader) -> AsyncGenerator[bytes]:
    rest = b""
    async for chunk in stream.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line
        if len(rest) > MAX_EVENT:
            raise KubeError(NO_ANSWER, f"event of more than {MAX_EVENT} bytes")


def _events(line: bytes, reflection: Reflection) -> list[Event]:
    try:
        event = _watch_event.decode(line)
        if event.type == "BOOKMARK":
            reflection.version = _bookmark.decode(event.object).metadata.resource_version
            return []
        if event.type == "ERROR":
            status = _status.decode(event.object)
            raise KubeError(status.code or 500, status.message)
    except UNREADABLE as error:
        raise KubeError(NO_ANSWER, f"not a watch event: {error}") from error
    return list(reflection.watched(event.type, parse(event.object)))


def _delay_after(error: CloudError, reflection: Reflection, delay: float) -> float:
    """Seconds to wait, after setting back what cannot be resumed."""
    if not isinstance(error, KubeError) or error.status == 410:
        reflection.version = ""
        return delay
    return max(delay, error.retry_after_s or 0.0)


def _error_of(response: aiohttp.ClientResponse, body: bytes) -> KubeError:
    try:
        reason = _status.decode(body).message
    except UNREADABLE:
        reason = ""
    retry_after = response.headers.get("Retry-After", "")
    seconds = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else None
    return KubeError(response.status, reason or response.reason or "", seconds)


def _explain(error: BaseException) -> str:
    return str(error) or type(error).__name__
