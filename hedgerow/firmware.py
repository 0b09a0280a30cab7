"""What the command line does with firmware in Kubernetes: publish images, make and steer DeviceFirmwares, watch them.

An image is one ConfigMap that describes it and owns those of its parts: deleting the one deletes all. All are immutable, and
called by the hash of the manifest: publishing twice changes nothing, and what was interrupted is completed by the next.
"""

import asyncio
import base64
import builtins
import hashlib
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from cloud.firmware_objects import IMAGE_LABEL, PART_LABEL, DeviceFirmware
from cloud.kube import Kube
from cloud.objects import CONFIGMAPS, DEVICE_FIRMWARES, DEVICES, Deleted, ResourceType, Synced
from cloud.writes import JSON, MERGE_PATCH, Answer, Request
from edgewire import ota
from edgewire.rollout import PART_SIZE, Image, part_name
from hedgerow.cluster import ClusterError, DeviceView

T = TypeVar("T")

DESCRIPTION = "image.json"
"""Where an image's ConfigMap describes it."""
_AT_ONCE = 8
"""Parts that are written at a time."""


class _Items(Struct):
    items: list[dict[str, Any]]


class _Firmwares(Struct):
    items: list[DeviceFirmware]


class _Devices(Struct):
    items: list[DeviceView]


