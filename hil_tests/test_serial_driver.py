"""The serial driver against emulated instruments: on a pseudo-terminal, and over the network."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from edgewire.device import ModelProperty
from hil_tests.bench import demo
from hil_tests.bench.nmea_receiver import NmeaReceiver
from hil_tests.bench.scale import Scale
from hil_tests.bench.serial_server import SerialServer
from mappers import serial_claims
from mappers.driver import BadAnswer, BusDown, Caller, DriverError, NoAnswer, Refused, Value, ValueRefused, read_config
from mappers.reading import Reader, readable
from mappers.serial_line import SerialLine, SerialLines
from mappers.serial_visitors import Address, Visitor, VisitorConfig

# pyserial's RFC 2217 client starts its thread by methods that Python has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:set(Daemon|Name).. is deprecated:DeprecationWarning")

DEADLINE_S = 10.0
WEIGHT = {"pattern": r"(?:ST|US),(?:GS|NT),([+-] *[\d.]+)kg"}
TARE = {"write": r"T\r\n", "answer": "^OK", "error": "^ERR (.*)"}


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition; TimeoutError after the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)  # the instrument and the driver share no event


class Bus:
    """A driver, its visitors, and what they hear."""

    def __init__(self, port: str, drivers: SerialLines | None = None, **keys: Any) -> None:
        self.at = read_config({"port": port, "timeout": 300, **keys}, Address, "configData")
        self.drivers = drivers or SerialLines()
        self.driver: SerialLine = self.drivers.driver(self.at.line)
        self.heard: list[Value | DriverError] = []

    def visitor(self, type: str = "FLOAT", **keys: Any) -> Visitor:
        config = read_config(keys, VisitorConfig, "visitors.configData")
        visitor: Visitor = self.drivers.visitor(self.at, config, ModelProperty("p", type=type))
        return visitor

    def listen(self, *visitors: Visitor) -> None:
        self.driver.listen(visitors, lambda visitor, value: self.heard.append(value))

    async def read(self, *visitors: Visitor) -> Sequence[Value | DriverError]:
        return await self.driver.read(visitors)

    async def __aenter__(self) -> "Bus":
        await self.driver.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.driver.close()


@pytest.fixture
async def scale(tmp_path: Path) -> AsyncIterator[Scale]:
    async with Scale(link=tmp_path / "scale", rate=50) as scale:
        scale.put("12.34")
        yield scale


@pytest.fixture(params=["pty", "socket", "rfc2217"])
async def port(request: pytest.FixtureRequest, scale: Scale) -> AsyncIterator[str]:
    """The scale's port: itself, or through a device server."""
    if request.param == "pty":
        yield scale.port
        return
    async with SerialServer(scale.port, rfc2217=request.param == "rfc2217") as server:
        yield server.url


async def test_a_scale_is_heard_and_asked_and_written_at_once(port: str, scale: Scale) -> None:
    async with Bus(port) as bus:
        bus.listen(bus.visitor(**WEIGHT))
        await until(lambda: bus.heard)
        assert str(bus.heard[-1]) == "12.34"
        asked = bus.visitor(ask=r"P\r\n", **WEIGHT), bus.visitor("STRING", ask=r"ID\r\n", pattern=r"^ID,(\S+)")
        assert await bus.read(*asked) == [Decimal("12.34"), "WS-4711"]
        await bus.driver.write(bus.visitor("INT", **TARE), Decimal(1))
        assert scale.tare == Decimal("12.34")
        assert scale.commands == ["P", "ID", "T"]
        await until(lambda: str(bus.heard[-1]) == "0.00")


async def test_what_a_device_refuses_is_refused_in_its_words(scale: Scale) -> None:
    async with Bus(scale.port) as bus:
        scale.put("5", settled=False)
        with pytest.raises(Refused, match=r"scale answered 'not stable', writing 'T"):
            await bus.driver.write(bus.visitor("INT", **TARE), Decimal(1))
        (found,) = await bus.read(bus.visitor(ask=r"X\r\n", pattern="^OK", error="^ERR (.*)"))
        assert isinstance(found, Refused)
        assert "answered 'unknown command', asking" in str(found)


