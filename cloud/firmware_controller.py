"""DeviceFirmware: from Kubernetes to the gateways that carry it out, and what these report of it back. No I/O.

It is told of every DeviceFirmware, Device and part of an image, says what each node should have (a `sessions.Controller`), takes
what gateways report, opens waves, and writes each DeviceFirmware's status (a `writes.Writer`; keys are ids).

A node gets a plan of each rollout that has devices there, and the parts of its image, one at a time: while one is on its way,
the link is free for whatever else there is to say. What a node has of it, it says itself in its inventory, so nothing is sent
twice. Parts that are deleted stay on nodes until the DeviceFirmware goes.
"""

import logging
import time
from collections.abc import Callable, Iterable

import msgspec

from cloud import firmware_objects
from cloud.firmware_objects import DeviceFirmware, FirmwareError, FirmwareStatus, Seat
from cloud.firmware_planning import place
from cloud.firmware_progress import Progress
from cloud.objects import DEVICE_FIRMWARES, Added, Deleted, Event, Modified, Object, Synced
from cloud.sessions import Sender, Sessions, Want
from cloud.writes import MERGE_PATCH, Answer, Request, Writes
from edgewire import message as wire
from edgewire import resource, rollout
from edgewire.message import Message, MessageError
from edgewire.rollout import Image, Report

log = logging.getLogger(__name__)

_encoder = msgspec.json.Encoder()


