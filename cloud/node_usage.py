"""What a node uses, in a kubelet's words: `/metrics/resource`, which metrics-server reads, and `/stats/summary`. No I/O.

Sources: k8s.io/kubelet/pkg/apis/stats/v1alpha1, pkg/kubelet/metrics/collectors/resource_metrics.go.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from edgewire.usage import ContainerUsage, NodeUsage

_CPU, _MEMORY = "cpu_usage_seconds_total", "memory_working_set_bytes"
_HELP = {
    _CPU: ("counter", "Cumulative cpu time consumed by the {0} in core-seconds"),
    _MEMORY: ("gauge", "Current working set of the {0} in bytes"),
    "start_time_seconds": ("gauge", "Start time of the {0} since unix epoch in seconds"),
}
Sample = tuple[str, str, float]
"""Labels, value, and when that was so, seconds since 1970."""


def resource_metrics(usage: NodeUsage) -> str:
    """The text that Prometheus reads."""
    lines: list[str] = []
    every = [(_labels(c, container=True), c) for c in usage.containers]
    lines += _family("container", _CPU, ((labels, _seconds(c.cpu_ns), c.at) for labels, c in every))
    lines += _family("container", _MEMORY, ((labels, str(c.memory_bytes), c.at) for labels, c in every))
    lines += _family("container", "start_time_seconds", ((labels, f"{c.started_at:.3f}", c.at) for labels, c in every))
    lines += _family("node", _CPU, [("", _seconds(usage.cpu_ns), usage.at)])
    lines += _family("node", _MEMORY, [("", str(usage.memory_bytes), usage.at)])
    pods = [(_labels(pod[0]), pod) for pod in _by_pod(usage)]
    lines += _family("pod", _CPU, ((labels, _seconds(_cpu(pod)), _at(pod)) for labels, pod in pods))
    lines += _family("pod", _MEMORY, ((labels, str(_memory(pod)), _at(pod)) for labels, pod in pods))
    lines += ["# HELP resource_scrape_error 1 if there was an error while getting container metrics, 0 otherwise"]
    lines += ["# TYPE resource_scrape_error gauge", "resource_scrape_error 0"]
    return "\n".join(lines) + "\n"


def summary(node: str, usage: NodeUsage) -> dict[str, Any]:
    """A kubelet's Summary, with what is known of it."""
    return {
        "node": {"nodeName": node, "startTime": _time(usage.started_at), **_stats(usage)},
        "pods": [
            {
                "podRef": {"name": pod[0].pod, "namespace": pod[0].namespace, "uid": pod[0].uid},
                "startTime": _time(min(c.started_at for c in pod)),
                "containers": [{"name": c.name, "startTime": _time(c.started_at), **_stats(c)} for c in pod],
                "cpu": {"time": _time(_at(pod)), "usageCoreNanoSeconds": _cpu(pod)},
                "memory": {"time": _time(_at(pod)), "workingSetBytes": _memory(pod)},
            }
            for pod in _by_pod(usage)
        ],
    }


def _stats(of: NodeUsage | ContainerUsage) -> dict[str, Any]:
    time = _time(of.at)
    return {
        "cpu": {"time": time, "usageCoreNanoSeconds": of.cpu_ns},
        "memory": {"time": time, "workingSetBytes": of.memory_bytes},
    }


def _by_pod(usage: NodeUsage) -> list[list[ContainerUsage]]:
    pods: dict[str, list[ContainerUsage]] = {}
    for container in usage.containers:
        pods.setdefault(container.uid, []).append(container)
    return list(pods.values())


def _cpu(pod: list[ContainerUsage]) -> int:
    return sum(container.cpu_ns for container in pod)


def _memory(pod: list[ContainerUsage]) -> int:
    return sum(container.memory_bytes for container in pod)


def _at(pod: list[ContainerUsage]) -> float:
    return max(container.at for container in pod)


def _family(of: str, name: str, samples: Iterable[Sample]) -> Iterator[str]:
    type, help = _HELP[name]
    yield f"# HELP {of}_{name} [STABLE] {help.format(of)}"
    yield f"# TYPE {of}_{name} {type}"
    for labels, value, at in samples:
        yield f"{of}_{name}{labels} {value} {round(at * 1000)}"


def _labels(of: ContainerUsage, *, container: bool = False) -> str:
    own = f'container="{of.name}",' if container else ""
    return f'{{{own}namespace="{of.namespace}",pod="{of.pod}"}}'


def _seconds(ns: int) -> str:
    return f"{ns // 1_000_000_000}.{ns % 1_000_000_000:09d}"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
