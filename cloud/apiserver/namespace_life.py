"""How a namespace ends: it is Terminating, says in its conditions what it waits for, and loses its finalizer with its content.

Conditions and texts are those of Kubernetes' namespace controller (pkg/controller/namespace/deletion).
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from cloud.apiserver.formats import format_time
from cloud.apiserver.resources import Resource
from cloud.apiserver.state import Stored
from cloud.apiserver.status import qualified

Object = dict[str, Any]
FINALIZER = "kubernetes"
"""In `spec.finalizers` while the namespace has content, or could get some."""


class _Meta(msgspec.Struct):
    finalizers: list[str] = []


class _Content(msgspec.Struct):
    metadata: _Meta


_content = msgspec.json.Decoder(_Content)


def progress(namespace: Object, content: Iterable[tuple[Resource, Stored]], now: datetime) -> None:
    """Bring a namespace that is being deleted up to date with what is left in it."""
    counts: Counter[str] = Counter()
    holders: Counter[str] = Counter()
    for resource, stored in content:
        counts[qualified(resource.plural, resource.group) if resource.group else f"{resource.plural}."] += 1
        holders.update(set(_content.decode(stored.body).metadata.finalizers))
    spec = namespace["spec"] = namespace.get("spec") or {}
    if not counts:
        spec["finalizers"] = [name for name in spec.get("finalizers") or () if name != FINALIZER]
    status = namespace["status"] = (namespace.get("status") or {}) | {"phase": "Terminating"}
    before = {c["type"]: c for c in status.get("conditions") or () if isinstance(c, dict) and "type" in c}
    wanted = _conditions(counts, holders)
    stamped = []
    for condition in wanted:
        known = before.pop(condition["type"], None)
        same = known is not None and known.get("status") == condition["status"]
        since = known["lastTransitionTime"] if known is not None and same else format_time(now)
        stamped.append({"lastTransitionTime": since} | condition)
    status["conditions"] = [*before.values(), *stamped]


def _conditions(counts: Counter[str], holders: Counter[str]) -> list[Object]:
    left = ", ".join(f"{name} has {number} resource instances" for name, number in sorted(counts.items()))
    held = ", ".join(f"{name} in {number} resource instances" for name, number in sorted(holders.items()))
    return [
        _condition(
            "NamespaceDeletionDiscoveryFailure", False, "ResourcesDiscovered", "All resources successfully discovered"
        ),
        _condition(
            "NamespaceDeletionGroupVersionParsingFailure",
            False,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        _condition(
            "NamespaceDeletionContentFailure",
            False,
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        _condition("NamespaceContentRemaining", True, "SomeResourcesRemain", f"Some resources are remaining: {left}")
        if left
        else _condition("NamespaceContentRemaining", False, "ContentRemoved", "All content successfully removed"),
        _condition(
            "NamespaceFinalizersRemaining",
            True,
            "SomeFinalizersRemain",
            f"Some content in the namespace has finalizers remaining: {held}",
        )
        if held
        else _condition(
            "NamespaceFinalizersRemaining",
            False,
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    ]


def _condition(type: str, true: bool, reason: str, message: str) -> Object:
    return {"type": type, "status": "True" if true else "False", "reason": reason, "message": message}
