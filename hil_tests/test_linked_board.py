"""Boards without a network as devices: the mapper's driver and the whole mapper against a board on a pseudo-terminal."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from device_fw.tests.watcher import Watcher
from edgewire import topics
from edgewire.board_frames import OTA_CHUNK, OTA_GET, OTA_OFFER
from edgewire.device import ModelProperty
from hil_tests.bench.linked_board import LinkedBoard
from hil_tests.test_modbus_mapper import Gateway, MapperProcess, gateway
from hil_tests.test_serial_driver import until
from hil_tests.test_serial_mapper import configured
from mappers.driver import BusDown, Dated, DriverError, NoAnswer, Refused, Value, ValueRefused
from mappers.reading import Reader, readable
from mappers.serial_board import BoardVisitor
from mappers.serial_board_line import BoardLine
from mappers.serial_line import SerialLines
from mappers.serial_visitors import Address, VisitorConfig

__all__ = ["gateway"]  # a fixture


class Ear:
    """The driver of a board's line, open and listening to the board's properties."""

    def __init__(self, port: str, **keys: Any) -> None:
        self.at = Address(port=port, framing="board", **keys)
        self.drivers = SerialLines()
        self.driver: BoardLine = self.drivers.driver(self.at.line)
        self.visitors = {"temperature": self._visitor("temperature", "FLOAT"), "led": self._visitor("led", "STRING")}
        self.heard: list[tuple[str, Value | Dated | DriverError]] = []
        self.said: list[tuple[str, bytes]] = []

    def _visitor(self, name: str, type: str) -> BoardVisitor:
        visitor: BoardVisitor = self.drivers.visitor(self.at, VisitorConfig(), ModelProperty(name, type=type))
        return visitor

    def last(self, name: str) -> Value | Dated | DriverError | None:
        """What was heard last of a property."""
        return next((value for of, value in reversed(self.heard) if of == name), None)

    async def __aenter__(self) -> "Ear":
        await self.driver.open()
        self.driver.listen(list(self.visitors.values()), lambda v, value: self.heard.append((v.name, value)))
        self.driver.relay(lambda kind, payload: self.said.append((kind, payload)))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.driver.close()


@pytest.fixture
async def board(tmp_path: Path) -> AsyncIterator[LinkedBoard]:
    async with LinkedBoard(link=tmp_path / "board") as board:
        yield board


async def test_a_board_is_heard_by_the_names_of_its_properties_with_its_own_time(board: LinkedBoard) -> None:
    async with Ear(board.port) as ear:
        await until(lambda: len(ear.heard) >= 2)
        assert ear.last("temperature") == Decimal("21.5")
        assert ear.last("led") == "OFF"
        assert abs(board.told_ms - time.time() * 1000) < 5000
        board.at_ms = 1_700_000_000_123
        board.put("temperature", "22.0")
        await until(lambda: ear.last("temperature") == Dated(Decimal("22.0"), 1_700_000_000_123))


async def test_what_is_desired_is_done_when_the_board_reports_it(board: LinkedBoard) -> None:
    async with Ear(board.port) as ear:
        await until(lambda: ear.heard)
        await ear.driver.write(ear.visitors["led"], "ON")
        assert board.deltas == [{"led": "ON"}]
        assert ear.last("led") == "ON"


async def test_what_the_board_refuses_is_refused_in_its_words(board: LinkedBoard) -> None:
    board.refuses = {"led": "none of OFF, ON"}
    async with Ear(board.port) as ear:
        await until(lambda: ear.heard)
        with pytest.raises(Refused, match="the board says 'none of OFF, ON'"):
            await ear.driver.write(ear.visitors["led"], "BLUE")
        assert ear.last("led") == "OFF"


async def test_a_board_that_takes_a_value_and_holds_another_is_heard_as_it_is(board: LinkedBoard) -> None:
    board.answer = lambda property, desired: "OFF"
    async with Ear(board.port, timeout=100) as ear:
        await until(lambda: ear.heard)
        await ear.driver.write(ear.visitors["led"], "ON")
        assert ear.last("led") == "OFF"


async def test_a_board_that_says_nothing_of_what_is_desired_refuses_in_time(board: LinkedBoard) -> None:
    board.answer = lambda property, desired: desired
    del board.values["led"]
    async with Ear(board.port, timeout=100) as ear:
        await until(lambda: ear.heard)
        with pytest.raises(Refused, match="says nothing of it"):
            await ear.driver.write(ear.visitors["led"], "ON")


async def test_a_value_longer_than_the_board_takes_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    async with LinkedBoard(link=tmp_path / "board", limit=100) as board, Ear(board.port) as ear:
        await until(lambda: ear.heard)
        with pytest.raises(ValueRefused, match="more than the other side takes"):
            await ear.driver.write(ear.visitors["led"], "x" * 100)


async def test_firmware_passes_through_both_ways(board: LinkedBoard) -> None:
    async with Ear(board.port) as ear:
        await until(lambda: ear.heard)
        chunk = bytes(range(256)) * 8
        ear.driver.hand_over(ear.at, topics.OTA_OFFER, b'{"id": "1"}')
        ear.driver.hand_over(ear.at, topics.OTA_CHUNK, chunk)
        await until(lambda: board.messages == [(OTA_OFFER, b'{"id": "1"}'), (OTA_CHUNK, chunk)])
        board.outbox.append((OTA_GET, b'{"id": "1", "offset": 0, "length": 2048}'))
        await until(lambda: ear.said == [(topics.OTA_GET, b'{"id": "1", "offset": 0, "length": 2048}')])


@pytest.mark.parametrize("fault", ["garbage", "pieces", "flipped"])
async def test_a_line_that_garbles_costs_time_and_nothing_else(board: LinkedBoard, fault: str) -> None:
    async with Ear(board.port) as ear:
        await until(lambda: ear.heard)
        if fault == "garbage":
            board.faults.garbage = 40
        elif fault == "pieces":
            board.faults.pieces = True
        for number in range(5):
            board.faults.flipped = fault == "flipped"
            writing = asyncio.create_task(ear.driver.write(ear.visitors["temperature"], Decimal(number)))
            await until(lambda number=number: board.values["temperature"] == str(number))  # type: ignore[misc]
            board.faults.flipped = False
            await writing
            assert ear.last("temperature") == number
        assert [delta["temperature"] for delta in board.deltas] == ["0", "1", "2", "3", "4"]


async def test_a_board_that_is_reset_is_away_for_a_moment_and_heard_anew(board: LinkedBoard) -> None:
    async with Ear(board.port) as ear:
        await until(lambda: ear.heard)
        board.values["led"] = "ON"
        ear.heard.clear()
        board.reset()
        await until(lambda: ear.last("led") == "ON")
        first = ear.heard[0][1]
        assert isinstance(first, NoAnswer)
        assert "began anew" in str(first)


async def test_a_board_that_is_reset_while_it_is_written_ends_the_writing(board: LinkedBoard) -> None:
    board.values = {}  # it has not said anything yet
    async with Ear(board.port, timeout=60_000) as ear:
        await until(lambda: board.sessions)
        writing = asyncio.create_task(ear.driver.write(ear.visitors["led"], "ON"))
        await until(lambda: board.deltas)
        board.reset()
        async with asyncio.timeout(10):
            with pytest.raises(NoAnswer, match="began anew"):
                await writing


async def test_a_mapper_that_starts_anew_hears_everything_from_a_board_that_went_on(board: LinkedBoard) -> None:
    for session in (1, 2, 3):
        async with Ear(board.port) as ear:
            await until(lambda: ear.last("led") == "OFF")
            assert board.sessions == session


async def test_a_line_without_a_board_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mappers.serial_board_session.FIRST_HELLO_MS", 100)
    async with LinkedBoard(link=tmp_path / "board") as board:
        board.faults.silent = True
        async with Ear(board.port) as ear:
            await until(lambda: ear.heard)
            assert "no board says hello" in str(ear.last("led"))
            with pytest.raises(NoAnswer):
                await ear.driver.write(ear.visitors["led"], "ON")
            board.faults.silent = False
            await until(lambda: ear.last("led") == "OFF")


async def test_a_board_that_is_unplugged_ends_what_waits_for_it(board: LinkedBoard) -> None:
    board.answer = lambda property, desired: "OFF"
    async with Ear(board.port, timeout=60_000) as ear:
        await until(lambda: ear.heard)
        writing = asyncio.create_task(ear.driver.write(ear.visitors["led"], "ON"))
        await until(lambda: board.deltas)
        board.unplug()
        with pytest.raises(BusDown, match="is gone"):
            await writing
        assert isinstance(ear.last("led"), BusDown)


async def test_what_a_board_prints_stands_in_the_log_and_a_flood_of_it_does_not(
    board: LinkedBoard, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with Ear(board.port) as ear:
        await until(lambda: ear.heard)
        board.print("Traceback (most recent call last):")
        board.put("led", "ON")
        await until(lambda: ear.last("led") == "ON")
        assert "< printed bus=" in caplog.text
        assert "Traceback (most recent call last):" in caplog.text
        for _ in range(100):
            board.print("again and again")
        board.put("led", "OFF")
        await until(lambda: ear.last("led") == "OFF")
        assert caplog.text.count("again and again") < 25


def manifests(port: str, desired: str = "") -> list[dict[str, Any]]:
    """A board's model and Device, as short as they can be."""
    led: dict[str, Any] = {"name": "led", **({"desired": {"value": desired}} if desired else {})}
    return [
        {
            "apiVersion": "devices.kubeedge.io/v1beta1",
            "kind": "DeviceModel",
            "metadata": {"name": "board-model", "namespace": "default"},
            "spec": {
                "protocol": "serial",
                "properties": [
                    {"name": "temperature", "type": "FLOAT", "accessMode": "ReadOnly", "unit": "°C"},
                    {"name": "led", "type": "STRING", "accessMode": "ReadWrite"},
                ],
            },
        },
        {
            "apiVersion": "devices.kubeedge.io/v1beta1",
            "kind": "Device",
            "metadata": {"name": "board", "namespace": "default"},
            "spec": {
                "deviceModelRef": {"name": "board-model"},
                "nodeName": "edge-1",
                "protocol": {"protocolName": "serial", "configData": {"port": port, "framing": "board"}},
                "properties": [{"name": "temperature"}, led],
            },
        },
    ]


