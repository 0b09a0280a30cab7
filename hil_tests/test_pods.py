"""Pods of a gateway, from `kubectl apply` to real processes and back: the whole stack, with kubectl as its user.

The containers are plain processes, and Podman's where that can make a difference; what they say is in the logs that the gateway
keeps as a kubelet does.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from hedgerow.stack import Ports, Stack
from hil_tests.bench.podman_storage import IMAGE, PodmanStorage
from hil_tests.conftest import NODE, missing

DEADLINE_S = 60.0
WAITS = "trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done"


class Gateway:
    """The stack with one node, and kubectl."""

    def __init__(self, folder: Path, storage: PodmanStorage | None = None, **stack: Any) -> None:
        """`stack` is as `Stack` has it."""
        self.runtime = "process" if storage is None else "podman"
        self.image = IMAGE if storage is not None else "none"
        edged = {"runtime": self.runtime, "leave_running": False, "static_pods": "static"}
        self.stack = Stack(folder, node=NODE, edge={"edged": edged}, **{"ports": Ports.any(), **stack})
        self.folder = self.stack.folder
        self._storage = storage

    async def kubectl(self, *arguments: str, give: str = "", ok: bool = True) -> str:
        """What kubectl prints; `give` is its input."""
        process = await asyncio.create_subprocess_exec(
            "kubectl",
            *("--kubeconfig", str(self.stack.kubeconfig), *arguments),
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

    async def apply(self, *manifests: dict[str, Any], ok: bool = True) -> None:
        # As one object, and seen through by the server alone: as kubectl 1.20 can do it too.
        written = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
        written = written.replace('"image": "none"', f'"image": "{self.image}"')
        await self.kubectl("apply", "--validate=false", "-f", "-", give=written, ok=ok)

    async def get(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self.kubectl("get", kind, name, "-o", "json"))
        return found

    async def wait_ready(self, pod: str) -> None:
        await self.kubectl("wait", f"pod/{pod}", "--for=condition=Ready", f"--timeout={DEADLINE_S:.0f}s")

    def says(self, pod: str, attempt: int = 0) -> list[str]:
        """The lines of a pod's container, from the gateway's disk."""
        files = self.folder.glob(f"edge/logs/pods/default_{pod}_*/c/{attempt}.log")
        return [line.split(" ", 3)[3] for file in files for line in file.read_text().splitlines()]

    async def until(self, condition: Callable[[], bool | Awaitable[bool]], what: str) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    found = condition()
                    if found if isinstance(found, bool) else await found:
                        return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not within {DEADLINE_S:.0f} s: {what}") from None

    def keepers(self) -> list[psutil.Process]:
        """The parents of the containers."""
        folder = str(self.folder / "edge" / "processes")
        return [p for p in psutil.process_iter(["cmdline"]) if folder in (p.info["cmdline"] or [])]

    def containers(self) -> int:
        """How many run, by what runs them."""
        if self._storage is not None:
            return self._storage.containers()
        found = 0
        for note in self.folder.glob("edge/processes/runs/*.json"):
            with contextlib.suppress(FileNotFoundError):  # forgotten meanwhile
                found += json.loads(note.read_bytes())["exit"] is None
        return found

    def power_cut(self) -> None:
        """Everything that the gateway runs is gone at once, and its next start is another of the machine's."""
        if self._storage is not None:
            self._storage.power_cut()
        for keeper in self.keepers():
            children = keeper.children(recursive=True)
            keeper.kill()
            keeper.wait(DEADLINE_S)
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()


any_runtime = pytest.mark.parametrize("gateway", ["process", "podman"], indirect=True)


@pytest.fixture
async def gateway(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Gateway]:
    if shutil.which("kubectl") is None:
        missing("kubectl is not installed")
    storage: PodmanStorage | None = None
    if getattr(request, "param", "") == "podman":
        storage = request.getfixturevalue("podman_storage")
        for name, value in storage.env.items():
            monkeypatch.setenv(name, value)
    gateway = Gateway(tmp_path, storage)
    try:
        await gateway.stack.start(mapper=False)
        await gateway.until(lambda: _is_ready(gateway), "the node is ready")
        yield gateway
    finally:
        await gateway.stack.stop()
        if storage is not None:
            storage.clear()
        else:
            gateway.power_cut()


async def _is_ready(gateway: Gateway) -> bool:
    return "True" in await gateway.kubectl(
        "get", "node", NODE, "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}", ok=False
    )


