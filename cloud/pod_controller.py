"""Pods: from Kubernetes to the node that runs them, with the ConfigMaps and Secrets they name, and their status back. No I/O.

It is told of every Pod, ConfigMap and Secret, says what each node should have of them (a `sessions.Controller`), takes what
nodes report of their pods, and writes each Pod's status (a `writes.Writer`; keys are pod ids). A pod that is being deleted
stays until its node says that it has stopped: then it is deleted for good.
"""

import logging
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Struct

from cloud.objects import CONFIGMAPS, PODS, SECRETS, Added, Deleted, Event, Modified, Object, ResourceType, Synced
from cloud.pod_catalogue import PodCatalogue, covers
from cloud.sessions import Sender, Sessions, Want
from cloud.writes import JSON, STRATEGIC_PATCH, Answer, Request, Writes
from edgewire import message as wire
from edgewire import resource
from edgewire.message import Message, MessageError

log = logging.getLogger(__name__)

_SENDERS_LIMIT = 16
_FILES = {CONFIGMAPS: resource.CONFIGMAP, SECRETS: resource.SECRET}


class PodReport(Struct, frozen=True):
    """What a node says of one of its pods."""

    uid: str
    status: dict[str, Any]
    """A PodStatus, its conditions those that are a kubelet's."""
    finished: bool = False
    """The pod is being deleted, and all of it has stopped."""


@dataclass(slots=True)
class _Reported:
    """What is known of a pod's status, and who waits until Kubernetes has it."""

    report: PodReport
    senders: list[Sender] = field(default_factory=list)
    written: dict[str, Any] | None = None
    """What was written last, and what is on its way."""
    flying: dict[str, Any] | None = None


