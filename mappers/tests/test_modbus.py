"""The Modbus TCP driver against a real server: values, writes, refusals, silence, restarts, garbage."""

import asyncio
import contextlib
import math
import random
import struct
import time
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import pytest
from pymodbus.constants import ExcCodes

from edgewire.device import ModelProperty
from mappers.driver import BadAnswer, BusDown, NoAnswer, Refused, ValueRefused, read_config
from mappers.modbus import Modbus, ModbusDriver
from mappers.modbus_address import Address
from mappers.modbus_registers import COIL, DISCRETE, HOLDING, INPUT, Visitor, VisitorConfig
from mappers.tests.modbus_server import ModbusServer, answering, scripted

READ_1 = b"T\0\0\0\5\1\3\2\0\7"
"""A right answer to the reading of one holding register: 7."""


@pytest.fixture
async def server() -> AsyncIterator[ModbusServer]:
    server = ModbusServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
async def driver(server: ModbusServer) -> AsyncIterator[ModbusDriver]:
    driver = make_driver(server.port)
    await driver.open()
    try:
        yield driver
    finally:
        await driver.close()


async def until(condition: Callable[[], bool], deadline_s: float = 5.0) -> None:
    """Wait for a condition that nothing tells of."""
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def make_driver(port: int) -> ModbusDriver:
    return Modbus().driver(unit(port).bus)


def unit(port: int, slave_id: int = 1, **keys: Any) -> Address:
    return Address(ip="127.0.0.1", port=port, slave_id=slave_id, **{"timeout": 300, **keys})


def visitor(unit: Address, model: str = "INT", **keys: Any) -> Visitor:
    config = read_config({"register": HOLDING, "offset": 0, **keys}, VisitorConfig, "configData")
    return Modbus().visitor(unit, config, ModelProperty("p", type=model))


async def test_all_four_tables_are_read(server: ModbusServer, driver: ModbusDriver) -> None:
    at = unit(server.port)
    found = await driver.read(
        [
            visitor(at, register=HOLDING, offset=3),
            visitor(at, register=INPUT, offset=4),
            visitor(at, "BOOLEAN", register=COIL, offset=5),
            visitor(at, "BOOLEAN", register=DISCRETE, offset=6),
        ]
    )
    assert found == [1003, 1004, True, False]
    assert [type(value) for value in found] == [int, int, bool, bool]


async def test_types_and_orders_are_read_as_written_by_hand(server: ModbusServer, driver: ModbusDriver) -> None:
    at = unit(server.port)
    words = [0xFFFE, 0x0001, 0x0000, *struct.unpack(">4H", struct.pack(">d", math.pi)), 0x6865, 0x7900]
    await server.hold(1, 100, words)
    await server.hold(1, 120, struct.unpack(">2H", struct.pack(">f", 21.4)))
    found = await driver.read(
        [
            visitor(at, offset=100),
            visitor(at, offset=100, type="uint16"),
            visitor(at, offset=101, limit=2),
            visitor(at, offset=101, limit=2, isRegisterSwap=True),
            visitor(at, offset=101, type="uint16", isSwap=True),
            visitor(at, "DOUBLE", offset=103, limit=4),
            visitor(at, "STRING", offset=107, limit=2),
            visitor(at, "FLOAT", offset=120, limit=2),
            visitor(at, "BOOLEAN", offset=100),
        ]
    )
    assert found == [-2, 0xFFFE, 65536, 1, 256, math.pi, "hey", 21.4, True]


async def test_a_hundred_properties_take_few_requests(server: ModbusServer, driver: ModbusDriver) -> None:
    at = unit(server.port)
    visitors = [visitor(at, offset=40 + 2 * n, register=INPUT) for n in range(100)]
    assert await driver.read(visitors) == [1040 + 2 * n for n in range(100)]
    assert [(address, count) for _, _, address, count in server.requests] == [(40, 125), (166, 73)]


