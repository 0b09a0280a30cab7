"""Answers for `metrics.k8s.io`: asks the nodes, by way of whoever stands in for their kubelets, when somebody asks.

What was asked a moment ago is good for a few seconds, and is what the next answer is reckoned from. A node that does not answer
in time is left out.
"""

import asyncio
import logging
from dataclasses import dataclass, field

import msgspec
from aiohttp import web

from cloud.apiserver import metrics, status
from cloud.apiserver.kubelets import Kubelets
from cloud.apiserver.listing import Lister, ListOptions
from cloud.apiserver.metrics import LEAST_S, Object, Summary
from cloud.apiserver.objects import Objects
from cloud.apiserver.requests import Target, selector
from cloud.apiserver.resources import Resource
from cloud.apiserver.state import Stored
from cloud.apiserver.status import ApiError
from cloud.apiserver.subresources import kubelet_of

log = logging.getLogger(__name__)

FRESH_S, OLD_S = 5.0, 60.0
"""How long two looks at a node are good for, and how old the first of them may be."""
WINDOW_S = 1.0
"""Between two looks at a node that nobody has asked for lately."""
ANSWER_S = 12.0
AT_ONCE = 16
"""Nodes that are asked at a time."""


@dataclass(slots=True)
class _Node:
    before: Summary | None = None
    after: Summary | None = None
    at: float = 0.0
    """The loop's time of the last look."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class MetricsSource:
    """Of one server."""

    def __init__(self, objects: Objects, lister: Lister, kubelets: Kubelets) -> None:
        self._objects = objects
        self._lister = lister
        self._kubelets = kubelets
        self._nodes: dict[str, _Node] = {}
        """By the name of the node; no more than there are."""
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def answer(self, request: web.BaseRequest, target: Target) -> Object:
        """A NodeMetrics or PodMetrics, or a list. Raises ApiError."""
        resource = self._objects.registry.find("", "v1", target.plural)
        if target.version != "v1beta1" or target.plural not in ("nodes", "pods") or resource is None:
            raise status.no_such_path()
        if target.subresource or (target.namespace and not resource.namespaced):
            raise status.no_such_path()
        if request.method not in ("GET", "HEAD"):
            raise status.method_not_allowed()
        chosen = self._chosen(request, resource, target)
        kind = f"{resource.kind}Metrics"
        found = await (self._of_nodes(chosen) if target.plural == "nodes" else self._of_pods(chosen))
        if not target.name:
            return metrics.listed(kind, found)
        if not found:
            raise metrics.not_found(kind, f"{target.namespace}/{target.name}" if resource.namespaced else target.name)
        return found[0]

    def _chosen(self, request: web.BaseRequest, resource: Resource, target: Target) -> list[Stored]:
        """The nodes or pods that are asked about."""
        if target.name:
            stored = self._objects.state.current(resource.storage, target.namespace, target.name)
            return [stored] if stored is not None else []
        options = ListOptions(selector(resource, request.query))
        return self._lister.read(resource, target.namespace, options).items

    async def _of_nodes(self, nodes: list[Stored]) -> list[Object]:
        looked = await self._looks([node.name for node in nodes])
        now = self._objects.now()
        made = (metrics.of_node(node, *looked[node.name], now) for node in nodes if node.name in looked)
        return [found for found in made if found is not None]

    async def _of_pods(self, pods: list[Stored]) -> list[Object]:
        on = [(pod, str((msgspec.json.decode(pod.body).get("spec") or {}).get("nodeName") or "")) for pod in pods]
        looked = await self._looks(list(dict.fromkeys(node for _, node in on if node)))
        # A node speaks for its own pods only.
        told = {node: dict(metrics.of_pods(*looks)) for node, looks in looked.items()}
        found = [(pod, told.get(node, {}).get((pod.namespace, pod.name))) for pod, node in on]
        now = self._objects.now()
        return [metrics.pod_metrics(pod, special, now) for pod, special in found if special is not None]

    async def _looks(self, names: list[str]) -> dict[str, tuple[Summary, Summary]]:
        """Two looks at each of these nodes that answers."""
        there = {stored.name for stored in self._objects.state.current_all("nodes")}
        for name in self._nodes.keys() - there:
            del self._nodes[name]
        wanted = [name for name in names if name in there]
        found = await asyncio.gather(*(self._look(name) for name in wanted))
        return {name: looks for name, looks in zip(wanted, found, strict=True) if looks is not None}

    async def _look(self, name: str) -> tuple[Summary, Summary] | None:
        node = self._nodes.setdefault(name, _Node())
        try:
            async with asyncio.timeout(ANSWER_S), node.turn:
                await self._refresh(name, node)
        except (ApiError, TimeoutError) as error:
            log.debug("= nothing of node=%s reason=%s", name, error)
            node.before = node.after = None
            return None
        assert node.before is not None
        assert node.after is not None
        return node.before, node.after

    async def _refresh(self, name: str, node: _Node) -> None:
        loop = asyncio.get_running_loop()
        age = loop.time() - node.at
        if node.before is not None and age < FRESH_S:
            return
        before = node.after if age < OLD_S else None
        after = await self._ask(name)
        while before is None or metrics.window_s(before, after) < LEAST_S:
            before = after if before is None else before
            await asyncio.sleep(WINDOW_S)
            after = await self._ask(name)
        node.before, node.after, node.at = before, after, loop.time()

    async def _ask(self, name: str) -> Summary:
        where = kubelet_of(self._objects, name)
        if where is None:
            raise status.internal(f"node {name} has no kubelet that could be asked")
        async with self._turns:
            content = await self._kubelets.fetch(*where, f"nodes/{name}/stats/summary")
        found = metrics.read(content)
        if found is None:
            raise status.internal(f"what node {name} says of its resources makes no sense")
        return found
