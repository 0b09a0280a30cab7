"""Probes' calls to real servers on loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from edge_gateway.edged.pods import Container, Handler
from edge_gateway.edged.probe_calls import call

CONTAINER = Container("c")


async def no_exec(command: tuple[str, ...], timeout_s: float) -> tuple[int, bytes]:
    raise AssertionError("nothing to execute")


@asynccontextmanager
async def serving(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that gives the same answer to everybody: its port, and what it was asked."""
    asked: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], asked


def http(port: int, path: str = "/") -> Handler:
    content = {"httpGet": {"port": port, "path": path, "httpHeaders": [{"name": "X-Who", "value": "me"}]}}
    return msgspec.convert(content, Handler)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
        (b"HTTP/1.0 301 Moved\r\n\r\n", ""),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "HTTP probe failed with statuscode: 404"),
        (b"HTTP/1.1 503\r\n\r\n", "HTTP probe failed with statuscode: 503"),
        (b"SSH-2.0-OpenSSH\r\n", "no HTTP answer"),
        (b"", "no HTTP answer"),
    ],
)
async def test_an_answer_from_200_to_399_is_a_success(answer: bytes, says: str) -> None:
    async with serving(answer) as (port, asked):
        assert await call(http(port, "/health?x=1"), CONTAINER, no_exec, 10.0) == says
    assert asked[0].startswith(b"GET /health?x=1 HTTP/1.1\r\n")
    assert b"X-Who: me\r\n" in asked[0]


async def test_a_port_is_found_by_its_name() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n") as (port, _):
        container = msgspec.convert({"name": "c", "ports": [{"name": "web", "containerPort": port}]}, Container)
        handler = msgspec.convert({"httpGet": {"port": "web"}}, Handler)
        assert await call(handler, container, no_exec, 10.0) == ""


async def test_a_connection_is_enough_for_tcp() -> None:
    async with serving(b"") as (port, _):
        handler = msgspec.convert({"tcpSocket": {"port": port}}, Handler)
        assert await call(handler, CONTAINER, no_exec, 10.0) == ""
    assert "Connect call failed" in await call(handler, CONTAINER, no_exec, 10.0)


async def test_a_server_that_says_nothing_times_out() -> None:
    gone = asyncio.Event()

    async def listen_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        gone.set()

    server = await asyncio.start_server(listen_only, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await call(http(port), CONTAINER, no_exec, 0.2) == "timed out after 0.2s"
        async with asyncio.timeout(10):
            await gone.wait()


async def test_a_command_succeeds_with_code_0_and_says_why_it_does_not() -> None:
    handler = msgspec.convert({"exec": {"command": ["check", "it"]}}, Handler)
    results = [(0, b"fine"), (1, b"disk is full\n"), (7, b"")]

    async def exec(command: tuple[str, ...], timeout_s: float) -> tuple[int, bytes]:
        assert command == ("check", "it")
        return results.pop(0)

    assert [await call(handler, CONTAINER, exec, 10.0) for _ in range(3)] == ["", "disk is full", "exit code 7"]
