"""All firmware rollouts of this gateway: plans and images from the cloud, offers to devices and their requests, reports.

A core beside DeviceTwin: it reads the devices' `firmware*` properties from the twins. The device drives its download: each
`ota/get` is answered from what the gateway holds, and nothing is remembered of it. A device that two plans name follows the
greater (`Plan.order`). Offers go out at QoS 0, as deltas do: a broker must not queue them for a device that is away.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Protocol

from edge_gateway.effects import Effects, Publish
from edge_gateway.firmware_images import FirmwareImages
from edge_gateway.firmware_rollout import TABLE, Rollout
from edge_gateway.meta_manager import MetaError
from edge_gateway.store import Change
from edgewire import message as wire
from edgewire import ota, resource, rollout, topics, twin
from edgewire.message import Message
from edgewire.resource import Resource
from edgewire.rollout import RolloutError
from edgewire.twin import TwinError

log = logging.getLogger(__name__)

GETS_A_TICK = 2000
"""Requests of one device that are answered between two ticks, a second apart; it repeats the others by itself."""
TICK_LIMIT_MS = 5_000
"""More than this between two ticks is a clock that was set."""
TYPES = frozenset({resource.ROLLOUT, resource.FIRMWARE_PART})

_NOTHING = ota.no_offer().encode()


class Twins(Protocol):
    """What it needs to know of devices."""

    def reported(self, id: str, names: Iterable[str]) -> Mapping[str, str] | None:
        """What a device reported of some properties; None when it is not here, or has no model yet."""
        ...

    def is_online(self, id: str) -> bool:
        """Whether a device is connected, as far as is known."""
        ...


class FirmwareUpdates:
    """The rollouts, by `<namespace>/<name>`."""

    def __init__(self, twins: Twins) -> None:
        self._twins = twins
        self._images = FirmwareImages()
        self._rollouts: dict[str, Rollout] = {}
        self._of_device: dict[str, list[Rollout]] = {}
        """Device id -> the rollouts that name it, the one that decides first."""
        self._orphans: list[Change] = []
        """Rows of rollouts that are gone."""
        self._gets: Counter[str] = Counter()
        self._clock = 0
        self._ticked_at = 0

    # From the cloud

    def restore(self, objects: Iterable[tuple[str, bytes]], rows: Iterable[tuple[str, bytes]]) -> list[Resource]:
        """Take back what the store kept (tables `object` and `rollout`): the objects that cannot be used."""
        unusable = []
        kept: dict[str, list[tuple[str, bytes]]] = {}
        for key, row in rows:
            kept.setdefault("/".join(key.split("/", 2)[:2]), []).append((key, row))
        for key, content in objects:
            name = resource.parse(key)
            if name.type not in TYPES:
                continue
            try:
                self._keep(name, content)
            except MetaError as error:
                log.error("stored row is unreadable and dropped table=object key=%r error=%s", key, error)
                unusable.append(name)
                continue
            if name.type == resource.ROLLOUT and (found := self._rollouts.get(name.id)) is not None:
                found.restore(kept.pop(name.id, ()))
        self._orphans = [(TABLE, key, None) for left in kept.values() for key, _ in left]
        self._assign()
        return unusable

    def put(self, name: Resource, content: bytes) -> Effects:
        """A plan or a part of an image came. Raises MetaError for one that cannot be used."""
        self._keep(name, content)
        self._assign()
        return self.look_at_all()

    def remove(self, name: Resource) -> Effects:
        """A plan or a part is gone."""
        effects = Effects()
        if name.type == resource.FIRMWARE_PART:
            self._images.remove(name.id)
        elif (gone := self._rollouts.pop(name.id, None)) is not None:
            namespace = gone.plan.metadata.namespace
            devices = [device for device in gone.devices if gone.waiting_for(device)]
            effects.publishes += [_offer(f"{namespace}/{device}", _NOTHING) for device in devices]
            effects.changes += gone.changes
            effects.changes += [(TABLE, gone.id, None), *((TABLE, f"{gone.id}/{d}", None) for d in gone.devices)]
        self._assign()
        effects.add(self.look_at_all())
        return effects

    def _keep(self, name: Resource, content: bytes) -> None:
        try:
            if name.type == resource.FIRMWARE_PART:
                self._images.put(name.id, content)
                return
            plan = rollout.parse_plan(content)
        except RolloutError as error:
            raise MetaError(f"{name}: {error}") from error
        if plan.id != name.id:
            raise MetaError(f"{name}: its metadata says {plan.id}")
        known = self._rollouts.get(name.id)
        if known is None:
            self._rollouts[name.id] = Rollout(plan, self._clock)
        else:
            known.follow(plan, self._clock)

    def _assign(self) -> None:
        """Find out anew whose images can be offered, and which rollout decides about which device."""
        self._of_device = {}
        for found in sorted(self._rollouts.values(), key=lambda r: r.plan.order, reverse=True):
            namespace = found.plan.metadata.namespace
            found.missing = self._images.missing(namespace, found.plan.image)
            for device in found.devices:
                self._of_device.setdefault(f"{namespace}/{device}", []).append(found)

    # From devices

    def concerns(self, id: str) -> bool:
        """Whether a rollout names the device."""
        return id in self._of_device

    def changed(self, id: str) -> Effects:
        """A device's twins or model may have changed."""
        concerned = self._of_device.get(id)
        if concerned is None:
            return Effects()
        self._observe(id, concerned)
        # Most reports are of other properties; looking at a thousand devices for each would slow all down.
        return self._outcome(concerned) if any(found.changes for found in concerned) else Effects()

    def came_online(self, id: str) -> Effects:
        """A device says that it is there."""
        concerned = self._of_device.get(id)
        if concerned is None:
            return Effects()
        self._observe(id, concerned)
        concerned[0].came_online(_name(id), self._clock)
        return self._outcome(concerned)

    def get(self, id: str, payload: bytes | None) -> Effects:
        """An `ota/get`: the piece that was asked for, or an empty one when nothing of that id is offered to the device."""
        effects = Effects()
        self._gets[id] += 1
        if self._gets[id] > GETS_A_TICK:
            if self._gets[id] == GETS_A_TICK + 1:
                effects.refusals.append((id, TwinError(429, f"more than {GETS_A_TICK} requests a second")))
            return effects
        try:
            asked, offset, length = ota.parse_get(payload or b"")
        except ota.OtaError as error:
            effects.refusals.append((id, TwinError(twin.BAD_REQUEST, f"{topics.OTA_GET}: {error}"[: twin.MAX_REASON])))
            return effects
        data = b""
        concerned = self._of_device.get(id)
        if concerned is not None and concerned[0].serves and concerned[0].plan.image.id == asked:
            plan = concerned[0].plan
            data = self._images.read(plan.metadata.namespace, plan.image, offset, length)
            concerned[0].heard(_name(id), self._clock)
        effects.publishes.append(Publish(topics.of_device(id, topics.OTA_CHUNK), ota.chunk(asked, offset, data)))
        return effects

    # Time

    def tick(self, now_ms: int) -> Effects | None:
        """Time has passed; to be called every second. None when nothing follows from it."""
        self._clock += min(max(0, now_ms - self._ticked_at), TICK_LIMIT_MS)
        self._ticked_at = now_ms
        self._gets.clear()
        if not self._rollouts:
            return None
        effects = self._outcome(self._rollouts.values())
        return effects if effects.changes or effects.publishes or effects.dirty else None

    # To the cloud

    def dirty_keys(self) -> list[str]:
        """Every rollout: the cloud keeps sums only, and may have lost those."""
        return [str(resource.of_id(resource.ROLLOUT, id)) for id in self._rollouts]

    def message_for(self, key: str) -> Message | None:
        """Where a rollout stands now; None when it is gone."""
        found = self._rollouts.get(resource.parse(key).id)
        return None if found is None else wire.build(wire.UPDATE, key, found.report(), source="edged")

    # What follows

    def look_at_all(self) -> Effects:
        """Compare every rollout with what its devices say."""
        for id, concerned in self._of_device.items():
            self._observe(id, concerned)
        effects = self._outcome(self._rollouts.values())
        effects.changes += self._orphans
        self._orphans = []
        effects.dirty = self.dirty_keys()
        return effects

    def _observe(self, id: str, concerned: list[Rollout]) -> None:
        said = self._twins.reported(id, ota.PROPERTIES)
        for found in concerned:
            found.observe(_name(id), said, owned=found is concerned[0], clock=self._clock)

    def _outcome(self, rollouts: Iterable[Rollout]) -> Effects:
        effects = Effects()
        for found in rollouts:
            namespace = found.plan.metadata.namespace
            found.step(self._clock, partial(self._is_online, namespace))
            for name in dict.fromkeys(found.withdrawals):
                if self._decides(found, f"{namespace}/{name}"):
                    effects.publishes.append(_offer(f"{namespace}/{name}", _NOTHING))
            offer = rollout.offer_of(found.plan)
            effects.publishes += [_offer(f"{namespace}/{name}", offer) for name in dict.fromkeys(found.offers)]
            if found.changes:
                effects.dirty.append(str(resource.of_id(resource.ROLLOUT, found.id)))
            effects.changes += found.changes
            found.withdrawals, found.offers, found.changes = [], [], []
        return effects

    def _is_online(self, namespace: str, name: str) -> bool:
        return self._twins.is_online(f"{namespace}/{name}")

    def _decides(self, found: Rollout, id: str) -> bool:
        """Whether no other rollout speaks to a device: taking back this one's offer must not take back the other's."""
        concerned = self._of_device.get(id)
        return concerned is None or concerned[0] is found


def _offer(id: str, payload: bytes) -> Publish:
    return Publish(topics.of_device(id, topics.OTA_OFFER), payload)


def _name(id: str) -> str:
    return id.partition("/")[2]
