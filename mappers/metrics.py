"""`GET /metrics` for Prometheus: a small HTTP/1.1 server on asyncio, for one path and few clients."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from msgspec import Struct

from .gauges import CONTENT_TYPE

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 5.0
MOST_CLIENTS = 16
_LONGEST_LINE = 8192
_MOST_HEADERS = 100


class MetricsConfig(Struct, frozen=True):
    """Where `/metrics` is served."""

    host: str = "127.0.0.1"
    """There is no password on it: 0.0.0.0 shows all values to the network."""
    port: int = 0
    """0: not at all. 9464 is what exporters of applications like to use."""

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise ValueError("`port` must lie between 0 and 65535")


class MetricsServer:
    """Serves a text; a service. A port that is taken is a warning, tried again: devices matter more."""

    name = "metrics"

    def __init__(self, config: MetricsConfig, text: Callable[[], str], retry_s: float = 30.0) -> None:
        self._config = config
        self._text = text
        self._retry_s = retry_s
        self._clients = 0
        self.port = 0
        """The port that is served, once it is."""

    async def run(self, ready: asyncio.Event) -> None:
        """Serve until cancelled. Ready at once."""
        ready.set()
        while True:
            try:
                server = await asyncio.start_server(
                    self._serve, self._config.host, self._config.port, limit=_LONGEST_LINE
                )
            except OSError as error:
                log.warning(
                    "= metrics not served host=%s port=%d error=%s", self._config.host, self._config.port, error
                )
                await asyncio.sleep(self._retry_s)
                continue
            async with server:
                self.port = server.sockets[0].getsockname()[1]
                log.info("= metrics served host=%s port=%d", self._config.host, self.port)
                await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            # A client that is slow, silent or gone is not worth a word.
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    if self._clients <= MOST_CLIENTS:
                        writer.write(self._answer(await _request(reader)))
                        await writer.drain()
        finally:
            self._clients -= 1
            writer.close()

    def _answer(self, line: bytes) -> bytes:
        parts = line.split()
        if len(parts) != 3 or not parts[2].startswith(b"HTTP/1."):
            return _response("400 Bad Request", "not HTTP\n")
        if parts[0] not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", "GET only\n", "Allow: GET, HEAD\r\n")
        if parts[1].partition(b"?")[0] != b"/metrics":
            return _response("404 Not Found", "try /metrics\n")
        return _response("200 OK", self._text(), head=parts[0] == b"HEAD")


async def _request(reader: asyncio.StreamReader) -> bytes:
    """The request line; the headers are read and left aside. ValueError for a line that is too long, or too many."""
    line = await reader.readuntil(b"\n")
    for _ in range(_MOST_HEADERS):
        if not (await reader.readuntil(b"\n")).strip():
            return line
    raise ValueError("too many headers")


def _response(status: str, text: str, more: str = "", *, head: bool = False) -> bytes:
    body = text.encode()
    type = CONTENT_TYPE if status.startswith("200") else "text/plain; charset=utf-8"
    header = (
        f"HTTP/1.1 {status}\r\nContent-Type: {type}\r\nContent-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n"
    )
    return header.encode() + (b"" if head else body)
