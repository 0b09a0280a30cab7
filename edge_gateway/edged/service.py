"""Edged: the shell around the lives of this node's pods: which there are, and when each goes on.

Every event goes the same way: it is told to the pod's life, `_go_on` asks for the next actions, each becomes a task
(`performer.py`) that ends with the next event; what changed is saved, and told to the cloud once it is saved (`ledger.py`). Time
is an event too: one timer a pod.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from edge_gateway.edge_core import EdgeCore
from edge_gateway.edged import evictions, pod_refusals, pods
from edge_gateway.edged.actions import Action, Tell
from edge_gateway.edged.ending import end_orphan, remove, stop_all
from edge_gateway.edged.evictions import Eviction, Evictions
from edge_gateway.edged.ledger import Entry, Ledger
from edge_gateway.edged.log_source import LogSource
from edge_gateway.edged.orders import Orders
from edge_gateway.edged.performer import Performer, now
from edge_gateway.edged.pod_exec import Commands
from edge_gateway.edged.pod_forward import Forwards
from edge_gateway.edged.pod_life import PodLife
from edge_gateway.edged.pods import Pod, PodError
from edge_gateway.edged.records import PodRecord
from edge_gateway.edged.runtime import Exit, RunId, Running, Runtime, RuntimeTrouble
from edge_gateway.edged.static_pods import StaticPods
from edge_gateway.edged.usage_source import UsageSource
from edge_gateway.edged.volumes import Volumes
from edge_gateway.kernel_files import text
from edge_gateway.pod_reports import Happened
from edge_gateway.store import Store
from edgewire import backoff, resource
from edgewire.resource import Resource

log = logging.getLogger(__name__)

UNSUPPORTED, FULL, IGNORED = "UnsupportedPod", "OutOfpods", "IgnoredFields"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Edged:
    """A service."""

    name = "edged"

    def __init__(
        self,
        core: EdgeCore,
        store: Store,
        runtime: Runtime,
        volumes: Volumes,
        orders: Orders,
        mark: Callable[[list[str]], None],
        *,
        leave_running: bool = True,
        max_pods: int = 110,
        static: StaticPods | None = None,
        look_at_disk_s: float = evictions.PERIOD_S,
    ) -> None:
        """`mark` is told what the cloud does not know; `leave_running` says whether pods go on when edgecore stops."""
        self._static = static
        self._core = core
        self._runtime = runtime
        self._volumes = volumes
        self._orders = orders
        self._ledger = Ledger(core, store, runtime, orders.facts, mark)
        self._performer = Performer(runtime, volumes, orders, self._ledger)
        self.logs = LogSource(self._life_of, orders)
        self.commands = Commands(self._life_of, orders, runtime)
        self.forwards = Forwards(self._life_of, runtime)
        self.usage = UsageSource(self.lives, runtime)
        self.renew_access = volumes.renew_access
        self._evictions = Evictions(self._evictable, self._evict, volumes, orders, look_at_disk_s)
        self._leave_running, self._max_pods = leave_running, max_pods
        self._boot = text(BOOT_ID)
        self._entries: dict[str, Entry] = {}
        self._by_name: dict[Resource, str] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = False
        self.restored = False
        """Whether it is known which pods there are."""

    async def run(self, ready: asyncio.Event) -> None:
        """Run the node's pods until cancelled. A runtime that does not answer keeps nothing else waiting."""
        records = dict(self._ledger.records())
        runs: dict[str, list[Running]] = {}
        for run in await self._known_runs(ready):
            runs.setdefault(run.id.uid, []).append(run)
        self._open = True
        try:
            await self._look_at_folder(records, runs, first=True)
            for name in self._core.names_of(resource.POD):
                self._pod_changed(name, records, runs)
            self._drop_what_nobody_wants(records, runs)
            for run in [run for uid in self._entries for run in runs.get(uid, ()) if run.exit is not None]:
                self._forget(run.id)
            self.restored = True
            log.info("= pods restored pods=%d runs=%d", len(self._entries), sum(map(len, runs.values())))
            ready.set()
            self._do(self._evictions.run())
            while True:
                await asyncio.sleep(self._static.period_s if self._static is not None else 3600.0)
                await self._look_at_folder({}, {})
        finally:
            self._open = False
            await self._end()

    async def _known_runs(self, ready: asyncio.Event) -> list[Running]:
        for delay_s in backoff.delays():
            try:
                return await self._runtime.open(self._exited)
            except RuntimeTrouble as error:
                log.warning("= runtime cannot be used retry_s=%.1f reason=%s", delay_s, error)
            ready.set()
            await asyncio.sleep(delay_s)
        raise AssertionError("delays do not end")

    async def _end(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        if not self._leave_running:
            try:
                await stop_all(self._runtime, self._alive)
            except RuntimeTrouble as trouble:
                log.warning("= pods are left running reason=%s", trouble)
            await asyncio.gather(*(remove(self._runtime, uid) for uid in self._entries))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._runtime.close(for_good=not self._leave_running)

    def _alive(self) -> list[RunId]:
        return [
            RunId(uid, container.name, container.record.attempt)
            for uid, entry in self._entries.items()
            for container in entry.life.containers
            if container.alive
        ]

    # What is wanted

    def objects_changed(self, names: list[Resource]) -> None:
        """These pods, ConfigMaps and Secrets came, changed or went."""
        if not self._open:
            return
        for name in names:
            if name.type == resource.POD:
                self._pod_changed(name, {}, {})
            else:
                self._file_changed(name)

    def _file_changed(self, name: Resource) -> None:
        for entry in [e for e in self._entries.values() if e.name.namespace == name.namespace]:
            entry.life.look_again()
            if entry.life.prepared and entry.life.record.final is None:
                self._do(self._performer.refresh(entry))
            self._go_on(entry)

    async def _look_at_folder(
        self, records: dict[str, PodRecord], runs: dict[str, list[Running]], *, first: bool = False
    ) -> None:
        """Have the static pods that there are."""
        if self._static is None:
            return
        look = await asyncio.to_thread(self._static.look, first=first)
        for file, why in look.problems:
            self._ledger.invalid_file(file, why)
        for name in self._static.take(look):
            self._core.static_pods.pop(name, None)
            if (found := self._static.pods.get(name)) is not None:
                self._core.static_pods[name] = msgspec.json.encode(found.manifest)
            self._pod_changed(name, records, runs)

    def _pod_changed(self, name: Resource, records: dict[str, PodRecord], runs: dict[str, list[Running]]) -> None:
        static = self._static.pods.get(name) if self._static is not None else None
        content = self._core.content_of(name)
        before = self._entries.get(self._by_name.get(name, ""))
        try:
            pod = static.pod if static is not None else pods.parse(content) if content is not None else None
        except PodError as error:
            self._ledger.invalid(name, content or b"", str(error))
            return
        if pod is not None and pod.mirrors:
            if before is None:
                self._ledger.mirrors_nothing(name, pod.mirrors)
            pod = None
        if before is not None and (pod is None or pod.uid != before.life.pod.uid):
            self._unwanted(before)
        if before is not None and before.manifest is not None and not before.wanted:
            return  # it tells its end itself, and what has its name begins then
        if pod is None:
            self._by_name.pop(name, None)
            if content is None:
                self._core.pods.gone(name)
            return
        entry = self._entries.get(pod.uid)
        is_new = entry is None
        if entry is None:
            entry = self._begin(name, pod, records.get(pod.uid), runs.get(pod.uid, []))
            entry.manifest = static.manifest if static is not None else None
        labels = entry.life.pod.metadata != pod.metadata
        if (ignored := pod_refusals.ignored(pod)) and (is_new or pod.unread != entry.life.pod.unread):
            self._ledger.tell(entry.life, [Happened("Warning", IGNORED, ignored)], now())
        entry.life.pod = pod
        entry.life.containers.redefine(pod)
        if labels and entry.life.prepared:
            self._do(self._performer.refresh(entry))
        if pod.metadata.deletion_timestamp:
            entry.life.stop(pod.metadata.deletion_grace_period_seconds, now())
        self._go_on(entry)

    def _begin(self, name: Resource, pod: Pod, record: PodRecord | None, runs: list[Running]) -> Entry:
        life = PodLife(pod, now(), record)
        entry = Entry(life, name)
        self._entries[pod.uid] = entry
        self._by_name[name] = pod.uid
        if record is not None or runs:
            rebooted = record is not None and record.boot != self._boot
            life.adopt([self._performer.found(life, run) for run in runs], rebooted, now())
        life.record.boot = self._boot
        refused = [*pod_refusals.refusals(pod), *self._runtime.refusals(pod), *self._volumes.local_api.refusals(pod)]
        if refused:
            life.reject(UNSUPPORTED, "; ".join(refused))
        elif record is None and not runs and sum(map(_takes_room, self._entries.values())) > self._max_pods:
            life.reject(FULL, f"this node runs {self._max_pods} pods, and no more")
        log.info("= pod pod=%s uid=%s restored=%s", pod.id, pod.uid, record is not None)
        return entry

    def _unwanted(self, entry: Entry) -> None:
        """There is no such pod any more."""
        entry.wanted = False
        entry.life.stop(entry.life.pod.spec.termination_grace_period_seconds, now())
        self._go_on(entry)

    def _evictable(self) -> list[PodLife]:
        return [entry.life for entry in self._entries.values() if entry.manifest is None]

    def _evict(self, eviction: Eviction) -> None:
        """A pod is to go for what it uses."""
        entry = self._entries.get(eviction.uid)
        if entry is not None:
            entry.life.evict(eviction.message)
            self._go_on(entry)

    def _drop_what_nobody_wants(self, records: dict[str, PodRecord], runs: dict[str, list[Running]]) -> None:
        """What was deleted while edgecore was away."""
        for uid in runs.keys() - self._entries.keys():
            for run in runs[uid]:
                self._do(end_orphan(self._runtime, self._volumes, run))
        gone = (records.keys() | self._volumes.uids()) - self._entries.keys()
        self._ledger.drop(gone)
        for uid in gone - runs.keys():
            self._volumes.remove(uid)
        self._orders.keep_logs_of(self._entries.keys())

    def lives(self) -> list[PodLife]:
        """Of every pod that runs here, or did. Any thread may ask."""
        return [entry.life for entry in list(self._entries.values())]

    def _life_of(self, name: Resource) -> PodLife | None:
        entry = self._entries.get(self._by_name.get(name, ""))
        return entry.life if entry is not None else None

    # What is done

    def _go_on(self, entry: Entry) -> None:
        """Do what the pod's life wants next, save and tell what it has come to."""
        uid = entry.life.pod.uid
        if not self._open or self._entries.get(uid) is not entry:
            return
        at = now()
        happened: list[Happened] = []
        while actions := entry.life.step(at):
            for action in actions:
                if isinstance(action, Tell):
                    happened.append(action.happened)
                else:
                    self._do(self._act(entry, action))
        if timer := self._timers.pop(uid, None):
            timer.cancel()
        self._ledger.save(entry, happened, at)
        if entry.life.finished and not entry.wanted:
            self._dispose(entry)
            return
        due = entry.life.due(at)
        if due is not None:
            loop = asyncio.get_running_loop()
            self._timers[uid] = loop.call_later(max(0.0, due - at.mono) + 0.001, self._go_on, entry)

    async def _act(self, entry: Entry, action: Action) -> None:
        await self._performer.perform(entry, action)
        self._go_on(entry)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("= edged task failed", exc_info=error)

    def _exited(self, id: RunId, exit: Exit) -> None:
        entry = self._entries.get(id.uid)
        if entry is not None:
            entry.life.exited(id.container, id.attempt, self._performer.ended(entry.life, id, exit), now())
        if entry is None or not self._open:  # while edgecore stops, or of a pod that is gone
            return
        log.info("= ended run=%s code=%d", id, exit.code)
        self._go_on(entry)
        self._forget(id)

    def _forget(self, id: RunId) -> None:
        """Its end is known, and durable in a moment."""
        self._ledger.once_saved(lambda: self._do(self._runtime.forget(id)))

    def _dispose(self, entry: Entry) -> None:
        """Nothing of it runs and nobody wants it: forget it."""
        uid = entry.life.pod.uid
        self._entries.pop(uid, None)
        if self._by_name.get(entry.name) == uid:
            del self._by_name[entry.name]
        self._ledger.drop([uid])
        self._do(self._clean(entry))

    async def _clean(self, entry: Entry) -> None:
        await self._performer.clean(entry)
        if entry.manifest is not None and self._core.content_of(entry.name) is not None:
            self._pod_changed(entry.name, {}, {})


def _takes_room(entry: Entry) -> bool:
    return entry.life.record.final is None