async def test_a_value_written_is_formed_by_the_template_and_never_a_second_command(scale: Scale) -> None:
    scale.continuous = False
    async with Bus(scale.port) as bus:
        setpoint = bus.visitor(write=r"SP {value:.1f}\r\n")
        await bus.driver.write(setpoint, Decimal("21.456"))
        await until(lambda: scale.commands == ["SP 21.5"])
        label = bus.visitor("STRING", write="LABEL {value}")
        with pytest.raises(ValueRefused, match="control characters"):
            await bus.driver.write(label, "x\r\nT")
        await bus.driver.write(label, "Käse")
        await until(lambda: len(scale.commands) == 2)
        assert scale.commands[1] == "LABEL Käse".encode().decode("latin-1")


async def test_a_method_is_a_command_with_its_answer_or_the_devices_reason(scale: Scale) -> None:
    commands = {
        "tare": {"send": r"T\r\n", "answer": "^OK", "error": "^ERR (.*)"},
        "identify": {"send": "ID", "answer": r"^ID,(?P<maker>\w+)-(?P<number>\d+)"},
        "label": {"send": "LABEL {value}"},
    }
    async with Bus(scale.port, commands=commands) as bus:
        assert isinstance(bus.driver, Caller)
        assert await bus.driver.call(bus.at, "tare", {}) == {"answer": "OK"}
        assert scale.tare == Decimal("12.34")
        assert await bus.driver.call(bus.at, "identify", {}) == {"maker": "WS", "number": "4711"}
        assert await bus.driver.call(bus.at, "label", {"value": "box 7"}) == {}
        await until(lambda: scale.commands[-1] == "LABEL box 7")
        scale.put("5", settled=False)
        with pytest.raises(Refused, match="answered 'not stable', writing 'T"):
            await bus.driver.call(bus.at, "tare", {})
        for method, arguments, words in (
            ("tear", {}, "`commands` has no 'tear': did you mean 'tare'?"),
            ("tare", {"value": "1"}, "tare takes no arguments"),
            ("label", {}, "label takes one argument, `value`"),
            ("label", {"value": "x\nT"}, "control characters"),
        ):
            with pytest.raises(ValueRefused) as caught:
                await bus.driver.call(bus.at, method, arguments)
            assert words in str(caught.value)


async def test_a_property_that_is_only_written_has_the_value_the_device_took(scale: Scale) -> None:
    scale.continuous = False
    async with Bus(scale.port) as bus:
        tare = bus.visitor("INT", **TARE)
        assert tare.pushed
        bus.listen(tare)
        await bus.driver.write(tare, Decimal(7))
        assert bus.heard == [7]
        scale.put("1", settled=False)
        with pytest.raises(Refused):
            await bus.driver.write(tare, Decimal(8))
        assert bus.heard == [7]


async def test_an_overload_is_no_weight(scale: Scale) -> None:
    scale.continuous = False
    scale.put("99")
    async with Bus(scale.port) as bus:
        (found,) = await bus.read(bus.visitor(ask=r"P\r\n", pattern=r",\s*([^,]*)kg$"))
        assert isinstance(found, BadAnswer)
        assert str(found) == "'------' is not a number, in 'OL,GS,  ------kg'"


async def test_what_is_said_before_a_command_is_sent_is_no_answer_to_it(scale: Scale) -> None:
    scale.continuous = False
    async with Bus(scale.port, pause=150) as bus:
        weight = bus.visitor(ask=r"P\r\n", **WEIGHT)
        bus.listen(heard := bus.visitor(**WEIGHT))
        asking = asyncio.create_task(bus.read(weight))
        await asyncio.sleep(0)
        scale.send(b"ST,GS,+   9.99kg\r\n")
        await until(lambda: bus.heard)
        assert scale.commands == []
        assert await asking == [Decimal("12.34")]
        assert bus.heard == [Decimal("9.99"), Decimal("12.34")]
        assert heard.pushed


async def test_a_silent_device_costs_its_timeout_and_is_asked_again_once(scale: Scale) -> None:
    scale.continuous = False
    scale.faults.silent = True
    async with Bus(scale.port, timeout=100) as bus:
        before = time.monotonic()
        with pytest.raises(NoAnswer, match=r"scale did not answer within 100 ms, asking 'P\\\\r\\\\n'$"):
            await bus.read(bus.visitor(ask=r"P\r\n", **WEIGHT), bus.visitor(ask=r"ID\r\n"))
        assert time.monotonic() - before < 0.5
        await until(lambda: scale.commands == ["P", "P"])
        scale.faults.silent = False
        assert await bus.read(bus.visitor(ask=r"P\r\n", **WEIGHT)) == [Decimal("12.34")]


