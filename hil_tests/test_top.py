"""`kubectl top` of gateways and their pods, through the whole stack; and the text that metrics-server reads."""

import asyncio
import re
import ssl
from typing import Any

import aiohttp
import pytest

from hil_tests.conftest import NODE
from hil_tests.test_pods import Gateway, gateway, pod

__all__ = ["gateway"]

pytestmark = pytest.mark.timeout(180)

BURNS = "while :; do :; done"
RESTS = "trap 'exit 0' TERM; while :; do sleep 1; done"


def figures(printed: str) -> dict[tuple[str, ...], tuple[int, int]]:
    """What comes before the figures of each row -> millicores and MiB."""
    rows = [line.split() for line in printed.splitlines()[1:]]
    found = {}
    for row in rows:
        cpu = next(n for n, word in enumerate(row) if re.fullmatch(r"\d+m", word))
        memory = next(word for word in row if re.fullmatch(r"\d+Mi", word))
        found[tuple(row[:cpu])] = int(row[cpu][:-1]), int(memory[:-2])
    return found


async def test_kubectl_top_shows_who_burns_and_who_waits(gateway: Gateway) -> None:
    made = pod("burns", BURNS)
    made["spec"]["containers"].append({**made["spec"]["containers"][0], "name": "side", "command": ["sh", "-c", RESTS]})
    await gateway.apply(made, pod("waits", RESTS))
    await gateway.wait_ready("burns")
    await gateway.wait_ready("waits")
    seen: dict[tuple[str, ...], tuple[int, int]] = {}

    async def burns() -> bool:
        nonlocal seen
        seen = figures(await gateway.kubectl("top", "pod", "--containers"))
        others = [cpu for key, (cpu, _) in seen.items() if key != ("burns", "c")]
        return len(others) == 2 and seen["burns", "c"][0] >= max(20, *(3 * cpu for cpu in others))

    await gateway.until(burns, "one burns, whatever else the machine has to do")
    assert set(seen) == {("burns", "c"), ("burns", "side"), ("waits", "c")}
    nodes = figures(await gateway.kubectl("top", "node"))
    assert nodes[(NODE,)][0] >= 20
    assert nodes[(NODE,)][1] > 10
    assert figures(await gateway.kubectl("top", "pod", "-A", "-l", "app=none") or "\n") == {}
    only = figures(await gateway.kubectl("top", "pod", "waits"))
    assert set(only) == {("waits",)}


async def test_metrics_server_can_read_it_and_a_gateway_that_is_away_keeps_nobody_waiting(gateway: Gateway) -> None:
    await gateway.apply(pod("burns", BURNS))
    await gateway.wait_ready("burns")
    node: dict[str, Any] = await gateway.get("node", NODE)
    path = node["metadata"]["annotations"]["metrics.k8s.io/resource-metrics-path"]
    port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    url = f"https://127.0.0.1:{port}{path}"
    connector = aiohttp.TCPConnector(ssl=context)
    async with asyncio.timeout(40), aiohttp.ClientSession(connector=connector) as client, client.get(url) as answer:
        assert answer.status == 401
    [key] = gateway.folder.rglob("kubelet-client.key")
    context.load_cert_chain(key.with_suffix(".crt"), key)
    connector = aiohttp.TCPConnector(ssl=context)
    async with asyncio.timeout(40), aiohttp.ClientSession(connector=connector) as client, client.get(url) as answer:
        text = await answer.text()
    assert answer.status == 200, text
    [sample] = [line for line in text.splitlines() if line.startswith("container_cpu_usage_seconds_total{")]
    assert sample.startswith('container_cpu_usage_seconds_total{container="c",namespace="default",pod="burns"} ')

    await gateway.stack.edgecore.kill()

    async def away() -> bool:
        printed = await gateway.kubectl("top", "node", NODE, ok=False)
        return f'nodemetrics.metrics.k8s.io "{NODE}" not found' in printed

    await gateway.until(away, "its node has no metrics")
    printed = await gateway.kubectl("top", "pod", "burns", ok=False)
    assert 'podmetrics.metrics.k8s.io "default/burns" not found' in printed
