"""Every field that Kubernetes' pods have is read, refused, or known to be harmless: none is ignored without a word."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import kubernetes
import msgspec
import pytest
from kubernetes.client import models
from msgspec import Struct

from edge_gateway.edged import pod_fields, pod_refusals, pods
from edge_gateway.edged.pod_volumes import Volume
from edge_gateway.edged.tests.node import Node, manifest

KNOWN = 37
"""The newest release of Kubernetes' client whose fields were looked through."""
NEEDED: dict[str, dict[str, Any]] = {
    "Container": {"name": "c", "command": ["true"]},
    "EnvVar": {"name": "A"},
    "FieldRef": {"fieldPath": "metadata.name"},
    "HttpGet": {"port": 80},
    "VolumeMount": {"name": "v", "mountPath": "/v"},
    "Volume": {"name": "v"},
    "KeyToPath": {"key": "a", "path": "a"},
    "DownwardFile": {"path": "a"},
}
"""What a structure must have beside the field in question."""


class Field(NamedTuple):
    """A field of Kubernetes' models."""

    key: str
    """As in the tables."""
    path: tuple[tuple[str, str, bool], ...]
    """The way there: name, our structure there, and whether there is a list of them."""
    name: str
    read: str | None
    """Our name for it, where we have one."""
    closed: bool
    """Whether our structure refuses what it does not know."""


def fields() -> list[Field]:
    return list(_walk(models.V1PodSpec, pods.PodSpec, (), set()))


def _walk(model: Any, struct: type[Struct], path: tuple[tuple[str, str, bool], ...], seen: set[Any]) -> Iterator[Field]:
    if (model, struct) in seen:
        return
    seen.add((model, struct))
    ours = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    closed = bool(struct.__struct_config__.forbid_unknown_fields)
    for attribute, name in model.attribute_map.items():
        known = ours.get(name)
        yield Field(f"{struct.__name__}.{name}", path, name, known.name if known is not None else None, closed)
        type_ = model.openapi_types[attribute]
        inner = re.sub(r"^(?:list\[|dict\([^,]*, *|dict\[[^,]*, *)(.*)[\])]$", r"\1", type_, flags=re.I)
        below = getattr(models, inner, None)
        within = Volume if name == "volumes" else pod_fields._struct_in(known.type) if known is not None else None
        if hasattr(below, "attribute_map") and within is not None:
            step = (name, within.__name__, type_.lower().startswith("list"))
            yield from _walk(below, within, (*path, step), seen)


def asks(field: Field) -> pods.Pod:
    """A pod that has a value there."""
    value: Any = {field.name: "x"}
    for name, struct, is_list in reversed(field.path):
        value = {**NEEDED.get(struct, {}), **value}
        value = {name: [value] if is_list else value}
    spec = {"containers": [{"name": "c", "command": ["true"]}], **value}
    return pods.parse(msgspec.json.encode({"metadata": {"name": "web", "uid": "u1"}, "spec": spec}))


def test_every_field_of_a_pod_is_read_refused_or_harmless() -> None:
    folder = Path(pods.__file__).parent
    sources = [file for file in folder.glob("*.py") if file.name not in ("pods.py", "pod_volumes.py", "pod_fields.py")]
    code = "\n".join(file.read_text() for file in sources)
    found = fields()
    assert len(found) > 200
    tables = pod_fields.HARMLESS.keys() | pod_fields.REFUSED.keys() | pod_fields.TOLD.keys()
    unread = [
        field.key
        for field in found
        if field.key not in tables
        and not (field.read is not None and re.search(rf"\b{field.read}\b", code))
        and not (field.read is None and field.closed)
    ]
    if int(kubernetes.__version__.split(".")[0]) <= KNOWN:
        assert unread == []
        assert tables - {field.key for field in found} == set()
    assert not (pod_fields.HARMLESS.keys() & pod_fields.REFUSED.keys())


@pytest.mark.parametrize("field", [f for f in fields() if f.key in pod_fields.REFUSED], ids=lambda field: field.key)
def test_what_is_refused_is_refused_by_its_name(field: Field) -> None:
    assert any(f".{field.name}: {pod_fields.REFUSED[field.key]}" in why for why in pod_refusals.refusals(asks(field)))


@pytest.mark.parametrize("field", [f for f in fields() if f.closed and f.read is None], ids=lambda field: field.key)
def test_kinds_of_volumes_that_are_not_known_are_refused(field: Field) -> None:
    assert any("this node has no such kind of volume" in why for why in pod_refusals.refusals(asks(field)))
    assert pod_refusals.ignored(asks(field)) == ""


@pytest.mark.parametrize("field", [f for f in fields() if f.key in pod_fields.HARMLESS], ids=lambda field: field.key)
def test_what_is_harmless_is_neither_refused_nor_told(field: Field) -> None:
    if field.read is None:
        assert asks(field).unread == ()


def test_values_that_ask_for_nothing_are_taken() -> None:
    spec = {"os": {"name": "linux"}, "readinessGates": [], "setHostnameAsFQDN": False, "runtimeClassName": None}
    content = {"metadata": {"name": "web", "uid": "u1"}, "spec": {"containers": [{"name": "c"}], **spec}}
    assert pods.parse(msgspec.json.encode(content)).unread == ()


async def test_a_field_of_a_later_kubernetes_is_told_and_the_pod_runs(tmp_path: Path) -> None:
    node = await Node(tmp_path).start()
    try:
        pod = manifest(fancy={"on": True})
        pod["spec"]["containers"][0]["fancier"] = 3
        node.send("pod", pod)
        await node.until_phase("Running")
        [(_, message)] = node.events("IgnoredFields")
        known = "this node does not know that field"
        assert message == f"spec.containers[c0].fancier: {known}; spec.fancy: {known}"
        pod["spec"]["ephemeralContainers"] = [{"name": "debugger"}]
        node.send("pod", pod)
        assert "no container can be added to a pod that runs" in node.events("IgnoredFields")[-1][1]
        assert node.status()["phase"] == "Running"
    finally:
        await node.end()
