"""A core with the controllers of Deployments, ReplicaSets and DaemonSets, the scheduler, and the kubelets played by the test."""

from functools import partial
from typing import Any

from cloud.apiserver.collector import Collector
from cloud.apiserver.daemon_sets import DaemonSets
from cloud.apiserver.deployments import Deployments
from cloud.apiserver.evictions import Evictor
from cloud.apiserver.formats import format_time
from cloud.apiserver.node_lifecycle import NodeLifecycle
from cloud.apiserver.objects import Objects
from cloud.apiserver.replica_sets import ReplicaSets
from cloud.apiserver.scheduler import Scheduler
from cloud.apiserver.tests.controlled import Controlled
from cloud.apiserver.workload_controller import WorkloadController

Object = dict[str, Any]


def _daemon_sets(objects: Objects) -> WorkloadController[Any]:
    return WorkloadController(objects, DaemonSets(partial(objects.state.current_all, "nodes")))


class Cluster(Controlled):
    """Nodes run what they have, as soon as they are told to."""

    def __init__(self) -> None:
        super().__init__(
            Collector,
            NodeLifecycle,
            _daemon_sets,
            lambda objects: WorkloadController(objects, Deployments()),
            lambda objects: WorkloadController(objects, ReplicaSets()),
            Scheduler,
            Evictor,
        )

    def node(self, name: str, ready: str = "True", **labels: str) -> None:
        room = {"cpu": "4", "memory": "4Gi", "pods": "50"}
        status = {"conditions": [{"type": "Ready", "status": ready}], "allocatable": room}
        self.create("nodes", {"metadata": {"name": name, "labels": labels}, "status": status})
        self.settle()

    def is_ready(self, name: str, ready: str) -> None:
        conditions = [{"type": "Ready", "status": ready}]
        self.patch("nodes", name, {"status": {"conditions": conditions}}, "status")
        self.settle()

    def pods(self) -> list[Object]:
        """Those that are not being deleted."""
        found = [self.get("pods", name) for name in self.names("pods", "default")]
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def on(self) -> dict[str, str]:
        """Node -> image of the pod on it, of one container each."""
        return {pod["spec"].get("nodeName", ""): pod["spec"]["containers"][0]["image"] for pod in self.pods()}

    def images(self) -> list[str]:
        return sorted(pod["spec"]["containers"][0]["image"] for pod in self.pods())

    def kubelets(self, *, bad: str = "") -> None:
        """Run all pods that are on nodes, and end those that are being deleted; those of a bad image are never ready."""
        self.settle()
        for name in self.names("pods", "default"):
            pod = self.get("pods", name)
            if pod["metadata"].get("deletionTimestamp"):
                self.delete("pods", name, grace_period_seconds=0)
            elif pod["spec"].get("nodeName") and pod["status"]["phase"] == "Pending":
                good = not bad or pod["spec"]["containers"][0]["image"] != bad
                ready = {"type": "Ready", "status": str(good), "lastTransitionTime": format_time(self.time)}
                self.patch("pods", name, {"status": {"phase": "Running", "conditions": [ready]}}, "status")
        self.settle()

    def run(self, *, bad: str = "") -> None:
        """Until nothing changes any more."""
        for _ in range(50):
            before = self.objects.state.assigned
            self.kubelets(bad=bad)
            if self.objects.state.assigned == before:
                return
        raise AssertionError("it never comes to rest")

    def fails(self, name: str) -> None:
        self.patch("pods", name, {"status": {"phase": "Failed"}}, "status")
        self.settle()

    def conditions(self, plural: str, name: str) -> dict[str, tuple[str, str]]:
        """Type -> status and reason."""
        found = self.get(plural, name)["status"].get("conditions") or ()
        return {c["type"]: (c["status"], c["reason"]) for c in found}

    def told(self) -> list[str]:
        return [self.get("events", name)["message"] for name in self.names("events", "default")]


def workload(kind: str, name: str = "web", image: str = "i:1", **spec: Any) -> Object:
    """A Deployment, ReplicaSet or DaemonSet."""
    pod = {"containers": [{"name": "c", "image": image}], **spec.pop("pod", {})}
    template = {"metadata": {"labels": {"app": name}}, "spec": pod}
    spec = {"selector": {"matchLabels": {"app": name}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def image(name: str) -> Object:
    """The merge patch that changes the image."""
    return {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": name}]}}}}
