"""CustomResourceDefinitions: applied from `cloud/manifests` where the cluster lacks them or has others."""

import asyncio
import hashlib
import logging
from pathlib import Path
from typing import Any

import msgspec
import yaml

from cloud import CloudError
from cloud.kube import Kube
from cloud.objects import DEFINITIONS
from cloud.writes import JSON, Answer, Request
from edgewire import backoff

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent / "manifests"
PATTERN = "*devices.*.yaml"
DIGEST = "hedgerow.dev/manifest"
"""The annotation that says which manifest a definition came from; the API rewrites what it stores."""

_ESTABLISHED_POLL_S = 0.05


class DefinitionError(CloudError):
    """A definition that cannot be applied."""


class Definitions:
    """A service, ready once the cluster has every definition of a folder. It waits for an API server that is away."""

    name = "definitions"

    def __init__(self, kube: Kube, folder: Path = FOLDER) -> None:
        self._kube = kube
        self._folder = folder

    async def run(self, ready: asyncio.Event) -> None:
        """Apply the definitions, then do nothing until cancelled."""
        for path in sorted(self._folder.glob(PATTERN)):
            for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8")):
                if manifest and manifest.get("kind") == "CustomResourceDefinition":
                    await self._apply(manifest)
        ready.set()
        await asyncio.get_running_loop().create_future()

    async def _apply(self, manifest: dict[str, Any]) -> None:
        name = manifest["metadata"]["name"]
        digest = hashlib.sha256(msgspec.json.encode(manifest, order="deterministic")).hexdigest()
        delays = backoff.delays(limit_s=10.0)
        while True:
            answer = await self._kube.get(DEFINITIONS.path(name=name))
            if answer.ok and _is(answer, digest):
                return
            if answer.ok or answer.status == 404:
                answer = await self._write(manifest, digest, answer)
            if answer.status == 403:
                log.warning(
                    "= may not apply definition name=%s: apply cloud/manifests by hand, or give cloudcore the right",
                    name,
                )
                return
            if answer.ok:
                if _is(answer, digest):
                    log.info("> definition applied name=%s", name)
                    return
                delay = _ESTABLISHED_POLL_S
            elif answer.transient:
                delay = max(next(delays), answer.retry_after_s or 0.0)
                log.warning(
                    "= waiting for the api server status=%d reason=%r retry_s=%.2f", answer.status, answer.reason, delay
                )
            else:
                raise DefinitionError(f"{name}: {answer.status} {answer.reason}")
            await asyncio.sleep(delay)

    async def _write(self, manifest: dict[str, Any], digest: str, found: Answer) -> Answer:
        metadata = manifest["metadata"]
        annotations = {**metadata.get("annotations", {}), DIGEST: digest}
        wanted = {**manifest, "metadata": {**metadata, "annotations": annotations}}
        if not found.ok:
            return await self._kube.send(Request("POST", DEFINITIONS.path(), msgspec.json.encode(wanted), JSON))
        if _digest(found) == digest:
            return found  # applied, and not established yet
        wanted["metadata"]["resourceVersion"] = _metadata(found)["resourceVersion"]
        path = DEFINITIONS.path(name=metadata["name"])
        return await self._kube.send(Request("PUT", path, msgspec.json.encode(wanted), JSON))


def _metadata(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(answer.body)
    return found.get("metadata") or {}


def _digest(answer: Answer) -> str | None:
    return (_metadata(answer).get("annotations") or {}).get(DIGEST)


def _is(answer: Answer, digest: str) -> bool:
    """Whether this is the definition, and the API serves it."""
    status = msgspec.json.decode(answer.body).get("status") or {}
    established = any(
        c.get("type") == "Established" and c.get("status") == "True" for c in status.get("conditions") or ()
    )
    return established and _digest(answer) == digest