class Firmware:
    """A Kubernetes API, as far as firmware is concerned, in one namespace. All methods raise ClusterError."""

    def __init__(self, kubeconfig: Path, namespace: str = "default") -> None:
        self._kube = Kube(kubeconfig)
        self.namespace = namespace

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._kube.close()

    # Images

    async def publish(self, manifest: bytes, signature: bytes, stream: bytes) -> tuple[Image, bool]:
        """Store an image; whether any of it was new. `stream` is the manifest and all files."""
        image = described(manifest, signature, stream)
        head = await self._store(_head(self.namespace, image))
        uid = head[0]["metadata"]["uid"]
        parts = [stream[at : at + PART_SIZE] for at in range(0, len(stream), PART_SIZE)]
        room = asyncio.Semaphore(_AT_ONCE)

        async def store(number: int, content: bytes) -> bool:
            async with room:
                return (await self._store(_part(self.namespace, image, number, content, uid)))[1]

        stored = await asyncio.gather(*(store(number, content) for number, content in enumerate(parts)))
        return image, head[1] or any(stored)

    async def images(self) -> list[Image]:
        """Every image that was published."""
        query = urlencode({"labelSelector": IMAGE_LABEL})
        answer = await self._kube.get(f"{CONFIGMAPS.path(self.namespace)}?{query}")
        found = self._read(answer, _Items, "cannot list images").items
        return [_decoded((item.get("data") or {}).get(DESCRIPTION, ""), Image, "an image") for item in found]

    async def image(self, named: str) -> Image:
        """The image that a name, an id, its beginning, a version or BOARD-VERSION means."""
        published = await self.images()
        found = [
            image
            for image in published
            if named in (image.name, image.version, f"{image.board}-{image.version}")
            or (len(named) >= 6 and image.id.startswith(named))
        ]
        if len(found) == 1:
            return found[0]
        known = ", ".join(sorted(f"{image.board}-{image.version} ({image.target})" for image in found or published))
        raise ClusterError(
            f"{named} is {'several images' if found else 'no published image'}; there are: {known or 'none'}"
        )

    # Rollouts

    async def rollouts(self) -> list[DeviceFirmware]:
        """Every DeviceFirmware."""
        answer = await self._kube.get(DEVICE_FIRMWARES.path(self.namespace))
        return self._read(answer, _Firmwares, "cannot list rollouts").items

    async def rollout(self, name: str) -> DeviceFirmware:
        """One of them."""
        answer = await self._kube.get(DEVICE_FIRMWARES.path(self.namespace, name))
        return self._read(answer, DeviceFirmware, f"cannot read rollout {name}")

    async def devices(self) -> list[DeviceView]:
        """Every Device of the namespace."""
        answer = await self._kube.get(DEVICES.path(self.namespace))
        return self._read(answer, _Devices, "cannot list devices").items

    async def apply(self, manifest: dict[str, Any]) -> bool:
        """Create a DeviceFirmware, or replace the spec of the one of that name; whether it is a new one."""
        name = manifest["metadata"]["name"]
        answer = await self._post(DEVICE_FIRMWARES, manifest)
        if answer.status != 409:
            _check(answer, f"cannot make rollout {name}")
            return True
        path = DEVICE_FIRMWARES.path(self.namespace, name)
        found = self._read(await self._kube.get(path), dict, f"cannot read rollout {name}")
        spec = {**manifest["spec"]}
        spec["retry"] = max(spec.get("retry", 0), found["spec"].get("retry", 0))
        body = json.dumps({**found, "spec": spec}).encode()
        _check(await self._kube.send(Request("PUT", path, body, JSON)), f"cannot change rollout {name}")
        return False

    async def change(self, name: str, spec: dict[str, Any]) -> None:
        """Change some fields of a DeviceFirmware's spec."""
        path = DEVICE_FIRMWARES.path(self.namespace, name)
        body = json.dumps({"spec": spec}).encode()
        _check(await self._kube.send(Request("PATCH", path, body, MERGE_PATCH)), f"cannot change rollout {name}")

    async def follow(self, name: str) -> AsyncGenerator[DeviceFirmware]:
        """A DeviceFirmware now, and after each change."""
        async with aclosing(self._kube.follow(DEVICE_FIRMWARES)) as events:
            async for event in events:
                if isinstance(event, Synced) or event.object.id != f"{self.namespace}/{name}":
                    continue
                if isinstance(event, Deleted):
                    raise ClusterError(f"rollout {name} has been deleted")
                yield _decoded(event.object.raw, DeviceFirmware, f"rollout {name}")

    async def _store(self, configmap: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """Create a ConfigMap unless it exists as it is: the object, and whether it is new."""
        name = configmap["metadata"]["name"]
        answer = await self._post(CONFIGMAPS, configmap)
        if answer.status != 409:
            return self._read(answer, dict, f"cannot store {name}"), True
        answer = await self._kube.get(CONFIGMAPS.path(self.namespace, name))
        found: dict[str, Any] = self._read(answer, dict, f"cannot read ConfigMap {name}")
        if any((found.get(key) or {}) != configmap.get(key, {}) for key in ("data", "binaryData")):
            raise ClusterError(f"ConfigMap {self.namespace}/{name} exists and holds something else")
        return found, False

    async def _post(self, type: ResourceType, manifest: dict[str, Any]) -> Answer:
        return await self._kube.send(Request("POST", type.path(self.namespace), json.dumps(manifest).encode(), JSON))

    def _read(self, answer: Answer, type: builtins.type[T], what: str) -> T:
        _check(answer, what)
        return _decoded(answer.body, type, what)


def described(manifest: bytes, signature: bytes, stream: bytes) -> Image:
    """The description of an image. Raises ClusterError for one that no gateway would take."""
    try:
        read = ota.parse_manifest(manifest)
    except ota.OtaError as error:
        raise ClusterError(f"no firmware: {error}") from error
    id = hashlib.sha256(manifest).hexdigest()
    parts = -(-len(stream) // PART_SIZE)
    name = f"firmware-{ota.short(id)}"
    sizes = len(stream), len(manifest)
    return Image(name, id, read.version, read.counter, read.board, *sizes, signature.hex(), parts)


def _head(namespace: str, image: Image) -> dict[str, Any]:
    labels = {IMAGE_LABEL: image.target, "app.kubernetes.io/part-of": "hedgerow"}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": image.name, "namespace": namespace, "labels": labels},
        "immutable": True,
        "data": {DESCRIPTION: msgspec.json.encode(image).decode()},
    }


def _part(namespace: str, image: Image, number: int, content: bytes, owner: str) -> dict[str, Any]:
    owned = {"apiVersion": "v1", "kind": "ConfigMap", "name": image.name, "uid": owner}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": part_name(image.name, number),
            "namespace": namespace,
            "labels": {PART_LABEL: image.target, "app.kubernetes.io/part-of": "hedgerow"},
            "ownerReferences": [owned],
        },
        "immutable": True,
        "binaryData": {"part": base64.b64encode(content).decode()},
    }


def _decoded(body: bytes | str, type: builtins.type[T], what: str) -> T:
    try:
        return msgspec.json.decode(body, type=type)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ClusterError(f"cannot make sense of {what}: {error}") from error


def _check(answer: Answer, what: str) -> None:
    if not answer.ok:
        raise ClusterError(f"{what}: {answer.reason or answer.status}")
