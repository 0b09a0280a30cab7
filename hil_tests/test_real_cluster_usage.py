"""What a gateway's pods use, as metrics-server asks for it: on a real kube-apiserver, which says who may know."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from hil_tests.bench.cluster_site import ClusterSite, running
from hil_tests.bench.kubernetes_cluster import KubernetesCluster

pytestmark = [pytest.mark.real_cluster, pytest.mark.timeout(300)]

DEADLINE_S = 40.0


@pytest.fixture
async def site(tmp_path: Path, real_cluster: KubernetesCluster) -> AsyncIterator[ClusterSite]:
    async with running(ClusterSite(tmp_path, real_cluster)) as site:
        yield site


async def token(site: ClusterSite, account: str) -> str:
    """Of a new service account of the site's namespace."""
    await site.kubectl("create", "serviceaccount", account)
    kubeconfig = await asyncio.to_thread(site.cluster.account, site.namespace, account)
    found: str = yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["token"]
    return found


async def asked(site: ClusterSite, node: dict[str, Any], token: str) -> tuple[int, str]:
    """What metrics-server would be answered, by the Node's annotation, address and port."""
    path = node["metadata"]["annotations"]["metrics.k8s.io/resource-metrics-path"]
    port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    [address] = [a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalDNS"]
    context = await asyncio.to_thread(ssl.create_default_context, cafile=str(site.cluster.ca))
    headers = {"Authorization": f"Bearer {token}"}
    connector = aiohttp.TCPConnector(ssl=context)
    async with (
        asyncio.timeout(DEADLINE_S),
        aiohttp.ClientSession(connector=connector, headers=headers) as client,
        client.get(f"https://{address}:{port}{path}") as answer,
    ):
        return answer.status, await answer.text()


async def test_who_may_get_nodes_metrics_learns_what_pods_use_and_nobody_else(site: ClusterSite) -> None:
    await site.apply(site.pod("burns", "while :; do :; done"))
    await site.wait("pod/burns", "condition=Ready")
    node = await site.get("node", site.node)
    reader, other = await token(site, "metrics-reader"), await token(site, "other")
    role = f"metrics-{site.namespace}"
    await site.kubectl("create", "clusterrole", role, "--verb=get", "--resource=nodes/metrics")
    bound = f"--serviceaccount={site.namespace}:metrics-reader"
    await site.kubectl("create", "clusterrolebinding", role, f"--clusterrole={role}", bound)
    try:
        # A refusal is remembered for a while: the API server has to have heard of the role.
        who = f"--as=system:serviceaccount:{site.namespace}:metrics-reader"

        async def may() -> bool:
            said = await site.kubectl("auth", "can-i", "get", "nodes", "--subresource=metrics", who, ok=False)
            return said.split()[-1:] == ["yes"]  # behind a warning that nodes are in no namespace

        await site.until(may, "the reader has its role")
        status, text = await asked(site, node, reader)
        assert status == 200, text
        [used] = [line for line in text.splitlines() if line.startswith("container_cpu_usage_seconds_total{")]
        assert f'container="c",namespace="{site.namespace}",pod="burns"' in used
        assert (await asked(site, node, other))[0] == 403
        assert (await asked(site, node, "nobody's"))[0] == 401
    finally:
        await site.kubectl("delete", "clusterrolebinding,clusterrole", role, ok=False)
        await site.kubectl("delete", "clusterrole", role, ok=False)


async def test_kube_apiserver_passes_on_the_summary_of_a_node(site: ClusterSite) -> None:
    await site.apply(site.pod("web", "while :; do sleep 0.1; done"))
    await site.wait("pod/web", "condition=Ready")
    path = f"/api/v1/nodes/{site.node}/proxy/nodes/{site.node}/stats/summary"
    found = json.loads(await site.kubectl("get", "--raw", path))
    assert found["node"]["nodeName"] == site.node
    assert found["node"]["memory"]["workingSetBytes"] > 0
    assert [pod["podRef"]["name"] for pod in found["pods"]] == ["web"]
