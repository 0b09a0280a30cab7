"""EdgeHub: the edge's end of the link to the cloud, over a websocket with mutual TLS.

Each connection gets a fresh `Link`; it begins with an inventory and everything the cloud has not acknowledged. What the
cloud sends is acknowledged once it is durable here. A broken link is retried within a second, then with exponential back-off
and full jitter up to 30 s.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.frames import CloseCode

from edge_gateway.edge_core import EdgeCore
from edge_gateway.effects import Effects
from edge_gateway.meta_manager import MetaError
from edge_gateway.stream_server import StreamServer
from edgewire import backoff
from edgewire.config import ConfigError
from edgewire.link import Delivered, Event, Link, PeerSilent, Received, Refused, Undelivered
from edgewire.message import MAX_FRAME, Message, MessageError, now_ms
from edgewire.resource import ResourceError
from edgewire.streams import GROUP

log = logging.getLogger(__name__)

KEEPALIVE_S = 15.0
OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 2.0
_PROJECT = "e632aba927ea4ac2b575ec1603d56f10"

Perform = Callable[[Effects, Callable[[], None] | None], None]


class Endpoint(NamedTuple):
    """Where the cloud is and how this node proves who it is."""

    url: str
    ca: Path
    certificate: Path
    key: Path


class EdgeHub:
    """The service that keeps the link up."""

    name = "edge-hub"

    def __init__(
        self, core: EdgeCore, perform: Perform, endpoint: Endpoint, streams: StreamServer | None = None
    ) -> None:
        """`perform` makes effects durable and carries them out (EventBus.perform); `streams` gives what the cloud reads."""
        self._core = core
        self._perform = perform
        self._endpoint = endpoint
        self._streams = streams or StreamServer({})
        self._link: Link | None = None
        self._wake = asyncio.Event()
        self._delays = backoff.delays()

    @property
    def connected(self) -> bool:
        """Whether there is a link now."""
        return self._link is not None

    def mark(self, keys: list[str]) -> None:
        """These objects have something new for the cloud; without a link they are asked for when there is one."""
        if self._link is not None:
            for key in keys:
                self._offer(self._link, key)
            self._wake.set()

    async def run(self, ready: asyncio.Event) -> None:
        """Keep the link up until cancelled. Ready at once: a gateway serves its site without a cloud.

        Raises ConfigError when the certificates cannot be used.
        """
        context = _tls(self._endpoint)
        ready.set()
        while True:
            try:
                async with connect(
                    f"{self._endpoint.url}/{_PROJECT}/{self._core.node}/events",
                    ssl=context,
                    additional_headers={
                        "node_id": self._core.node,
                        "project_id": _PROJECT,
                        "ConnectionUse": "msg",
                    },
                    compression=None,
                    max_size=MAX_FRAME,
                    open_timeout=OPEN_TIMEOUT_S,
                    close_timeout=CLOSE_TIMEOUT_S,
                    ping_interval=KEEPALIVE_S,
                    ping_timeout=KEEPALIVE_S,
                ) as socket:
                    log.info("cloud connected url=%s node=%s", self._endpoint.url, self._core.node)
                    try:
                        await self._session(socket)
                    except asyncio.CancelledError:
                        await socket.close(CloseCode.GOING_AWAY)  # left alone, it would say that something went wrong
                        raise
            except (OSError, InvalidHandshake, InvalidURI, ConnectionClosed, TimeoutError) as error:
                why = _reason(error)
            wait_s = next(self._delays)
            log.info("cloud not connected url=%s retry_s=%.1f reason=%s", self._endpoint.url, wait_s, why)
            await asyncio.sleep(wait_s)

    async def _session(self, socket: ClientConnection) -> None:
        now = asyncio.get_running_loop().time
        link = self._link = Link(source="edgehub", now=now(), keepalive_s=KEEPALIVE_S)
        for key in self._core.dirty_keys():
            self._offer(link, key)
        reader = asyncio.create_task(self._read(socket, link), name="edge-hub-reader")
        writer = asyncio.create_task(self._write(socket, link), name="edge-hub-writer")
        try:
            done, _ = await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # neither ends by itself: a link with one of them only would be none
        finally:
            self._link = None
            self._streams.lost()
            reader.cancel()
            writer.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)

    async def _read(self, socket: ClientConnection, link: Link) -> None:
        now = asyncio.get_running_loop().time
        heard = False
        while True:
            frame = await socket.recv(decode=False)
            if not heard:
                # Only now: a cloud that accepts and closes must not be asked twice a second.
                heard, self._delays = True, backoff.delays()
            try:
                events = link.receive(frame, now())
            except MessageError as error:
                log.warning("< bad frame from the cloud message_id=%s reason=%s", error.message_id, error.reason)
                events = []
            self._handle(link, events)
            self._wake.set()

    async def _write(self, socket: ClientConnection, link: Link) -> None:
        """The connection's only writer: what the link has to say, when it has something or when time says so."""
        now = asyncio.get_running_loop().time
        while True:
            self._wake.clear()
            self._handle(link, link.tick(now()))
            for frame in link.frames(now()):
                await socket.send(frame, text=True)
            if link.more:
                await asyncio.sleep(0)  # a report that has just come goes before it
                continue
            due = link.next_tick()
            try:
                async with asyncio.timeout_at(due):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _handle(self, link: Link, events: list[Event]) -> None:
        for event in events:
            match event:
                case Received(message):
                    self._take(link, message)
                case Delivered(key, _):
                    self._perform(self._core.delivered(key), None)
                case Refused(key, _, code, reason):
                    log.warning("> refused by the cloud key=%s code=%d reason=%s", key, code, reason)
                    self._perform(self._core.delivered(key), None)
                case Undelivered(key, _):
                    log.warning("> not acknowledged by the cloud, offered again key=%s", key)
                    self._offer(link, key)
                case PeerSilent():
                    pass

    def _take(self, link: Link, message: Message) -> None:
        log.debug("< %s %s version=%s", message.operation, message.resource, message.resource_version)
        if message.group == GROUP:
            self._streams.received(message, partial(self._send, link))
            return
        if not message.resource_version and message.operation != "delete":
            return
        try:
            effects = self._core.from_cloud(message, now_ms())
        except (MetaError, ResourceError, MessageError) as error:
            log.warning("< object not taken resource=%s reason=%s", message.resource, error)
            link.refuse(message, 400, str(error))
            return
        self._perform(effects, partial(self._acknowledge, link, message))

    def _acknowledge(self, link: Link, message: Message) -> None:
        link.acknowledge(message)
        self._wake.set()

    def _send(self, link: Link, message: Message) -> None:
        link.send_last(message)
        self._wake.set()

    def _offer(self, link: Link, key: str) -> None:
        link.offer(key, lambda: self._core.message_for(key, now_ms()))


def _tls(endpoint: Endpoint) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(endpoint.ca))
        context.load_cert_chain(endpoint.certificate, endpoint.key)
    except OSError as error:  # which ssl.SSLError is
        files = f"{endpoint.ca}, {endpoint.certificate}, {endpoint.key}"
        raise ConfigError(f"certificates for the cloud cannot be used: {files}: {error.strerror or error}") from error
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, InvalidStatus) and error.response.body:
        return f"{error}: {error.response.body.decode(errors='replace').strip()}"[:300]
    return f"{type(error).__name__}: {error}"[:300]
