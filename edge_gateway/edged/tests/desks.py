"""A runtime as edgecore has it, with a note of what ended: plain processes, and Podman, for the same tests."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from edge_gateway.edged.cgroups import Cgroups
from edge_gateway.edged.podman import PodmanRuntime
from edge_gateway.edged.podman_cli import Podman
from edge_gateway.edged.podman_images import Images
from edge_gateway.edged.podman_store import ImageStore
from edge_gateway.edged.pods import Pod
from edge_gateway.edged.process import ProcessRuntime
from edge_gateway.edged.runtime import Exit, RunId, Running, Runtime, StartOrder
from edge_gateway.edged.tests.bench import a_container, a_pod
from edgewire.resource import Resource
from hil_tests.bench.podman_storage import IMAGE

DEADLINE_S = 40.0
NO_CGROUPS = PROFILES = Path("/nonexistent")


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for what tells nobody that it has come about."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 (processes tell nobody)
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {DEADLINE_S:.0f} s: {what}") from None


class Desk:
    """What both have."""

    image = "none"

    def __init__(self, folder: Path, runtime: Runtime) -> None:
        self.folder = folder
        self.ended: dict[RunId, Exit] = {}
        self.runtime = runtime
        self.told: list[tuple[str, str]] = []

    async def open(self) -> list[Running]:
        return await self.runtime.open(self.ended.__setitem__)

    def pod(self, script: str, container: str = "c", **spec: Any) -> Pod:
        return a_pod(a_container(container, **{"image": self.image, "command": ["sh", "-c", script], **spec}))

    def order(self, script: str, attempt: int = 0, container: str = "c", **more: Any) -> StartOrder:
        spec = {
            name: more.pop(name)
            for name in (
                "securityContext",
                "workingDir",
                "resources",
                "image",
                "imagePullPolicy",
                "terminationMessagePath",
            )
            if name in more
        }
        command = tuple(more.pop("command", ("sh", "-c", script)))
        pod = more.pop("pod", None) or self.pod(script, container, command=[*command], **spec)
        log = self.folder / "logs" / container / f"{attempt}.log"
        id = RunId(pod.uid, container, attempt)
        env = more.pop("env", {})
        of = pod.container(container)
        assert of is not None

        def tell(reason: str, message: str) -> None:
            self.told.append((reason, message))

        return StartOrder(id, pod, of, command, env, log=log, tell=tell, **more)

    async def start(self, script: str, **more: Any) -> StartOrder:
        order = self.order(script, **more)
        await self.runtime.prepare(order.pod)
        await self.runtime.start(order)
        return order

    async def exit(self, order: StartOrder) -> Exit:
        await until(lambda: order.id in self.ended, f"{order.id} ends")
        return self.ended[order.id]

    def says(self, order: StartOrder) -> list[str]:
        """The lines of its log, without times."""
        return [line.split(" ", 3)[3] for line in order.log.read_text().splitlines()] if order.log.exists() else []


class ProcessDesk(Desk):
    """Plain processes."""

    def __init__(self, folder: Path, cgroups: Cgroups | None = None) -> None:
        self.cgroups = cgroups or Cgroups("test", NO_CGROUPS)
        super().__init__(folder, ProcessRuntime(folder / "processes", self.cgroups))

    def keeper(self) -> psutil.Process:
        [found] = [
            p for p in psutil.process_iter(["cmdline"]) if str(self.folder / "processes") in (p.info["cmdline"] or [])
        ]
        return found

    async def end(self) -> None:
        """Stop everything, the keeper last."""
        await self.runtime.close()
        for process in psutil.process_iter(["cmdline"]):
            if str(self.folder / "processes") in (process.info["cmdline"] or []):
                children = process.children(recursive=True)
                for child in children:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.kill()
                process.kill()
        self.cgroups.sweep()


class PodmanDesk(Desk):
    """Podman; where its storage is, the environment says."""

    image = IMAGE

    def __init__(self, folder: Path) -> None:
        self.secrets: dict[Resource, bytes] = {}
        podman = Podman(folder / "podman")
        images = Images(podman, self.secrets.get, folder / "memory", ImageStore(podman))
        super().__init__(folder, PodmanRuntime("test", podman, images, PROFILES))

    async def end(self) -> None:
        """Edgecore stops."""
        await self.runtime.close()