async def test_a_read_refused_across_a_hole_is_parted_there_and_the_place_remembered(
    server: ModbusServer, driver: ModbusDriver
) -> None:
    visitors = [visitor(unit(server.port), offset=offset) for offset in (27, 29, 40, 42)]
    assert await driver.read(visitors) == [1027, 1029, 1040, 1042]
    learning = len(server.requests)
    assert await driver.read(visitors) == [1027, 1029, 1040, 1042]
    assert [request[2:] for request in server.requests[learning:]] == [(27, 3), (40, 3)]


async def test_a_register_that_does_not_exist_costs_its_own_property_only(
    server: ModbusServer, driver: ModbusDriver
) -> None:
    visitors = [visitor(unit(server.port), offset=offset) for offset in (28, 29, 30)]
    *good, bad = await driver.read(visitors)
    assert good == [1028, 1029]
    assert isinstance(bad, Refused)
    assert str(bad) == (
        f"127.0.0.1:{server.port} unit 1 answered exception 2 (illegal data address), reading HoldingRegister 30"
    )


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (ExcCodes.ILLEGAL_FUNCTION, Refused, "exception 1 (illegal function)"),
        (ExcCodes.DEVICE_FAILURE, Refused, "exception 4 (server device failure)"),
        (ExcCodes.DEVICE_BUSY, Refused, "exception 6 (server device busy)"),
    ],
)
async def test_an_exception_is_named(
    server: ModbusServer, driver: ModbusDriver, code: ExcCodes, error: type[Exception], words: str
) -> None:
    server.refuses[3] = code
    (found,) = await driver.read([visitor(unit(server.port))])
    assert isinstance(found, error)
    assert words in str(found)


async def test_a_gateways_word_that_a_unit_is_silent_counts_as_silence(
    server: ModbusServer, driver: ModbusDriver
) -> None:
    server.refuses[3] = ExcCodes.GATEWAY_NO_RESPONSE
    with pytest.raises(NoAnswer, match=r"exception 11 \(gateway target device failed to respond\)"):
        await driver.read([visitor(unit(server.port))])


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        ({"type": "int16"}, Decimal(-2), [0xFFFE]),
        ({"type": "uint32"}, Decimal(65538), [1, 2]),
        ({"type": "uint32", "isRegisterSwap": True}, Decimal(65538), [2, 1]),
        ({"type": "int64"}, Decimal(-(2**63)), [0x8000, 0, 0, 0]),
        ({"type": "float32"}, Decimal("21.4"), [0x41AB, 0x3333]),
        ({"type": "string", "limit": 2}, "hey", [0x6865, 0x7900]),
        ({"type": "bool"}, True, [1]),
    ],
)
async def test_values_are_written(
    server: ModbusServer, driver: ModbusDriver, keys: dict[str, Any], value: Any, words: list[int]
) -> None:
    at = visitor(unit(server.port, 2), offset=50, **keys)
    await driver.write(at, value)
    assert await server.held(2, 3, 50, len(words)) == words
    assert [request[1] for request in server.requests] == [6 if len(words) == 1 else 16]


async def test_a_coil_is_written(server: ModbusServer, driver: ModbusDriver) -> None:
    coil = visitor(unit(server.port), "BOOLEAN", register=COIL, offset=4)
    for value in (True, False, Decimal(1)):
        await driver.write(coil, value)
        assert await server.held(1, 1, 4) == [bool(value)]
    with pytest.raises(ValueRefused, match="a coil holds 0 or 1"):
        await driver.write(coil, Decimal(2))


async def test_what_cannot_be_written_is_refused_before_the_wire(server: ModbusServer, driver: ModbusDriver) -> None:
    at = unit(server.port)
    with pytest.raises(ValueRefused, match="a InputRegister cannot be written"):
        await driver.write(visitor(at, register=INPUT), Decimal(1))
    with pytest.raises(ValueRefused, match="does not fit int16"):
        await driver.write(visitor(at), Decimal(40000))
    assert server.requests == []


async def test_a_refused_write_is_named(server: ModbusServer, driver: ModbusDriver) -> None:
    with pytest.raises(Refused, match=r"exception 2 \(illegal data address\), writing HoldingRegister 30..31"):
        await driver.write(visitor(unit(server.port), offset=30, limit=2), Decimal(1))


