"""Devices and device models: from Kubernetes to the nodes that have them, and what is reported of them back. No I/O.

It is told of every Device and DeviceModel (`device_event`, `model_event`), says what each node should have of them
(a `sessions.Controller`), takes what nodes report, and writes each Device's status (a `writes.Writer`; keys are device ids).

The condition `Accepted` says whether the edge has the device as it stands (`observedGeneration`), and if not, why: reasons
`Delivered`, `WaitingForNode`, `ModelNotFound`, `Invalid`, `Refused`. A device that cannot be used stays on its node as it
was before; only that device waits. The conditions `Healthy` and `Applied` follow from what is reported; see `device_status`.
"""

import logging
import time
from collections.abc import Callable, Iterable

from msgspec import Raw

from cloud.device_catalogue import Catalogue, DeviceEntry, device_key, model_key
from cloud.device_reports import Report
from cloud.device_status import ACCEPTED, MESSAGE_LIMIT, Condition, rfc3339
from cloud.objects import DEVICES, Added, Deleted, Event, Modified, Object, Synced
from cloud.sessions import Sender, Sessions, Want
from cloud.writes import MERGE_PATCH, Answer, Request, Writes
from edgewire import message as wire
from edgewire import resource, twin
from edgewire.message import Message, MessageError

log = logging.getLogger(__name__)

DELIVERED, WAITING_FOR_NODE, REFUSED = "Delivered", "WaitingForNode", "Refused"


