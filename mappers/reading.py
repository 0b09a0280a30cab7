"""Devices read straight from their manifests: what one needs at the cabinet, with no cloud and no broker.

The same definitions, checks and drivers as in the mapper; only who asks is another.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Struct

from edgewire.device import Device, DeviceError, DeviceModel, MapperDevice, parse_device, parse_model

from .driver import Dated, DefinitionError, Driver, DriverError, Drivers, Listener, Value
from .plan import Plan, Point, Settings, make_plan


class Row(Struct, frozen=True):
    """One property of one device, as it was read."""

    device: str
    property: str
    raw: Value | None
    """What the driver gave; None where there is an error instead."""
    value: str
    unit: str
    error: str


class Readable(Struct, frozen=True):
    """A device that can be read."""

    id: str
    plan: Plan
    drivers: Drivers


def readable(manifests: Iterable[Any], drivers: Callable[[str], Drivers]) -> list[Readable]:
    """The devices among custom resources; their models have to be among them too. Raises DefinitionError.

    `drivers` gives those of a protocol's name, and may raise DefinitionError.
    """
    devices: list[Device] = []
    models: dict[str, DeviceModel] = {}
    for manifest in manifests:
        kind = manifest.get("kind") if isinstance(manifest, dict) else None
        content = msgspec.json.encode(manifest)  # keys of mappings become strings, as Kubernetes has them
        try:
            if kind == "Device":
                devices.append(parse_device(content))
            elif kind == "DeviceModel":
                model = parse_model(content)
                models[model.id] = model
        except DeviceError as error:
            raise DefinitionError(str(error)) from error
    if not devices:
        raise DefinitionError("there is no Device in it")
    found = []
    for device in devices:
        if device.model_id not in models:
            raise DefinitionError(f"Device {device.id}: its DeviceModel {device.model_id} is not in it")
        of_protocol = drivers(device.spec.protocol.protocol_name.partition("@")[0])
        plan = make_plan(MapperDevice(device, models[device.model_id]), of_protocol, Settings())
        found.append(Readable(device.id, plan, of_protocol))
    return found


class Reader:
    """Reads devices as often as one asks, all buses at a time. Close it in the end."""

    def __init__(self, devices: Sequence[Readable], heard_s: float) -> None:
        """`heard_s` is how long to wait for devices that speak unasked."""
        self._heard_s = heard_s
        self._buses: dict[tuple[str, Hashable], list[Readable]] = {}
        for device in devices:
            self._buses.setdefault((device.drivers.protocol, device.plan.bus), []).append(device)
        self._open: dict[tuple[str, Hashable], Driver] = {}

    async def read(self) -> list[Row]:
        """Every property of every device, a bus after the other in the rows."""
        found = await asyncio.gather(*(self._read_bus(bus, devices) for bus, devices in self._buses.items()))
        return [row for rows in found for row in rows]

    async def close(self) -> None:
        """Let go of the buses."""
        for driver in self._open.values():
            await driver.close()
        self._open.clear()

    async def _read_bus(self, bus: tuple[str, Hashable], devices: Sequence[Readable]) -> list[Row]:
        driver = self._open.get(bus)
        try:
            if driver is None:
                driver = devices[0].drivers.driver(bus[1])
                await driver.open()
                self._open[bus] = driver
            heard = await self._hear(driver, devices)
        except DriverError as error:
            return [_row(d, p, error) for d in devices for p in d.plan.points]
        rows: list[Row] = []
        for device in devices:
            polled = [p for p in device.plan.points if not p.pushed]
            read = dict(zip((p.name for p in polled), await _read(driver, polled), strict=True))
            for point in device.plan.points:
                if _only_written(point):
                    rows.append(Row(device.id, point.name, None, "(only written)", point.unit, ""))
                    continue
                result = heard[id(point)] if point.pushed else read[point.name]
                rows.append(_row(device, point, result))
        return rows

    async def _hear(self, driver: Driver, devices: Sequence[Readable]) -> dict[int, Value | DriverError]:
        """What is heard of pushed points, by the point's `id`; the first value of each."""
        points = [p for d in devices for p in d.plan.points if p.pushed and not _only_written(p)]
        silence = DriverError(f"nothing was heard within {self._heard_s:g} s")
        heard: dict[int, Value | DriverError] = dict.fromkeys(map(id, points), silence)
        waiting = set(heard)
        if not points or not isinstance(driver, Listener):
            return heard
        complete = asyncio.Event()

        def take(visitor: Any, value: Value | Dated | DriverError) -> None:
            for point in points:
                if point.visitor is visitor and id(point) in waiting:
                    heard[id(point)] = value.value if isinstance(value, Dated) else value
                    waiting.discard(id(point))
            if not waiting:
                complete.set()

        driver.listen([point.visitor for point in points], take)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._heard_s):
                await complete.wait()
        driver.listen([], take)
        return heard


def _only_written(point: Point) -> bool:
    """Whether a driver says that a property has no value but the one that is written."""
    return getattr(point.visitor, "only_written", False) is True


async def _read(driver: Driver, points: Sequence[Point]) -> Sequence[Value | DriverError]:
    if not points:
        return []
    try:
        return await driver.read([point.visitor for point in points])
    except DriverError as error:
        return [error] * len(points)


def _row(device: Readable, point: Point, result: Value | DriverError) -> Row:
    raw = None if isinstance(result, DriverError) else result
    try:
        if isinstance(result, DriverError):
            raise result
        return Row(device.id, point.name, raw, point.text(result), point.unit, "")
    except DriverError as error:
        return Row(device.id, point.name, raw, "", point.unit, str(error) or error.reason)
