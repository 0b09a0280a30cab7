"""What a mapper is to do for one device, worked out from its Device and DeviceModel and checked before anything is read.

Every mistake is a DefinitionError that names the field.
"""

from collections.abc import Callable, Hashable
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from msgspec import Struct, field

from edgewire.config import nearest
from edgewire.device import FLOATS, INTEGER, TYPES, MapperDevice, ModelProperty, Property

from . import values
from .coding import Coding, DeadBand, coding, dead_band, shown_to_driver
from .driver import DefinitionError, Drivers, Value, read_config
from .push import Pushes, pushes
from .values import Scaling

MAXIMUM_CYCLE_MS = 31 * 24 * 3600 * 1000
"""The longest collect or report cycle, a month: longer ones are mistaken units."""


class Settings(Struct, frozen=True):
    """What holds for every device of a mapper where its definition does not say otherwise."""

    collect_cycle_s: float = 1.0
    """Between two reads of a property."""
    report_cycle_s: float = 60.0
    """Between two reports of an unchanged value."""
    attempts: int = 2
    """Reads a device may leave unanswered before it counts as offline."""
    probe_limit_s: float = 30.0
    """The longest wait between two attempts to reach a device that is offline."""

    def __post_init__(self) -> None:
        if self.collect_cycle_s <= 0 or self.report_cycle_s <= 0 or self.probe_limit_s <= 0 or self.attempts < 1:
            raise ValueError("cycles, `attempts` and `probe_limit_s` must be above 0")


class Point(Struct, frozen=True, eq=False):
    """One property of one device, as it is polled and written. A new one is made whenever its definition changes."""

    name: str
    type: str
    """The model's type: INT, FLOAT, DOUBLE, STRING, BOOLEAN or BYTES."""
    writable: bool
    minimum: Decimal | None
    maximum: Decimal | None
    scaling: Scaling
    collect_s: float
    report_s: float
    visitor: Any
    """The driver's own."""
    coding: Coding | None = None
    """Bits and names, where the raw value is not itself what is scaled."""
    dead_band: DeadBand | None = None
    unit: str = ""
    pushed: bool = False
    """The device speaks of it unasked: it is heard, and not read."""
    pushes: Pushes | None = None
    """Where its values go beside the twin."""
    tell: Callable[[Value], str] | None = None
    """`values.text` with its type and scaling settled."""

    def text(self, raw: Value) -> str:
        """What a twin carries for a raw value. Raises BadAnswer where it means nothing."""
        if self.coding is not None:
            raw = self.coding.decode(raw)
        return values.text(raw, self.type, self.scaling) if self.tell is None else self.tell(raw)


class Plan(Struct, frozen=True, eq=False):
    """How a device is reached, and its points."""

    address: Any
    """The driver's own; a device whose address changes starts anew."""
    bus: Hashable
    points: tuple[Point, ...]
    wanted: frozenset[str]
    """The properties whose Device resource names a desired value."""
    silence_s: float = 0.0
    """How long a device may be silent that is only heard; 0: for ever."""
    methods: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Method -> the properties it sets; none for one of the driver's own."""
    pushed_on: dict[str, Point] = field(default_factory=dict)
    """The points whose values go elsewhere too, by name."""

    @property
    def polled(self) -> bool:
        """Whether the device is asked for anything."""
        return any(not point.pushed for point in self.points)


def make_plan(
    definition: MapperDevice, drivers: Drivers, settings: Settings, before: tuple[MapperDevice, Plan] | None = None
) -> Plan:
    """The plan of a device. Raises DefinitionError.

    Points that are defined as they were `before` are taken over as they are, so that they can be told from changed ones.
    """
    spec = definition.device.spec
    address = read_config(spec.protocol.config_data, drivers.address_type, "Device spec.protocol.configData")
    kept = _kept(definition, before) if before is not None else {}
    seen: set[str] = set()
    points = []
    for p in spec.properties:
        if p.name in seen:
            raise DefinitionError(f"Device property {p.name!r} is defined twice")
        seen.add(p.name)
        if not p.visitors.config_data and not getattr(address, "by_name", False):
            continue  # a property of the twin only: nothing of the device is behind it
        points.append(kept.get(p.name) or _point(p, definition, address, drivers, settings))
    wanted = frozenset(p.name for p in spec.properties if p.desired is not None and p.desired.value)
    pushed_on = {point.name: point for point in points if point.pushes is not None}
    methods = _methods(definition, {point.name for point in points})
    return Plan(address, drivers.bus(address), tuple(points), wanted, _silence(address, points), methods, pushed_on)


