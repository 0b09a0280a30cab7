"""A gateway's rollouts for the core's tests: devices that are dictionaries, effects carried out in dictionaries, time by hand."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from edge_gateway.effects import Effects
from edge_gateway.firmware_updates import FirmwareUpdates
from edgewire import ota, resource, rollout, topics
from edgewire.rollout import Metadata, Plan, Report, Wave
from edgewire.tests.firmware_image import Firmware, firmware

GOOD = firmware()
NAME = "default/new"


def a_plan(
    *waves: Iterable[str] | Wave,
    of: Firmware = GOOD,
    name: str = "new",
    created: str = "2026-11-01T00:00:00Z",
    **more: Any,
) -> Plan:
    """A plan of these waves; a version for each plan that differs."""
    built = [wave if isinstance(wave, Wave) else Wave(list(wave)) for wave in waves]
    plan = Plan(Metadata("default", name, f"uid-{name}"), "edge1", created, of.image, built, **more)
    return rollout.parse_plan(rollout.encode_plan(plan)[1])


class Devices:
    """The twins, as FirmwareUpdates asks for them."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, str]] = {}
        self.online: set[str] = set()

    def reported(self, id: str, names: Iterable[str]) -> Mapping[str, str] | None:
        found = self.values.get(id)
        return None if found is None else {name: found[name] for name in names if name in found}

    def is_online(self, id: str) -> bool:
        return id in self.online


class Site:
    """A gateway with boards that run version 1.3.0."""

    def __init__(self, *devices: str) -> None:
        self.devices = Devices()
        for name in devices:
            self.devices.values[f"default/{name}"] = {**dict.fromkeys(ota.PROPERTIES, ""), "firmware": "1.3.0"}
            self.devices.online.add(f"default/{name}")
        self.now = 1_795_000_000_000
        self.rows: dict[tuple[str, str], bytes] = {}
        self.updates = FirmwareUpdates(self.devices)
        self.offers: list[tuple[str, dict[str, Any]]] = []
        """Device and offer, since they were last asked for."""
        self.chunks: list[bytes] = []
        self.refused: list[str] = []
        self.wait(1)

    # What happens

    def perform(self, effects: Effects | None) -> None:
        if effects is None:
            return
        for table, key, value in effects.changes:
            if value is None:
                self.rows.pop((table, key), None)
            else:
                self.rows[table, key] = value
        for publish in effects.publishes:
            device, kind = topics.device_topic(publish.topic) or ("", "")
            if kind == topics.OTA_OFFER:
                self.offers.append((device.partition("/")[2], json.loads(publish.payload)))
            else:
                assert kind == topics.OTA_CHUNK
                self.chunks.append(publish.payload)
        self.refused += [error.reason for _, error in effects.refusals]

    def put(self, type: str, id: str, content: bytes) -> None:
        name = resource.of_id(type, id)
        self.perform(self.updates.put(name, content))
        self.rows["object", str(name)] = content

    def plan(self, plan: Plan) -> None:
        self.put(resource.ROLLOUT, plan.id, msgspec.json.encode(plan))

    def image(self, of: Firmware = GOOD, parts: int = 99) -> None:
        for name, part in list(of.objects().items())[:parts]:
            self.put(resource.FIRMWARE_PART, f"default/{name}", msgspec.json.encode(part))

    def remove(self, type: str, id: str) -> None:
        name = resource.of_id(type, id)
        self.rows.pop(("object", str(name)), None)
        self.perform(self.updates.remove(name))

    def says(self, device: str, state: str, of: Firmware = GOOD, **more: str) -> None:
        """A device reports how its update goes."""
        values = {"firmware-state": state, "firmware-target": of.image.target}
        self.devices.values[f"default/{device}"] |= values | {f"firmware-{name}": value for name, value in more.items()}
        self.perform(self.updates.changed(f"default/{device}"))

    def updates_to(self, device: str, of: Firmware = GOOD) -> None:
        """A device goes through the whole update."""
        for state in ("downloading", "trial", "confirmed"):
            self.says(device, state, of)

    def goes(self, device: str, *, online: bool) -> None:
        id = f"default/{device}"
        (self.devices.online.add if online else self.devices.online.discard)(id)
        self.perform(self.updates.came_online(id) if online else self.updates.changed(id))

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            self.now += 1000
            self.perform(self.updates.tick(self.now))

    def get(self, device: str, offset: int, length: int, of: Firmware = GOOD) -> bytes | None:
        """The data of the chunk that answers, None when there is no answer."""
        self.chunks.clear()
        payload = json.dumps({"id": of.image.id, "offset": offset, "length": length}).encode()
        self.perform(self.updates.get(f"default/{device}", payload))
        if not self.chunks:
            return None
        [chunk] = self.chunks
        assert chunk[:12] == bytes.fromhex(of.image.id[:16]) + offset.to_bytes(4, "big")
        return chunk[12:]

    def restart(self) -> None:
        """Come back with nothing but the rows."""
        kept = {t: sorted((k, v) for (of, k), v in self.rows.items() if of == t) for t in ("object", "rollout")}
        self.updates = FirmwareUpdates(self.devices)
        for name in self.updates.restore(kept["object"], kept["rollout"]):
            self.rows.pop(("object", str(name)))
        self.perform(self.updates.look_at_all())

    # What a test asks

    def offered(self) -> list[str]:
        """Devices that were offered an image, or nothing any more (with a `-`), since this was last asked."""
        told = [name if offer else f"-{name}" for name, offer in self.offers]
        self.offers.clear()
        return told

    def report(self, id: str = NAME) -> Report:
        message = self.updates.message_for(str(resource.of_id(resource.ROLLOUT, id)))
        assert message is not None
        return message.read(Report)

    def counts(self, id: str = NAME) -> dict[str, int]:
        return self.report(id).counts