def pod(name: str, script: str, **spec: Any) -> dict[str, Any]:
    """A pod of one shell script in container `c`."""
    container = {"name": "c", "image": "none", "command": ["sh", "-c", script], **spec.pop("container", {})}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 5, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


@any_runtime
async def test_a_pod_is_scheduled_runs_tells_its_status_and_goes(gateway: Gateway) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"word": "hunter2"}}
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"level": "info"}}
    env = [
        {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "level"}}},
        {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "key", "key": "word"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ]
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 1}
    init = {"name": "first", "image": "none", "command": ["true"]}
    script = f'echo "$LEVEL $WORD $NODE"; {WAITS}'
    await gateway.apply(
        secret, settings, pod("web", script, container={"env": env, "readinessProbe": probe}, initContainers=[init])
    )
    await gateway.wait_ready("web")
    assert gateway.says("web") == [f"info hunter2 {NODE}"]
    status = (await gateway.get("pod", "web"))["status"]
    conditions = {c["type"]: c["status"] for c in status["conditions"]}
    assert (status["phase"], conditions["PodScheduled"], conditions["Initialized"]) == ("Running", "True", "True")
    assert status["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 0
    assert status["hostIP"]
    assert "1/1" in await gateway.kubectl("get", "pod", "web")
    described = await gateway.kubectl("describe", "pod", "web")
    assert "Started container c" in described
    assert b"hunter2" not in b"".join(file.read_bytes() for file in (gateway.folder / "edge").glob("edge.db*"))
    node = await gateway.get("node", NODE)
    assert node["metadata"]["labels"]["hedgerow.dev/runtime"] == gateway.runtime
    assert node["status"]["nodeInfo"]["containerRuntimeVersion"].startswith(f"{gateway.runtime}://")
    assert node["status"]["allocatable"]["pods"] == "110"
    await gateway.kubectl("delete", "pod", "web", f"--timeout={DEADLINE_S:.0f}s")
    await gateway.until(lambda: gateway.containers() == 0, "nothing of it runs")
    assert "web" not in await gateway.kubectl("get", "pods")


@any_runtime
async def test_a_job_like_pod_succeeds_and_one_that_cannot_run_says_why(gateway: Gateway) -> None:
    refused = pod("refused", "true")
    refused["spec"]["volumes"] = [{"name": "v", "nfs": {"server": "nas", "path": "/"}}]
    script = "echo all is well > /dev/termination-log; exit 0"
    await gateway.apply(pod("once", script, restartPolicy="Never"), refused)
    await gateway.kubectl(
        "wait", "pod/once", "--for=jsonpath={.status.phase}=Succeeded", f"--timeout={DEADLINE_S:.0f}s"
    )
    await gateway.kubectl(
        "wait", "pod/refused", "--for=jsonpath={.status.phase}=Failed", f"--timeout={DEADLINE_S:.0f}s"
    )
    if os.geteuid() == 0:  # others cannot mount the file that the words are for
        assert re.search(r"Message: +all is well", await gateway.kubectl("describe", "pod", "once"))
    assert "UnsupportedPod" in await gateway.kubectl("get", "pod", "refused")
    assert "this node has no such kind of volume" in await gateway.kubectl("describe", "pod", "refused")


@any_runtime
async def test_kill_of_edgecore_leaves_pods_running_and_starts_nothing_twice(gateway: Gateway) -> None:
    await gateway.apply(pod("web", f"echo up; {WAITS}"))
    await gateway.wait_ready("web")
    before = await gateway.get("pod", "web")
    await gateway.stack.edgecore.kill()
    assert gateway.containers() == 1
    await gateway.stack.edgecore.start()
    await gateway.until(lambda: _is_ready(gateway), "the node is back")
    await gateway.apply(pod("other", WAITS))
    await gateway.wait_ready("other")
    assert gateway.says("web") == ["up"]
    assert gateway.containers() == 2
    after = await gateway.get("pod", "web")
    assert after["status"] == before["status"]


@any_runtime
async def test_pods_come_back_without_a_cloud_and_their_status_follows(gateway: Gateway) -> None:
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"level": "info"}}
    env = {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "level"}}}
    await gateway.apply(settings, pod("web", f"echo $LEVEL; {WAITS}", container={"env": [env]}))
    await gateway.wait_ready("web")
    await gateway.stack.cloudcore.stop()
    await gateway.stack.apiserver.stop()
    await gateway.stack.edgecore.kill()
    gateway.power_cut()
    await gateway.stack.edgecore.start()
    await gateway.until(lambda: gateway.says("web", attempt=1) == ["info"], "it runs again, from the store")
    await gateway.stack.apiserver.start()
    await gateway.stack.cloudcore.start()

    async def known() -> bool:
        printed = await gateway.kubectl(
            "get", "pod", "web", "-o", "jsonpath={.status.containerStatuses[0].restartCount}", ok=False
        )
        return printed == "1"

    await gateway.until(known, "Kubernetes knows that it was started again")
    await gateway.wait_ready("web")