async def test_two_units_share_one_connection(server: ModbusServer, driver: ModbusDriver) -> None:
    for slave_id in (1, 2, 1):
        assert await driver.read([visitor(unit(server.port, slave_id), offset=7)]) == [1000 * slave_id + 7]
    assert server.connections == 1


async def test_a_silent_unit_is_given_up_after_its_own_timeout_and_its_neighbour_is_read(
    server: ModbusServer, driver: ModbusDriver
) -> None:
    server.silent.add(1)
    before = time.monotonic()
    with pytest.raises(NoAnswer, match=r"unit 1 did not answer within 100 ms, reading HoldingRegister 0"):
        await driver.read([visitor(unit(server.port, 1, timeout=100), offset=n) for n in (0, 100, 200)])
    assert time.monotonic() - before < 0.25
    assert await driver.read([visitor(unit(server.port, 2), offset=7)]) == [2007]


async def test_a_late_answer_is_not_taken_for_the_next() -> None:
    delays = [0.15]

    async def its_own_address(request: bytes) -> bytes:
        await asyncio.sleep(delays.pop() if delays else 0)
        return request[:5] + b"\5" + request[6:8] + b"\2" + request[8:10]

    async with answering(its_own_address) as port:
        driver = make_driver(port)
        with pytest.raises(NoAnswer):
            await driver.read([visitor(unit(port, timeout=100), offset=5)])
        for offset in (9, 10, 11):
            assert await driver.read([visitor(unit(port), offset=offset)]) == [offset]
        await driver.close()


async def test_a_server_that_restarts_is_found_again(server: ModbusServer, driver: ModbusDriver) -> None:
    at = visitor(unit(server.port), offset=7)
    assert await driver.read([at]) == [1007]
    await server.stop()
    with pytest.raises((BusDown, NoAnswer)):
        await driver.read([at])
    with pytest.raises(BusDown, match="cannot be connected to"):
        await driver.read([at])
    await server.start()
    assert await driver.read([at]) == [1007]


async def test_a_server_that_closed_an_idle_connection_costs_nothing(
    server: ModbusServer, driver: ModbusDriver
) -> None:
    at = visitor(unit(server.port), offset=7)
    await driver.read([at])
    await server.stop()
    await server.start()
    await until(lambda: driver._connection._wire is None)  # the loop has noticed the end of the old connection
    assert await driver.read([at]) == [1007]


async def test_a_connection_closed_instead_of_an_answer_is_noticed_at_once() -> None:
    async with scripted(None, READ_1) as port:
        driver = make_driver(port)
        at = visitor(unit(port, timeout=10_000))
        before = time.monotonic()
        with pytest.raises(NoAnswer, match="closed the connection, reading HoldingRegister 0"):
            await driver.read([at])
        assert time.monotonic() - before < 2
        assert await driver.read([at]) == [7]
        await driver.close()


async def test_a_server_that_cannot_be_reached_is_said_so() -> None:
    with pytest.raises(BusDown, match="cannot be connected to"):
        await make_driver(1).read([visitor(unit(1))])


