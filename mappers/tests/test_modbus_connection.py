"""A Modbus line against meters on a paced pty, which share nothing with the driver: every way that RTU reads the wrong thing."""

import asyncio
import contextlib
import random
import struct
import time
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import pytest

from edgewire.device import ModelProperty
from hil_tests.bench.faults import Fault
from hil_tests.bench.paced_pty import PacedPty
from hil_tests.bench.rtu_meter import COILS, HOLDING, RtuMeters
from mappers import modbus_registers as tables
from mappers.driver import BadAnswer, BusDown, NoAnswer, Refused, Value, ValueRefused, read_config
from mappers.modbus import Modbus, ModbusDriver
from mappers.modbus_address import Address
from mappers.modbus_connection import ModbusConnection
from mappers.modbus_pdu import read
from mappers.modbus_registers import Visitor, VisitorConfig

BAUD = 38400
SILENCE_S = 0.00175


@pytest.fixture
async def meters() -> AsyncIterator[RtuMeters]:
    meters = RtuMeters(BAUD, moving=False)
    try:
        yield meters
    finally:
        meters.close()


def address(meters: RtuMeters, slave_id: int = 1, **keys: Any) -> Address:
    keys = {"timeout": 150, "baud_rate": BAUD, "parity": "even", **keys}
    return Address(serial_port=meters.pty.path, slave_id=slave_id, **keys)


def visitor(unit: Address, model: str = "INT", **keys: Any) -> Visitor:
    config = read_config({"register": tables.HOLDING, "offset": 0, **keys}, VisitorConfig, "configData")
    return Modbus().visitor(unit, config, ModelProperty("p", type=model))


@contextlib.asynccontextmanager
async def driving(unit: Address) -> AsyncIterator[ModbusDriver]:
    driver = Modbus().driver(unit.bus)
    await driver.open()
    try:
        yield driver
    finally:
        await driver.close()


async def until(condition: Callable[[], object], deadline_s: float = 5.0) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_all_tables_are_read_over_a_line(meters: RtuMeters) -> None:
    at = address(meters)
    async with driving(at) as driver:
        assert await driver.read(
            [
                visitor(at, offset=3),
                visitor(at, register=tables.INPUT, offset=4),
                visitor(at, "BOOLEAN", register=tables.COIL, offset=5),
                visitor(at, "INT", register=tables.DISCRETE, offset=6, limit=4),
            ]
        ) == [1003, 1004, True, 0b1010]
        assert await driver.read([visitor(address(meters, 2), offset=7)]) == [2007]
    assert meters.pty.collisions == 0


async def test_ascii_is_spoken_too() -> None:
    meters = RtuMeters(BAUD, ascii=True, moving=False)
    try:
        at = address(meters, mode="ascii")
        async with driving(at) as driver:
            assert await driver.read([visitor(at, offset=n) for n in range(20)]) == list(range(1000, 1020))
            await driver.write(visitor(at, offset=3), Decimal(-5))
            assert meters.tables[1][HOLDING][3] == 0xFFFB
            meters.faults[1] = Fault(refuses={3: 2})
            (found,) = await driver.read([visitor(at)])
            assert "exception 2 (illegal data address)" in str(found)
    finally:
        meters.close()