class FirmwareController:
    """All DeviceFirmwares."""

    types = frozenset({resource.ROLLOUT, resource.FIRMWARE_PART})
    source = "devicecontroller"

    def __init__(self, sessions: Sessions, writes: Writes, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since 1970, for the times of conditions."""
        self._sessions = sessions
        self._writes = writes
        self._clock = clock
        self._rollouts: dict[str, Progress] = {}
        self._seats: dict[str, Seat] = {}
        self._parts: dict[str, Object] = {}
        self._plans: dict[str, dict[str, Object]] = {}
        """Node -> key -> plan as it is sent."""
        self._streams: dict[str, _Stream] = {}
        """Connected node -> where the parts it should have stand."""
        self._flying: dict[str, FirmwareStatus] = {}
        self._unsynced = {"devicefirmwares", "devices", "parts"}
        self._stale = False

    # What Kubernetes says

    @property
    def synced(self) -> bool:
        """Whether all DeviceFirmwares, Devices and parts are known."""
        return not self._unsynced

    def firmware_event(self, event: Event) -> None:
        """The list-watch of DeviceFirmwares says this."""
        match event:
            case Added(object) | Modified(object):
                self._firmware_is(object)
            case Deleted(object):
                if self._rollouts.pop(object.id, None) is not None:
                    self._writes.forget(object.id)
                    self._replan()
            case Synced():
                self._all_known("devicefirmwares")

    def device_event(self, event: Event) -> None:
        """The list-watch of Devices says this. Plans follow with the next tick: many devices change at a time."""
        match event:
            case Added(object) | Modified(object):
                seat = firmware_objects.seat_of(object)
                if seat is not None and seat != self._seats.get(object.id):
                    self._seats[object.id] = seat
                    self._stale = True
            case Deleted(object):
                self._stale = self._seats.pop(object.id, None) is not None or self._stale
            case Synced():
                self._all_known("devices")

    def part_event(self, event: Event) -> None:
        """The list-watch of ConfigMaps with an image's parts says this."""
        match event:
            case Added(object) | Modified(object):
                try:
                    part = firmware_objects.part_of(object)
                except FirmwareError as error:
                    log.warning("= part of an image cannot be used reason=%s", error)
                    return
                known = self._parts.get(part.id)
                if known is None or known.version != part.version:
                    self._parts[part.id] = part
                    self._stale = True
            case Deleted(object):
                self._stale = self._parts.pop(object.id, None) is not None or self._stale
            case Synced():
                self._all_known("parts")

    def _all_known(self, what: str) -> None:
        if what in self._unsynced:
            self._unsynced.discard(what)
            if self.synced:
                log.info("= rollouts known rollouts=%d parts=%d", len(self._rollouts), len(self._parts))
                self._replan()
                self._sessions.controller_synced()

    def _firmware_is(self, object: Object) -> None:
        try:
            firmware = firmware_objects.parse_firmware(object)
        except FirmwareError as error:
            log.warning("= rollout cannot be used reason=%s", error)
            return
        known = self._rollouts.get(object.id)
        if known is None or known.firmware.metadata.uid != firmware.metadata.uid:
            self._rollouts[object.id] = Progress(firmware)
        elif known.firmware.metadata.generation != firmware.metadata.generation:
            known.edited(firmware)
        else:
            return
        self._replan()

    def tick(self, now: float) -> None:
        """Open the waves that are due. To be called every second; `now` is any monotonic clock's."""
        opened = [progress for progress in self._rollouts.values() if self.synced and progress.tick(now)]
        for progress in opened:
            log.info("= wave opened rollout=%s wave=%d", progress.firmware.id, progress.open)
        if opened or self._stale:
            self._replan()

    # Plans

    def _replan(self) -> None:
        """Place all devices anew, and let nodes have what has changed by that."""
        if not self.synced:
            return
        self._stale = False
        placed = place((progress.firmware for progress in self._rollouts.values()), self._seats)
        made: dict[str, dict[str, Object]] = {}
        for id, progress in self._rollouts.items():
            progress.missing = self._missing(progress.firmware)
            progress.replan(placed[id])
            for node, plan in progress.plans.items():
                version, content = rollout.encode_plan(plan)
                metadata = plan.metadata
                object = Object(metadata.namespace, metadata.name, metadata.uid, version, 0, content)
                made.setdefault(node, {})[_key(resource.ROLLOUT, id)] = object
            self._writes.mark(id)
        before, self._plans = self._plans, made
        for node in before.keys() | made.keys():
            self._let_have(node, before.get(node, {}))

    def _missing(self, firmware: DeviceFirmware) -> str:
        names = _parts_of(firmware.metadata.namespace, firmware.spec.image)
        there = sum(name in self._parts for name in names)
        return "" if there == len(names) else f"{there} of {len(names)} parts of {firmware.spec.image.name} exist"

    def _let_have(self, node: str, before: dict[str, Object]) -> None:
        now = self._plans.get(node, {})
        changed = [key for key in before.keys() | now.keys() if before.get(key) != now.get(key)]
        stream = self._streams.get(node)
        if stream is not None:
            self._sessions.sync(node, *sorted(changed), *stream.wants(self._keys_of_parts(node)))

    def _keys_of_parts(self, node: str) -> list[str]:
        """The parts that a node should have, in the order in which it gets them."""
        found: dict[str, None] = {}
        for id, progress in self._rollouts.items():
            if _key(resource.ROLLOUT, id) in self._plans.get(node, {}):
                namespace = progress.firmware.metadata.namespace
                for name in _parts_of(namespace, progress.firmware.spec.image):
                    found[_key(resource.FIRMWARE_PART, name)] = None
        return list(found)

    # What the nodes should have (sessions.Controller)

    def connected(self, node: str) -> None:
        """A node has a link."""
        self._streams[node] = _Stream()

    def disconnected(self, node: str) -> None:
        """A node has lost its link."""
        self._streams.pop(node, None)

    def keys(self, node: str) -> Iterable[str]:
        """Every plan of a node, and the parts of their images."""
        parts = self._keys_of_parts(node)
        self._streams[node].wants(parts)
        return [*sorted(self._plans.get(node, {})), *parts]

    def want(self, node: str, key: str) -> Object | Want:
        """What the node should have of a plan or part. A part has to wait while another is on its way."""
        named = resource.parse(key)
        if named.type == resource.ROLLOUT:
            return self._plans.get(node, {}).get(key, Want.NOTHING)
        stream = self._streams[node]
        if key not in stream.parts:
            stream.done(key)
            return Want.NOTHING
        part = self._parts.get(named.id)
        if part is None:
            return Want.AS_IT_IS
        return part if stream.begin(key) else Want.AS_IT_IS

    def is_current(self, key: str, version: str) -> bool:
        """Whether it is the newest version: they are hashes of the content, which names its node."""
        named = resource.parse(key)
        if named.type == resource.FIRMWARE_PART:
            part = self._parts.get(named.id)
            return part is not None and part.version == version
        return any(key in plans and plans[key].version == version for plans in self._plans.values())

    def beside(self, node: str, key: str, operation: str) -> Message | None:
        """Nothing."""
        return None

    def delivered(self, node: str, key: str, version: str) -> None:
        """The node has this version: the next part may go."""
        self._part_is_done(node, key, None)

    def refused(self, node: str, key: str, version: str, code: int, reason: str) -> None:
        """The node will not take this version; the next part may go all the same."""
        self._part_is_done(node, key, f"{code} {reason}")

    def _part_is_done(self, node: str, key: str, refused: str | None) -> None:
        stream = self._streams.get(node)
        if stream is None or resource.parse(key).type != resource.FIRMWARE_PART:
            return
        stream.done(key)
        if following := stream.following():
            self._sessions.sync(node, following)

    # What the nodes report

    def received(self, sender: Sender, message: Message) -> bool:
        """Take where a gateway stands with a rollout."""
        try:
            named = resource.parse(message.resource)
        except resource.ResourceError:
            return False
        if named.type != resource.ROLLOUT or message.operation != wire.UPDATE:
            return False
        progress = self._rollouts.get(named.id)
        try:
            report = message.read(Report)
        except MessageError as error:
            sender.refuse(400, error.reason)
            return True
        sender.acknowledge()  # it says all of it again on its next connection
        if progress is not None:
            was_aborted = progress.aborted
            if progress.reported(sender.node, report):
                if progress.aborted and not was_aborted:
                    log.warning("= rollout aborted rollout=%s reason=too many devices failed", named.id)
                self._replan()
            self._writes.mark(named.id)
        return True

    # What is written to Kubernetes (writes.Writer)

    def request(self, key: str) -> Request | None:
        """The patch of a status."""
        progress = self._rollouts.get(key)
        if progress is None or not self.synced:
            return None
        status = progress.status(self._clock)
        if status == progress.saved:
            return None
        self._flying[key] = status
        metadata = progress.firmware.metadata
        body = _encoder.encode({"status": _patch(progress.saved, status)})
        return Request("PATCH", DEVICE_FIRMWARES.path(metadata.namespace, metadata.name, "status"), body, MERGE_PATCH)

    def answered(self, key: str, answer: Answer) -> bool:
        """The answer to the patch."""
        status = self._flying.pop(key, None)
        progress = self._rollouts.get(key)
        if progress is None or status is None:
            return False
        if answer.ok:
            progress.saved = status
        elif not answer.transient and answer.status != 404:
            log.warning("> status rejected rollout=%s status=%d reason=%r", key, answer.status, answer.reason)
        return answer.transient


class _Stream:
    """The parts that one connected node should have: one is on its way at a time."""

    def __init__(self) -> None:
        self.parts: dict[str, bool] = {}
        """Part -> whether the node is known to have it, or to refuse it, since it connected."""
        self._sending = ""

    def wants(self, parts: list[str]) -> list[str]:
        """The node should have these: what is to be looked at because of that."""
        gone = [key for key in self.parts if key not in parts]
        self.parts = {key: self.parts.get(key, False) for key in parts}
        following = self.following()
        return [*gone, following] if following else gone

    def begin(self, key: str) -> bool:
        """Whether this part may go now."""
        if self._sending not in ("", key):
            return False
        self._sending = key
        return True

    def done(self, key: str) -> None:
        """This part is not on its way any more."""
        if key in self.parts:
            self.parts[key] = True
        if self._sending == key:
            self._sending = ""

    def following(self) -> str:
        """The part whose turn it is; empty while one is on its way, or when all are there."""
        return "" if self._sending else next((key for key, known in self.parts.items() if not known), "")


def _parts_of(namespace: str, image: Image) -> list[str]:
    return [f"{namespace}/{rollout.part_name(image.name, number)}" for number in range(image.parts)]


def _key(type: str, id: str) -> str:
    return str(resource.of_id(type, id))


def _patch(old: FirmwareStatus, new: FirmwareStatus) -> dict[str, object]:
    """What a merge patch has to say."""
    fields: dict[str, object] = msgspec.to_builtins(new)
    before: dict[str, object] = msgspec.to_builtins(old)
    return {name: value for name, value in fields.items() if value != before.get(name)}
