"""Samples posted to a real HTTP server: batched, repeated when it fails, dropped when it refuses, bounded when it is away."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mappers import pusher
from mappers.mqtt import BrokerConfig
from mappers.push import HttpTarget, InfluxPoint, InfluxTarget, Pushes, Sample
from mappers.pusher import PushConfig, Pusher


class Server:
    """An HTTP server that answers with the statuses it is given, then 204."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.hold = threading.Event()
        self.hold.set()
        self.requests: list[tuple[str, str, str, bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                head = self.path, self.headers["Content-Type"], self.headers.get("Authorization", "")
                outer.requests.append((*head, body))
                outer.hold.wait(5)
                status = outer.statuses.pop(0) if outer.statuses else 204
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.end_headers()
                    self.wfile.write(b"because" if status >= 300 else b"")

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread.start()

    def values(self) -> list[object]:
        """The values of all samples that came as JSON, in order."""
        return [sample["value"] for *_, body in self.requests for sample in json.loads(body)]

    def close(self) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pusher, "COALESCE_S", 0.01)
    monkeypatch.setattr(pusher, "RETRY_LIMIT_S", 0.02)


@contextlib.asynccontextmanager
async def pushing(authorization: dict[str, str] | None = None) -> AsyncIterator[Pusher]:
    made = Pusher(PushConfig(authorization or {}), BrokerConfig())
    task = asyncio.create_task(made.run(asyncio.Event()))
    await asyncio.sleep(0)
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def to(server: Server, timeout_s: float = 2.0, path: str = "/values") -> Pushes:
    return Pushes(((HttpTarget(server.url + path, timeout_s), None),), None)


def sample(value: int) -> Sample:
    return Sample("default/a", "temp", str(value), "INT", "", 1_750_000_000_000 + value)


async def test_samples_of_one_moment_go_in_one_request(server: Server) -> None:
    async with pushing() as made:
        for n in range(10):
            made.put(to(server), sample(n))
        await until(lambda: len(server.values()) == 10)
    (request,) = server.requests
    assert request[:3] == ("/values", "application/json", "")
    assert server.values() == list(range(10))


async def test_line_protocol_is_posted_with_its_token(server: Server) -> None:
    target = InfluxTarget(f"{server.url}/api/v2/write?org=o&bucket=b&precision=ms", 2)
    async with pushing({server.url + "/": "Token secret"}) as made:
        for n in (1, 2):
            made.put(Pushes(((target, InfluxPoint("m", "f", ())),), None), sample(n))
        await until(lambda: bool(server.requests))
    assert server.requests == [
        (
            "/api/v2/write?org=o&bucket=b&precision=ms", "text/plain; charset=utf-8", "Token secret",
            b"m,device=a,namespace=default f=1i 1750000000001\nm,device=a,namespace=default f=2i 1750000000002",
        )
    ]  # fmt: skip


async def test_a_token_goes_to_no_other_host(server: Server) -> None:
    async with pushing({server.url + "0": "Token secret", "http://127.0.0.1": "Token secret"}) as made:
        made.put(to(server), sample(1))
        await until(lambda: bool(server.requests))
    assert server.requests[0][2] == ""


@pytest.mark.parametrize("status", [500, 503, 429, 408])
async def test_what_fails_is_sent_again_and_said_once(
    server: Server, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    server.statuses = [status, status, status]
    async with pushing() as made:
        made.put(to(server), sample(7))
        await until(lambda: len(server.requests) == 4)
        await until(lambda: "push works again" in caplog.text)
    assert server.values() == [7, 7, 7, 7]
    assert caplog.text.count("push fails") == 1
    assert f"error={status} because" in caplog.text


@pytest.mark.parametrize("status", [400, 401, 404, 302])
async def test_what_is_refused_is_dropped_with_the_answer(
    server: Server, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    server.statuses = [status]
    async with pushing() as made:
        made.put(to(server), sample(1))
        await until(lambda: f"reason={status} because" in caplog.text)
        made.put(to(server), sample(2))
        await until(lambda: server.values() == [1, 2])


async def test_a_server_that_is_away_gets_the_newest_in_order_when_it_is_back(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pusher, "QUEUE", 20)
    monkeypatch.setattr(pusher, "BATCH", 8)
    server.statuses = [503] * 6
    async with pushing() as made:
        for n in range(100):
            made.put(to(server), sample(n))
            await asyncio.sleep(0.001)
        await until(lambda: 99 in server.values())
    kept = [sample["value"] for *_, body in server.requests[6:] for sample in json.loads(body)]
    assert kept == sorted(set(kept)), "none twice, and in order"
    assert kept[-8:] == list(range(92, 100))


async def test_a_slow_target_delays_neither_its_neighbour_nor_who_reports(server: Server) -> None:
    other = Server()
    server.hold.clear()
    try:
        async with pushing() as made:
            for n in range(50):
                made.put(to(server), sample(n))
                made.put(to(other), sample(n))
            await until(lambda: len(other.values()) == 50)
            server.hold.set()
    finally:
        other.close()


async def test_a_target_that_does_not_answer_is_given_up_after_its_timeout(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.hold.clear()
    async with pushing() as made:
        made.put(to(server, timeout_s=0.05), sample(1))
        await until(lambda: "push fails" in caplog.text)
        assert "timed out" in caplog.text
        server.hold.set()
        await until(lambda: len(server.requests) > 1)


async def test_there_are_no_more_targets_than_can_be(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pusher, "MOST_TARGETS", 2)
    async with pushing() as made:
        for n in range(3):
            made.put(to(server, path=f"/{n}"), sample(n))
        await until(lambda: len(server.requests) == 2)
    assert caplog.text.count("too many targets") == 1


async def test_a_target_nobody_pushes_to_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pusher, "IDLE_S", 0.05)
    async with pushing() as made:
        made.put(to(server), sample(1))
        await until(lambda: not made._tasks)
        made.put(to(server), sample(2))
        await until(lambda: server.values() == [1, 2])
