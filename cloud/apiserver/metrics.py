"""What nodes and pods use, as `metrics.k8s.io/v1beta1` has it: what `kubectl top` shows. A core.

Nothing of it is stored: nodes tell how much processor time they and their containers have used since they were started
(a kubelet's `/stats/summary`), and two of these make a rate. A container that was started in between is reckoned from its start.
What nobody can tell is left out, as metrics-server leaves it out: a single one is then not found.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from cloud.apiserver import status
from cloud.apiserver.formats import format_time
from cloud.apiserver.resources import METRICS_GROUP
from cloud.apiserver.state import Stored

API_VERSION = f"{METRICS_GROUP}/v1beta1"
LEAST_S = 0.5
"""A shorter time makes no rate of a node, nor of a container."""
START_S = 2.0
"""What the time of a start is told more exactly than."""


Moment = Annotated[datetime, Meta(tz=True)]


class Cpu(Struct, rename="camel"):
    """Processor time since the beginning."""

    time: Moment
    usage_core_nano_seconds: int


class Memory(Struct, rename="camel"):
    """Memory in use."""

    working_set_bytes: int


class Stats(Struct, rename="camel"):
    """Of a node, or of a container."""

    cpu: Cpu
    memory: Memory
    start_time: Moment
    name: str = ""


class PodRef(Struct):
    """Which pod."""

    name: str
    namespace: str
    uid: str = ""


class PodStats(Struct, rename="camel"):
    """Of a pod that runs."""

    pod_ref: PodRef
    containers: list[Stats] = []


class Summary(Struct):
    """Of a node at a moment."""

    node: Stats
    pods: list[PodStats] = field(default_factory=list)


_summary = msgspec.json.Decoder(Summary)
Object = dict[str, Any]


def read(content: bytes) -> Summary | None:
    """A kubelet's summary, or None for what is none."""
    try:
        return _summary.decode(content)
    except (msgspec.DecodeError, UnicodeError):
        return None


def window_s(before: Summary, after: Summary) -> float:
    """Seconds between two."""
    return (after.node.cpu.time - before.node.cpu.time).total_seconds()


def of_node(node: Stored, before: Summary, after: Summary, now: datetime) -> Object | None:
    """A NodeMetrics; None where these two do not tell."""
    used = _used(before.node, after.node)
    if used is None:
        return None
    made = _head("NodeMetrics", {"name": node.name}, node.labels, now)
    return made | {"timestamp": format_time(after.node.cpu.time), "window": _window(used[0]), "usage": used[1]}


def of_pods(before: Summary, after: Summary) -> Iterator[tuple[tuple[str, str], Object]]:
    """Namespace and name -> what is special in a PodMetrics."""
    known = {pod.pod_ref.uid: {c.name: c for c in pod.containers} for pod in before.pods}
    for pod in after.pods:
        earlier = known.get(pod.pod_ref.uid, {})
        found = [(c, _used(earlier.get(c.name), c)) for c in pod.containers]
        used = [(c, use) for c, use in found if use is not None]
        if not used:
            continue
        at = max(c.cpu.time for c, _ in used)
        yield (
            (pod.pod_ref.namespace, pod.pod_ref.name),
            {
                "timestamp": format_time(at),
                "window": _window(max(use[0] for _, use in used)),
                "containers": [{"name": c.name, "usage": use[1]} for c, use in used],
            },
        )


def pod_metrics(pod: Stored, special: Mapping[str, Any], now: datetime) -> Object:
    """A PodMetrics."""
    return _head("PodMetrics", {"name": pod.name, "namespace": pod.namespace}, pod.labels, now) | dict(special)


def listed(kind: str, items: list[Object]) -> Object:
    """A list of them."""
    return {"kind": f"{kind}List", "apiVersion": API_VERSION, "metadata": {}, "items": items}


def not_found(kind: str, name: str) -> status.ApiError:
    """404, of a node or pod that nothing is known of."""
    return status.not_found(kind.lower(), METRICS_GROUP, name)


def _head(kind: str, named: Mapping[str, str], labels: Mapping[str, str], now: datetime) -> Object:
    metadata: Object = {**named, "creationTimestamp": format_time(now)}
    if labels:
        metadata["labels"] = dict(labels)
    return {"kind": kind, "apiVersion": API_VERSION, "metadata": metadata}


def _used(before: Stats | None, after: Stats) -> tuple[float, Object] | None:
    """Seconds, and what was used in them."""
    if before is None or _began_anew(before, after):
        since, cpu_ns = after.start_time, 0
    else:
        since, cpu_ns = before.cpu.time, before.cpu.usage_core_nano_seconds
    seconds = (after.cpu.time - since).total_seconds()
    if seconds < LEAST_S:
        return None
    rate = round((after.cpu.usage_core_nano_seconds - cpu_ns) / seconds)
    return seconds, {"cpu": f"{rate}n", "memory": f"{after.memory.working_set_bytes // 1024}Ki"}


def _began_anew(before: Stats, after: Stats) -> bool:
    later = abs((after.start_time - before.start_time).total_seconds()) > START_S
    return later or before.cpu.usage_core_nano_seconds > after.cpu.usage_core_nano_seconds


def _window(seconds: float) -> str:
    """As Go writes a duration below a minute; above, its seconds say the same."""
    return f"{seconds:.3f}s"
