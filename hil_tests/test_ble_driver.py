"""The Bluetooth driver on a virtual radio: bleak's public API, real ATT, GATT and SMP, emulated instruments."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from bleak import BleakClient, BleakScanner

from edgewire.device import ModelProperty
from hil_tests.bench.ble_bench import Bench, ble_bench
from hil_tests.bench.ble_instruments import BATTERY, INTERVAL, LABEL, MODE, SECRET, TEMPERATURE
from hil_tests.conftest import missing
from mappers.ble import Ble
from mappers.ble_config import Address, Visitor, VisitorConfig
from mappers.driver import BadAnswer, BusDown, DriverError, NoAnswer, Refused, Value, ValueRefused, read_config
from mappers.values import Scaling, parse

DEADLINE_S = 10.0


@pytest.fixture(params=["own-backend", "bluez"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    """bleak's public API on a backend of ours, and on its own for Linux."""
    through_bluez = request.param == "bluez"
    if through_bluez and shutil.which("dbus-daemon") is None:
        missing("dbus-daemon is not installed")
    async with ble_bench(request.config, through_bluez=tmp_path if through_bluez else None) as one:
        yield one


def make(ble: Ble, address: Address, content: dict[str, Any], model: str) -> Visitor:
    """A property's visitor from its `configData`."""
    return ble.visitor(address, read_config(content, VisitorConfig, "visitor"), ModelProperty("p", type=model))


class Rig:
    """A driver for one peripheral, and what it heard."""

    def __init__(self, bench: Bench, ble: Ble | None = None, **address: Any) -> None:
        self.ble = ble or bench.drivers()
        content = {"adapter": bench.adapter, "timeout": 2000, **address}
        self.address = read_config(content, Address, "address")
        self.driver = self.ble.driver(self.address.peer)
        self.heard: list[tuple[Visitor, Value | DriverError]] = []
        self._changed = asyncio.Event()

    async def __aenter__(self) -> "Rig":
        await self.driver.open()
        return self

    async def __aexit__(self, *_failure: object) -> None:
        async with asyncio.timeout(DEADLINE_S):
            await self.driver.close()

    def visitor(self, characteristic: str = "", model: str = "FLOAT", **keys: Any) -> Visitor:
        """A property's visitor from its `configData`."""
        content = {**({"characteristicUUID": characteristic} if characteristic else {}), **keys}
        return make(self.ble, self.address, content, model)

    async def one(self, visitor: Visitor) -> Value | DriverError:
        """Its value, read."""
        return (await self.driver.read([visitor]))[0]

    async def write(self, visitor: Visitor, text: str) -> None:
        """Write what a user desires."""
        await self.driver.write(visitor, parse(text, visitor.type, Scaling(), None, None))

    def listen(self, *visitors: Visitor) -> None:
        """Listen to these."""
        self.driver.listen(visitors, self._hear)

    async def until(self, condition: Callable[[list[Value | DriverError]], object]) -> list[Value | DriverError]:
        """Everything heard, once it fulfils a condition."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition([value for _, value in self.heard]):
                self._changed.clear()
                await self._changed.wait()
        return [value for _, value in self.heard]

    def _hear(self, visitor: Visitor, value: Value | DriverError) -> None:
        self.heard.append((visitor, value))
        self._changed.set()


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition of the emulated world."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # it gives no event


async def until_down(rig: Rig) -> None:
    """Read until the bus is down; that the connection is lost may be known first."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            with contextlib.suppress(NoAnswer):
                await rig.one(rig.visitor(TEMPERATURE))


async def test_a_value_is_read_in_the_format_that_its_device_describes(bench: Bench) -> None:
    thermometer = await bench.thermometer(celsius=-7.25)
    async with Rig(bench, macAddress=thermometer.mac) as rig:
        assert await rig.driver.read([rig.visitor(TEMPERATURE), rig.visitor(BATTERY, "INT")]) == [-7.25, 87]


async def test_a_value_that_its_device_does_not_describe_is_read_in_the_assigned_format(bench: Bench) -> None:
    thermometer = await bench.thermometer(celsius=4.05, describes=False)
    async with Rig(bench, macAddress=thermometer.mac) as rig:
        temperature = rig.visitor(TEMPERATURE)
        assert await rig.one(temperature) == 4.05
        thermometer.temperature = b"\x00\x80"
        unknown = await rig.one(temperature)
        assert isinstance(unknown, BadAnswer)
        assert "not known" in str(unknown)
        undescribed = await rig.one(rig.visitor(INTERVAL))
        assert isinstance(undescribed, BadAnswer)
        assert "name their `type`" in str(undescribed)


