"""Who may do what, on a real kube-apiserver: cloudcore as a pod's service account, and who asks cloudcore what a node uses."""

import asyncio
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from kubernetes.aio.config import incluster_config

from cloud.kube import Kube
from cloud.objects import NAMESPACES, NODES
from hil_tests.bench.cluster_site import ClusterSite, running
from hil_tests.bench.kubernetes_cluster import KubernetesCluster

pytestmark = [pytest.mark.real_cluster, pytest.mark.timeout(300)]


def token_of(cluster: KubernetesCluster, namespace: str, name: str) -> str:
    """A service account's token."""
    content = yaml.safe_load(cluster.account(namespace, name).read_text())
    token: str = content["users"][0]["user"]["token"]
    return token


async def test_in_a_pod_the_service_account_is_used_and_its_token_read_again_when_it_is_refused(
    real_cluster: KubernetesCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("expired")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(real_cluster.ca))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(real_cluster.port))
    kube = Kube(None)
    try:
        assert (await kube.get(NODES.path())).status == 401
        token.write_text(token_of(real_cluster, "hedgerow", "cloudcore"))
        assert (await kube.get(NODES.path())).status == 200
        assert (await kube.get(NAMESPACES.path())).status == 403
    finally:
        await kube.close()


async def test_what_a_node_uses_is_told_to_whom_the_cluster_lets(
    tmp_path: Path, real_cluster: KubernetesCluster
) -> None:
    async with running(ClusterSite(tmp_path, real_cluster)) as site:
        for name in ("scraper", "nobody"):
            await site.kubectl("create", "serviceaccount", name)
        right = f"{site.namespace}-metrics"
        await site.kubectl("create", "clusterrole", right, "--verb=get", "--resource=nodes/metrics")
        try:
            who = f"--serviceaccount={site.namespace}:scraper"
            await site.kubectl("create", "clusterrolebinding", right, f"--clusterrole={right}", who)
            url = f"https://127.0.0.1:{site.stack.ports.kubelet}/nodes/{site.node}/metrics/resource"

            def asked(name: str) -> tuple[int, str]:
                token = "wrong" if name == "stranger" else token_of(real_cluster, site.namespace, name)
                context = ssl.create_default_context(cafile=str(real_cluster.ca))
                request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
                try:
                    with urllib.request.urlopen(request, timeout=20, context=context) as answer:
                        return answer.status, answer.read().decode()
                except urllib.error.HTTPError as error:
                    with error:
                        return error.code, ""

            status, said = await asyncio.to_thread(asked, "scraper")
            assert status == 200
            assert "node_memory_working_set_bytes" in said
            assert (await asyncio.to_thread(asked, "nobody"))[0] == 403
            assert (await asyncio.to_thread(asked, "stranger"))[0] == 401
        finally:
            await site.kubectl("delete", "clusterrole,clusterrolebinding", right)