async def test_rtu_over_tcp_is_spoken_too(meters: RtuMeters) -> None:
    """A serial device server: the same bytes, on a socket."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while frame := await reader.read(300):
                unit, pdu = frame[0], frame[1:-2]
                writer.write(meters._frame(unit, meters._answer(unit, pdu)))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    at = Address(ip="127.0.0.1", port=port, mode="rtu", timeout=500)
    async with server, driving(at) as driver:
        assert await driver.read([visitor(at, offset=n) for n in (1, 5)]) == [1001, 1005]


async def test_a_late_answer_is_never_taken_for_the_next(meters: RtuMeters) -> None:
    at = address(meters, timeout=60)
    async with driving(at) as driver:
        meters.faults[1].delay_s = 0.1  # 40 ms too late, when the next request could have been out
        with pytest.raises(NoAnswer, match="did not answer within 60 ms, reading HoldingRegister 5"):
            await driver.read([visitor(at, offset=5)])
        meters.faults[1].delay_s = 0
        for offset in (9, 10, 11):
            assert await driver.read([visitor(at, offset=offset)]) == [1000 + offset]
    assert meters.pty.collisions == 0


async def test_a_late_answer_ends_the_wait_for_it(meters: RtuMeters) -> None:
    at = address(meters, timeout=300)
    async with driving(at) as driver:
        meters.faults[1].delay_s = 0.33
        with pytest.raises(NoAnswer):
            await driver.read([visitor(at, offset=5)])
        meters.faults[1].delay_s = 0
        before = time.monotonic()
        assert await driver.read([visitor(at, offset=9)]) == [1009]
        assert time.monotonic() - before < 0.25


async def test_a_dead_unit_costs_its_own_timeout_and_its_neighbour_none(meters: RtuMeters) -> None:
    dead, well = address(meters, 1, timeout=100), address(meters, 2)
    async with driving(dead) as driver:
        meters.faults[1].silent = True
        for _ in range(3):
            before = time.monotonic()
            with pytest.raises(NoAnswer):
                await driver.read([visitor(dead, offset=n) for n in (0, 60, 120)])
            assert await driver.read([visitor(well, offset=7)]) == [2007]
            assert time.monotonic() - before < 0.25
            await asyncio.sleep(0.1)  # the next probe of a mapper comes a second later


async def test_a_late_answer_of_a_neighbour_is_noise(meters: RtuMeters) -> None:
    slow, well = address(meters, 1, timeout=50), address(meters, 2, timeout=300)
    async with driving(slow) as driver:
        meters.faults[1].delay_s, meters.faults[2].delay_s = 0.07, 0.06
        with pytest.raises(NoAnswer):
            await driver.read([visitor(slow, offset=7)])
        assert await driver.read([visitor(well, offset=7)]) == [2007]


async def test_noise_before_an_answer_loses_nothing(meters: RtuMeters) -> None:
    at = address(meters)
    async with driving(at) as driver:
        meters.faults[1].noise = True
        assert await driver.read([visitor(at, offset=n) for n in range(9)]) == list(range(1000, 1009))


async def test_noise_long_before_an_answer_loses_nothing(meters: RtuMeters) -> None:
    at = address(meters, timeout=400)
    async with driving(at) as driver:
        await driver.read([visitor(at)])
        meters.faults[1].delay_s = 0.2
        reading = asyncio.create_task(driver.read([visitor(at, offset=9)]))
        asked = len(meters.requests)
        await until(lambda: len(meters.requests) > asked)
        await meters.pty.send(b"\xff\x00\xfe")
        assert await reading == [1009]
        assert len(meters.requests) == asked + 1


async def test_a_short_answer_is_no_value(meters: RtuMeters) -> None:
    at = address(meters)
    async with driving(at) as driver:
        meters.faults[1].short = True
        first, second = await driver.read([visitor(at, offset=4), visitor(at, offset=5)])
        assert isinstance(first, BadAnswer)
        assert isinstance(second, BadAnswer)
        assert "2 bytes of values instead of 4" in str(first)
        meters.faults[1].short = False
        assert await driver.read([visitor(at, offset=4), visitor(at, offset=5)]) == [1004, 1005]


async def test_a_garbled_answer_is_asked_for_again_at_once(meters: RtuMeters) -> None:
    at = address(meters, timeout=1000)
    async with driving(at) as driver:
        meters.faults[1].garbled = True
        before = time.monotonic()
        (found,) = await driver.read([visitor(at, offset=4)])
        assert isinstance(found, BadAnswer)
        assert "part of a frame, or noise" in str(found)
        assert time.monotonic() - before < 0.6
        assert len(meters.requests) == 2
        reading = asyncio.create_task(driver.read([visitor(at, offset=4)]))
        await until(lambda: len(meters.requests) == 4)
        meters.faults[1].garbled = False
        assert await reading == [1004]


async def test_an_answer_of_another_unit_is_not_taken(meters: RtuMeters) -> None:
    at = address(meters)
    async with driving(at) as driver:
        meters.faults[1].wrong_unit = True
        with pytest.raises(NoAnswer):
            await driver.read([visitor(at)])


async def test_between_frames_there_is_silence(meters: RtuMeters) -> None:
    at = address(meters)
    async with driving(at) as driver:
        for offset in range(20):
            await driver.read([visitor(at, offset=offset)])
    assert len(meters.pty.silences) == 19
    assert min(meters.pty.silences) >= SILENCE_S * 0.95
    assert meters.pty.collisions == 0


async def test_a_unit_that_needs_time_between_requests_has_it(meters: RtuMeters) -> None:
    at = address(meters, turnaround=30)
    async with driving(at) as driver:
        for offset in range(4):
            await driver.read([visitor(at, offset=offset)])
    assert min(meters.pty.silences) >= 0.03 * 0.95


async def test_a_cancelled_read_ends_on_the_wire_first(meters: RtuMeters) -> None:
    at = address(meters, timeout=300)
    async with driving(at) as driver:
        await driver.read([visitor(at)])
        meters.faults[1].delay_s = 0.05
        reading = asyncio.create_task(driver.read([visitor(at, offset=5)]))
        asked = len(meters.requests)
        await until(lambda: len(meters.requests) > asked)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await driver.read([visitor(at, offset=9)]) == [1009]
    assert meters.pty.collisions == 0


async def test_a_long_answer_on_a_slow_line_is_not_late() -> None:
    meters = RtuMeters(2400, moving=False)
    try:
        at = address(meters, baud_rate=2400, timeout=100)
        async with driving(at) as driver:  # 105 bytes take 480 ms
            assert await driver.read([visitor(at, offset=n) for n in range(50)]) == list(range(1000, 1050))
    finally:
        meters.close()


@pytest.mark.parametrize(
    ("keys", "value", "request_", "table", "held"),
    [
        ({}, 7, (1, 6, 0, 7), HOLDING, [7]),
        ({"type": "uint32"}, 65538, (1, 16, 0, 2), HOLDING, [1, 2]),
        ({"register": tables.COIL}, 1, (1, 5, 0, 0xFF00), COILS, [1]),
        ({"register": tables.COIL, "limit": 4}, 6, (1, 15, 0, 4), COILS, [0, 1, 1, 0]),
    ],
)
async def test_values_are_written(
    meters: RtuMeters, keys: dict[str, Any], value: Any, request_: tuple[int, ...], table: int, held: list[int]
) -> None:
    at = address(meters)
    async with driving(at) as driver:
        await driver.write(visitor(at, **keys), Decimal(value))
        assert await driver.read([visitor(at, **keys)]) in ([value], [bool(value)])
    assert meters.requests[0] == request_
    assert meters.tables[1][table][: len(held)] == held


@pytest.mark.parametrize(
    ("keys", "functions", "held"),
    [
        ({}, [22], [0x03AF]),
        ({"isSwap": True}, [22], [0xA3EF]),
        ({"type": "uint32"}, [22], [1000, 0x03AF]),
        ({"type": "uint32", "isRegisterSwap": True}, [22], [0x03AF, 1001]),
        ({"type": "uint32", "order": "DCBA"}, [22], [0xA3EF, 1001]),
    ],
)
async def test_bits_are_written_by_mask_and_leave_the_others_alone(
    meters: RtuMeters, keys: dict[str, Any], functions: list[int], held: list[int]
) -> None:
    at = address(meters)
    meters.tables[1][HOLDING][:2] = [0x03EF, 1001] if held[0] != 1000 else [1000, 0x03EF]
    async with driving(at) as driver:
        await driver.write_bits(visitor(at, **keys), 0xF0, 0xA0)
    assert [r[1] for r in meters.requests] == functions
    assert meters.tables[1][HOLDING][: len(held)] == held


async def test_bits_are_written_by_reading_first_where_mask_write_is_unknown(meters: RtuMeters) -> None:
    at = address(meters)
    meters.faults[1].refuses = {22: 1}
    meters.tables[1][HOLDING][0] = 0x03EF
    async with driving(at) as driver:
        await driver.write_bits(visitor(at), 0xF0, 0xA0)
        await driver.write_bits(visitor(at), 0x0F, 0x05)
    assert [r[1] for r in meters.requests] == [22, 3, 6, 3, 6]


async def test_bits_across_registers_are_written_together(meters: RtuMeters) -> None:
    at = address(meters)
    meters.tables[1][HOLDING][:2] = [0xFFFF, 0xFFFF]
    async with driving(at) as driver:
        await driver.write_bits(visitor(at, type="uint32"), 0x000F_F000, 0x0005_A000)
        with pytest.raises(ValueRefused, match="float32 has no bits to write"):
            await driver.write_bits(visitor(at, "FLOAT", type="float32"), 1, 1)
    assert [r[1] for r in meters.requests] == [3, 16]
    assert meters.tables[1][HOLDING][:2] == [0xFFF5, 0xAFFF]


async def test_bits_of_coils_are_written_as_coils(meters: RtuMeters) -> None:
    at = address(meters)
    async with driving(at) as driver:
        await driver.write_bits(visitor(at, register=tables.COIL, limit=8, offset=0), 0b11000, 0b01000)
    assert meters.requests == [(1, 15, 3, 2)]
    assert meters.tables[1][COILS][:8] == [0, 1, 0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize(("keys", "functions"), [({}, [6, 16, 16]), ({"register": tables.COIL}, [5, 15, 15])])
async def test_a_unit_that_does_not_know_a_function_is_written_by_another(
    meters: RtuMeters, keys: dict[str, Any], functions: list[int]
) -> None:
    at = address(meters)
    meters.faults[1].refuses = {5: 1, 6: 1}
    async with driving(at) as driver:
        await driver.write(visitor(at, **keys), Decimal(1))
        await driver.write(visitor(at, **keys), Decimal(0))
    assert [r[1] for r in meters.requests] == functions


async def test_a_broadcast_reaches_every_unit_and_is_told_as_it_was_written(meters: RtuMeters) -> None:
    every, at = address(meters, 0), address(meters, 2)
    told: list[tuple[Visitor, Value]] = []
    async with driving(every) as driver:
        setpoint = visitor(every, offset=9)
        driver.listen([setpoint], lambda v, value: told.append((v, value)))  # type: ignore[arg-type]
        before = time.monotonic()
        await driver.write(setpoint, Decimal(42))
        assert time.monotonic() - before >= 0.1, "units need time to take a broadcast in"
        assert await driver.read([visitor(at, offset=9)]) == [42]
        with pytest.raises(ValueRefused, match="cannot be broadcast"):
            await driver.write_bits(setpoint, 1, 1)
    assert told == [(setpoint, 42)]
    assert [meters.tables[unit][HOLDING][9] for unit in (1, 2)] == [42, 42]


async def test_a_refused_request_is_named_and_not_repeated(meters: RtuMeters) -> None:
    at = address(meters)
    meters.faults[1].refuses = {4: 1}
    async with driving(at) as driver:
        (found,) = await driver.read([visitor(at, register=tables.INPUT)])
    assert isinstance(found, Refused)
    assert str(found) == f"{meters.pty.path} unit 1 answered exception 1 (illegal function), reading InputRegister 0"
    assert len(meters.requests) == 1


async def test_a_port_that_is_not_there_is_said_so() -> None:
    at = Address(serial_port="/dev/ttyNOT0")
    async with driving(at) as driver:
        with pytest.raises(BusDown, match="/dev/ttyNOT0 cannot be opened: No such file or directory"):
            await driver.read([visitor(at)])


async def test_a_port_that_does_not_do_the_settings_is_said_so(meters: RtuMeters) -> None:
    at = address(meters)  # a pty has no parity, and glibc says so when nothing else is to be changed
    async with driving(at) as driver:
        await driver.read([visitor(at)])
    async with driving(at) as driver:
        with pytest.raises(BusDown, match="cannot be opened: it does not do 38400 8E1"):
            await driver.read([visitor(at)])


async def test_a_port_that_somebody_else_has_is_said_so(meters: RtuMeters) -> None:
    at = address(meters)
    async with driving(at) as driver, driving(at) as other:
        await driver.read([visitor(at)])
        with pytest.raises(BusDown, match="in use, by another program or by devices with other serial settings"):
            await other.read([visitor(at)])


async def test_an_adapter_that_is_pulled_out_is_noticed_and_found_again(meters: RtuMeters) -> None:
    at = address(meters, timeout=5000)
    async with driving(at) as driver:
        await driver.read([visitor(at)])
        meters.faults[1].silent = True
        reading = asyncio.create_task(driver.read([visitor(at)]))
        await until(lambda: len(meters.requests) == 2)
        meters.pty.close()
        with pytest.raises(BusDown, match="was lost"):
            await reading
        with pytest.raises(BusDown):
            await driver.read([visitor(at)])


async def test_a_line_that_never_falls_silent_is_said_so(meters: RtuMeters) -> None:
    at = address(meters, timeout=50)

    async def chatter() -> None:
        while True:
            await meters.pty.send(b"\x55")

    async with driving(at) as driver:
        await driver.read([visitor(at)])
        talking = asyncio.create_task(chatter())
        try:
            with pytest.raises(NoAnswer, match=r"is never silent|did not answer"):
                await driver.read([visitor(at)])
        finally:
            talking.cancel()


async def test_the_time_a_unit_takes_is_measured_and_makes_the_gap(meters: RtuMeters) -> None:
    at = address(meters, timeout=500)
    far = [visitor(at, offset=0), visitor(at, offset=60)]
    async with driving(at) as driver:
        await driver.read(far)
        assert [r[1:] for r in meters.requests] == [(3, 0, 1), (3, 60, 1)]
        meters.faults[1].delay_s = 0.1
        for _ in range(4):
            await driver.read(far)
        meters.requests.clear()
        assert await driver.read(far) == [1000, 1060]
        assert [r[1:] for r in meters.requests] == [(3, 0, 61)]


async def test_a_peer_that_sends_garbage_yields_no_value_and_the_next_read_is_right(meters: RtuMeters) -> None:
    chance = random.Random(5)
    at = address(meters, timeout=40, retries=0)
    async with driving(at) as driver:
        for _ in range(15):
            meters.faults[1].silent = True
            reading = asyncio.create_task(driver.read([visitor(at, offset=4)]))
            asked = len(meters.requests)
            await until(lambda asked=asked: len(meters.requests) > asked)  # type: ignore[misc]
            await meters.pty.send(chance.randbytes(chance.randrange(1, 12)))
            try:
                (found,) = await reading
                assert isinstance(found, BadAnswer)
            except NoAnswer:
                pass
            meters.faults[1].silent = False
            assert await driver.read([visitor(at, offset=9)]) == [1009]


async def test_an_answer_that_came_before_the_request_is_not_taken() -> None:
    """Bytes that wait in the port when it is opened, or arrive unasked."""
    heard: list[bytes] = []
    peer = PacedPty(heard.append, BAUD)
    try:
        at = Address(serial_port=peer.path, baud_rate=BAUD, timeout=60)
        connection = ModbusConnection(at.bus)
        stale = bytes.fromhex("0103020007") + struct.pack("<H", 0x4638)
        await peer.send(stale)
        with pytest.raises(NoAnswer):
            await connection.ask(at, read(3, 0, 1), "reading", "it")
        await peer.send(stale)
        with pytest.raises(NoAnswer):
            await connection.ask(at, read(3, 0, 1), "reading", "it")
        connection.close()
    finally:
        peer.close()
