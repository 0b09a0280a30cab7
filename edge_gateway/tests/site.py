"""A site for the cores' tests: devices and a model, a DeviceTwin whose effects are carried out in dictionaries."""

import json
from collections.abc import Callable
from typing import Any

from edge_gateway.device_twin import DeviceTwin
from edge_gateway.effects import Effects
from edgewire import board, resource, topics
from edgewire.device import (
    Desired,
    Device,
    DeviceModel,
    DeviceSpec,
    Metadata,
    ModelProperty,
    ModelSpec,
    Property,
    Protocol,
    Reference,
)
from edgewire.message import Message
from edgewire.twin import UpdatedContent

NOW = 1_795_000_000_000
ID = "default/s1"
TWIN_KEY = resource.device_report(ID, resource.TWIN_UPDATED)
STATE_KEY = resource.device_report(ID, resource.STATE_UPDATED)

TEMPERATURE = ModelProperty("temperature", type="FLOAT", access_mode="ReadOnly")
SPEED = ModelProperty("speed", type="INT", minimum="0", maximum="100")
POWER = ModelProperty("power", type="STRING")


def a_model(*properties: ModelProperty, name: str = "meter") -> DeviceModel:
    """A model, with temperature, speed and power unless told otherwise."""
    return DeviceModel(Metadata(name, uid="m1"), ModelSpec("modbus", list(properties or (TEMPERATURE, SPEED, POWER))))


def a_device(
    wishes: dict[str, str] | None = None,
    *,
    uid: str = "u1",
    generation: int = 1,
    name: str = "s1",
    model: str = "meter",
    protocol: str = "modbus",
    not_to_cloud: tuple[str, ...] = (),
) -> Device:
    """A device with some desired values."""
    names = dict.fromkeys([*(wishes or {}), *not_to_cloud])
    properties = [
        Property(n, desired=Desired((wishes or {}).get(n, "")), report_to_cloud=n not in not_to_cloud) for n in names
    ]
    spec = DeviceSpec(Reference(model), "edge1", Protocol(protocol), properties)
    return Device(Metadata(name, uid=uid, generation=generation, resource_version=str(generation)), spec)


def topic(kind: str, id: str = ID) -> str:
    """A topic of the device."""
    return topics.of_device(id, kind)


def updated(message: Message | None) -> dict[str, tuple[object, object] | None]:
    """What a twin message to the cloud says: property -> reported and desired value."""
    assert message is not None
    return {
        name: None
        if twin is None
        else (twin.reported.value if twin.reported else None, twin.desired.value if twin.desired else None)
        for name, twin in message.read(UpdatedContent).twin.items()
    }


class Heard:
    """What the gateway published on account of one event, in order."""

    def __init__(self, effects: Effects) -> None:
        self.effects = effects
        self.kinds = [(topics.device_topic(p.topic) or ("", p.topic))[1] for p in effects.publishes]

    def on(self, kind: str) -> Any:
        """The only message on a kind of topic, decoded."""
        (found,) = [p.payload for p, k in zip(self.effects.publishes, self.kinds, strict=True) if k == kind]
        return json.loads(found)

    @property
    def delta(self) -> dict[str, str] | None:
        """The desired values of the one delta, or None when there was none."""
        found: dict[str, str] | None = self.on(topics.DELTA)["delta"] if topics.DELTA in self.kinds else None
        return found

    @property
    def dirty(self) -> list[str]:
        """What the cloud is to be told."""
        return self.effects.dirty

    @property
    def keys(self) -> list[str]:
        """The rows that were written."""
        return [f"{table} {key}" for table, key, _ in self.effects.changes]


class Site:
    """A DeviceTwin with one device, and the rows that a store would hold."""

    def __init__(self, device: Device | None = None, wanted: Callable[[str], bool] = lambda topic: True) -> None:
        self.now = NOW
        self.rows: dict[tuple[str, str], bytes] = {}
        self.wanted = wanted
        self.twins = DeviceTwin(wanted)
        self.edit(device or a_device())

    def perform(self, effects: Effects) -> Heard:
        """Write the rows."""
        for table, key, value in effects.changes:
            if value is None:
                self.rows.pop((table, key), None)
            else:
                self.rows[table, key] = value
        return Heard(effects)

    def restart(self, device: Device, model: DeviceModel | None) -> Heard:
        """Come back with nothing but the rows."""
        self.twins = DeviceTwin(self.wanted)
        kept = {
            table: [(key, value) for (t, key), value in sorted(self.rows.items()) if t == table]
            for table in ("device", "twin")
        }
        effects = Effects()
        effects.changes += self.twins.restore(kept["device"], kept["twin"])
        effects.add(self.twins.device_changed(device, model, self.now))
        return self.perform(effects)

    def edit(self, device: Device, model: DeviceModel | None = a_model()) -> Heard:  # noqa: B008, it is frozen
        """The device or its model was edited."""
        return self.perform(self.twins.device_changed(device, model, self.now))

    def report(self, values: dict[str, str], at: int | None = None, event_id: str = "e1") -> Heard:
        """The device reports, a millisecond after what was before unless it says when."""
        self.now += 1
        at = self.now if at is None else at
        return self.send(board.report({name: (value, at) for name, value in values.items()}, event_id, at))

    def desire(self, **values: str) -> Heard:
        """An application on the site desires something."""
        self.now += 1
        twin = {name: {board.DESIRED: {"value": value}} for name, value in values.items()}
        return self.send(json.dumps({"event_id": "a1", "timestamp": self.now, "twin": twin}))

    def send(self, payload: str | bytes, id: str = ID) -> Heard:
        """Anything on `twin/update`."""
        return self.perform(self.twins.report(id, payload.encode() if isinstance(payload, str) else payload, self.now))

    def state(self, state: str) -> Heard:
        """The device says how it is."""
        self.now += 1
        return self.perform(self.twins.state(ID, board.state(state, "s1").encode(), self.now))

    def get(self) -> Any:
        """All twins, as a client of the broker sees them."""
        return Heard(self.twins.get(ID, b"{}", self.now)).on(topics.GET_RESULT)["twin"]

    def values(self) -> dict[str, tuple[str | None, str | None]]:
        """Property -> reported and desired value."""
        return {
            name: (twin.get(board.REPORTED, {}).get("value"), twin.get(board.DESIRED, {}).get("value"))
            for name, twin in self.get().items()
        }

    def tell_cloud(self) -> dict[str, tuple[object, object] | None]:
        """Deliver the twin message, and say what was in it."""
        said = updated(self.twins.unseen.message_for(TWIN_KEY, self.now))
        self.perform(self.twins.unseen.delivered(TWIN_KEY))
        return said
