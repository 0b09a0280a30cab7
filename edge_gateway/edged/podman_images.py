"""Images: whether a container's is there, and how it comes; one pull at a time, with a kubelet's back-off.

An image that people built or loaded on the machine itself counts as present. Names without a registry are those of docker.io, as
in Kubernetes. What a registry wants to know of us comes from imagePullSecrets and is on a tmpfs for as long as a pull takes.
"""

import asyncio
import base64
import logging
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct, field

from edge_gateway.edged import identity
from edge_gateway.edged.container_life import CONFIG_ERROR
from edge_gateway.edged.environment import Content, Missing, files_of
from edge_gateway.edged.image_names import full_name
from edge_gateway.edged.podman_cli import Podman, PodmanError
from edge_gateway.edged.podman_store import NO_VERSION, ImageStore
from edge_gateway.edged.pods import Container, Pod
from edge_gateway.edged.runtime import NotYet, RuntimeTrouble, StartOrder
from edgewire import resource
from edgewire.message import UNREADABLE
from edgewire.resource import Resource

log = logging.getLogger(__name__)

PULL_S = 3600.0
"""For one pull: an uplink may be slow."""
BACK_OFF_FIRST_S, BACK_OFF_LIMIT_S = 10.0, 300.0
ERR_PULL, BACK_OFF, NEVER, INVALID = "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"
_ROOTS = ("", "0", "root")


class _Config(Struct, rename="pascal"):
    user: str = ""


class _Image(Struct, rename="pascal"):
    id: str
    config: _Config = field(default_factory=_Config)


class _BackOff(NamedTuple):
    seconds: float
    until: float
    """Of a monotonic clock."""


_images = msgspec.json.Decoder(list[_Image])


