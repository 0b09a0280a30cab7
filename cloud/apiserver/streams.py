"""Watches over HTTP: one line of JSON an event, chunked, until the client, its timeout or the server ends it."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable
from itertools import chain

from aiohttp import web

from cloud.apiserver import status
from cloud.apiserver.listing import Lister, ListOptions, parse_version
from cloud.apiserver.objects import Objects
from cloud.apiserver.render import Renderer
from cloud.apiserver.requests import WatchOptions
from cloud.apiserver.resources import Resource
from cloud.apiserver.status import ApiError
from cloud.apiserver.watch import Watch

BOOKMARK_S = 60.0
"""Seconds between bookmarks of a watch that asked for them."""
MIN_TIMEOUT_S, MAX_TIMEOUT_S = 1800.0, 3600.0
"""Bounds of a watch's life where the client names none; chosen at random between them, so that watches do not end together."""
WRITE_BYTES = 64 << 10
"""Bytes of events that are written at once; a client that does not read them is waited for before the next."""

WOKEN_AT_ONCE = 32
"""Watches that are woken in one round of the event loop: requests that come while thousands are served wait for few."""

_HEADERS = {"Content-Type": "application/json", "Cache-Control": "no-cache, private"}


class Streams:
    """The running watches of one server."""

    def __init__(self, objects: Objects, lister: Lister, bookmark_s: float = BOOKMARK_S) -> None:
        self._objects = objects
        self._lister = lister
        self._bookmark_s = bookmark_s
        self._running: set[_Stream] = set()
        self._turns = _Turns()
        self._closing = False

    def close(self) -> None:
        """End every watch, and refuse new ones: the server stops."""
        self._closing = True
        for stream in self._running:
            stream.end()

    async def watch(
        self, request: web.BaseRequest, resource: Resource, namespace: str, renderer: Renderer, options: WatchOptions
    ) -> web.StreamResponse:
        """Serve one watch to its end. Raises ApiError 400, 410 or 504 before its first byte."""
        if self._closing:
            raise ApiError(503, "ServiceUnavailable", "the server is stopping")
        first, after = self._start(resource, namespace, renderer, options)
        log = self._objects.logs.of(resource.storage)
        watch = log.subscribe(namespace, options.selector, after)
        stream = _Stream(watch, renderer, lambda: max(self._objects.published, after), request.transport, self._turns)
        self._running.add(stream)
        try:
            response = web.StreamResponse(headers=_HEADERS)
            response.enable_chunked_encoding()
            await response.prepare(request)
            timeout = options.timeout_s or random.uniform(MIN_TIMEOUT_S, MAX_TIMEOUT_S)
            await stream.run(response, first, timeout, self._bookmark_s if options.bookmarks else None)
        except (TimeoutError, ConnectionError):
            pass  # the client went away
        finally:
            log.unsubscribe(watch)
            self._running.discard(stream)
        return response

    def _start(
        self, resource: Resource, namespace: str, renderer: Renderer, options: WatchOptions
    ) -> tuple[Iterable[bytes], int]:
        """The lines a watch begins with, and the revision it goes on from."""
        revision = self._objects.state.revision
        asked = options.resource_version
        version = parse_version(asked) if asked else 0
        if version > revision:
            raise status.too_large_version(version, revision)
        if version and not options.initial_events:
            return (), version
        page = self._lister.read(resource, namespace, ListOptions(selector=options.selector))
        lines: Iterable[bytes] = map(renderer.initial, page.items)
        if options.initial_events and options.bookmarks:
            lines = chain(lines, (renderer.bookmark(revision, initial_events_end=True),))
        return lines, revision


class _Turns:
    """Wakes streams in the order in which they came, a few in each round of the event loop."""

    def __init__(self) -> None:
        self._waiting: deque[_Stream] = deque()

    def queue(self, stream: "_Stream") -> None:
        """Wake a stream when its turn comes; it must not wait already."""
        self._waiting.append(stream)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        for _ in range(min(WOKEN_AT_ONCE, len(self._waiting))):
            self._waiting.popleft().wake()
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next)


class _Stream:
    """One watch and its connection."""

    def __init__(
        self,
        watch: Watch,
        renderer: Renderer,
        revision: Callable[[], int],
        transport: asyncio.Transport | None,
        turns: _Turns,
    ) -> None:
        self._watch = watch
        self._renderer = renderer
        self._revision = revision
        self._awake = asyncio.Event()
        self._ended = False
        self._transport = transport
        self._turns = turns
        self._queued = False
        watch.wake = self._something_waits

    def end(self) -> None:
        """End after what waits is written."""
        self._ended = True
        self._awake.set()

    def wake(self) -> None:
        """It is this stream's turn."""
        self._queued = False
        self._awake.set()

    def _something_waits(self) -> None:
        if not self._queued:
            self._queued = True
            self._turns.queue(self)
        if self._watch.overflowed and self._transport is not None:
            # The client does not read, so a write to it never returns: only this ends the watch.
            self._transport.abort()

    async def run(
        self, response: web.StreamResponse, first: Iterable[bytes], timeout_s: float, bookmark_s: float | None
    ) -> None:
        """Write the first lines, and then events until the end."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        bookmark_at = loop.time() + bookmark_s if bookmark_s is not None else until
        await _write_lines(response, first)
        while True:
            await self._write_waiting(response)
            now = loop.time()
            if self._ended or self._watch.overflowed or now >= until:
                break
            if now >= bookmark_at and bookmark_s is not None:
                await response.write(self._renderer.bookmark(self._revision()))
                bookmark_at = now + bookmark_s
            await self._wait(min(until, bookmark_at) - now)
        if bookmark_s is not None and not self._watch.overflowed:
            await response.write(self._renderer.bookmark(self._revision()))
        await response.write_eof()

    async def _write_waiting(self, response: web.StreamResponse) -> None:
        self._awake.clear()
        while waiting := self._watch.take():
            await _write_lines(response, map(self._renderer.event, waiting))

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(seconds, 0.001)):
                await self._awake.wait()
        except TimeoutError:
            pass


async def _write_lines(response: web.StreamResponse, lines: Iterable[bytes]) -> None:
    """Write lines as they are made, many in one write."""
    waiting: list[bytes] = []
    size = 0
    for line in lines:
        waiting.append(line)
        size += len(line)
        if size > WRITE_BYTES:
            await response.write(b"".join(waiting))
            waiting.clear()
            size = 0
    if waiting:
        await response.write(b"".join(waiting))