@pytest.mark.parametrize("by", ["name", "service", "dashes"])
async def test_a_peripheral_is_found_by_its_name_its_service_or_its_address(bench: Bench, by: str) -> None:
    thermometer = await bench.thermometer("cellar-7")
    address: dict[str, Any] = {
        "name": {"name": "cellar-7"},
        "service": {"serviceUUID": "181A"},
        "dashes": {"macAddress": thermometer.mac.lower().replace(":", "-")},
    }[by]
    async with Rig(bench, **address) as rig:
        assert await rig.one(rig.visitor(TEMPERATURE)) == 21.5


async def test_notifications_are_heard_as_they_come_after_the_value_at_the_start(bench: Bench) -> None:
    thermometer = await bench.thermometer()
    async with Rig(bench, macAddress=thermometer.mac) as rig:
        rig.listen(rig.visitor(TEMPERATURE, mode="notify"), rig.visitor(TEMPERATURE, mode="notify"))
        await rig.until(lambda heard: heard == [21.5, 21.5])
        for celsius in (21.75, 22.0, 21.75):
            await thermometer.notify(celsius)
        heard = await rig.until(lambda heard: len(heard) == 8)
        assert heard[2:] == [21.75, 21.75, 22.0, 22.0, 21.75, 21.75]


async def test_garbage_in_notifications_is_told_as_such_and_harms_nothing(bench: Bench) -> None:
    thermometer = await bench.thermometer()
    async with Rig(bench, macAddress=thermometer.mac) as rig:
        rig.listen(rig.visitor(TEMPERATURE, mode="notify"))
        await rig.until(lambda heard: heard == [21.5])
        for garbage in (b"", b"\x01", b"\x01\x02\x03", bytes(20), b"\x00\x80"):
            await thermometer.notify_bytes(garbage)
        await thermometer.notify(20.0)
        heard = await rig.until(lambda heard: heard[-1] == 20.0)
        assert len(heard) == 7
        assert all(isinstance(value, BadAnswer) for value in heard[1:-1])


async def test_what_does_not_notify_says_so_once_and_the_others_are_heard(bench: Bench) -> None:
    thermometer = await bench.thermometer()
    async with Rig(bench, macAddress=thermometer.mac) as rig:
        rig.listen(*(rig.visitor(uuid, mode="notify") for uuid in (BATTERY, "2a6f", TEMPERATURE)))
        battery, absent, temperature = await rig.until(lambda heard: len(heard) == 3)
        assert isinstance(battery, Refused)
        assert "use `mode: read`" in str(battery)
        assert isinstance(absent, Refused)
        assert "has no characteristic 2A6F" in str(absent)
        assert temperature == 21.5


async def test_a_value_is_written_with_and_without_response_and_read_back(bench: Bench) -> None:
    thermometer = await bench.thermometer()
    async with Rig(bench, macAddress=thermometer.mac) as rig:
        interval = rig.visitor(INTERVAL, "INT", type="uint16")
        await rig.write(interval, "300")
        assert thermometer.interval == b"\x2c\x01"
        assert await rig.one(interval) == 300
        label = rig.visitor(LABEL, "STRING")
        await rig.write(label, "attic")
        assert await rig.one(label) == "attic"
        with pytest.raises(ValueRefused, match="does not fit uint16"):
            await rig.write(interval, "70000")
        with pytest.raises(ValueRefused, match="cannot be written with `response: true`"):
            await rig.write(rig.visitor(LABEL, "STRING", response=True), "x")
        with pytest.raises(ValueRefused, match="cannot be written"):
            await rig.write(rig.visitor(BATTERY, "INT"), "1")
        assert thermometer.interval == b"\x2c\x01"


async def test_what_is_written_where_the_device_notifies_is_read_back_though_it_does_not(bench: Bench) -> None:
    thermometer = await bench.thermometer()
    async with Rig(bench, macAddress=thermometer.mac) as rig:
        interval = rig.visitor(INTERVAL, "INT", type="uint16", mode="notify")
        rig.listen(interval)
        await rig.until(lambda heard: heard == [60])
        await rig.write(interval, "300")
        await rig.until(lambda heard: heard == [60, 300])


