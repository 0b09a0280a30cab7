"""Pods: from Kubernetes to the node that runs them, with the ConfigMaps and Secrets they name, and their status back. No I/O.

It is told of every Pod, and of the ConfigMaps and Secrets that they name, says what each node should have of them (a
`sessions.Controller`), takes what nodes report of their pods, and writes each Pod's status (a `writes.Writer`; keys are pod
ids). A pod that is being deleted stays until its node says that it has stopped: then it is deleted for good. Static pods of a
node are mirrored (`mirror_pods.py`).
"""

import logging
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from msgspec import Struct

from cloud import mirror_pods
from cloud.objects import CONFIGMAPS, PODS, SECRETS, Added, Deleted, Event, Modified, Object, ResourceType, Synced
from cloud.pod_catalogue import PodCatalogue, PodEntry, covers
from cloud.pod_files import PodFiles
from cloud.sessions import Sender, Sessions, Want
from cloud.writes import JSON, STRATEGIC_PATCH, Answer, Request, Writes
from edgewire import message as wire
from edgewire import resource
from edgewire.message import Message, MessageError

log = logging.getLogger(__name__)

_SENDERS_LIMIT = 16
_TRIES = 25
"""To create a mirror under a name that is taken: by a mirror before it, of whose end we have not heard, or by another pod."""
_FILES = {CONFIGMAPS: resource.CONFIGMAP, SECRETS: resource.SECRET}


class PodReport(Struct, frozen=True):
    """What a node says of one of its pods."""

    uid: str
    status: dict[str, Any]
    """A PodStatus, its conditions those that are a kubelet's."""
    finished: bool = False
    """The pod is being deleted, or a static pod's file is gone, and all of it has stopped."""
    manifest: dict[str, Any] | None = None
    """Of a static pod, whose uid is the node's."""

    @property
    def node(self) -> str:
        """The node of a static pod."""
        return self.manifest["spec"]["nodeName"] if self.manifest is not None else ""


class _Condition(Struct):
    type: str = ""


class _Status(Struct):
    """What of a PodStatus is looked into; of the rest the API server says whether it makes sense."""

    conditions: list[_Condition] = []
    podIPs: list[Any] = []
    hostIPs: list[Any] = []


@dataclass(slots=True)
class _Reported:
    """What is known of a pod's status, and who waits until Kubernetes has it."""

    report: PodReport
    senders: list[Sender] = field(default_factory=list)
    written: dict[str, Any] | None = None
    """What was written last, or is on its way."""
    flying: Literal["", "status", "create", "replace", "delete"] = ""
    tries: int = 0
    """To create a mirror, since there was one last."""

    @property
    def mirrored(self) -> bool:
        """Whether there shall be a mirror of a static pod."""
        return self.report.manifest is not None and not self.report.finished


