"""The shell of the local API: HTTP/1.1 by h11, on a unix socket, and with TLS on loopback and where pods are.

Everything a client can hold is bounded: connections, the size of a head and a body, the time for each, what is unread of an
answer. Each listener has its own connections, so that a flood on the port does not shut out who has the socket.
"""

import asyncio
import grp
import logging
import os
import socket
import ssl
from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import h11
import msgspec

from edge_gateway.broker.errors import TlsError
from edge_gateway.effects import Effects
from edge_gateway.local_api import LocalApiError
from edge_gateway.local_api.access import Rights
from edge_gateway.local_api.refusals import Refusal
from edge_gateway.local_api.requests import Answer, Log, Request, Write
from edge_gateway.local_api.resources import LocalApi
from edge_gateway.local_api.views import Watch
from edge_gateway.local_api.wire import Wire
from edge_gateway.stream_server import Source, StreamError
from edgewire.message import now_ms

log = logging.getLogger(__name__)

CONNECTIONS = 64
"""At a time, of each listener."""
HEAD_BYTES, BODY_BYTES = 16 * 1024, 256 * 1024
REQUEST_S = 10.0
"""For a request to come whole, and for an idle connection to begin one."""
WRITE_S = 20.0
"""For a client to take what it is sent."""
BOOKMARK_S = 60.0
PARAMETERS = 32
_IP_FREEBIND = 15

Perform = Callable[[Effects, Callable[[], None]], None]
Who = Callable[[str], Rights | None]
"""`Authorization` header -> rights, or None for nobody we know."""


class LocalServer:
    """A service."""

    name = "local-api"

    def __init__(self, api: Callable[[], LocalApi], perform: Perform) -> None:
        """`api` makes the core once the gateway's state is restored; `perform` is EventBus'."""
        self.logs: Source | None = None
        """Gives containers' logs, where pods run."""
        self._make = api
        self._perform = perform
        self._listeners: list[tuple[socket.socket, Who, ssl.SSLContext | None]] = []
        self._api: LocalApi | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def listen_tcp(self, host: str, port: int, tls: ssl.SSLContext, who: Who) -> int:
        """Listen on an address, though the machine has it only later; the port. Raises LocalApiError."""
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
            listener.bind((host, port))
            listener.listen()
        except OSError as error:
            listener.close()
            raise LocalApiError(f"cannot listen on {host}:{port} for the local API: {error.strerror}") from error
        self._listeners.append((listener, who, tls))
        return int(listener.getsockname()[1])

    def listen_unix(self, path: Path, group: str, rights: Rights) -> None:
        """Listen on a unix socket of mode 0660. Raises LocalApiError."""
        listener = socket.socket(socket.AF_UNIX)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_socket():
                path.unlink()
            mask = os.umask(0o117)
            try:
                listener.bind(str(path))
            finally:
                os.umask(mask)
            if group:
                os.chown(path, -1, grp.getgrnam(group).gr_gid)
        except (OSError, KeyError) as error:
            listener.close()
            raise LocalApiError(f"cannot listen on {path} for the local API: {error}") from error
        self._listeners.append((listener, lambda authorization: rights, None))

    def changed(self, effects: Effects) -> None:
        """These effects are durable."""
        if self._api is not None:
            self._api.changed(effects)

    def marked(self, keys: list[str]) -> None:
        """Edged told of these statuses."""
        if self._api is not None:
            self._api.marked(keys)

    async def run(self, ready: asyncio.Event) -> None:
        """Serve until cancelled."""
        self._api = api = self._make()
        servers = [await self._open(api, *listener) for listener in self._listeners]
        ready.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            for server in servers:
                server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self.close()

    def close(self) -> None:
        """Let go of the sockets."""
        for listener, _, _ in self._listeners:
            listener.close()

    async def _open(
        self, api: LocalApi, listener: socket.socket, who: Who, tls: ssl.SSLContext | None
    ) -> asyncio.Server:
        active: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if len(active) >= CONNECTIONS:
                writer.transport.abort()
                return
            wire = Wire(reader, writer, tls)
            task = asyncio.create_task(_Connection(wire, api, self._perform, who, self.logs).serve())
            for tasks in (active, self._tasks):
                tasks.add(task)
                task.add_done_callback(tasks.discard)

        if listener.family == socket.AF_UNIX:
            return await asyncio.start_unix_server(connected, sock=listener)
        return await asyncio.start_server(connected, sock=listener)


