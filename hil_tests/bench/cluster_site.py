"""A gateway and cloudcore on a real control plane: the namespace and the node are this site's own, cloudcore has the rights of
`cloud/manifests/rbac.yaml` and no others, and kubectl is the user."""

import asyncio
import json
import secrets
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from cloud import issuing
from hedgerow.stack import Ports, Stack
from hil_tests.bench.kubernetes_cluster import KubernetesCluster

MANIFESTS = Path(__file__).parents[2] / "cloud" / "manifests"
DEADLINE_S = 60.0
READY = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"


def install(cluster: KubernetesCluster) -> None:
    """What an administrator applies before cloudcore runs."""
    command = ["kubectl", "--kubeconfig", str(cluster.admin), "apply"]
    files = [f"--filename={MANIFESTS / name}" for name in ("rbac.yaml", "deployment.yaml")]
    subprocess.run([*command, *files], check=True, timeout=DEADLINE_S, stdout=subprocess.DEVNULL)
    # The image is nowhere to be had: its cloudcore would wait for ever, this one's takes its place.
    subprocess.run(
        [*command[:-1], "scale", "--replicas=0", "--namespace=hedgerow", "deployment/cloudcore"],
        check=True,
        timeout=DEADLINE_S,
        stdout=subprocess.DEVNULL,
    )


def stack_of(
    folder: Path,
    cluster: KubernetesCluster,
    *,
    node: str,
    cloud_port: int | None = None,
    ports: Ports | None = None,
    edge: dict[str, Any] | None = None,
) -> Stack:
    """cloudcore with the rights of its service account, and a gateway."""
    folder.mkdir(exist_ok=True)
    ports = ports or Ports.any()
    account = cluster.account("hedgerow", "cloudcore")
    kubelet = _kubelet(folder, cluster, ports.kubelet)
    return Stack(folder, node=node, ports=ports, kubeconfig=account, cloud_port=cloud_port, cloud=kubelet, edge=edge)


class ClusterSite:
    """One gateway."""

    def __init__(
        self,
        folder: Path,
        cluster: KubernetesCluster,
        *,
        cloud_port: int | None = None,
        ports: Ports | None = None,
        edge: dict[str, Any] | None = None,
    ) -> None:
        """As `Stack` has it."""
        self.cluster = cluster
        self.node = f"gateway-{secrets.token_hex(3)}"
        self.namespace = f"site-{secrets.token_hex(3)}"
        self.stack = stack_of(folder, cluster, node=self.node, cloud_port=cloud_port, ports=ports, edge=edge)

    async def kubectl(self, *arguments: str, give: str = "", ok: bool = True) -> str:
        """What kubectl prints, as an administrator in the namespace; `give` is its input."""
        process = await asyncio.create_subprocess_exec(
            *("kubectl", "--kubeconfig", str(self.cluster.admin), "--namespace", self.namespace, *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(DEADLINE_S):
                printed, _ = await process.communicate(give.encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert not ok or process.returncode == 0, printed.decode()
        return printed.decode()

    async def apply(self, *manifests: dict[str, Any]) -> None:
        """`kubectl apply`, in the namespace."""
        await self.kubectl(
            "apply", "-f", "-", give=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
        )

    async def get(self, kind: str, name: str) -> dict[str, Any]:
        """An object."""
        found: dict[str, Any] = json.loads(await self.kubectl("get", kind, name, "-o", "json"))
        return found

    async def wait(self, what: str, condition: str) -> None:
        """`kubectl wait`."""
        await self.kubectl("wait", what, f"--for={condition}", f"--timeout={DEADLINE_S - 5:.0f}s")

    async def until(self, condition: Callable[[], bool | Awaitable[bool]], what: str) -> None:
        """Wait until a condition holds."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    found = condition()
                    if found if isinstance(found, bool) else await found:
                        return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not within {DEADLINE_S:.0f} s: {what}") from None

    async def until_says(self, says: str, *arguments: str) -> None:
        """Wait until kubectl prints exactly that."""
        printed = ""

        async def holds() -> bool:
            nonlocal printed
            printed = (await self.kubectl(*arguments, ok=False)).strip()
            return printed == says

        try:
            await self.until(holds, f"kubectl {' '.join(arguments)} says {says}")
        except AssertionError as error:
            raise AssertionError(f"{error}, but {printed}") from None

    async def until_ready(self, status: str = "True") -> None:
        """Wait until Kubernetes calls the node ready, or whatever is asked for."""
        await self.until_says(status, "get", "node", self.node, "-o", READY)

    def pod(self, name: str, script: str, **spec: Any) -> dict[str, Any]:
        """A pod of one shell script in container `c`, for this gateway."""
        container = {"name": "c", "image": "none", "command": ["sh", "-c", script], **spec.pop("container", {})}
        chosen = {"nodeSelector": {"site": self.namespace}, "terminationGracePeriodSeconds": 5}
        whole = {"containers": [container], **chosen, **spec}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": whole}

    def says(self, pod: str) -> list[str]:
        """The lines of a pod's container, from the gateway's disk."""
        files = self.stack.folder.glob(f"edge/logs/pods/{self.namespace}_{pod}_*/c/0.log")
        return [line.split(" ", 3)[3] for file in files for line in file.read_text().splitlines()]

    def complaints(self) -> list[str]:
        """What cloudcore could not do, of its log."""
        log = (self.stack.folder / "logs" / "cloudcore.log").read_text(errors="replace")
        return [line for line in log.splitlines() if "rejected" in line or "Traceback" in line or "status=403" in line]


@asynccontextmanager
async def running(site: ClusterSite) -> AsyncIterator[ClusterSite]:
    """Start it, with a namespace in which pods can be made and a node that is ready; leave nothing behind."""
    try:
        await site.kubectl("create", "namespace", site.namespace)
        await site.stack.start(mapper=False)
        await site.until_ready()
        await site.kubectl("label", "node", site.node, f"site={site.namespace}")
        await site.until_says("default", "get", "serviceaccount", "default", "-o", "jsonpath={.metadata.name}")
        yield site
        assert site.complaints() == []
    finally:
        await site.stack.stop()
        await site.kubectl("delete", "namespace", site.namespace, "--wait=false", ok=False)
        await site.kubectl("delete", "node", site.node, "--wait=false", ok=False)


def _kubelet(folder: Path, cluster: KubernetesCluster, port: int) -> dict[str, Any]:
    """Where kube-apiserver asks for logs, and with a certificate that it believes."""
    made = issuing.issue(
        cluster.authority(), "cloudcore", issuing.SERVER, timedelta(days=1), hosts=[issuing.general_name("127.0.0.1")]
    )
    files = {"kubelet_certificate": made.certificate_pem, "kubelet_key": made.key_pem}
    for name, content in files.items():
        (folder / f"{name}.pem").write_bytes(content)
    return {
        "kubelet_address": "127.0.0.1",
        "kubelet_host": "127.0.0.1",
        "kubelet_port": port,
        "kubelet_client_ca": str(cluster.ca),
        **{name: str(folder / f"{name}.pem") for name in files},
    }
