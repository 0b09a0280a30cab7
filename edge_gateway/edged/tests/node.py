"""A node as edgecore has it, with real processes: the core, the store, Edged; the cloud is played by the test."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import psutil

from edge_gateway.edge_core import EdgeCore
from edge_gateway.edged.cgroups import Cgroups
from edge_gateway.edged.orders import Orders
from edge_gateway.edged.process import ProcessRuntime
from edge_gateway.edged.service import Edged
from edge_gateway.edged.static_pods import StaticPods
from edge_gateway.edged.tests.bench import FACTS
from edge_gateway.edged.volumes import Volumes
from edge_gateway.sealing import KEY_BYTES, Seal
from edge_gateway.store.memory import MemoryStore
from edge_gateway.store.sqlite import SqliteStore
from edgewire import message as wire

DEADLINE_S = 30.0


def manifest(name: str = "web", uid: str = "u1", *scripts: str, **spec: Any) -> dict[str, Any]:
    """A pod of shell scripts: containers c0, c1, …"""
    containers = [
        {"name": f"c{number}", "image": "none", "command": ["sh", "-c", script]}
        for number, script in enumerate(scripts or ("trap exit TERM; while :; do sleep 0.05; done",))
    ]
    spec = {"containers": containers, "terminationGracePeriodSeconds": 5, **spec}
    return {"metadata": {"name": name, "namespace": "default", "uid": uid, "resourceVersion": "1"}, "spec": spec}


class Node:
    """What is on disk stays when it is restarted; what is in memory does not."""

    def __init__(
        self,
        folder: Path,
        store: MemoryStore | SqliteStore | None = None,
        max_pods: int = 110,
        static: Path | None = None,
        look_at_disk_s: float = 0.1,
        *,
        leave_running: bool = True,
    ) -> None:
        self.folder = folder
        self.store = store or MemoryStore()
        self.core = EdgeCore("edge1", wanted=lambda topic: False, machine={}, seal=Seal(bytes(KEY_BYTES)))
        self.store.write(self.core.restore(self.store, 0).changes)
        self.changed = asyncio.Event()
        self.marked: list[str] = []
        self.logs = folder / "logs"
        runtime = ProcessRuntime(folder / "processes", Cgroups("test", Path("/nonexistent")))
        volumes = Volumes(folder / "disk", folder / "memory", FACTS, self.core.content_of)
        orders = Orders(FACTS, self.core.content_of, volumes, self.logs)
        self.static = static
        found = StaticPods(static, "edge1", period_s=0.1) if static is not None else None
        self.edged = Edged(
            *(self.core, self.store, runtime, volumes, orders, self._mark),
            leave_running=leave_running,
            max_pods=max_pods,
            static=found,
            look_at_disk_s=look_at_disk_s,
        )
        self._task: asyncio.Task[None] | None = None

    def _mark(self, keys: list[str]) -> None:
        self.marked += keys
        self.changed.set()

    async def start(self) -> "Node":
        ready = asyncio.Event()
        self._task = asyncio.create_task(self.edged.run(ready))
        waiting = asyncio.create_task(ready.wait())
        done, _ = await asyncio.wait({self._task, waiting}, timeout=DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
        assert waiting in done, self._task
        return self

    async def stop(self) -> None:
        """edgecore stops; the pods go on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def restarted(self) -> "Node":
        """edgecore comes back, from the store."""
        await self.stop()
        return await Node(self.folder, self.store, static=self.static).start()

    async def end(self) -> None:
        """Everything ends, the keeper too."""
        await self.stop()
        for keeper in self.keepers():
            children = keeper.children(recursive=True)
            keeper.kill()  # first, so that it notes no ends, as in a power cut
            await self.until(partial(is_over, keeper), "the keeper is gone")
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()

    # The cloud

    def send(self, type: str, object: dict[str, Any], operation: str = wire.UPDATE) -> None:
        """The cloud sends an object."""
        metadata = object["metadata"]
        name = f"{metadata.get('namespace', 'default')}/{type}/{metadata['name']}"
        message = wire.build(operation, name, object, source="test", resource_version="1")
        effects = self.core.from_cloud(message, 0)
        self.store.write(effects.changes, lambda: self.edged.objects_changed(effects.objects))

    def pod(self, *scripts: str, name: str = "web", uid: str = "u1", **spec: Any) -> dict[str, Any]:
        """The cloud sends a pod."""
        made = manifest(name, uid, *scripts, **spec)
        self.send("pod", made)
        return made

    def delete(self, pod: dict[str, Any], grace_s: int = 5) -> None:
        """Somebody deletes a pod; it is there until the node says that it has stopped."""
        marks = {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace_s}
        self.send("pod", {**pod, "metadata": {**pod["metadata"], **marks}})

    def gone(self, object: dict[str, Any], type: str = "pod") -> None:
        """The object is no more."""
        self.send(type, object, wire.DELETE)

    def told(self, name: str = "web") -> dict[str, Any]:
        """The newest report of a pod; empty when there is none."""
        message = self.core.pods.message_for(f"default/podstatus/{name}")
        return message.read(dict[str, Any]) if message is not None else {}

    def status(self, name: str = "web") -> dict[str, Any]:
        found: dict[str, Any] = self.told(name).get("status", {})
        return found

    def events(self, reason: str = "") -> list[tuple[str, str]]:
        """Reason and message of every event so far, or of those with this reason."""
        found = []
        for key in self.core.pods.dirty_keys():
            message = self.core.pods.message_for(key)
            if "/event/" in key and message is not None:
                event = message.read(dict[str, Any])
                found.append((event["reason"], event["message"]))
        return [event for event in found if reason in ("", event[0])]

    async def until(self, condition: Callable[[], object], what: str) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not condition():  # noqa: ASYNC110 (files and processes tell nobody)
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"not within {DEADLINE_S:.0f} s: {what}; {self.told()}; {self.events()}") from None

    async def until_phase(self, phase: str, name: str = "web") -> None:
        await self.until(lambda: self.status(name).get("phase") == phase, f"{name} is {phase}")

    def says(self, container: str = "c0", attempt: int = 0, name: str = "web", uid: str = "u1") -> list[str]:
        """The lines of a container's log."""
        file = self.logs / f"default_{name}_{uid}" / container / f"{attempt}.log"
        return [line.split(" ", 3)[3] for line in file.read_text().splitlines()] if file.exists() else []

    def alive(self) -> int:
        """How many processes the keeper has, by its notes."""
        found = 0
        for note in (self.folder / "processes" / "runs").glob("*.json"):
            with contextlib.suppress(FileNotFoundError):  # forgotten meanwhile
                found += json.loads(note.read_bytes())["exit"] is None
        return found

    def keepers(self) -> list[psutil.Process]:
        """The processes' parent, while there is one."""
        folder = str(self.folder / "processes")
        return [process for process in psutil.process_iter(["cmdline"]) if folder in (process.info["cmdline"] or [])]


def is_over(process: psutil.Process) -> bool:
    """Whether a process has ended; that nobody has taken note of it yet, which may take its parent a second, does not matter."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def settings(**data: str) -> dict[str, Any]:
    """A ConfigMap."""
    return {"metadata": {"name": "settings", "resourceVersion": msgspec.json.encode(data).decode()}, "data": data}
