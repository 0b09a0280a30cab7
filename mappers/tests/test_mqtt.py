"""The connection to the broker where it goes wrong; with a real broker it is tested in hil_tests."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from edgewire import backoff
from mappers import mqtt
from mappers.mqtt import BrokerConfig, MqttConnection

CONNACK = b"\x20\x02\x00\x00"
NOT_AUTHORISED = b"\x20\x02\x00\x05"


class Quiet:
    """A handler that only counts."""

    def __init__(self) -> None:
        self.up = 0
        self.down = 0
        self.acknowledgements: list[str] = []

    def filters(self) -> list[str]:
        return ["a/b"]

    def connected(self) -> None:
        self.up += 1

    def received(self, topic: str, payload: bytes) -> None:
        pass

    def acknowledged(self, device: str) -> None:
        self.acknowledgements.append(device)

    def disconnected(self) -> None:
        self.down += 1


@contextlib.asynccontextmanager
async def broker(*answers: bytes, heard: list[bytes] | None = None) -> AsyncIterator[BrokerConfig]:
    """Answers the packets of each connection with `answers`, one a packet, then says nothing more; notes what it `heard`."""
    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = list(answers)
        with contextlib.suppress(ConnectionError):
            while packet := await reader.read(1000):
                if heard is not None:
                    heard.append(packet)
                if left:
                    writer.write(left.pop(0))
                    await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.create_task(serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield BrokerConfig(port=server.sockets[0].getsockname()[1])
    finally:
        server.close()
        if handlers:
            await asyncio.wait(handlers, timeout=5)


@contextlib.asynccontextmanager
async def connecting(config: BrokerConfig) -> AsyncIterator[tuple[Quiet, MqttConnection]]:
    handler = Quiet()
    connection = MqttConnection(config, "m", handler)
    task = asyncio.create_task(connection.run(asyncio.Event()))
    try:
        yield handler, connection
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_logged(caplog: pytest.LogCaptureFixture, words: str) -> None:
    async with asyncio.timeout(5):
        while not any(words in m for m in caplog.messages):  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def test_a_broker_that_is_not_there_is_said_so_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async with connecting(BrokerConfig(port=1)) as (handler, _):
        await until_logged(caplog, "no connection to 127.0.0.1:1: ")
        assert (handler.up, handler.down) == (0, 0)


async def test_a_broker_that_refuses_is_said_so(caplog: pytest.LogCaptureFixture) -> None:
    async with broker(NOT_AUTHORISED) as config, connecting(config) as (handler, _):
        await until_logged(caplog, "the broker refuses: Not authorized")
        assert handler.up == 0


async def test_a_broker_that_never_answers_is_given_up(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "ANSWER_TIMEOUT_S", 0.05)
    async with broker() as config, connecting(config):
        await until_logged(caplog, "no answer to CONNECT")
    caplog.clear()
    async with broker(CONNACK) as config, connecting(config) as (handler, _):
        await until_logged(caplog, "no answer to SUBSCRIBE")
        assert handler.up == 0


async def test_what_a_message_before_the_suback_makes_the_mapper_subscribe_to_is_subscribed_to() -> None:
    class Curious(Quiet):
        connection: MqttConnection

        def received(self, topic: str, payload: bytes) -> None:
            self.connection.subscribe(payload.decode())

    heard: list[bytes] = []
    message = b"\x30\x08\x00\x03a/blat"
    async with broker(CONNACK, message + b"\x90\x03\x00\x01\x01", heard=heard) as config:
        handler = Curious()
        handler.connection = MqttConnection(config, "m", handler)
        task = asyncio.create_task(handler.connection.run(asyncio.Event()))
        async with asyncio.timeout(5):
            while not any(p.startswith(b"\x82") and b"lat" in p for p in heard):  # noqa: ASYNC110
                await asyncio.sleep(0.002)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_mappers_that_take_one_client_id_from_each_other_are_told_and_wait_longer(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "TUSSLES", 2)
    limits: list[float] = []
    delays = backoff.delays

    def noted() -> Iterator[float]:
        for delay in delays(draw=lambda: 1.0):
            limits.append(delay)
            yield 0.0

    monkeypatch.setattr(backoff, "delays", noted)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            for answer in (CONNACK, b"\x90\x03\x00\x01\x01"):
                await reader.read(1000)
                writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server, connecting(BrokerConfig(port=server.sockets[0].getsockname()[1])):
        await until_logged(caplog, "broker ends every connection soon client_id=m")
    assert limits[:2] == [1.0, 2.0]


async def test_a_broker_that_refuses_a_subscription_is_said_so(caplog: pytest.LogCaptureFixture) -> None:
    async with broker(CONNACK, b"\x90\x03\x00\x01\x80") as config, connecting(config):
        await until_logged(caplog, "the broker refuses a subscription: ")


async def test_a_broker_that_acknowledges_nothing_is_taken_for_dead(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "ACKNOWLEDGE_TIMEOUT_S", 0.1)
    async with broker(CONNACK, b"\x90\x03\x00\x01\x01") as config, connecting(config) as (handler, connection):
        async with asyncio.timeout(5):
            while not handler.up:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
        connection.publish("d/a", "t", "x")
        await until_logged(caplog, "the broker acknowledged nothing")
        assert (handler.down, handler.acknowledgements) == (1, [])


async def test_a_cancelled_connection_ends_while_it_connects() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:  # connections are made, and never looked at
        async with connecting(BrokerConfig(port=listening.getsockname()[1])):
            await asyncio.sleep(0)
