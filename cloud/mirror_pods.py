"""Mirror pods: what Kubernetes shows of a node's static pods, which run from files of the node and need no cloud. No I/O.

A node sends a static pod's manifest along with its status, and cloudcore makes the Pod on the node's behalf, as a kubelet does
(annotations `kubernetes.io/config.*`). A node may make no other pods by this: they are its own, bear its name, and name no
ConfigMaps, Secrets or service accounts, so that it cannot get at those of others.
"""

from typing import Any

import msgspec
from msgspec import Struct

from cloud.objects import is_name
from cloud.pod_catalogue import MIRROR, needs
from edgewire.resource import Resource

_SOURCE, _HASH = "kubernetes.io/config.source", "kubernetes.io/config.hash"
_EVERYTHING = {"operator": "Exists", "effect": "NoExecute"}
"""What a static pod tolerates: nothing but its file takes it off its node."""


class _Metadata(Struct):
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _Spec(Struct):
    tolerations: list[dict[str, Any]] | None = None


class _Manifest(Struct):
    """What of a manifest is looked into, to add to it; of the rest the API server says whether it makes sense."""

    metadata: _Metadata
    spec: _Spec


def problem(node: str, name: Resource, manifest: dict[str, Any]) -> str:
    """Why a node cannot have a pod of this name and manifest mirrored; empty when it can."""
    metadata, spec = manifest.get("metadata"), manifest.get("spec")
    if not isinstance(metadata, dict) or not isinstance(spec, dict):
        return "a static pod has `metadata` and `spec`"
    try:
        msgspec.convert(manifest, _Manifest)
    except msgspec.ValidationError as error:
        return f"the manifest of a static pod: {error}"
    if (metadata.get("namespace"), metadata.get("name")) != (name.namespace, name.name) or not is_name(name.name):
        return f"the static pod {name.id} has another name in its metadata"
    if not name.name.endswith(f"-{node}"):
        return f"the name of a static pod of node {node} ends with -{node}"
    if spec.get("nodeName") != node:
        return f"a static pod of node {node} has this nodeName"
    if next(needs(name.namespace, spec), None) is not None or spec.get("serviceAccountName"):
        return "a static pod names no ConfigMaps, Secrets and service accounts"
    return ""


def mirror(manifest: dict[str, Any], uid: str, owner: dict[str, Any] | None) -> bytes:
    """The Pod that shows a static pod of this uid; `owner` is its Node, with which it goes."""
    metadata, spec = manifest["metadata"], manifest["spec"]
    annotations = {**(metadata.get("annotations") or {}), MIRROR: uid, _HASH: uid, _SOURCE: "file"}
    made: dict[str, Any] = {"name": metadata["name"], "namespace": metadata["namespace"], "annotations": annotations}
    if metadata.get("labels"):
        made["labels"] = metadata["labels"]
    if owner is not None:
        made["ownerReferences"] = [owner]
    tolerations = [*(spec.get("tolerations") or []), _EVERYTHING]
    spec = {**spec, "tolerations": tolerations}
    return msgspec.json.encode({"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": spec})