class PodController:
    """All pods on nodes."""

    types = frozenset({resource.POD, resource.CONFIGMAP, resource.SECRET})
    source = "edgecontroller"

    def __init__(self, sessions: Sessions, writes: Writes) -> None:
        self._sessions = sessions
        self._writes = writes
        self._catalogue = PodCatalogue()
        self._reported: dict[str, _Reported] = {}
        self._unsynced = {PODS, CONFIGMAPS, SECRETS}

    # What Kubernetes says

    @property
    def synced(self) -> bool:
        """Whether all Pods, ConfigMaps and Secrets are known."""
        return not self._unsynced

    def pod_event(self, event: Event) -> None:
        """The list-watch of Pods says this."""
        match event:
            case Added(object) | Modified(object):
                self._pod_is(object)
            case Deleted(object):
                self._pod_gone(object)
            case Synced():
                self._known(PODS)

    def config_map_event(self, event: Event) -> None:
        """The list-watch of ConfigMaps says this."""
        self._file_event(CONFIGMAPS, event)

    def secret_event(self, event: Event) -> None:
        """The list-watch of Secrets says this."""
        self._file_event(SECRETS, event)

    def _file_event(self, type: ResourceType, event: Event) -> None:
        match event:
            case Added(object) | Modified(object):
                key = str(resource.Resource(object.namespace, _FILES[type], object.name))
                self._catalogue.put_file(key, object)
                self._sync_needed(key)
            case Deleted(object):
                key = str(resource.Resource(object.namespace, _FILES[type], object.name))
                self._catalogue.remove_file(key)
                self._sync_needed(key)
            case Synced():
                self._known(type)

    def _sync_needed(self, key: str) -> None:
        for node in self._catalogue.nodes_that_need(key):
            self._sessions.sync(node, key)

    def _known(self, type: ResourceType) -> None:
        if type in self._unsynced:
            self._unsynced.remove(type)
            if self.synced:
                log.info("= pods known pods=%d", len(self._catalogue.pods))
                self._sessions.controller_synced()

    def _pod_is(self, object: Object) -> None:
        known = self._catalogue.pods.get(object.id)
        if known is not None and known.object.uid != object.uid:
            self._pod_gone(known.object)
            known = None
        needed = known.needs if known is not None else frozenset()
        entry, changed = self._catalogue.put_pod(object)
        if entry is not None and changed:
            self._sessions.sync(entry.node, *sorted(entry.needs | needed), entry.key)
        if entry is not None and object.id in self._reported:
            self._writes.mark(object.id)

    def _pod_gone(self, object: Object) -> None:
        entry = self._catalogue.remove_pod(object.id)
        reported = self._reported.pop(object.id, None)
        self._writes.forget(object.id)
        if reported is not None:
            self._answer(reported)
        if entry is not None:
            self._sessions.sync(entry.node, entry.key, *sorted(entry.needs))

    def node_of(self, id: str) -> str:
        """The node of a pod `<namespace>/<name>`; empty when there is none."""
        entry = self._catalogue.pods.get(id)
        return entry.node if entry is not None else ""

    # What the nodes should have (sessions.Controller)

    def keys(self, node: str) -> Iterable[str]:
        """Every pod of a node, after the ConfigMaps and Secrets that it names."""
        return self._catalogue.keys(node)

    def want(self, node: str, key: str) -> Object | Want:
        """What the node should have of a pod, ConfigMap or Secret."""
        return self._catalogue.want(node, key)

    def is_current(self, key: str, version: str) -> bool:
        """Whether a node that has this version sees no difference to the newest."""
        return self._catalogue.is_current(key, version)

    def beside(self, node: str, key: str, operation: str) -> Message | None:
        """Nothing."""
        return None

    def delivered(self, node: str, key: str, version: str) -> None:
        """The node has it: what comes of it, the node reports."""

    def refused(self, node: str, key: str, version: str, code: int, reason: str) -> None:
        """The node cannot make anything of it; it is logged with the refusal."""

    # What the nodes report (sessions.Listener)

    def connected(self, node: str) -> None:
        """A node has a link."""

    def disconnected(self, node: str) -> None:
        """A node has lost its link: its pods run on."""

    def received(self, sender: Sender, message: Message) -> bool:
        """Take the status of a pod."""
        try:
            named = resource.parse(message.resource)
        except resource.ResourceError:
            return False
        if named.type != resource.POD_STATUS or message.operation != wire.UPDATE:
            return False
        try:
            report = message.read(PodReport)
        except MessageError as error:
            sender.refuse(400, error.reason)
            return True
        entry = self._catalogue.pods.get(named.id)
        if entry is None or entry.object.uid != report.uid:
            sender.refuse(404, f"there is no Pod {named.id} with uid {report.uid}")
        elif entry.node != sender.node:
            sender.refuse(403, f"Pod {named.id} is not on node {sender.node}")
        else:
            reported = self._reported.setdefault(named.id, _Reported(report))
            reported.report = report
            reported.senders = [*reported.senders, sender][-_SENDERS_LIMIT:]
            self._writes.mark(named.id)
        return True

    # What is written to Kubernetes (writes.Writer)

    def request(self, key: str) -> Request | None:
        """The patch of a pod's status, or its deletion once its node has stopped it."""
        reported, entry = self._reported.get(key), self._catalogue.pods.get(key)
        if reported is None or entry is None:
            return None
        namespace, name = entry.object.namespace, entry.object.name
        report = reported.report
        if not covers(entry.status, report.status) and reported.written != report.status:
            reported.flying = report.status
            present = entry.status.keys() | (reported.written or {}).keys()
            body = {"metadata": {"uid": report.uid}, "status": _replacing(report.status, present)}
            return Request("PATCH", PODS.path(namespace, name, "status"), msgspec.json.encode(body), STRATEGIC_PATCH)
        if report.finished:
            reported.flying = None
            options = {"gracePeriodSeconds": 0, "preconditions": {"uid": report.uid}}
            return Request("DELETE", PODS.path(namespace, name), msgspec.json.encode(options), JSON)
        self._answer(reported)
        return None

    def answered(self, key: str, answer: Answer) -> bool:
        """The answer to that step."""
        reported = self._reported.get(key)
        if reported is None:
            return False
        flying, reported.flying = reported.flying, None
        if answer.ok:
            if flying is None:
                self._answer(reported)  # it is gone; the list-watch says so too
                return False
            reported.written = flying
            return True
        if answer.transient and answer.status != 409:
            return True
        if answer.status not in (404, 409):
            log.warning("> pod rejected id=%s status=%d reason=%r", key, answer.status, answer.reason)
        for sender in reported.senders:
            sender.refuse(answer.status, answer.reason)
        del self._reported[key]
        return False

    def _answer(self, reported: _Reported) -> None:
        for sender in reported.senders:
            sender.acknowledge()
        reported.senders = []


def _replacing(status: dict[str, Any], present: Set[str]) -> dict[str, Any]:
    """A strategic merge patch adds to the lists of addresses unless it is told to replace them.

    Only what is present: where there is no list yet, API servers before 1.22 take the directive for one of its elements.
    """
    lists = {"podIPs", "hostIPs"} & present
    return {name: [*value, {"$patch": "replace"}] if name in lists else value for name, value in status.items()}
