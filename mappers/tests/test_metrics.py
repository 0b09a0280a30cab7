"""`/metrics` over a real socket, asked by the standard library and by whoever cannot speak HTTP."""

import asyncio
import contextlib
import urllib.error
import urllib.request
from collections.abc import AsyncIterator

import pytest

from mappers import metrics
from mappers.metrics import MetricsConfig, MetricsServer


@contextlib.asynccontextmanager
async def served(text: str = "m 1\n", port: int = 0) -> AsyncIterator[MetricsServer]:
    server = MetricsServer(MetricsConfig(port=port), lambda: text, retry_s=0.05)
    task = asyncio.create_task(server.run(asyncio.Event()))
    try:
        async with asyncio.timeout(5):
            while not server.port:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            yield server
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def say(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        return await reader.read()
    finally:
        writer.close()


def get(port: int, path: str = "/metrics") -> tuple[int, str, str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return answer.status, answer.headers["Content-Type"], answer.read().decode()


async def test_the_text_is_served_with_its_type() -> None:
    async with served("temp °C 1\n") as server:
        status, type, text = await asyncio.to_thread(get, server.port)
        assert (status, text) == (200, "temp °C 1\n")
        assert type == "text/plain; version=0.0.4; charset=utf-8"
        assert (await asyncio.to_thread(get, server.port, "/metrics?x=1"))[0] == 200


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"404"), (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"), (b"hello\r\n\r\n", b"400"),
        (b"\x16\x03\x01\r\n\r\n", b"400"), (b"GET /metrics HTTP/1.0\n\n", b"200"),
    ],
)  # fmt: skip
async def test_what_is_asked_otherwise_is_answered_with_its_status(request_line: bytes, status: bytes) -> None:
    async with served() as server:
        assert (await say(server.port, request_line)).split()[1] == status


async def test_head_has_the_length_and_no_body() -> None:
    async with served("m 1\n") as server:
        answer = await say(server.port, b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"Content-Length: 4\r\n" in answer
        assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("data", [b"x" * 100_000, b"GET /metrics HTTP/1.1\r\n" + b"a: b\r\n" * 200])
async def test_a_request_without_end_is_cut_off_and_the_next_is_served(data: bytes) -> None:
    async with served() as server:
        with contextlib.suppress(ConnectionError):
            assert await say(server.port, data) == b""
        assert (await asyncio.to_thread(get, server.port))[0] == 200


async def test_a_client_that_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "REQUEST_TIMEOUT_S", 0.05)
    async with served() as server:
        assert await say(server.port, b"GET") == b""


async def test_a_port_that_is_taken_is_tried_again() -> None:
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    server = MetricsServer(MetricsConfig(port=port), lambda: "m 1\n", retry_s=0.01)
    task = asyncio.create_task(server.run(asyncio.Event()))
    try:
        await asyncio.sleep(0)
        taken.close()
        await taken.wait_closed()
        async with asyncio.timeout(5):
            while not server.port:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert (await asyncio.to_thread(get, port))[0] == 200
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