async def test_a_command_that_is_never_answered_does_not_keep_the_others_from_it(scale: Scale) -> None:
    scale.continuous = False
    async with Bus(scale.port, timeout=50, retries=0) as bus:
        weight = bus.visitor(ask=r"P\r\n", **WEIGHT)
        visitors = bus.visitor(ask=r"X\r\n", match="^never"), weight, bus.visitor(ask=r"Y\r\n", match="^never")
        with pytest.raises(NoAnswer, match="came instead: 'ERR unknown command'"):
            await bus.read(*visitors)
        for last in ("Y", "X", "Y"):
            found = await bus.read(*visitors)
            assert [type(value) for value in found] == [NoAnswer, Decimal, NoAnswer]
            assert scale.commands[-2:] == ["P", last], "one silent command a read"


@pytest.mark.parametrize("faults", [{"pieces": True}, {"garbage": 40}, {"flipped": True}])
async def test_a_bad_line_yields_no_wrong_value(tmp_path: Path, faults: dict[str, Any]) -> None:
    """A receiver's sentences bear checksums: whatever happens on the line, what is heard is right."""
    async with NmeaReceiver(link=tmp_path / "gps", rate=50) as gps, Bus(str(tmp_path / "gps"), checksum="nmea") as bus:
        bus.listen(bus.visitor("DOUBLE", sentence="GGA", field="latitude"))
        for name, value in faults.items():
            setattr(gps.faults, name, value)
        sent = gps.sent
        await until(lambda: gps.sent > sent + 4000)
        for name, value in {"pieces": False, "garbage": 0, "flipped": False}.items():
            setattr(gps.faults, name, value)
        heard = len(bus.heard)
        await until(lambda: len(bus.heard) > heard + 2)
        assert {str(value) for value in bus.heard} == {"48.117300000"}


async def test_a_receivers_position_is_heard_and_under_a_roof_it_is_not(tmp_path: Path) -> None:
    async with NmeaReceiver(link=tmp_path / "gps", rate=50) as gps, Bus(str(tmp_path / "gps"), baudRate=4800) as bus:
        west = bus.visitor("DOUBLE", sentence="RMC", field="longitude")
        bus.listen(west, bus.visitor("INT", sentence="GPGGA", field="satellites"))
        await until(lambda: len(bus.heard) >= 2)
        assert {str(value) for value in bus.heard} == {"-11.516666667", "8"}
        gps.fix = False
        await asyncio.sleep(0)
        bus.listen(west)
        sent = gps.sent
        await until(lambda: gps.sent > sent + 1000)
        heard = len(bus.heard)
        await until(lambda: gps.sent > sent + 2000)
        assert len(bus.heard) == heard


async def test_a_device_unplugged_is_noticed_at_once_and_found_again_under_its_name(scale: Scale) -> None:
    bus = Bus(scale.port)
    async with bus:
        bus.listen(bus.visitor(**WEIGHT))
        asking = asyncio.create_task(bus.read(bus.visitor(ask=r"P\r\n", match="^never", pattern="x")))
        await until(lambda: scale.commands)
        before = time.monotonic()
        scale.unplug()
        with pytest.raises(BusDown, match="scale is gone"):
            await asking
        assert time.monotonic() - before < 0.2
        assert isinstance(bus.heard[-1], BusDown)
        with pytest.raises(BusDown):
            await bus.read(bus.visitor(ask="P"))
        with pytest.raises(BusDown):
            bus.listen()
    with pytest.raises(BusDown, match="scale is not there: unplugged, or named otherwise"):
        await bus.driver.open()
    await bus.driver.close()
    scale.plug()
    async with bus:
        assert await bus.read(bus.visitor(ask=r"P\r\n", **WEIGHT)) == [Decimal("12.34")]