class Images:
    """Of one gateway."""

    def __init__(self, podman: Podman, content: Content, memory: Path, store: ImageStore) -> None:
        """`content` gives Secrets; `memory` is a folder on a tmpfs; `store` tells when images come and go."""
        self._store = store
        self._version = NO_VERSION
        self._found: dict[str, _Image] = {}
        self._podman = podman
        self._content = content
        self._memory = memory
        self._pulling = asyncio.Lock()
        self._back_off: dict[str, _BackOff] = {}

    async def ready(self, order: StartOrder) -> str:
        """The id of a container's image, pulled if need be. Raises NotYet, RuntimeTrouble."""
        container = order.container
        policy = pull_policy(container)
        image = None if policy == "Always" else await self._find(container.image)
        if image is None and policy == "Never":
            order.tell(
                "ErrImageNeverPull", f'Container image "{container.image}" is not present with pull policy of Never'
            )
            raise NotYet(NEVER, f'Container image "{container.image}" is not present with pull policy of Never')
        if image is None:
            await self._pull(order)
            image = await self._find(container.image)
        elif policy != "Always":
            order.tell("Pulled", f'Container image "{container.image}" already present on machine')
        if image is None:
            raise NotYet(ERR_PULL, f'image "{container.image}" was pulled and is not there')
        _check_user(order.pod, container, image.config.user)
        return image.id

    async def _find(self, name: str) -> _Image | None:
        version = await self._store.version()
        if version == NO_VERSION or version != self._version:
            self._version = version
            self._found.clear()
        if name not in self._found and (image := await self._ask_for(name)) is not None:
            self._found[name] = image
        return self._found.get(name)

    async def _ask_for(self, name: str) -> _Image | None:
        for candidate in dict.fromkeys((name, full_name(name))):
            try:
                return _images.decode(await self._podman("image", "inspect", candidate))[0]
            except PodmanError as error:
                if "invalid reference" in str(error):
                    raise NotYet(INVALID, f'Failed to apply default image tag "{name}": {error}') from error
                if not re.search(r"not known|no such (image|object)", str(error)):
                    raise
            except (msgspec.DecodeError, IndexError) as error:
                raise RuntimeTrouble(f"podman image inspect does not make sense: {error}") from error
        return None

    async def _pull(self, order: StartOrder) -> None:
        name = order.container.image
        before = self._back_off.get(name)
        if before is not None and time.monotonic() < before.until:
            order.tell("BackOff", f'Back-off pulling image "{name}"')
            raise NotYet(BACK_OFF, f'Back-off pulling image "{name}"')
        async with self._pulling:
            if pull_policy(order.container) != "Always" and await self._find(name) is not None:
                return  # another container's pull has brought it
            order.tell("Pulling", f'Pulling image "{name}"')
            begun = time.monotonic()
            try:
                await self._fetch(order)
            except RuntimeTrouble as error:
                seconds = BACK_OFF_FIRST_S if before is None else min(2 * before.seconds, BACK_OFF_LIMIT_S)
                self._back_off[name] = _BackOff(seconds, time.monotonic() + seconds)
                order.tell("Failed", f'Failed to pull image "{name}": {error}')
                reason = INVALID if "invalid reference" in str(error) else ERR_PULL
                raise NotYet(reason, f'failed to pull image "{name}": {error}') from error
        self._back_off.pop(name, None)
        order.tell("Pulled", f'Successfully pulled image "{name}" in {time.monotonic() - begun:.1f}s')

    async def _fetch(self, order: StartOrder) -> None:
        words = ["pull", "--quiet"]
        keys = self._keys(order.pod)
        file = self._memory / f"pull-{order.pod.uid}.json"
        try:
            if keys:
                _write_secret(file, msgspec.json.encode({"auths": keys}))
                words += ["--authfile", str(file)]
            await self._podman.ask((*words, full_name(order.container.image)), {}, PULL_S, end=True)
        except OSError as error:
            raise RuntimeTrouble(f"imagePullSecrets: {error}") from error
        finally:
            file.unlink(missing_ok=True)

    def _keys(self, pod: Pod) -> dict[str, Any]:
        """Registry -> what it wants to know, from all of a pod's imagePullSecrets; one that is missing is done without."""
        found: dict[str, Any] = {}
        for named in pod.spec.image_pull_secrets:
            try:
                files = files_of(Resource(pod.metadata.namespace, resource.SECRET, named.name), self._content)
                found |= dict(_auths(files or {}))
            except (Missing, *UNREADABLE) as error:
                log.warning("= imagePullSecret is unreadable pod=%s secret=%s reason=%s", pod.id, named.name, error)
        return found


def _write_secret(file: Path, content: bytes) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as writing:
        writing.write(content)


def _auths(files: dict[str, bytes]) -> Iterator[tuple[str, Any]]:
    """What a Secret of type kubernetes.io/dockerconfigjson, or the older dockercfg, has for each registry."""
    for key, inner in ((".dockerconfigjson", "auths"), (".dockercfg", "")):
        if key not in files:
            continue
        content = msgspec.json.decode(files[key], type=dict[str, Any])
        for registry, given in (content.get(inner, {}) if inner else content).items():
            if "auth" not in given and "username" in given:
                both = f"{given['username']}:{given.get('password', '')}"
                given = {"auth": base64.b64encode(both.encode()).decode()}
            yield registry.removeprefix("https://").removesuffix("/v1/").removesuffix("/"), given


def _check_user(pod: Pod, container: Container, user: str) -> None:
    """An image may make root of a container that must not be. Raises NotYet."""
    if identity.user_of(pod, container) is None and identity.must_not_be_root(pod, container):
        name = user.partition(":")[0]
        if name in _ROOTS:
            raise NotYet(CONFIG_ERROR, "container has runAsNonRoot and image will run as root")
        if not name.isdigit():
            raise NotYet(CONFIG_ERROR, f"container has runAsNonRoot and image has non-numeric user ({name})")


def pull_policy(container: Container) -> str:
    """When an image is pulled; without a word, as the API server has it."""
    if container.image_pull_policy:
        return container.image_pull_policy
    name = container.image.rpartition("/")[2]
    return "Always" if "@" not in name and name.partition(":")[2] in ("", "latest") else "IfNotPresent"
