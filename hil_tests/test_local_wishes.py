"""Desired values that an application sets at the gateway, by its local API, while the cloud is away; and what becomes of them."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from hil_tests.conftest import Site, running_site

DEVICE = "/apis/devices.kubeedge.io/v1beta1/namespaces/default/devices/one"


@pytest.mark.timeout(300)
async def test_a_local_wish_counts(tmp_path: Path) -> None:
    async with running_site(tmp_path, edge={"local_api": {"port": None}}) as site:
        api = site.stack.folder / "edge" / "local-api" / "api.sock"
        await site.cluster.set_desired("default/one", "count", "1")
        await site.until("the gateway follows the cloud", lambda: _observed(site) == "1", 60.0)
        await site.stack.cloudcore.stop()
        wish = {"spec": {"properties": [{"name": "count", "desired": {"value": "5"}}]}}
        assert _desired(await asyncio.to_thread(_ask, api, "PATCH", wish)) == "5"
        await site.stack.edgecore.kill()
        await site.stack.edgecore.start()
        await site.stack.cloudcore.start()
        await site.until("Kubernetes sees what counts on site", lambda: _observed(site) == "5", 90.0)
        assert _desired(await asyncio.to_thread(_ask, api, "GET")) == "5"
        await site.cluster.set_desired("default/one", "count", "9")
        await site.until("a newer wish in the cloud replaces it", lambda: _observed(site) == "9", 60.0)
        assert _desired(await asyncio.to_thread(_ask, api, "GET")) == "9"


def _ask(api: Path, method: str, body: Any = None) -> Any:
    """The answer's object."""
    raw = json.dumps(body).encode() if body is not None else b""
    head = f"{method} {DEVICE} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nContent-Length: {len(raw)}\r\n"
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(api))
        client.sendall(head.encode() + b"Content-Type: application/merge-patch+json\r\n\r\n" + raw)
        answer = b""
        while data := client.recv(65536):
            answer += data
    top, _, content = answer.partition(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.1 200"), answer
    return json.loads(content)


def _desired(device: Any) -> str:
    return str(next(p["desired"]["value"] for p in device["spec"]["properties"] if p["name"] == "count"))


def _observed(site: Site) -> str | None:
    view = site.cluster.devices["default/one"]
    return next((t.observed_desired.value for t in view.status.twins if t.observed_desired is not None), None)