class _BadReport(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class DeviceController:
    """All Devices and DeviceModels."""

    types = frozenset({resource.DEVICE, resource.DEVICE_MODEL})
    source = "devicecontroller"

    def __init__(self, sessions: Sessions, writes: Writes, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since 1970, for the times of conditions."""
        self._sessions = sessions
        self._writes = writes
        self._clock = clock
        self._catalogue = Catalogue()
        self._linked: set[str] = set()
        self._devices_synced = self._models_synced = False

    # What Kubernetes says

    @property
    def synced(self) -> bool:
        """Whether all Devices and DeviceModels are known."""
        return self._devices_synced and self._models_synced

    def device_event(self, event: Event) -> None:
        """The list-watch of Devices says this."""
        match event:
            case Added(object) | Modified(object):
                self._device_is(object)
            case Deleted(object):
                self._device_gone(object)
            case Synced() if not self._devices_synced:
                self._devices_synced = True
                self._all_known()

    def model_event(self, event: Event) -> None:
        """The list-watch of DeviceModels says this."""
        match event:
            case Added(object) | Modified(object):
                if self._catalogue.put_model(object):
                    self._model_changed(object.id)
            case Deleted(object):
                if self._catalogue.models.pop(object.id, None) is not None:
                    self._model_changed(object.id)
            case Synced() if not self._models_synced:
                self._models_synced = True
                self._all_known()

    def _all_known(self) -> None:
        if self.synced:
            known = self._catalogue
            log.info("= devices known devices=%d models=%d", len(known.devices), len(known.models))
            for entry in known.devices.values():
                self._judge(entry)
            self._sessions.controller_synced()

    def _device_is(self, object: Object) -> None:
        known = self._catalogue.devices.get(object.id)
        if known is not None and known.known.object.uid != object.uid:
            self._device_gone(known.known.object)
            known = None
        node, model = (known.node, known.model) if known is not None else ("", "")
        entry = self._catalogue.put_device(object)
        if entry is None:
            return
        self._judge(entry)
        if node and node != entry.node:
            self._sessions.sync(node, device_key(entry.id), model_key(model))
        if entry.node:
            self._sessions.sync(entry.node, model_key(entry.model), device_key(entry.id))
            if model and model != entry.model and node == entry.node:
                self._sessions.sync(node, model_key(model))

    def _device_gone(self, object: Object) -> None:
        entry = self._catalogue.remove_device(object.id)
        if entry is None:
            return
        self._writes.forget(entry.id)
        entry.reports.gone(f"Device {entry.id} has been deleted")
        if entry.node:
            self._sessions.sync(entry.node, device_key(entry.id), model_key(entry.model))

    def _model_changed(self, id: str) -> None:
        for entry in self._catalogue.of_model(id):
            self._judge(entry)
            if entry.node:
                self._sessions.sync(entry.node, model_key(id), device_key(entry.id))

    # Conditions

    def _judge(self, entry: DeviceEntry) -> None:
        """Set the condition that follows from what is known; that a node has the device, the node has to say."""
        if not self.synced:
            return
        problem = self._catalogue.problem(entry)
        if problem is not None:
            self._accept(entry, "False", *problem)
        elif entry.node not in self._linked and not self._settled(entry):
            why = f"node {entry.node} is not connected" if entry.node else "spec.nodeName is empty"
            self._accept(entry, "False", WAITING_FOR_NODE, why)

    def _settled(self, entry: DeviceEntry) -> bool:
        """Whether the condition already says what the node made of this generation."""
        known = entry.reports.accepted
        settled = known is not None and known.reason in (DELIVERED, REFUSED)
        return settled and known is not None and known.observed_generation == entry.generation

    def _accept(self, entry: DeviceEntry, status: str, reason: str, message: str) -> None:
        old = entry.reports.accepted
        since = old.last_transition_time if old is not None and old.status == status else rfc3339(self._clock())
        new = Condition(ACCEPTED, status, reason, message[:MESSAGE_LIMIT], entry.generation, since)
        if new != old:
            entry.reports.accept(new)
            self._writes.mark(entry.id)
            level = logging.DEBUG if reason in (DELIVERED, WAITING_FOR_NODE) else logging.WARNING
            log.log(level, "= device id=%s accepted=%s reason=%s message=%r", entry.id, status, reason, message)

    # What the nodes should have (sessions.Controller)

    def connected(self, node: str) -> None:
        """A node has a link."""
        self._linked.add(node)

    def disconnected(self, node: str) -> None:
        """A node has lost its link: what it has not got yet waits for it."""
        self._linked.discard(node)
        for entry in self._catalogue.of_node(node):
            self._judge(entry)

    def keys(self, node: str) -> Iterable[str]:
        """Every model and device of a node; models first."""
        return self._catalogue.keys(node)

    def want(self, node: str, key: str) -> Object | Want:
        """What the node should have of a device or model."""
        return self._catalogue.want(node, key)

    def is_current(self, key: str, version: str) -> bool:
        """Whether a version has the spec of the newest."""
        return self._catalogue.is_current(key, version)

    def beside(self, node: str, key: str, operation: str) -> Message | None:
        """KubeEdge's membership message for a device that comes to a node or leaves it."""
        named = resource.parse(key)
        if named.type != resource.DEVICE:
            return None
        members = [twin.Member(named.id, named.name)]
        added, removed = (members, None) if operation == wire.INSERT else (None, members)
        membership = twin.Membership(wire.new_id(), wire.now_ms(), added, removed)
        content = Raw(twin.encode_membership(membership))
        return wire.build(wire.UPDATE, resource.MEMBERSHIP, content, source=self.source, group=wire.GROUP_TWIN)

    def delivered(self, node: str, key: str, version: str) -> None:
        """The node has this version."""
        if (entry := self._concerned(node, key, version)) is not None:
            self._accept(entry, "True", DELIVERED, f"node {node} has it")

    def refused(self, node: str, key: str, version: str, code: int, reason: str) -> None:
        """The node will not take this version."""
        if (entry := self._concerned(node, key, version)) is not None:
            self._accept(entry, "False", REFUSED, f"node {node}: {code} {reason}")

    def _concerned(self, node: str, key: str, version: str) -> DeviceEntry | None:
        """The device whose condition a node's answer decides, if it does."""
        named = resource.parse(key)
        entry = self._catalogue.devices.get(named.id) if named.type == resource.DEVICE else None
        if entry is None or entry.node != node or not entry.known.is_current(version):
            return None
        return entry if self._catalogue.problem(entry) is None else None

    # What the nodes report

    def received(self, sender: Sender, message: Message) -> bool:
        """Take a device's twins or state."""
        about = resource.parse_device_report(message.resource)
        if about is None or message.operation != wire.UPDATE:
            return False
        id, kind = about
        entry = self._catalogue.devices.get(id)
        try:
            if entry is None:
                raise _BadReport(twin.NOT_FOUND, f"there is no Device {id}")
            if entry.node != sender.node:
                raise _BadReport(403, f"Device {id} is not on node {sender.node}")
            report = _twins(sender, message) if kind == resource.TWIN_UPDATED else _state(sender, message)
        except _BadReport as error:
            sender.refuse(error.code, error.reason)
            return True
        if entry.reports.take(report):
            self._writes.mark(id)
        return True

    # What is written to Kubernetes (writes.Writer)

    def request(self, key: str) -> Request | None:
        """The patch of a device's status."""
        entry = self._catalogue.devices.get(key)
        body = entry.reports.patch() if entry is not None else None
        if entry is None or body is None:
            return None
        object = entry.known.object
        return Request("PATCH", DEVICES.path(object.namespace, object.name, "status"), body, MERGE_PATCH)

    def answered(self, key: str, answer: Answer) -> bool:
        """The answer to the patch."""
        entry = self._catalogue.devices.get(key)
        if entry is None:
            return False
        if answer.ok:
            entry.reports.succeeded()
        elif answer.transient:
            entry.reports.failed()
        elif answer.status == twin.NOT_FOUND:
            entry.reports.gone(f"there is no Device {key}")
        else:
            log.warning("> status rejected device=%s status=%d reason=%r", key, answer.status, answer.reason)
            entry.reports.rejected(answer.status, answer.reason)
        return entry.reports.unfinished


def _twins(sender: Sender, message: Message) -> Report:
    content = _read(message, twin.UpdatedContent)
    for name, reported in content.twin.items():
        if (why := twin.name_problem(name)) is not None:
            raise _BadReport(twin.BAD_REQUEST, why)
        for value in (reported.reported, reported.desired) if reported is not None else ():
            text = value.value if value is not None else None
            if isinstance(text, str) and (why := twin.value_problem(text)) is not None:
                raise _BadReport(twin.TOO_LARGE, f"property {name!r}: {why}")
    return Report(sender, content.timestamp or message.timestamp, content.twin)


def _state(sender: Sender, message: Message) -> Report:
    content = _read(message, twin.StateContent)
    why = twin.state_problem(content.device)
    if why is not None:
        raise _BadReport(twin.BAD_REQUEST, why)
    return Report(sender, content.timestamp or message.timestamp, state=content.device)


def _read(message: Message, type: type[wire.T]) -> wire.T:
    try:
        return message.read(type)
    except MessageError as error:
        raise _BadReport(twin.BAD_REQUEST, error.reason) from error