async def test_words_stand_for_bytes_as_in_kubeedge(bench: Bench) -> None:
    thermometer = await bench.thermometer()
    async with Rig(bench, macAddress=thermometer.mac) as rig:
        mode = rig.visitor(MODE, "STRING", type="bytes", dataWrite={"ON": [1], "OFF": "AA==", "test": "0x07"})
        assert await rig.one(mode) == "OFF"
        await rig.write(mode, "ON")
        assert thermometer.mode == b"\x01"
        assert await rig.one(mode) == "ON"
        await rig.write(mode, "test")
        assert thermometer.mode == b"\x07"
        with pytest.raises(ValueRefused, match="did you mean 'test'"):
            await rig.write(mode, "tset")


async def test_what_needs_a_bond_says_so_and_is_read_with_one(bench: Bench) -> None:
    thermometer = await bench.thermometer()
    async with Rig(bench, macAddress=thermometer.mac) as rig:
        refused = await rig.one(rig.visitor(SECRET, "INT", type="uint8"))
        assert isinstance(refused, Refused)
        assert "set `pair: true`" in str(refused)
    async with Rig(bench, macAddress=thermometer.mac, pair=True) as rig:
        assert await rig.one(rig.visitor(SECRET, "INT", type="uint8")) == 42


async def test_an_absent_peripheral_costs_its_own_timeout_and_no_connection(bench: Bench) -> None:
    thermometer = await bench.thermometer()
    ble = bench.drivers(connections=1)
    async with (
        Rig(bench, ble, macAddress=thermometer.mac) as here,
        Rig(bench, ble, macAddress="C0:00:00:00:00:01", timeout=500) as absent,
    ):
        started = time.monotonic()
        missing = asyncio.create_task(absent.one(absent.visitor(TEMPERATURE)))
        reads = 0
        while not missing.done():
            assert await here.one(here.visitor(TEMPERATURE)) == 21.5
            reads += 1
        with pytest.raises(NoAnswer, match=r"was not seen within 0\.5 s"):
            await missing
        assert 0.4 < time.monotonic() - started < DEADLINE_S
        assert reads > 2


async def test_a_peripheral_that_was_seen_and_is_gone_costs_the_adapter_one_attempt(bench: Bench) -> None:
    adapter, thermometer = bench.virtual, await bench.thermometer()
    other = await bench.thermometer("other", 3.0)
    ble = bench.drivers(connections=1)
    async with (
        Rig(bench, ble, macAddress=thermometer.mac, timeout=1000, linger=0) as rig,
        Rig(bench, ble, macAddress=other.mac) as beside,
    ):
        assert await rig.one(rig.visitor(TEMPERATURE)) == 21.5
        await until(lambda: adapter.connections == 0)
        thermometer.off()
        with pytest.raises(NoAnswer, match="was seen, but could not be connected to within 1000 ms"):
            await rig.one(rig.visitor(TEMPERATURE))
        with pytest.raises(NoAnswer, match="was not seen"):
            await rig.one(rig.visitor(TEMPERATURE))
        assert await beside.one(beside.visitor(TEMPERATURE)) == 3.0
        thermometer.on()
        assert await rig.one(rig.visitor(TEMPERATURE)) == 21.5


async def test_after_a_power_cut_a_peripheral_is_read_and_heard_again(bench: Bench) -> None:
    adapter, thermometer = bench.virtual, await bench.thermometer()
    async with Rig(bench, macAddress=thermometer.mac, timeout=1000) as rig:
        rig.listen(rig.visitor(TEMPERATURE, mode="notify"))
        await rig.until(lambda heard: heard == [21.5])
        thermometer.off()
        await until(lambda: adapter.connections == 0)
        with pytest.raises(NoAnswer):
            await rig.one(rig.visitor(BATTERY, "INT"))
        thermometer.set(5.0)
        thermometer.on()
        await rig.until(lambda heard: heard[-1] == 5.0)
        await thermometer.notify(6.0)
        await rig.until(lambda heard: heard[-1] == 6.0)
        assert await rig.one(rig.visitor(BATTERY, "INT")) == 87


async def test_a_peripheral_that_stays_connected_and_answers_nothing_is_let_go(bench: Bench) -> None:
    adapter, thermometer = bench.virtual, await bench.thermometer()
    async with Rig(bench, macAddress=thermometer.mac, timeout=1000) as rig:
        temperature = rig.visitor(TEMPERATURE)
        assert await rig.one(temperature) == 21.5
        thermometer.deaf(True)
        with pytest.raises(NoAnswer, match="did not answer within 1000 ms, reading characteristic 2A6E"):
            await rig.one(temperature)
        assert adapter.connections == 0
        thermometer.deaf(False)
        assert await rig.one(temperature) == 21.5