class PodController:
    """All pods on nodes."""

    types = frozenset({resource.POD, resource.CONFIGMAP, resource.SECRET})
    source = "edgecontroller"

    def __init__(
        self,
        sessions: Sessions,
        writes: Writes,
        reads: Writes,
        node: Callable[[str], dict[str, Any] | None] = lambda name: None,
    ) -> None:
        """`reads` paces the reading of ConfigMaps and Secrets, which `files` does; `node` gives a Node as the owner of what goes
        with it."""
        self._node = node
        self._sessions = sessions
        self._writes = writes
        self.files = PodFiles(reads, self._file_changed)
        self._catalogue = PodCatalogue(self.files)
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
        """The list-watch of ConfigMaps says this; their metadata is enough."""
        self._file_event(CONFIGMAPS, event)

    def secret_event(self, event: Event) -> None:
        """The list-watch of Secrets says this; their metadata is enough."""
        self._file_event(SECRETS, event)

    def _file_event(self, type: ResourceType, event: Event) -> None:
        match event:
            case Added(object) | Modified(object) | Deleted(object):
                key = str(resource.Resource(object.namespace, _FILES[type], object.name))
                self.files.happened(key, "" if isinstance(event, Deleted) else object.version)
            case Synced():
                self._known(type)

    def _file_changed(self, key: str, first: bool) -> None:
        """A ConfigMap or Secret was read; for the first time since pods name it, these have waited for it."""
        for node in self._catalogue.nodes_that_need(key):
            self._sessions.sync(node, key, *(self._catalogue.pods_that_need(node, key) if first else ()))

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
        if entry is not None and (reported := self._reported.get(object.id)) is not None:
            reported.tries = 0
            self._writes.mark(object.id)

    def _pod_gone(self, object: Object) -> None:
        entry = self._catalogue.remove_pod(object.id)
        reported = self._reported.get(object.id)
        if reported is not None and reported.mirrored:
            reported.written = None
            self._writes.mark(object.id)
        else:
            self._reported.pop(object.id, None)
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
        self._catalogue.serve(node)

    def disconnected(self, node: str) -> None:
        """A node has lost its link: its pods run on. What of its static pods is deleted meanwhile, it tells again."""
        lost = [id for id, r in self._reported.items() if r.mirrored and r.report.node == node]
        for id in lost:
            del self._reported[id]
            self._writes.forget(id)

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
            msgspec.convert(report.status, _Status)
        except MessageError as error:
            sender.refuse(400, error.reason)
            return True
        except msgspec.ValidationError as error:
            sender.refuse(400, f"the status of pod {named.id}: {error}")
            return True
        entry = self._catalogue.pods.get(named.id)
        if report.manifest is not None:
            why = mirror_pods.problem(sender.node, named, report.manifest)
            if not why and entry is not None and not _is_mirror(entry, sender.node):
                why = _taken(named.id)
            if why:
                sender.refuse(403, why)
                return True
        elif entry is None or report.uid not in (entry.object.uid, entry.mirrors):
            sender.refuse(404, f"there is no Pod {named.id} with uid {report.uid}")
            return True
        elif entry.node != sender.node:
            sender.refuse(403, f"Pod {named.id} is not on node {sender.node}")
            return True
        reported = self._reported.setdefault(named.id, _Reported(report))
        reported.report = report
        reported.senders = [*reported.senders, sender][-_SENDERS_LIMIT:]
        self._writes.mark(named.id)
        return True

    # What is written to Kubernetes (writes.Writer)

    def request(self, key: str) -> Request | None:
        """The patch of a pod's status, or its deletion once its node has stopped it."""
        reported, entry = self._reported.get(key), self._catalogue.pods.get(key)
        if reported is None:
            return None
        report = reported.report
        if reported.mirrored and entry is not None and not _is_mirror(entry, report.node):
            log.warning("> static pod not mirrored, another pod has its name id=%s node=%s", key, report.node)
            self._refuse(key, 409, _taken(key))
            return None
        if reported.mirrored and (entry is None or entry.mirrors != report.uid or entry.deleting):
            return self._mirror(reported, entry)
        if entry is None or (report.manifest is not None and entry.mirrors != report.uid):
            self._answer(self._reported.pop(key))
            return None
        if not covers(entry.status, report.status) and reported.written != report.status:
            present = entry.status.keys() | (reported.written or {}).keys()
            reported.flying, reported.written = "status", report.status
            body = {"metadata": {"uid": entry.object.uid}, "status": _replacing(report.status, present)}
            path = PODS.path(entry.object.namespace, entry.object.name, "status")
            return Request("PATCH", path, msgspec.json.encode(body), STRATEGIC_PATCH)
        if report.finished:
            reported.flying = "delete"
            return _deletion(entry)
        self._answer(reported)
        return None

    def _mirror(self, reported: _Reported, entry: PodEntry | None) -> Request:
        """Make the mirror of a static pod, or make room for it."""
        manifest = reported.report.manifest
        assert manifest is not None
        if entry is not None:
            reported.flying = "replace"
            return _deletion(entry)
        reported.flying = "create"
        reported.tries += 1
        made = mirror_pods.mirror(manifest, reported.report.uid, self._node(reported.report.node))
        return Request("POST", PODS.path(manifest["metadata"]["namespace"]), made, JSON)

    def answered(self, key: str, answer: Answer) -> bool:
        """The answer to that step."""
        reported = self._reported.get(key)
        if reported is None:
            return False
        flying, reported.flying = reported.flying, ""
        if not answer.ok and flying == "status":
            reported.written = None
        if answer.ok and flying == "delete":
            self._answer(reported)  # it is gone; the list-watch says so too
            return False
        if flying in ("create", "replace") and answer.ok:
            return False  # the list-watch says when it has come about
        if reported.mirrored and flying != "create" and answer.status == 404:
            return False  # likewise
        if answer.ok:
            return True
        if answer.status == 403 and flying == "create" and reported.tries == 1:
            log.warning("> mirror of a static pod rejected, tried again id=%s reason=%r", key, answer.reason)
        if answer.transient and (answer.status != 409 or (reported.mirrored and reported.tries < _TRIES)):
            return True
        if answer.status not in (404, 409):
            log.warning("> pod rejected id=%s status=%d reason=%r", key, answer.status, answer.reason)
        self._refuse(key, answer.status, answer.reason)
        return False

    def _refuse(self, key: str, code: int, reason: str) -> None:
        for sender in self._reported.pop(key).senders:
            sender.refuse(code, reason)

    def _answer(self, reported: _Reported) -> None:
        for sender in reported.senders:
            sender.acknowledge()
        reported.senders = []


def _is_mirror(entry: PodEntry, node: str) -> bool:
    """Whether a pod shows a static pod of a node, which alone may replace it."""
    return bool(entry.mirrors) and entry.node == node


def _taken(id: str) -> str:
    return f"there is another Pod {id}, which is no mirror of this node's"


def _deletion(entry: PodEntry) -> Request:
    options = {"gracePeriodSeconds": 0, "preconditions": {"uid": entry.object.uid}}
    path = PODS.path(entry.object.namespace, entry.object.name)
    return Request("DELETE", path, msgspec.json.encode(options), JSON)


def _replacing(status: dict[str, Any], present: Set[str]) -> dict[str, Any]:
    """A strategic merge patch adds to the lists of addresses unless it is told to replace them.

    Only what is present: where there is no list yet, API servers before 1.22 take the directive for one of its elements.
    """
    lists = {"podIPs", "hostIPs"} & present
    return {name: [*value, {"$patch": "replace"}] if name in lists else value for name, value in status.items()}