@pytest.mark.parametrize("rfc2217", [False, True], ids=["socket", "rfc2217"])
async def test_a_network_that_fails_is_noticed_and_the_server_found_again(scale: Scale, rfc2217: bool) -> None:
    async with SerialServer(scale.port, rfc2217=rfc2217) as server:
        bus = Bus(server.url, baudRate=19200)
        async with bus:
            bus.listen(bus.visitor(**WEIGHT))
            await until(lambda: bus.heard)
            assert server.modem.baudrate == (19200 if rfc2217 else 9600)
            server.drop()
            await until(lambda: isinstance(bus.heard[-1], BusDown))
        async with bus:
            assert await bus.read(bus.visitor(ask=r"P\r\n", **WEIGHT)) == [Decimal("12.34")]
    with pytest.raises(BusDown, match="refused"):
        await bus.driver.open()
    await bus.driver.close()


async def test_a_port_is_opened_once(scale: Scale, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_claims, "HANDOVER_S", 0.1)
    async with Bus(scale.port) as bus:
        again = Bus(scale.port, bus.drivers, baudRate=19200)
        opening = asyncio.create_task(again.driver.open())
        await asyncio.sleep(0)
        assert not opening.done(), "it may be closing"
        with pytest.raises(BusDown, match="scale is in use by another Device that says other things of the line"):
            await opening
        with pytest.raises(BusDown, match="scale is in use by another program"):
            await Bus(scale.port).driver.open()


async def test_a_device_whose_speed_was_edited_takes_over_its_port(scale: Scale) -> None:
    async with Bus(scale.port) as before:
        after = Bus(scale.port, before.drivers, baudRate=19200)
        opening = asyncio.create_task(after.driver.open())
        await asyncio.sleep(0)
    await opening
    assert await after.read(after.visitor(ask=r"P\r\n", **WEIGHT)) == [Decimal("12.34")]
    await after.driver.close()


async def test_a_loop_hears_itself() -> None:
    async with Bus("loop://", framing="slip", checksum="crc16-modbus") as bus:
        number = bus.visitor("INT", struct="<H")
        bus.listen(number)
        await bus.driver.write(bus.visitor("INT", write="{value:struct <H}"), Decimal(49344))
        await until(lambda: bus.heard == [49344])


async def test_a_noisy_line_says_so_once(scale: Scale, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with Bus(scale.port, checksum="crc8") as bus:
        bus.listen(bus.visitor(**WEIGHT))
        sent = scale.sent
        await until(lambda: scale.sent > sent + 500)
        await until(lambda: "frames garbled" in caplog.text)
        assert caplog.text.count("frames garbled") == 1
        assert bus.heard == []


async def test_a_flood_of_garbage_keeps_the_loop_free_and_memory_bounded() -> None:
    stop = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not stop.is_set():
                writer.write(bytes(range(1, 10)) * 10_000)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Bus(f"socket://127.0.0.1:{port}", maxFrame=512) as bus:
        bus.listen(bus.visitor(**WEIGHT))
        turns, until_s = 0, time.monotonic() + 0.5
        while time.monotonic() < until_s:
            await asyncio.sleep(0.001)
            turns += 1
            assert len(bus.driver._framer._buffer) <= 2 * 512 + 16  # type: ignore[attr-defined]
        assert turns > 100, "the loop was held up"
        assert bus.heard == []
        stop.set()
    server.close()


async def test_idle_frames_end_with_a_silence(scale: Scale) -> None:
    scale.continuous = False
    async with Bus(scale.port, framing="idle", idleMs=30) as bus:
        bus.listen(bus.visitor("STRING"))
        scale.send(b"one")
        await until(lambda: bus.heard == ["one"])
        scale.send(b"tw")
        scale.send(b"o")
        await until(lambda: bus.heard == ["one", "two"])


async def test_instruments_are_read_at_the_cabinet_without_waiting_for_what_is_only_written(scale: Scale) -> None:
    manifests = demo.serial_manifests("edge-1", scale=scale.port, receiver="unused")
    manifests = [m for m in manifests if m["metadata"]["name"] != "receiver"]
    reader = Reader(readable(manifests, lambda protocol: SerialLines()), 30)
    try:
        async with asyncio.timeout(5):
            rows = await reader.read()
    finally:
        await reader.close()
    assert [(row.property, row.value, row.error) for row in rows] == [
        ("weight", "12.34", ""),
        ("stable", "true", ""),
        ("serial-number", "WS-4711", ""),
        ("tare", "(only written)", ""),
    ]


def test_a_driver_is_what_the_framework_takes_it_for() -> None:
    assert isinstance(SerialLines().driver(Address(port="/dev/ttyS0").line), SerialLine)
