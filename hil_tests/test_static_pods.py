"""Pods from a folder of the gateway, as kubectl sees them: shown, read from and talked to like others, and not to be deleted."""

import json
from typing import Any

from hil_tests.conftest import NODE
from hil_tests.test_pods import DEADLINE_S, WAITS, Gateway, any_runtime, gateway, pod

__all__ = ["gateway"]


@any_runtime
async def test_a_pod_from_a_file_is_shown_and_goes_with_its_file_only(gateway: Gateway) -> None:
    folder, name = gateway.folder / "edge" / "static", f"web-{NODE}"
    folder.mkdir()
    (folder / "bad.json").write_text("{")
    written = json.dumps(pod("web", f"echo up; {WAITS}")).replace('"image": "none"', f'"image": "{gateway.image}"')
    (folder / "web.json").write_text(written)

    async def shown() -> bool:
        return "1/1" in await gateway.kubectl("get", "pod", name, ok=False)

    async def told() -> bool:
        return "bad.json: it cannot be read" in await gateway.kubectl("describe", "node", NODE)

    await gateway.until(shown, "it is shown")
    first = await gateway.get("pod", name)
    assert first["metadata"]["annotations"]["kubernetes.io/config.source"] == "file"
    assert first["metadata"]["ownerReferences"][0]["name"] == NODE
    assert "Started container c" in await gateway.kubectl("describe", "pod", name)
    await gateway.until(told, "the bad file is told")
    assert await gateway.kubectl("logs", name) == "up\n"
    assert "hello\n" in await gateway.kubectl("exec", name, "--", "echo", "hello")
    await gateway.kubectl("delete", "pod", name, "--wait=false")

    async def again() -> bool:
        printed = await gateway.kubectl("get", "pod", name, "-o", "json", ok=False)
        found: dict[str, Any] = json.loads(printed) if printed.startswith("{") else first
        return found["metadata"]["uid"] != first["metadata"]["uid"] and await shown()

    await gateway.until(again, "the mirror is made again")
    assert gateway.says(name) == ["up"]
    assert gateway.containers() == 1
    (folder / "web.json").unlink()
    await gateway.kubectl("wait", f"pod/{name}", "--for=delete", f"--timeout={DEADLINE_S:.0f}s")
    await gateway.until(lambda: gateway.containers() == 0, "it has stopped")


async def test_a_pod_from_a_file_runs_before_the_gateway_ever_had_a_cloud(gateway: Gateway) -> None:
    await gateway.stack.edgecore.stop()
    await gateway.stack.cloudcore.stop()
    for file in (gateway.folder / "edge").glob("edge.db*"):
        file.unlink()
    folder, name = gateway.folder / "edge" / "static", f"web-{NODE}"
    folder.mkdir()
    (folder / "web.json").write_text(json.dumps(pod("web", f"echo up; {WAITS}")))
    await gateway.stack.edgecore.start()
    await gateway.until(lambda: gateway.says(name) == ["up"], "it runs")
    assert name not in await gateway.kubectl("get", "pods")
    await gateway.stack.cloudcore.start()

    async def shown() -> bool:
        return "1/1" in await gateway.kubectl("get", "pod", name, ok=False)

    await gateway.until(shown, "it is shown once there is a cloud")
    assert gateway.says(name) == ["up"]