async def test_a_connection_that_nobody_uses_is_closed(bench: Bench) -> None:
    adapter, thermometer = bench.virtual, await bench.thermometer()
    async with Rig(bench, macAddress=thermometer.mac, linger=50) as rig:
        assert await rig.one(rig.visitor(TEMPERATURE)) == 21.5
        assert adapter.connections == 1
        await until(lambda: adapter.connections == 0)
        assert await rig.one(rig.visitor(TEMPERATURE)) == 21.5


async def test_eight_peripherals_on_two_connections_are_served_alike(bench: Bench) -> None:
    adapter = bench.virtual
    thermometers = [await bench.thermometer(f"t{n}", float(n)) for n in range(8)]
    ble = bench.drivers(connections=2)
    rigs = [Rig(bench, ble, macAddress=one.mac, timeout=5000) for one in thermometers]
    served = [0] * 8

    async def poll(number: int) -> None:
        temperature = rigs[number].visitor(TEMPERATURE)
        while min(served) < 3:
            assert await rigs[number].one(temperature) == float(number)
            served[number] += 1

    async with asyncio.timeout(30):
        await asyncio.gather(*(poll(number) for number in range(8)))
    assert adapter.most_connections == 2
    assert max(one.connects for one in thermometers) <= 5
    for rig in rigs:
        await rig.driver.close()
    assert adapter.connections == 0


async def test_peripherals_that_notify_give_way_after_their_dwell_time(bench: Bench) -> None:
    adapter = bench.virtual
    thermometers = [await bench.thermometer(f"t{n}", float(n)) for n in range(3)]
    ble = bench.drivers(connections=1)
    rigs = [Rig(bench, ble, macAddress=one.mac, dwell=150) for one in thermometers]
    for rig in rigs:
        rig.listen(rig.visitor(TEMPERATURE, mode="notify"))
    for number, rig in enumerate(rigs):
        await rig.until(lambda heard, number=number: len(heard) >= 3 and set(heard) == {float(number)})  # type: ignore[misc]
    assert adapter.most_connections == 1
    assert max(one.connects for one in thermometers) - min(one.connects for one in thermometers) <= 1
    for rig in rigs:
        await rig.driver.close()


async def test_an_adapter_that_is_off_is_a_bus_that_is_down_until_it_is_on_again(bench: Bench) -> None:
    adapter, thermometer = bench.virtual, await bench.thermometer()
    beacon = await bench.beacon()
    await beacon.say("02ca09")
    ble = bench.drivers()
    async with Rig(bench, ble, macAddress=thermometer.mac) as rig, Rig(bench, ble, macAddress=beacon.mac) as ear:
        assert await rig.one(rig.visitor(TEMPERATURE)) == 21.5
        await adapter.power(False)
        with pytest.raises(BusDown, match=r"switched off|No powered Bluetooth adapters found"):
            await until_down(rig)
        await rig.driver.close()
        ear.listen(ear.visitor(bthome="temperature"))
        assert isinstance((await ear.until(bool))[0], BusDown)
        await adapter.power(True)
        await rig.driver.open()
        assert await rig.one(rig.visitor(TEMPERATURE)) == 21.5
        await ear.until(lambda heard: heard[-1] == 25.06)


async def test_a_machine_without_bluetooth_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
    ble = Ble()
    address = Address(mac_address="C0:00:00:00:00:01")
    driver = ble.driver(address.peer)
    with pytest.raises(BusDown, match=r"adapter \(any\) cannot scan"):
        await driver.read([make(ble, address, {"characteristicUUID": "2A19"}, "INT")])
    await driver.close()


async def test_a_beacons_values_are_heard_and_its_events_count_once(bench: Bench) -> None:
    beacon = await bench.beacon()
    async with Rig(bench, macAddress=beacon.mac) as rig:
        temperature = rig.visitor(bthome="temperature")
        button = rig.visitor(bthome="button", model="STRING")
        rig.listen(temperature, button)
        await beacon.say("02ca09 3a01")
        await rig.until(lambda heard: heard.count(25.06) >= 2)  # the packet was repeated, and told again
        assert [value for visitor, value in rig.heard if visitor is button] == ["press"]
        await beacon.say("02cb09 3a00")
        await rig.until(lambda heard: 25.07 in heard)
        await beacon.say("02cb09 3a01")
        heard = await rig.until(lambda heard: heard.count("press") == 2)
        assert not [value for value in heard if isinstance(value, DriverError)]


