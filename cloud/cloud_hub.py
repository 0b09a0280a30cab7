"""Where nodes connect: a websocket server behind mutual TLS, one link a node.

    wss://HOST:10000/<project>/<node>/events      header node_id: <node>

The certificate's CN `system:node:<node>`, the node in the path and the header must agree, else the answer is 403 and why. The
hub moves frames between connections and `sessions.Sessions`; what they mean is decided there. Each connection has one
reader and one writer; the writer waits for a slow node, and nothing grows meanwhile (`edgewire.link`).
"""

import asyncio
import logging
import ssl
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from cloud import CloudError
from cloud.objects import NODE_PREFIX, is_name
from cloud.sessions import SILENCE_S, Session, Sessions
from edgewire.message import MAX_FRAME

log = logging.getLogger(__name__)

OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0
FRAMES_AHEAD = 4
"""Frames of a node read before the one in hand is done with."""

_GOING_AWAY, _POLICY_VIOLATION = 1001, 1008


class HubError(CloudError):
    """The hub cannot serve: its certificates or its port."""


def tls_context(ca: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer that asks every client for a certificate of this CA. Raises HubError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(ca)
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise HubError(f"certificates {ca}, {certificate}, {key}: {error}") from error
    return context


class CloudHub:
    """The service; `port` is where it listens once it is ready."""

    name = "cloudhub"

    def __init__(self, sessions: Sessions, tls: ssl.SSLContext, host: str, port: int) -> None:
        """Port 0 takes a free one."""
        self._sessions = sessions
        self._tls = tls
        self._host = host
        self.port = port

    async def run(self, ready: asyncio.Event) -> None:
        """Serve until cancelled."""
        try:
            server = await self._listen()
        except OSError as error:
            raise HubError(f"cannot listen on {self._host}:{self.port}: {error.strerror}") from error
        async with server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            log.info("= listening host=%s port=%d", self._host, self.port)
            ready.set()
            await asyncio.get_running_loop().create_future()

    async def _listen(self) -> Server:
        return await serve(
            self._serve,
            self._host,
            self.port,
            ssl=self._tls,
            process_request=self._admit,
            # Deflate costs some 17 us a frame, and a window of memory for each connection, to save a site a few bytes.
            compression=None,
            # The link has its own signs of life.
            ping_interval=None,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=MAX_FRAME,
            max_queue=FRAMES_AHEAD,
            server_header=None,
            logger=_library_log(),
        )

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        reason = _refusal(connection, request)
        if reason is None:
            return None
        log.warning("< connection refused peer=%s reason=%r", _peer(connection), reason)
        return connection.respond(HTTPStatus.FORBIDDEN, reason + "\n")

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        node = _node_in(connection.request.path)
        wake = asyncio.Event()
        log.info("= node connected node=%s peer=%s", node, _peer(connection))
        session = self._sessions.open(node, asyncio.get_running_loop().time(), wake.set)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(connection, session), name=f"read {node}")
                tasks.create_task(self._write(connection, session, wake), name=f"write {node}")
        except* ConnectionClosed:
            pass
        finally:
            self._sessions.close(session)
            log.info("= node disconnected node=%s code=%s", node, connection.close_code)

    async def _read(self, connection: ServerConnection, session: Session) -> None:
        loop = asyncio.get_running_loop()
        while True:
            frame = await connection.recv(decode=False)
            self._sessions.receive(session, frame, loop.time())

    async def _write(self, connection: ServerConnection, session: Session, wake: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while session.open:
            wake.clear()
            if not self._sessions.tick(session, loop.time()):
                await connection.close(_GOING_AWAY, "nothing heard")
                return
            for frame in session.link.frames(loop.time()):
                if not await _sent(connection, frame):
                    log.warning("= node does not read node=%s", session.node)
                    connection.transport.abort()
                    return
            if session.link.more:
                await asyncio.sleep(0)  # an object that has just changed goes before it
                continue
            due = session.link.next_tick()
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - loop.time())):
                    await wake.wait()
            except TimeoutError:
                pass
        await connection.close(_POLICY_VIOLATION, "another connection of this node took over")


async def _sent(connection: ServerConnection, frame: bytes) -> bool:
    try:
        async with asyncio.timeout(SILENCE_S):
            await connection.send(frame, text=True)
    except TimeoutError:
        return False
    return True


def _refusal(connection: ServerConnection, request: Request) -> str | None:
    """Why a connection is not let in, or None."""
    node = _node_in(request.path)
    certificate = connection.transport.get_extra_info("peercert") or {}
    subject = dict(attribute for names in certificate.get("subject", ()) for attribute in names)
    name = subject.get("commonName", "")
    if not node:
        return f"path {request.path[:200]} is not /<project>/<node>/events"
    if not is_name(node):
        return f"{node[:100]!r} is no name of a node"
    if name != NODE_PREFIX + node:
        return f"certificate of {name} does not speak for node {node}"
    if request.headers.get_all("node_id") != [node]:
        return f"header node_id does not say {node}"
    return None


def _node_in(path: str) -> str:
    parts = urlsplit(path).path.split("/")
    return parts[2] if len(parts) == 4 and parts[0] == "" and parts[3] == "events" else ""


def _peer(connection: ServerConnection) -> str:
    address = connection.remote_address
    return f"{address[0]}:{address[1]}" if address else "unknown"


def _library_log() -> logging.Logger:
    """The library's own log: errors only; connections and frames are logged here."""
    logger = log.getChild("websockets")
    logger.setLevel(logging.ERROR)
    return logger