class _Connection:
    def __init__(self, wire: Wire, api: LocalApi, perform: Perform, who: Who, logs: Source | None) -> None:
        self._wire = wire
        self._api = api
        self._perform = perform
        self._who = who
        self._logs = logs
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)

    async def serve(self) -> None:
        """Answer requests, one after another, until the client goes or misbehaves."""
        try:
            while await self._one():
                self._http.start_next_cycle()
        except (OSError, TimeoutError, TlsError, h11.ProtocolError) as error:
            log.debug("= local client gone reason=%s", error)
        finally:
            self._wire.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._wire.wait_closed()

    async def _one(self) -> bool:
        """Answer one request: whether there may be another."""
        try:
            async with asyncio.timeout(REQUEST_S):
                head = await self._event()
                if not isinstance(head, h11.Request):
                    return False
                request = await self._request(head)
            outcome = self._api.handle(request, now_ms())
            if isinstance(outcome, Watch):
                await self._watch(outcome)
                return False
            if isinstance(outcome, Log):
                await self._while_there(self._log(outcome))
                return False
            await self._answer(await self._written(outcome) if isinstance(outcome, Write) else outcome)
        except Refusal as refusal:
            await self._answer(Answer(refusal.status(), refusal.code))
        except h11.RemoteProtocolError as error:
            if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
                return False
            await self._answer(Answer(Refusal(400, f"no HTTP: {error}").status(), error.error_status_hint))
            return False
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _event(self) -> object:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self._http.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(await self._wire.read())

    async def _request(self, head: h11.Request) -> Request:
        """The whole request, of somebody known. Raises Refusal; who is not known is not listened to."""
        headers = {name: value.decode("latin-1") for name, value in head.headers}
        rights = self._who(headers.get(b"authorization", ""))
        if rights is None:
            raise Refusal(401, "a token of this gateway is needed: `edgecore token NAME` makes one")
        body = bytearray()
        while isinstance(event := await self._event(), h11.Data):
            body += event.data
            if len(body) > BODY_BYTES:
                raise Refusal(413, f"a body of more than {BODY_BYTES} bytes is too large")
        target = urlsplit(head.target.decode("latin-1"))
        try:
            query = dict(parse_qsl(target.query, keep_blank_values=True, max_num_fields=PARAMETERS))
        except ValueError as error:
            raise Refusal(400, f"the query cannot be read: {error}") from error
        content_type = headers.get(b"content-type", "").partition(";")[0].strip()
        method, path, accept = head.method.decode(), unquote(target.path), headers.get(b"accept", "")
        return Request(method, path, query, rights, accept, content_type, bytes(body))

    async def _written(self, write: Write) -> Answer:
        done = asyncio.get_running_loop().create_future()
        self._perform(write.effects, lambda: done.set_result(None) if not done.done() else None)
        try:
            async with asyncio.timeout(WRITE_S):
                await done
        except TimeoutError as error:
            raise Refusal(503, "the desired value counts, but is not on disk yet: the disk is slow or full") from error
        return self._api.written(write, now_ms())

    async def _answer(self, answer: Answer) -> None:
        text = isinstance(answer.body, str)
        body = answer.body.encode() if isinstance(answer.body, str) else msgspec.json.encode(answer.body)
        headers = [
            ("Content-Type", "text/plain" if text else answer.media_type),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
        ]
        if answer.code == 401:
            headers.append(("WWW-Authenticate", 'Bearer realm="gateway"'))
        if self._http.their_state is not h11.DONE:
            headers.append(("Connection", "close"))  # its body is not read
        await self._send(
            h11.Response(status_code=answer.code, headers=headers), h11.Data(data=body), h11.EndOfMessage()
        )

    async def _log(self, log: Log) -> None:
        """Send a log as it comes. Raises Refusal while nothing was sent."""
        if self._logs is None:
            raise Refusal(404, "this gateway runs no pods")
        begun = False
        try:
            async with aclosing(self._logs(log.request)) as pieces:
                async for piece in pieces:
                    if not begun:
                        await self._send(h11.Response(status_code=200, headers=[("Content-Type", "text/plain")]))
                        begun = True
                    await self._send(h11.Data(data=piece))
        except StreamError as error:
            raise Refusal(error.code, error.reason) from error
        if not begun:
            await self._send(h11.Response(status_code=200, headers=[("Content-Type", "text/plain")]))
        await self._send(h11.EndOfMessage())

    async def _while_there(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something until it is done or the client goes."""
        gone, doing = asyncio.create_task(self._wire.read()), asyncio.create_task(work)
        try:
            await asyncio.wait({gone, doing}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                doing.result()
        finally:
            for task in (gone, doing):
                task.cancel()
            await asyncio.gather(gone, doing, return_exceptions=True)

    async def _watch(self, watch: Watch) -> None:
        """Tell a client what changes, until it goes or its time is over."""
        changed = asyncio.Event()
        changed.set()
        loop = asyncio.get_running_loop()
        until = loop.time() + watch.timeout_s
        gone = asyncio.create_task(self._wire.read())
        gone.add_done_callback(lambda _: changed.set())
        self._api.watchers.add(changed.set)
        try:
            await self._send(h11.Response(status_code=200, headers=[("Content-Type", "application/json")]))
            while not gone.done() and loop.time() < until:
                changed.clear()
                for event in watch.events(now_ms()):
                    await self._send(h11.Data(data=msgspec.json.encode(event) + b"\n"))
                    if event["type"] == "ERROR":
                        until = 0.0
                await self._wait(changed, watch, until - loop.time())
            await self._send(h11.EndOfMessage())
        finally:
            self._api.watchers.discard(changed.set)
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)

    async def _wait(self, changed: asyncio.Event, watch: Watch, left_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(left_s, BOOKMARK_S))):
                await changed.wait()
                return
        if watch.bookmarks and left_s > 0:
            await self._send(h11.Data(data=msgspec.json.encode(watch.bookmark(now_ms())) + b"\n"))

    async def _send(self, *events: h11.Event) -> None:
        for event in events:
            data = self._http.send(event)
            if data:
                self._wire.write(data)
        async with asyncio.timeout(WRITE_S):
            await self._wire.drain()
