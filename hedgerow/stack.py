"""The processes of one site and its cloud on one machine, with their files below one folder.

    kubeconfig            for kubectl
    kubernetes/           the embedded API's data
    cloud/  edge/  mapper/   configuration, certificates and store of each process
    logs/                 one file a process

`hedgerow up`, the end-to-end tests and the benchmarks all start it here.
"""

import asyncio
import logging
import random
import shutil
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

from hedgerow.children import Child, ChildError

log = logging.getLogger(__name__)

START_DEADLINE_S = 30.0
POLL_S = 0.02


class Ports(Struct):
    """Where each part listens, on loopback."""

    kubernetes: int = 6443
    cloud: int = 10000
    mqtt: int = 1883

    @classmethod
    def free(cls) -> "Ports":
        """The usual ports where they are free, others where they are not."""
        usual = cls()
        return cls(*(free_port(port) for port in (usual.kubernetes, usual.cloud, usual.mqtt)))

    @classmethod
    def any(cls) -> "Ports":
        """Ports nobody else is likely to want: for tests that run side by side."""
        # Below the system's ephemeral range: a client that retries while nobody listens could connect to itself there,
        # and so keep the port from the server.
        return cls(*(free_port(port) for port in random.sample(range(20_000, 32_000), 3)))


class Stack:
    """One site and its cloud."""

    def __init__(
        self,
        folder: Path,
        *,
        node: str = "edge-1",
        ports: Ports | None = None,
        kubeconfig: Path | None = None,
        cloud_port: int | None = None,
        log_level: str = "info",
        cloud: dict[str, Any] | None = None,
    ) -> None:
        """`kubeconfig` of a real cluster leaves the embedded API out; `cloud_port` is where the edge looks for the cloud, when
        something lies between; `cloud` are further keys of cloudcore.yaml."""
        self.folder = folder.absolute()
        self.node = node
        self.ports = ports or Ports.free()
        self._embedded = kubeconfig is None
        self.kubeconfig = (kubeconfig or folder / "kubeconfig").absolute()
        self._cloud_port = cloud_port or self.ports.cloud
        self._log_level = log_level
        self._cloud = cloud or {}
        self.apiserver = self._child(
            "apiserver",
            "cloud.apiserver",
            "--data",
            str(self.folder / "kubernetes"),
            "--port",
            str(self.ports.kubernetes),
        )
        self.cloudcore = self._child("cloudcore", "cloud", str(self.folder / "cloud" / "cloudcore.yaml"))
        self.edgecore = self._child("edgecore", "edge_gateway", str(self.folder / "edge" / "edgecore.yaml"))
        self.mapper = self._child("mapper", "mappers", str(self.folder / "mapper" / "mapper.yaml"))

    @property
    def children(self) -> list[Child]:
        """The processes, in the order in which they start; they stop in reverse."""
        return [*([self.apiserver] if self._embedded else []), self.edgecore, self.mapper, self.cloudcore]

    async def start(self, *, mapper: bool = True) -> None:
        """Write the configurations, start everything, and wait until the Kubernetes API answers. Raises ChildError."""
        self._configure()
        if self._embedded:
            served = self.folder / "kubernetes" / "kubeconfig"
            served.unlink(missing_ok=True)
            await self.apiserver.start()
        await self.edgecore.start()
        if mapper:
            await self.mapper.start()
        if self._embedded:
            await until(
                served.exists, lambda: f"the embedded Kubernetes API does not start:\n{self.apiserver.last_words()}"
            )
            shutil.copyfile(served, self.kubeconfig)
            self.kubeconfig.chmod(0o600)
        await self.cloudcore.start()

    async def stop(self) -> None:
        """Stop everything, in reverse order."""
        for child in reversed(self.children):
            await child.stop()

    def _child(self, name: str, module: str, *arguments: str) -> Child:
        return Child(name, [sys.executable, "-m", module, *arguments], self.folder / "logs" / f"{name}.log")

    def _configure(self) -> None:
        # Imported here: certificates need `cryptography`, which costs a gateway's tools more than they should pay.
        from cloud import certificates

        pki = self.folder / "cloud" / "pki"
        authority = certificates.ensure_ca(pki)
        server = certificates.ensure_server(pki, ["localhost", "127.0.0.1", "::1"])
        node = certificates.ensure_node(pki, self.node)
        edge_pki = self.folder / "edge" / "pki"
        edge_pki.mkdir(parents=True, exist_ok=True)
        shutil.copy(authority.certificate, edge_pki / "ca.crt")
        shutil.copy(node.certificate, edge_pki / "node.crt")
        shutil.copy(node.key, edge_pki / "node.key")
        _write(
            self.folder / "cloud" / "cloudcore.yaml",
            {
                "kubeconfig": str(self.kubeconfig),
                "host": "127.0.0.1",
                "port": self.ports.cloud,
                "ca": str(authority.certificate),
                "certificate": str(server.certificate),
                "key": str(server.key),
                "log_level": self._log_level,
                **self._cloud,
            },
        )
        _write(
            self.folder / "edge" / "edgecore.yaml",
            {
                "node": self.node,
                "data_dir": str(self.folder / "edge"),
                "cloud": {"url": f"wss://127.0.0.1:{self._cloud_port}"},
                "broker": {"port": self.ports.mqtt},
                "log_level": self._log_level,
            },
        )
        _write(
            self.folder / "mapper" / "mapper.yaml",
            {"protocol": "modbus", "broker": {"port": self.ports.mqtt}, "log_level": self._log_level},
        )


async def until(
    condition: Callable[[], bool | Awaitable[bool]], otherwise: Callable[[], str], deadline_s: float = START_DEADLINE_S
) -> None:
    """Wait until a condition holds, looking every 20 ms. Raises ChildError, saying `otherwise`, after the deadline."""
    try:
        async with asyncio.timeout(deadline_s):
            while True:
                found = condition()
                if found if isinstance(found, bool) else await found:
                    return
                await asyncio.sleep(POLL_S)
    except TimeoutError as error:
        raise ChildError(otherwise()) from error


def free_port(preferred: int = 0) -> int:
    """The preferred loopback port if nobody listens on it, else any free one."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ChildError("no free port on loopback")


def _write(path: Path, content: dict[str, Any]) -> None:
    import yaml

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    path.chmod(0o600)
