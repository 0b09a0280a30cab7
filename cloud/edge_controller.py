"""The Node objects of connected nodes, their Ready condition and their Leases. No I/O.

A connected node has a Node, labelled as an edge node, that is Ready; and a Lease in `kube-node-lease`, renewed while its link
lives. The moment the link is lost, Ready becomes Unknown. Nodes without the label are not touched, whoever connects under
their name. Whatever a Node should say is compared with what it says, so that nothing is written twice, and what somebody
else overwrites comes back. It is a `sessions.Listener` and a `writes.Writer`; its keys are `node/<name>` and `lease/<name>`.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from cloud import node_status
from cloud.node_status import TRUE, UNKNOWN, NodeObject
from cloud.objects import LEASES, NAMESPACES, NODES, Added, Deleted, Event, Modified, Object, Synced
from cloud.sessions import Sender
from cloud.writes import JSON, MERGE_PATCH, Answer, Request, Writes
from edgewire import message as wire
from edgewire import resource
from edgewire.message import Message, MessageError
from edgewire.node import EDGE_LABEL, NodeReport, Status

log = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
LEASE_S = 40
"""Seconds after which whoever reads a Lease takes its node for lost (kubelet's figure)."""
RENEW_S = 10.0
"""Seconds between renewals (kubelet's figure)."""
LINK_UP, LINK_LOST = "LinkUp", "LinkLost"

_SENDERS_LIMIT = 16
_RENEW, _CREATE, _CREATE_NAMESPACE = "renew", "create", "create namespace"


@dataclass(slots=True)
class _Node:
    name: str
    object: NodeObject | None = None
    """None while there is no Node."""
    linked: bool = False
    lost: bool = False
    """The link was lost, or did not come back after cloudcore started."""
    report: NodeReport | None = None
    flying_report: NodeReport | None = None
    saved_report: NodeReport | None = None
    """What the Node says already; the API rewrites quantities, so that cannot be read from the Node."""
    senders: list[Sender] = field(default_factory=list)
    lease: str = _RENEW
    """What is to be done about its Lease next."""
    renewed_at: float = 0.0

    @property
    def foreign(self) -> bool:
        """Whether the Node is somebody else's."""
        return self.object is not None and not self.object.is_edge


class EdgeController:
    """All edge nodes."""

    def __init__(
        self,
        writes: Writes,
        now: float,
        clock: Callable[[], float] = time.time,
        kubelet: node_status.KubeletEndpoint | None = None,
    ) -> None:
        """`now` is any monotonic clock's, as `tick` gets it; `clock` gives seconds since 1970; `kubelet` is where the API
        server finds pods' logs, if anywhere."""
        self._kubelet = kubelet
        self._writes = writes
        self._clock = clock
        self._started_at = now
        self._nodes: dict[str, _Node] = {}
        self._grace_over = False
        self._synced = False

    def node_event(self, event: Event) -> None:
        """The list-watch of Nodes says this."""
        match event:
            case Added(object) | Modified(object):
                self._node_is(object)
            case Deleted(object):
                self._node_gone(object.name)
            case Synced():
                self._synced = True
                for node in self._nodes.values():
                    self._look_at(node)

    def _node_is(self, object: Object) -> None:
        parsed = node_status.parse(object.raw)
        if parsed is None:
            return
        node = self._nodes.setdefault(object.name, _Node(object.name))
        self._take(node, parsed)
        self._look_at(node)

    def _node_gone(self, name: str) -> None:
        node = self._nodes.get(name)
        if node is None:
            return
        node.object = node.saved_report = None
        if node.linked:
            self._look_at(node)
        else:
            del self._nodes[name]

    def _take(self, node: _Node, object: NodeObject) -> None:
        known = node.object
        if known is not None and known.metadata.uid == object.metadata.uid and _newer(known, object):
            return
        node.object = object

    def _look_at(self, node: _Node) -> None:
        """Write what its Node does not say yet."""
        if self._synced and not node.foreign:
            self._writes.mark("node/" + node.name)

    def tick(self, now: float) -> None:
        """Renew the Leases that are due; once, give up the nodes that did not come back. To be called every second."""
        if not self._grace_over and now - self._started_at >= LEASE_S:
            self._grace_over = True
            for node in self._nodes.values():
                if not node.linked:
                    node.lost = True
                    self._look_at(node)
        for node in self._nodes.values():
            if node.linked and now - node.renewed_at >= RENEW_S:
                node.renewed_at = now
                self._writes.mark("lease/" + node.name)

    # What the nodes do (sessions.Listener)

    def connected(self, node: str) -> None:
        """A node has a link."""
        entry = self._nodes.setdefault(node, _Node(node))
        entry.linked, entry.lost = True, False
        self._look_at(entry)
        self._writes.mark("lease/" + node)

    def disconnected(self, node: str) -> None:
        """A node has lost its link."""
        entry = self._nodes[node]
        entry.linked, entry.lost = False, True
        entry.senders = []
        if entry.object is not None:
            self._look_at(entry)
        else:
            del self._nodes[node]

    def received(self, sender: Sender, message: Message) -> bool:
        """Take what a node says of itself."""
        try:
            named = resource.parse(message.resource)
        except resource.ResourceError:
            return False
        if named.type != resource.NODE_STATUS or message.operation not in (wire.UPDATE, wire.INSERT):
            return False
        node = self._nodes[sender.node]
        if named.name != sender.node:
            sender.refuse(403, f"node {sender.node} does not speak for node {named.name}")
        elif node.foreign:
            sender.refuse(403, f"Node {node.name} is not labelled {EDGE_LABEL}")
        else:
            try:
                node.report = message.read(NodeReport)
            except MessageError as error:
                sender.refuse(400, error.reason)
                return True
            node.senders = [*node.senders, sender][-_SENDERS_LIMIT:]
            self._look_at(node)
        return True

    # What is written to Kubernetes (writes.Writer)

    def request(self, key: str) -> Request | None:
        """The next step towards what a Node or Lease should be."""
        kind, _, name = key.partition("/")
        node = self._nodes.get(name)
        if node is None:
            return None
        if kind == "lease":
            return self._lease_request(node) if node.linked and not node.foreign else None
        request = self._node_request(node)
        if request is None:
            for sender in node.senders:
                sender.acknowledge()
            node.senders = []
        return request

    def _node_request(self, node: _Node) -> Request | None:
        if node.object is None:
            if not node.linked:
                return None
            return Request("POST", NODES.path(), node_status.new_node(node.name, node.report), JSON)
        if not node.object.is_edge:
            return None
        metadata = node_status.metadata_patch(node.object, node.report, self._kubelet)
        if metadata is not None:
            return Request("PATCH", NODES.path(name=node.name), metadata, MERGE_PATCH)
        now = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        report = node.report if node.report != node.saved_report else None
        conditions = node.report.conditions if node.linked and node.report is not None else ()
        status = node_status.status_patch(node.object, _ready(node), report, conditions, now, self._kubelet)
        if status is None:
            return None
        node.flying_report = node.report
        return Request("PATCH", NODES.path("", node.name, "status"), status, MERGE_PATCH)

    def _lease_request(self, node: _Node) -> Request:
        if node.lease == _CREATE_NAMESPACE:
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": LEASE_NAMESPACE}}
            return Request("POST", NAMESPACES.path(), msgspec.json.encode(namespace), JSON)
        renewed = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": node.name, "leaseDurationSeconds": LEASE_S, "renewTime": renewed}
        if node.lease == _RENEW:
            body = msgspec.json.encode({"spec": spec})
            return Request("PATCH", LEASES.path(LEASE_NAMESPACE, node.name), body, MERGE_PATCH)
        metadata: dict[str, object] = {"name": node.name, "namespace": LEASE_NAMESPACE}
        if node.object is not None:
            # So that the Lease goes when its Node goes.
            metadata["ownerReferences"] = [self.owner(node.name)]
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
        return Request("POST", LEASES.path(LEASE_NAMESPACE), msgspec.json.encode(lease), JSON)

    def owner(self, name: str) -> dict[str, Any] | None:
        """A Node as the owner of what goes with it, and as its controller, so that no other takes it over; None when there is
        none."""
        node = self._nodes.get(name)
        if node is None or node.object is None:
            return None
        uid = node.object.metadata.uid
        return {"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid, "controller": True}

    def answered(self, key: str, answer: Answer) -> bool:
        """The answer to that step."""
        kind, _, name = key.partition("/")
        node = self._nodes.get(name)
        if node is None:
            return False
        return self._lease_answered(node, answer) if kind == "lease" else self._node_answered(node, answer)

    def _node_answered(self, node: _Node, answer: Answer) -> bool:
        if answer.ok:
            if (object := node_status.parse(answer.body)) is not None:
                self._take(node, object)
            if node.flying_report is not None:
                node.saved_report, node.flying_report = node.flying_report, None
            return True
        node.flying_report = None
        if answer.transient:
            return True
        if answer.status == 404 and node.object is not None:
            node.object = node.saved_report = None
            return True
        log.warning("> node rejected node=%s status=%d reason=%r", node.name, answer.status, answer.reason)
        for sender in node.senders:
            sender.refuse(answer.status, answer.reason)
        node.senders, node.report = [], node.saved_report
        return False

    def _lease_answered(self, node: _Node, answer: Answer) -> bool:
        missing, exists = answer.status == 404, answer.status == 409
        if node.lease == _RENEW and missing:
            node.lease = _CREATE
        elif node.lease == _CREATE and missing:
            node.lease = _CREATE_NAMESPACE
        elif node.lease == _CREATE_NAMESPACE and (answer.ok or exists):
            node.lease = _CREATE
        elif node.lease == _CREATE and (answer.ok or exists):
            node.lease = _RENEW
            return exists
        else:
            if not answer.ok and not answer.transient:
                log.warning("> lease rejected node=%s status=%d reason=%r", node.name, answer.status, answer.reason)
            return answer.transient
        return True


def _ready(node: _Node) -> tuple[Status, str, str] | None:
    """The Ready condition a Node should have: status, reason, message; None to leave it."""
    if node.linked:
        return TRUE, LINK_UP, "edgecore is connected"
    if node.lost and node.object is not None and node.object.ready == TRUE:
        return UNKNOWN, LINK_LOST, "edgecore is not connected"
    return None


def _newer(one: NodeObject, other: NodeObject) -> bool:
    ours, theirs = one.metadata.resource_version, other.metadata.resource_version
    return ours.isdigit() and theirs.isdigit() and int(ours) > int(theirs)
