"""The driver against a device of this protocol, over a real socket: values, refusals, silence, garbage."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal

import pytest

from mappers.driver import BadAnswer, BusDown, NoAnswer, Refused
from mappers.skeleton.driver import Address, SkeletonDriver


class Device:
    """What stands at the other end."""

    def __init__(self) -> None:
        self.values = {"temp": "215", "set": "21.5", "mode": "1"}
        self.silent = False

    def answer(self, line: str) -> bytes:
        command, name, *value = line.split()
        if name not in self.values:
            return b"error unknown name\n"
        if command == "SET":
            self.values[name] = value[0]
            return b"ok\n"
        return self.values[name].encode("latin-1") + b"\n"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                if not self.silent:
                    writer.write(self.answer(line.decode()))
        writer.close()


@contextlib.asynccontextmanager
async def connected(device: Device) -> AsyncIterator[SkeletonDriver]:
    server = await asyncio.start_server(device.serve, "127.0.0.1", 0)
    driver = SkeletonDriver(Address("127.0.0.1", server.sockets[0].getsockname()[1], timeout_ms=200))
    try:
        await driver.open()
        yield driver
    finally:
        await driver.close()
        server.close()


def run(check: Callable[[Device, SkeletonDriver], Awaitable[None]]) -> None:
    """Run an async check against a device."""

    async def running() -> None:
        device = Device()
        async with connected(device) as driver:
            await check(device, driver)

    asyncio.run(running())


def test_values_are_read_in_order() -> None:
    async def check(device: Device, driver: SkeletonDriver) -> None:
        assert await driver.read(["temp", "mode", "set"]) == ["215", "1", "21.5"]

    run(check)


def test_a_value_is_written() -> None:
    async def check(device: Device, driver: SkeletonDriver) -> None:
        await driver.write("set", Decimal("22.5"))
        assert device.values["set"] == "22.5"

    run(check)


def test_what_the_device_refuses_concerns_that_property_only() -> None:
    async def check(device: Device, driver: SkeletonDriver) -> None:
        refused, value = await driver.read(["tmp", "temp"])
        assert (type(refused), value) == (Refused, "215")
        with pytest.raises(Refused, match="unknown name"):
            await driver.write("tmp", True)

    run(check)


def test_garbage_is_no_value() -> None:
    async def check(device: Device, driver: SkeletonDriver) -> None:
        device.values["temp"] = "\xff\xfe"
        (result,) = await driver.read(["temp"])
        assert isinstance(result, BadAnswer)

    run(check)


def test_silence_is_noticed_and_over_when_the_device_answers() -> None:
    async def check(device: Device, driver: SkeletonDriver) -> None:
        device.silent = True
        with pytest.raises(NoAnswer):
            await driver.read(["temp"])
        device.silent = False
        assert await driver.read(["temp"]) == ["215"]

    run(check)


def test_nobody_there_is_a_bus_down() -> None:
    with pytest.raises(BusDown):
        asyncio.run(SkeletonDriver(Address("127.0.0.1", 1)).open())
