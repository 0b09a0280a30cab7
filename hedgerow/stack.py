"""The processes of one site and its cloud on one machine, with their files below one folder.

    kubeconfig            for kubectl
    kubernetes/           the embedded API's data
    cloud/  edge/  mapper/   configuration, certificates and store of each process
    logs/                 one file a process

`hedgerow up`, the end-to-end tests and the benchmarks all start it here.
"""

import asyncio
import logging
import os
import random
import socket
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import Struct

from hedgerow.children import Child, ChildError

log = logging.getLogger(__name__)

START_DEADLINE_S = 30.0
GIVE_UP_RESTARTS = 3
"""A process that was started again so often will not come up: say so before the deadline."""
POLL_S = 0.02


PROTOCOLS = ("modbus", "serial", "ble")
"""What is mapped, in one process: two more take 1.4 MB more than one alone."""


class Ports(Struct):
    """Where each part listens, on loopback."""

    kubernetes: int = 6443
    cloud: int = 10000
    mqtt: int = 1883
    kubelet: int = 10250

    @classmethod
    def free(cls) -> "Ports":
        """The usual ports where they are free, others where they are not."""
        usual = cls()
        return cls(*(free_port(port) for port in (usual.kubernetes, usual.cloud, usual.mqtt, usual.kubelet)))

    @classmethod
    def any(cls) -> "Ports":
        """Ports nobody else is likely to want: for tests that run side by side."""
        # Below the system's ephemeral range: a client that retries while nobody listens could connect to itself there,
        # and so keep the port from the server.
        return cls(*(free_port(port) for port in random.sample(range(20_000, 32_000), 4)))


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
        edge: dict[str, Any] | None = None,
    ) -> None:
        """`kubeconfig` of a real cluster leaves the embedded API out; `cloud_port` is where the edge looks for the cloud, when
        something lies between; `cloud` are further keys of cloudcore.yaml, `edge` of edgecore.yaml."""
        self.folder = folder.absolute()
        self.node = node
        self.ports = ports or Ports.free()
        self._embedded = kubeconfig is None
        self.kubeconfig = (kubeconfig or folder / "kubeconfig").absolute()
        self._cloud_port = cloud_port or self.ports.cloud
        self._log_level = log_level
        self._cloud = cloud or {}
        self._edge = edge or {}
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
        return [*([self.apiserver] if self._embedded else []), self.cloudcore, self.edgecore, self.mapper]

    async def start(self, *, mapper: bool = True, deadline_s: float = START_DEADLINE_S) -> None:
        """Write the configurations and start each process when what it needs is there: the Kubernetes API, cloudcore, edgecore,
        the mapper. So nobody begins with a refused connection and the back-off after it. `deadline_s` is for each; raises
        ChildError with the last words of the one that does not come up.
        """
        if self._embedded:
            served = self.folder / "kubernetes" / "kubeconfig"
            served.unlink(missing_ok=True)
            await self.apiserver.start()
            self._configure()  # while the other one starts
            await self._up(self.apiserver, "the embedded Kubernetes API does not start", served.exists, deadline_s)
            _write_secret(self.kubeconfig, served.read_bytes())
        else:
            self._configure()
        await self.cloudcore.start()
        await self._up(self.cloudcore, "cloudcore lets no gateway in", partial(listens, self.ports.cloud), deadline_s)
        await self.edgecore.start()
        await self._up(self.edgecore, "edgecore's broker does not start", partial(listens, self.ports.mqtt), deadline_s)
        if mapper:
            await self.mapper.start()

    async def stop(self) -> None:
        """Stop everything, in reverse order; at once when cancelled."""
        try:
            for child in reversed(self.children):
                await child.stop()
        except asyncio.CancelledError:
            for child in self.children:
                await child.kill()
            raise

    async def _up(
        self, child: Child, otherwise: str, condition: Callable[[], bool | Awaitable[bool]], deadline_s: float
    ) -> None:
        """Wait until a condition holds of a process, unless it dies again and again."""
        before = child.restarts

        async def decided() -> bool:
            found = condition()
            return (found if isinstance(found, bool) else await found) or child.restarts - before >= GIVE_UP_RESTARTS

        def why() -> str:
            return f"{otherwise}:\n{child.last_words()}"

        await until(decided, why, deadline_s)
        if child.restarts - before >= GIVE_UP_RESTARTS:
            raise ChildError(why())

    def _kubelet(self) -> dict[str, Any]:
        """Where the embedded API asks for the logs of pods."""
        authority = self.folder / "kubernetes" / "pki" / "ca.crt"
        ports = {"kubelet_host": "127.0.0.1", "kubelet_port": self.ports.kubelet}
        return {"kubelet_address": "127.0.0.1", **ports, "kubelet_client_ca": str(authority)}

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
        for source, name in ((authority.certificate, "ca.crt"), (node.certificate, "node.crt"), (node.key, "node.key")):
            _write_secret(edge_pki / name, source.read_bytes())
        _write(
            self.folder / "cloud" / "cloudcore.yaml",
            {
                "kubeconfig": str(self.kubeconfig),
                "host": "127.0.0.1",
                "port": self.ports.cloud,
                "ca": str(authority.certificate),
                "certificate": str(server.certificate),
                "key": str(server.key),
                **(self._kubelet() if self._embedded else {}),
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
                "edged": {"runtime": "process", "leave_running": False},
                "log_level": self._log_level,
                **self._edge,
            },
        )
        _write(
            self.folder / "mapper" / "mapper.yaml",
            {
                "mappers": [{"protocol": protocol} for protocol in PROTOCOLS],
                "broker": {"port": self.ports.mqtt},
                "log_level": self._log_level,
            },
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


async def listens(port: int) -> bool:
    """Whether somebody takes connections on a loopback port."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def _write(path: Path, content: dict[str, Any]) -> None:
    import yaml

    _write_secret(path, yaml.safe_dump(content, sort_keys=False).encode())


def _write_secret(path: Path, content: bytes) -> None:
    """Write a file that is never, not even for an instant, anybody else's to read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    new.replace(path)
