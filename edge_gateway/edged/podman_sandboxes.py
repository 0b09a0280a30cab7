"""Sandboxes: what the containers of a pod share in Podman, above all a network. A container that does nothing holds each open.

What Podman has of a pod that is not whole, after a power cut or when its sandbox fell, is removed, and made anew.
"""

import logging
import re
from collections.abc import Collection
from pathlib import Path

from edge_gateway.edged.isolation import Resolver, resolver
from edge_gateway.edged.podman_cli import Inspected, Podman, PodmanError, is_gone
from edge_gateway.edged.podman_words import GATEWAY, UID, Names, pod_create
from edge_gateway.edged.pods import Pod
from edge_gateway.edged.runtime import RuntimeTrouble
from edge_gateway.kernel_files import text

log = logging.getLogger(__name__)

_IN_USE = ("already in use", "already exists", "is in use")
_RESOLV_CONF, _RESOLVED_CONF = Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")


class Sandboxes:
    """Of one gateway."""

    def __init__(self, podman: Podman, names: Names) -> None:
        self._podman = podman
        self._names = names
        self._addresses: dict[str, str] = {}
        """Pods with a sandbox that is up, as far as is known -> their address."""
        self._networks: dict[str, str] = {}
        """Likewise -> the file of their network."""
        self._fallen: set[str] = set()
        """Pods of before that are not whole."""
        self._released: set[str] = set()
        """Pods that are over, whose sandbox is gone; their address is known still."""

    async def open(self) -> list[Inspected]:
        """Find those of before: every other container that this gateway has in Podman. Raises RuntimeTrouble."""
        own = ("--filter", f"name=^{re.escape(self._names.own)}_", "--format", "{{.ID}}")
        ids = (await self._podman("ps", "--all", "--no-trunc", *own)).split()
        containers = await self._podman.inspect(*ids)
        others = []
        for container in containers:
            uid = self._names.uid_of_infra(container.name)
            if not uid:
                others.append(container)
            elif container.state.status == "running":
                self._is_up(uid, container)
            else:
                self._fallen.add(uid)
        return others

    def _is_up(self, uid: str, sandbox: Inspected) -> None:
        self._addresses[uid], self._networks[uid] = sandbox.address, sandbox.network

    async def prepare(self, pod: Pod) -> None:
        """Make a pod's sandbox, unless it is there and whole. Raises RuntimeTrouble."""
        uid = pod.uid
        if uid in self._addresses and await self._find(uid):
            return
        if uid in self._addresses or uid in self._fallen:
            await self.remove(uid)
        create = pod_create(pod, self._names, _machine_resolver(pod.spec.host_network))
        try:
            await self._podman(*create)
        except PodmanError as error:
            if not any(words in str(error) for words in _IN_USE):
                raise
            # An edgecore that was killed had just asked for it, or it is half made.
            if await self._find(uid):
                return
            await self.remove(uid)
            await self._podman(*create)
        await self._podman("pod", "start", self._names.pod(uid))
        if not await self._find(uid):
            raise RuntimeTrouble("the pod's sandbox ended at once")

    async def _find(self, uid: str) -> bool:
        """Whether a pod's sandbox is up; its address is noted."""
        try:
            [sandbox] = await self._podman.inspect(self._names.infra(uid))
        except PodmanError as error:
            if not is_gone(error):
                raise
            return False
        if sandbox.state.status != "running":
            return False
        self._is_up(uid, sandbox)
        return True

    def __contains__(self, uid: str) -> bool:
        """Whether a pod has one, as far as is known."""
        return uid in self._addresses

    def fell(self, uid: str) -> None:
        """A pod's is not there, whatever was known of it."""
        if self._addresses.pop(uid, None) is not None:
            self._fallen.add(uid)

    def address(self, uid: str) -> str:
        """A pod's own address; empty on the machine's network."""
        return self._addresses.get(uid, "")

    def network(self, pod: Pod) -> str:
        """The file of a pod's network; empty for the machine's. Raises RuntimeTrouble."""
        if pod.spec.host_network:
            return ""
        if network := self._networks.get(pod.uid, ""):
            return network
        raise RuntimeTrouble("podman does not say which network the pod has")

    async def remove(self, uid: str) -> None:
        """Drop a pod and what is left in it. Raises RuntimeTrouble."""
        self._addresses.pop(uid, None)
        self._networks.pop(uid, None)
        await self._remove(uid)
        self._fallen.discard(uid)
        self._released.discard(uid)

    async def _remove(self, *uids: str) -> None:
        await self._podman("pod", "rm", "--force", "--ignore", "--time", "0", *map(self._names.pod, uids))

    async def release(self, uid: str) -> None:
        """A pod is over: its sandbox goes, and with it what it held of the network. Raises RuntimeTrouble."""
        if uid in self._addresses and uid not in self._released:
            await self._remove(uid)
            self._networks.pop(uid, None)
            self._released.add(uid)

    async def remove_fallen(self, keep: Collection[str]) -> set[str]:
        """Remove at once what is left of pods that are not whole, but for these. After a power cut that may be all: which."""
        uids = self._fallen - set(keep)
        try:
            if uids:
                await self._remove(*sorted(uids))
        except RuntimeTrouble as trouble:
            log.warning("= sandboxes are left, and removed one by one reason=%s", trouble)
            return set()
        self._fallen -= uids
        return uids

    async def remove_others(self, uids: Collection[str]) -> None:
        """Remove those of all pods but these. Raises RuntimeTrouble."""
        mine = ("--filter", f"label={GATEWAY}={self._names.own}", "--format", '{{index .Labels "' + UID + '"}}')
        for uid in set((await self._podman("pod", "ls", *mine)).split()) - set(uids):
            log.info("= sandbox without a pod is removed uid=%s", uid)
            await self.remove(uid)


def _machine_resolver(host_network: bool) -> Resolver:
    """What the machine resolves names by, as far as a pod can: its own addresses say nothing on another network."""
    found = resolver(text(_RESOLV_CONF))
    if host_network:
        return found
    if "127.0.0.53" in found.nameservers:  # systemd-resolved, which notes elsewhere whom it asks
        found = resolver(text(_RESOLVED_CONF))
    servers = [address for address in found.nameservers if not address.startswith(("127.", "::1"))]
    return found._replace(nameservers=tuple(servers))