GARBAGE = {
    "other unit": b"T\0\0\0\5\2\3\2\0\7",
    "other protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "length of 0": b"T\0\0\0\0\1\3\2\0\7",
    "other function": b"T\0\0\0\5\1\4\2\0\7",
    "too few registers": b"T\0\0\0\3\1\3\0",
    "too many registers": b"T\0\0\0\7\1\3\4\0\7\0\7",
    "half a register": b"T\0\0\0\4\1\3\1\7",
    "wrong byte count": b"T\0\0\0\5\1\3\x08\0\7",
    "exception without code": b"T\0\0\0\2\1\x83",
    "two answers": READ_1[:1].replace(b"T", b"\0\1") + READ_1[1:] * 2,
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_is_never_a_value_and_the_next_answer_is_one(
    garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with scripted(garbage, READ_1) as port:
        driver = make_driver(port)
        at = visitor(unit(port))
        (found,) = await driver.read([at])
        assert isinstance(found, BadAnswer)
        assert await driver.read([at]) == [7]
        await driver.close()
    assert [r.getMessage() for r in caplog.records if r.name == "asyncio" and r.levelname == "ERROR"] == []


async def test_an_answer_to_somebody_else_is_not_taken() -> None:
    async with scripted(b"\xff\xff\0\0\0\5\1\3\2\0\7") as port:
        driver = make_driver(port)
        with pytest.raises(NoAnswer):
            await driver.read([visitor(unit(port, timeout=100))])
        await driver.close()


async def test_a_write_confirmed_for_another_register_is_a_bad_answer() -> None:
    async with scripted(b"T\0\0\0\6\1\6\0\1\0\5") as port:
        driver = make_driver(port)
        with pytest.raises(BadAnswer, match="confirmed another write"):
            await driver.write(visitor(unit(port)), Decimal(5))
        await driver.close()


async def test_a_cancelled_request_leaves_no_connection_behind(server: ModbusServer, driver: ModbusDriver) -> None:
    server.silent.add(1)
    reading = asyncio.create_task(driver.read([visitor(unit(server.port, timeout=10_000))]))
    await until(lambda: bool(server.requests))
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    server.silent.clear()
    assert await driver.read([visitor(unit(server.port), offset=9)]) == [1009]
    assert server.connections == 2


async def test_whatever_a_server_sends_is_no_value_unless_it_is_the_answer(server: ModbusServer) -> None:
    chance = random.Random(3)

    async def mostly_garbage(request: bytes) -> bytes | None:
        answer = request[:4] + b"\0\5" + request[6:8] + b"\2" + request[8:10]
        cut, place = chance.randrange(len(answer)), chance.randrange(len(answer))
        flipped = bytearray(answer)
        flipped[place] ^= 1 << chance.randrange(8)
        return chance.choice(
            [
                answer,
                answer[:cut],
                answer[cut:],
                bytes(flipped[:8]) + answer[8:],
                chance.randbytes(cut),
                None,
                answer * 2,
            ]
        )

    async with answering(mostly_garbage) as port:
        driver = make_driver(port)
        right = 0
        for offset in range(150):
            try:
                (found,) = await driver.read([visitor(unit(port, timeout=20), offset=offset)])
            except NoAnswer:
                continue
            assert found == offset or isinstance(found, BadAnswer | Refused)
            right += found == offset
        assert right > 10
        await driver.close()


async def test_a_late_answer_with_the_number_of_the_next_request_is_not_taken() -> None:
    """As pymodbus's server sends it: the number is that of the request that came last."""
    numbers: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def answer(request: bytes, number: int) -> None:
            await asyncio.sleep(0.15 if number == 1 else 0.02)
            writer.write(numbers[-1] + request[2:5] + b"\5" + request[6:8] + b"\2" + request[8:10])

        answers = []
        with contextlib.suppress(ConnectionError):
            while request := await reader.read(300):
                numbers.append(request[:2])
                answers.append(asyncio.create_task(answer(request, len(numbers))))
        await asyncio.gather(*answers)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    served: list[asyncio.Task[None]] = []
    server = await asyncio.start_server(lambda r, w: served.append(asyncio.create_task(serve(r, w))), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    driver = make_driver(port)
    async with server:
        with pytest.raises(NoAnswer):
            await driver.read([visitor(unit(port, timeout=100), offset=5)])
        for offset in range(9, 20):  # 20 ms each: the late answer comes among them
            assert await driver.read([visitor(unit(port), offset=offset)]) == [offset]
        await driver.close()
        await asyncio.gather(*served)


async def test_bits_are_written_by_mask_over_tcp_too(server: ModbusServer, driver: ModbusDriver) -> None:
    await server.hold(1, 50, [0x1234])
    await driver.write_bits(visitor(unit(server.port), offset=50), 0x0FF0, 0x0560)
    assert await server.held(1, 3, 50, 1) == [0x1564]
    assert [request[1] for request in server.requests] == [22]