async def test_garbage_from_a_beacon_and_encryption_are_told_and_give_no_value(bench: Bench) -> None:
    beacon = await bench.beacon()
    async with Rig(bench, macAddress=beacon.mac) as rig:
        rig.listen(rig.visitor(bthome="temperature"))
        await beacon.say_bytes(bytes.fromhex("40 02 ca"))
        await rig.until(lambda heard: isinstance(heard[-1], BadAnswer) if heard else False)
        await beacon.say("a472 66c9 5f73 0011 2233", flags=0x41, number=False)
        heard = await rig.until(lambda heard: isinstance(heard[-1], Refused))
        assert "turn its encryption off" in str(heard[-1])
        await beacon.say("02ca09")
        heard = await rig.until(lambda heard: heard[-1] == 25.06)
        assert all(isinstance(value, DriverError) for value in heard[:-1])


async def test_an_advertisement_can_also_be_polled(bench: Bench) -> None:
    beacon = await bench.beacon()
    async with Rig(bench, macAddress=beacon.mac, timeout=500, silenceS=0.2) as rig:
        temperature, humidity = rig.visitor(bthome="temperature"), rig.visitor(bthome="humidity")
        await beacon.say("02ca09")
        assert await rig.one(temperature) == 25.06
        with pytest.raises(NoAnswer, match=r"did not advertise BTHome humidity for 0\.2 s"):
            await rig.one(humidity)
        await beacon.say("03bf13")
        assert await rig.one(humidity) == 50.55
        with pytest.raises(ValueRefused, match="an advertisement cannot be written"):
            await rig.write(temperature, "1")


async def test_manufacturer_data_is_read_by_type_and_place(bench: Bench) -> None:
    beacon = await bench.beacon()
    await beacon.say_as_manufacturer(0x0499, bytes.fromhex("05 12fc 5394"))
    async with Rig(bench, macAddress=beacon.mac) as rig:
        keys: dict[str, Any] = {"manufacturerId": "0x0499", "byteOrder": "big"}
        assert await rig.one(rig.visitor(type="sint16", start=1, **keys)) == 0x12FC
        short = await rig.one(rig.visitor(type="sint16", start=4, **keys))
        assert isinstance(short, BadAnswer)
        assert "too few" in str(short)


async def test_closing_in_the_middle_of_a_connection_attempt_leaves_nothing_behind(bench: Bench) -> None:
    adapter, thermometer = bench.virtual, await bench.thermometer()
    ble = bench.drivers(connections=1)
    rig = Rig(bench, ble, macAddress=thermometer.mac, linger=0)
    assert await rig.one(rig.visitor(TEMPERATURE)) == 21.5
    await until(lambda: adapter.connections == 0)
    thermometer.off()
    attempt = asyncio.create_task(rig.one(rig.visitor(TEMPERATURE)))
    await until(lambda: adapter.device.is_le_connecting)
    attempt.cancel()
    await asyncio.gather(attempt, return_exceptions=True)
    await rig.driver.close()
    thermometer.on()
    async with Rig(bench, ble, macAddress=thermometer.mac) as again:
        assert await again.one(again.visitor(TEMPERATURE)) == 21.5
    assert adapter.connections == 0


async def test_a_peripheral_that_seldom_notifies_is_asked_whether_it_is_still_there(bench: Bench) -> None:
    adapter, thermometer = bench.virtual, await bench.thermometer()
    async with Rig(bench, macAddress=thermometer.mac, silenceS=0.1, timeout=1000) as rig:
        rig.listen(rig.visitor(TEMPERATURE, mode="notify"))
        await rig.until(lambda heard: heard[:3] == [21.5] * 3)
        assert thermometer.connects == 1
        thermometer.deaf(True)
        heard = await rig.until(lambda heard: isinstance(heard[-1], NoAnswer))
        assert "did not answer within 1000 ms" in str(heard[-1])
        await until(lambda: adapter.connections == 0)
        thermometer.deaf(False)
        await rig.until(lambda heard: heard[-1] == 21.5)


async def test_a_peripheral_that_a_killed_mapper_left_connected_is_found_though_it_does_not_advertise(
    bench: Bench,
) -> None:
    if bench.backends.client is not None:
        pytest.skip("only a system keeps the connections of others")
    thermometer = await bench.thermometer("cellar-7")
    device = await BleakScanner.find_device_by_address(thermometer.mac, bluez={"adapter": bench.adapter})
    assert device is not None
    async with BleakClient(device, bluez={"adapter": bench.adapter}):
        async with Rig(bench, name="cellar-7", serviceUUID="181A") as rig:
            assert await rig.one(rig.visitor(TEMPERATURE)) == 21.5
        assert thermometer.connects == 1
