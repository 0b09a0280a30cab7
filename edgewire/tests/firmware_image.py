"""A small firmware image for tests of rollouts: bytes as `hedgerow ota publish` stores them, signed by nobody."""

import base64
import hashlib
from typing import Any, NamedTuple

from edgewire import ota
from edgewire.rollout import Image, part_name


class Firmware(NamedTuple):
    """An image and the bytes of its parts."""

    image: Image
    stream: bytes
    parts: list[bytes]

    def objects(self, namespace: str = "default") -> dict[str, dict[str, Any]]:
        """Its parts' ConfigMaps by name."""
        return {
            name: {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}", "resourceVersion": "5"},
                "binaryData": {"part": base64.b64encode(part).decode()},
            }
            for number, part in enumerate(self.parts)
            for name in [part_name(self.image.name, number)]
        }


def firmware(version: str = "1.4.0", counter: int = 7, size: int = 5000, part_size: int = 2048) -> Firmware:
    """An image of two files, `size` bytes together."""
    files = [(path, bytes((n * 31 + len(path) + counter) % 251 for n in range(size // 2))) for path in ("a.py", "b.py")]
    listed = [(path, len(content), hashlib.sha256(content).hexdigest()) for path, content in files]
    manifest = ota.encode_manifest(ota.Manifest("unix", counter, listed, "", "", "1.20", version))
    stream = manifest + b"".join(content for _, content in files)
    parts = [stream[at : at + part_size] for at in range(0, len(stream), part_size)]
    id = hashlib.sha256(manifest).hexdigest()
    image = Image(
        f"firmware-{id[:16]}", id, version, counter, "unix", len(stream), len(manifest), "5e" * 64, len(parts)
    )
    return Firmware(image, stream, parts)
