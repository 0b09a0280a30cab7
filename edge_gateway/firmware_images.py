"""The firmware images that the gateway holds for its devices: parts from the cloud, checked once all are there.

A core. The bytes are in memory as they are in the store (table `object`, as MetaManager keeps them): an image is a few hundred
kilobytes, and only images that a device here is to have are sent to this gateway.
"""

import hashlib

import msgspec
from msgspec import Struct

from edgewire import ota
from edgewire.message import UNREADABLE
from edgewire.rollout import PART_SIZE, Image, RolloutError, part_name


class _ConfigMap(Struct, rename="camel"):
    binary_data: dict[str, bytes]


_configmap = msgspec.json.Decoder(_ConfigMap)


class FirmwareImages:
    """Parts by `<namespace>/<name>`, and what was found of the images they make up."""

    def __init__(self) -> None:
        self._parts: dict[str, bytes] = {}
        self._faults: dict[tuple[str, Image], str] = {}
        """Namespace and image that was checked -> why it cannot be used, or empty."""

    def put(self, id: str, content: bytes) -> None:
        """A part came: the JSON of its ConfigMap. Raises RolloutError."""
        try:
            [part] = _configmap.decode(content).binary_data.values()
        except (*UNREADABLE, ValueError) as error:
            raise RolloutError(f"part {id}: {error}") from error
        if not 0 < len(part) <= PART_SIZE:
            raise RolloutError(f"part {id} has {len(part)} bytes")
        self._parts[id] = part
        self._faults.clear()

    def remove(self, id: str) -> None:
        """A part is not needed any more."""
        self._parts.pop(id, None)
        self._faults.clear()

    def missing(self, namespace: str, image: Image) -> str:
        """Why an image cannot be offered, or empty."""
        parts = self._of(namespace, image)
        there = sum(part is not None for part in parts)
        if there < image.parts:
            return f"{there} of {image.parts} parts are here"
        key = (namespace, image)
        if key not in self._faults:
            self._faults[key] = _fault(image, b"".join(part for part in parts if part is not None))
        return self._faults[key]

    def read(self, namespace: str, image: Image, offset: int, length: int) -> bytes:
        """A piece of the stream; less at its end, nothing beyond."""
        found = b""
        end = min(offset + length, image.size)
        size = len(self._parts.get(f"{namespace}/{part_name(image.name, 0)}", b""))
        while size and offset < end:
            part = self._parts.get(f"{namespace}/{part_name(image.name, offset // size)}", b"")
            piece = part[offset % size : offset % size + end - offset]
            if not piece:
                break
            found += piece
            offset += len(piece)
        return found

    def _of(self, namespace: str, image: Image) -> list[bytes | None]:
        return [self._parts.get(f"{namespace}/{part_name(image.name, n)}") for n in range(image.parts)]


def _fault(image: Image, stream: bytes) -> str:
    """What is wrong with an image; devices would find it too, after the whole download."""
    if len(stream) != image.size:
        return f"its parts have {len(stream)} bytes instead of {image.size}"
    manifest = stream[: image.manifest_size]
    if hashlib.sha256(manifest).hexdigest() != image.id:
        return "its manifest is another one"
    try:
        described = ota.parse_manifest(manifest)
    except ota.OtaError as error:
        return f"its manifest: {error}"[:200]
    if described.size() != len(stream) - len(manifest):
        return "its manifest names more or fewer bytes than there are"
    places = ota.parts(len(manifest), described)[1:]
    for (path, offset, size), (_, _, digest) in zip(places, described.files, strict=True):
        if hashlib.sha256(stream[offset : offset + size]).hexdigest() != digest:
            return f"its file {path} is another one"
    return ""