@any_runtime
async def test_a_pod_deleted_while_the_gateway_was_away_is_stopped_on_its_return(gateway: Gateway) -> None:
    await gateway.apply(pod("web", WAITS), pod("stays", WAITS))
    await gateway.wait_ready("web")
    await gateway.wait_ready("stays")
    await gateway.stack.edgecore.kill()
    await gateway.kubectl("delete", "pod", "web", "--wait=false")
    assert "Terminating" in await gateway.kubectl("get", "pod", "web")
    await gateway.stack.edgecore.start()
    await gateway.kubectl("wait", "pod/web", "--for=delete", f"--timeout={DEADLINE_S:.0f}s")
    await gateway.until(lambda: gateway.containers() == 1, "only the other runs")
    assert "Running" in await gateway.kubectl("get", "pod", "stays")


async def test_a_drained_node_has_no_pods_left(gateway: Gateway) -> None:
    await gateway.apply(pod("web", WAITS))
    await gateway.wait_ready("web")
    await gateway.kubectl("drain", NODE, "--force", "--ignore-daemonsets", f"--timeout={DEADLINE_S:.0f}s")
    await gateway.until(lambda: gateway.containers() == 0, "nothing runs")
    assert "SchedulingDisabled" in await gateway.kubectl("get", "node", NODE)
    await gateway.kubectl("uncordon", NODE)
    await gateway.apply(pod("again", WAITS))
    await gateway.wait_ready("again")


async def test_logs_are_read_through_the_link(gateway: Gateway) -> None:
    await gateway.apply(pod("web", f"i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; {WAITS}"))
    await gateway.wait_ready("web")
    await gateway.until(lambda: len(gateway.says("web")) == 3000, "it has spoken")
    whole = await gateway.kubectl("logs", "web")
    assert whole.splitlines() == [f"line {number}" for number in range(3000)]
    assert await gateway.kubectl("logs", "web", "--tail=2") == "line 2998\nline 2999\n"
    dated = await gateway.kubectl("logs", "web", "--tail=1", "--timestamps")
    assert dated.startswith("20")
    assert dated.endswith("Z line 2999\n")
    assert await gateway.kubectl("logs", "web", "--since=1s", "--tail=0") == ""
    assert "previous terminated container" in await gateway.kubectl("logs", "web", "--previous", ok=False)


@any_runtime
async def test_a_log_is_followed_until_its_pod_ends(gateway: Gateway) -> None:
    await gateway.apply(pod("web", f"echo one; sleep 1; echo two; {WAITS}"))
    await gateway.wait_ready("web")
    following = asyncio.create_task(gateway.kubectl("logs", "-f", "web"))
    await gateway.until(lambda: gateway.says("web") == ["one", "two"], "it has spoken")
    await gateway.kubectl("delete", "pod", "web", f"--timeout={DEADLINE_S:.0f}s")
    assert (await following).splitlines()[:3] == ["one", "two", "bye"]


async def test_the_log_of_the_container_before_is_there(gateway: Gateway) -> None:
    flag = gateway.folder / "flag"
    script = f"if [ -e {flag} ]; then echo second; {WAITS}; fi; touch {flag}; echo first; exit 1"
    await gateway.apply(pod("web", script))
    await gateway.until(lambda: gateway.says("web", attempt=1) == ["second"], "it was started again")
    await gateway.wait_ready("web")
    assert await gateway.kubectl("logs", "web") == "second\n"
    assert await gateway.kubectl("logs", "web", "--previous") == "first\n"


async def test_a_log_of_a_gateway_that_is_away_says_so(gateway: Gateway) -> None:
    await gateway.apply(pod("web", WAITS))
    await gateway.wait_ready("web")
    await gateway.stack.edgecore.kill()

    async def away() -> bool:
        return f"node {NODE} is not connected" in await gateway.kubectl("logs", "web", ok=False)

    await gateway.until(away, "it says that the node is away")