async def test_a_board_is_read_at_the_cabinet_from_its_manifests(board: LinkedBoard) -> None:
    reader = Reader(readable(manifests(board.port), lambda protocol: SerialLines()), heard_s=10)
    try:
        rows = await reader.read()
    finally:
        await reader.close()
    assert [(row.property, row.value, row.error) for row in rows] == [("temperature", "21.5", ""), ("led", "OFF", "")]


@pytest.fixture
async def mapper(tmp_path: Path, gateway: Gateway) -> AsyncIterator[MapperProcess]:
    mapper = configured(tmp_path, gateway.broker.port)
    await mapper.start()
    try:
        yield mapper
    finally:
        assert await mapper.stop() == 0


async def test_firmware_reaches_a_board_over_the_broker_and_its_questions_come_back(
    board: LinkedBoard, gateway: Gateway, mapper: MapperProcess
) -> None:
    gateway.apply(manifests(board.port, desired="ON"))
    await until(lambda: board.values["led"] == "ON")
    async with Watcher(gateway.broker.port) as site:
        site.say(topics.of_device("default/board", topics.OTA_OFFER), {"id": "7"})
        await until(lambda: board.messages)
        assert [(kind, json.loads(content)) for kind, content in board.messages] == [(OTA_OFFER, {"id": "7"})]
        board.outbox.append((OTA_GET, b'{"id": "7", "offset": 0, "length": 16}'))
        get = topics.of_device("default/board", topics.OTA_GET)
        await until(lambda: site.on(get) == [{"id": "7", "offset": 0, "length": 16}])
