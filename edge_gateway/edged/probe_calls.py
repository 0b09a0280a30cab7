"""Makes the calls of probes and lifecycle hooks: a command, an HTTP request, a TCP connection, or a wait.

Requests go to the pod's address, or to the machine itself where containers share its network. An HTTP answer from 200 to 399 is
a success; certificates are not verified, as a kubelet does not.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable

from edge_gateway.edged import EdgedError
from edge_gateway.edged.pods import Container, Handler, HttpGet

HOST = "127.0.0.1"
ANSWER_BYTES = 10 * 1024
MESSAGE_LIMIT = 512

Exec = Callable[[tuple[str, ...], float], Awaitable[tuple[int, bytes]]]
"""Runs a command in the container: exit code and output."""


async def call(handler: Handler, container: Container, exec: Exec, timeout_s: float, host: str = HOST) -> str:
    """Make a call, to `host` where the handler names none: empty when it went well, else why it did not."""
    try:
        if handler.exec is not None:
            # The runtime keeps the time: what it takes to begin is not the command's.
            code, output = await exec(handler.exec.command, timeout_s)
            return "" if code == 0 else output.decode(errors="replace").strip()[:MESSAGE_LIMIT] or f"exit code {code}"
        async with asyncio.timeout(timeout_s):
            if handler.http_get is not None:
                return await _http(handler.http_get, container, host)
            if handler.tcp_socket is not None:
                port = container.port(handler.tcp_socket.port)
                _, writer = await asyncio.open_connection(handler.tcp_socket.host or host, port)
                writer.close()
                return ""
            if handler.sleep is not None:
                await asyncio.sleep(handler.sleep.seconds)
            return ""
    except TimeoutError:
        return f"timed out after {timeout_s:g}s"
    except (OSError, EdgedError, ValueError) as error:
        return str(error)[:MESSAGE_LIMIT]


async def _http(get: HttpGet, container: Container, host: str) -> str:
    port = container.port(get.port)
    host = get.host or host
    context = None
    if get.scheme.upper() == "HTTPS":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(host, port, ssl=context, limit=ANSWER_BYTES)
    try:
        headers = {
            "Host": f"{host}:{port}",
            "User-Agent": "kube-probe/hedgerow",
            "Accept": "*/*",
            "Connection": "close",
        }
        headers |= {header.name: header.value for header in get.http_headers}
        path = get.path if get.path.startswith("/") else f"/{get.path}"
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        writer.write("\r\n".join(lines).encode("latin-1", "replace"))
        status = (await reader.readline()).split(None, 2)
    finally:
        writer.close()
    if len(status) < 2 or not status[0].startswith(b"HTTP/") or not status[1].isdigit():
        return "no HTTP answer"
    code = int(status[1])
    return "" if 200 <= code < 400 else f"HTTP probe failed with statuscode: {code}"