def _methods(definition: MapperDevice, properties: set[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for method in definition.device.spec.methods:
        for name in method.property_names:
            if name not in properties:
                near = nearest(name, sorted(properties))
                hint = f": did you mean {near!r}?" if near else ""
                raise DefinitionError(f"Device method {method.name!r}: there is no property {name!r} to set{hint}")
        found[method.name] = tuple(method.property_names)
    return found


def _silence(address: Any, points: list[Point]) -> float:
    own = getattr(address, "silence_s", None)
    return float(max((getattr(p.visitor, "silence_s", 0) for p in points), default=0) if own is None else own)


def _kept(definition: MapperDevice, before: tuple[MapperDevice, Plan]) -> dict[str, Point]:
    old, plan = before
    if old.device.spec.protocol != definition.device.spec.protocol:
        return {}
    known = {point.name: point for point in plan.points}
    was = {p.name: p for p in old.device.spec.properties}
    return {
        p.name: known[p.name]
        for p in definition.device.spec.properties
        if p.name in known and _same(p, was[p.name]) and old.model.property(p.name) == definition.model.property(p.name)
    }


def _same(one: Property, other: Property) -> bool:
    return msgspec.structs.replace(one, desired=None) == msgspec.structs.replace(other, desired=None)


def _point(p: Property, definition: MapperDevice, address: Any, drivers: Drivers, settings: Settings) -> Point:
    where = f"Device property {p.name!r}"
    model = _model_property(p.name, definition)
    keys = read_config(p.visitors.config_data, drivers.visitor_type, f"{where} visitors.configData")
    try:
        coded, band = coding(keys, model), dead_band(keys, model)
        visitor = drivers.visitor(address, keys, shown_to_driver(model, coded))
    except DefinitionError as error:
        raise DefinitionError(f"{where} visitors.configData: {error}") from error
    numeric = model.type == INTEGER or model.type in FLOATS
    scaling = Scaling(keys.scale, keys.value_offset)
    return Point(
        name=p.name,
        type=model.type,
        writable=model.writable,
        minimum=_limit(model.minimum, "minimum", model) if numeric else None,
        maximum=_limit(model.maximum, "maximum", model) if numeric else None,
        scaling=scaling,
        tell=values.teller(model.type, scaling),
        collect_s=_cycle(p.collect_cycle, "collectCycle", where) or settings.collect_cycle_s,
        report_s=_cycle(p.report_cycle, "reportCycle", where) or settings.report_cycle_s,
        visitor=visitor,
        coding=coded,
        dead_band=band,
        unit=model.unit,
        pushes=pushes(p.push_method, model, f"{where} pushMethod"),
        pushed=getattr(visitor, "pushed", False) is True,
    )


def _model_property(name: str, definition: MapperDevice) -> ModelProperty:
    model = definition.model
    found = model.property(name)
    if found is None:
        near = nearest(name, [p.name for p in model.spec.properties])
        hint = f": did you mean {near!r}?" if near else ""
        raise DefinitionError(f"Device property {name!r} is not declared in device model {model.metadata.name!r}{hint}")
    where = f"DeviceModel {model.metadata.name!r} property {name!r}"
    if found.type not in TYPES:
        near = nearest(found.type, sorted(TYPES))
        raise DefinitionError(f"{where}: unknown type {found.type!r}" + (f": did you mean {near!r}?" if near else ""))
    if found.type == "STREAM":
        raise DefinitionError(f"{where}: a STREAM cannot be polled")
    return found


def _limit(text: str, name: str, model: ModelProperty) -> Decimal | None:
    if not text:
        return None
    try:
        limit = Decimal(text)
    except InvalidOperation:
        limit = Decimal("NaN")
    if not limit.is_finite():
        raise DefinitionError(f"DeviceModel property {model.name!r}: {name} {text[:40]!r} is not a number")
    return limit


def _cycle(milliseconds: int, name: str, where: str) -> float:
    if not 0 <= milliseconds <= MAXIMUM_CYCLE_MS:
        raise DefinitionError(f"{where}: {name} must lie between 0 and {MAXIMUM_CYCLE_MS} ms")
    return milliseconds / 1000
