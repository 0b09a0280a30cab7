"""Edged: the shell around the lives of this node's pods. It carries out what they want and tells them what came of it.

Every event goes the same way: it is told to the pod's life, `_go_on` asks for the next actions, each becomes a task that ends
with the next event; what changed is saved, and told to the cloud once it is saved. Time is an event too: one timer a pod.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from edge_gateway.edge_core import EdgeCore
from edge_gateway.edged import EdgedError, pod_refusals, pods
from edge_gateway.edged.actions import Action, Call, Hook, Now, Prepare, Signal, Start, Tell
from edge_gateway.edged.container_life import START_ERROR
from edge_gateway.edged.ending import end_orphan, remove, stop_all
from edge_gateway.edged.environment import Missing
from edge_gateway.edged.log_source import LogSource
from edge_gateway.edged.orders import Orders
from edge_gateway.edged.pod_exec import Commands
from edge_gateway.edged.pod_life import PodLife, PodRecord
from edge_gateway.edged.pod_status import rfc3339, status_of
from edge_gateway.edged.pods import Container, Pod, PodError
from edge_gateway.edged.probe_calls import HOST, call
from edge_gateway.edged.runtime import CannotStart, Exit, NotYet, RunId, Running, Runtime, RuntimeTrouble, StartOrder
from edge_gateway.edged.volumes import VolumeError, Volumes
from edge_gateway.kernel_files import text
from edge_gateway.pod_reports import Happened, Subject
from edge_gateway.store import Store
from edgewire import backoff, resource
from edgewire.resource import Resource

log = logging.getLogger(__name__)

UNSUPPORTED, INVALID, FULL = "UnsupportedPod", "InvalidPod", "OutOfpods"
TABLE = "pod"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_record = msgspec.json.Decoder(PodRecord)
_encoder = msgspec.json.Encoder()


@dataclass(eq=False, slots=True)
class _Entry:
    """A pod that runs, or did, here."""

    life: PodLife
    name: Resource
    wanted: bool = True
    saved: bytes = b""
    timer: asyncio.TimerHandle | None = None
    orders: dict[str, StartOrder] = field(default_factory=dict)
    """Container -> how it was started: its probes see that, whatever became of the ConfigMaps it was made from."""


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
    ) -> None:
        """`mark` is told what the cloud does not know; `leave_running` says whether pods go on when edgecore stops."""
        self._core, self._store = core, store
        self._runtime = runtime
        self._volumes = volumes
        self._orders = orders
        self.logs = LogSource(self._life_of, orders)
        self.commands = Commands(self._life_of, orders, runtime)
        self._mark = mark
        self._leave_running, self._max_pods = leave_running, max_pods
        self._boot = text(BOOT_ID)
        self._entries: dict[str, _Entry] = {}
        self._by_name: dict[Resource, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = False

    async def run(self, ready: asyncio.Event) -> None:
        """Run the node's pods until cancelled. A runtime that does not answer keeps nothing else waiting."""
        records = dict(self._records())
        runs: dict[str, list[Running]] = {}
        for run in await self._known_runs(ready):
            runs.setdefault(run.id.uid, []).append(run)
        self._open = True
        try:
            for name in self._core.names_of(resource.POD):
                self._pod_changed(name, records, runs)
            self._drop_what_nobody_wants(records, runs)
            for run in [run for uid in self._entries for run in runs.get(uid, ()) if run.exit is not None]:
                self._forget(run.id)
            log.info("= pods restored pods=%d runs=%d", len(self._entries), sum(map(len, runs.values())))
            ready.set()
            await asyncio.get_running_loop().create_future()
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

    def _records(self) -> Iterable[tuple[str, PodRecord]]:
        for uid, content in self._store.read(TABLE):
            try:
                yield uid, _record.decode(content)
            except msgspec.DecodeError as error:
                log.error("stored row is unreadable and dropped table=%s key=%s error=%s", TABLE, uid, error)

    async def _end(self) -> None:
        for entry in self._entries.values():
            if entry.timer is not None:
                entry.timer.cancel()
        if not self._leave_running:
            await stop_all(self._runtime, self._alive)
            await asyncio.gather(*(remove(self._runtime, uid) for uid in self._entries))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._runtime.close()

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
                self._do(self._refresh(entry))
            self._go_on(entry)

    async def _refresh(self, entry: _Entry) -> None:
        try:
            await asyncio.to_thread(self._volumes.prepare, entry.life.pod)
        except (VolumeError, PodError) as error:
            log.warning("= volumes not refreshed pod=%s reason=%s", entry.life.pod.id, error)

    def _pod_changed(self, name: Resource, records: dict[str, PodRecord], runs: dict[str, list[Running]]) -> None:
        content = self._core.content_of(name)
        before = self._by_name.get(name)
        try:
            pod = pods.parse(content) if content is not None else None
        except PodError as error:
            self._invalid(name, content or b"", str(error))
            return
        if before is not None and (pod is None or pod.uid != before):
            self._unwanted(self._entries[before])
        if pod is None:
            self._by_name.pop(name, None)
            self._core.pods.gone(name)
            return
        now = _now()
        entry = self._entries.get(pod.uid)
        if entry is None:
            entry = self._begin(name, pod, records.get(pod.uid), runs.get(pod.uid, []), now)
        labels = entry.life.pod.metadata != pod.metadata
        entry.life.update(pod)
        if labels and entry.life.prepared:
            self._do(self._refresh(entry))
        if pod.metadata.deletion_timestamp:
            entry.life.stop(pod.metadata.deletion_grace_period_seconds, now)
        self._go_on(entry)

    def _begin(self, name: Resource, pod: Pod, record: PodRecord | None, runs: list[Running], now: Now) -> _Entry:
        life = PodLife(pod, now, record)
        entry = _Entry(life, name)
        self._entries[pod.uid] = entry
        self._by_name[name] = pod.uid
        if record is not None or runs:
            life.adopt(runs, bool(record is not None and record.boot != self._boot), now)
        life.record.boot = self._boot
        refused = [*pod_refusals.refusals(pod), *self._runtime.refusals(pod)]
        if refused:
            life.reject(UNSUPPORTED, "; ".join(refused))
        elif record is None and not runs and sum(map(_takes_room, self._entries.values())) > self._max_pods:
            life.reject(FULL, f"this node runs {self._max_pods} pods, and no more")
        log.info("= pod pod=%s uid=%s restored=%s", pod.id, pod.uid, record is not None)
        return entry

    def _invalid(self, name: Resource, content: bytes, why: str) -> None:
        """A pod that cannot be read: its user is told, as far as it says who it is."""
        log.warning("< pod cannot be read pod=%s reason=%s", name.id, why)
        try:
            metadata = msgspec.json.decode(content)["metadata"]
            uid, deleted = metadata["uid"], "deletionTimestamp" in metadata
        except (msgspec.DecodeError, KeyError, TypeError):
            return
        status = {"phase": "Failed", "reason": INVALID, "message": why}
        keys = self._core.pods.status(name, uid, status, deleted)
        subject = Subject(name.namespace, name.name, uid)
        keys += self._core.pods.happened(subject, Happened("Warning", INVALID, why), rfc3339(time.time()))
        self._mark(keys)

    def _unwanted(self, entry: _Entry) -> None:
        """The cloud has no such pod any more."""
        entry.wanted = False
        entry.life.stop(entry.life.pod.spec.termination_grace_period_seconds, _now())
        self._go_on(entry)

    def _drop_what_nobody_wants(self, records: dict[str, PodRecord], runs: dict[str, list[Running]]) -> None:
        """What was deleted while edgecore was away."""
        for uid in runs.keys() - self._entries.keys():
            for run in runs[uid]:
                self._do(end_orphan(self._runtime, self._volumes, run))
        gone = (records.keys() | self._volumes.uids()) - self._entries.keys()
        self._store.write([(TABLE, uid, None) for uid in gone])
        for uid in gone - runs.keys():
            self._volumes.remove(uid)
        self._orders.keep_logs_of(self._entries.keys())

    def _life_of(self, name: Resource) -> PodLife | None:
        entry = self._entries.get(self._by_name.get(name, ""))
        return entry.life if entry is not None else None

    # What is done

    def _go_on(self, entry: _Entry) -> None:
        """Do what the pod's life wants next, save and tell what it has come to."""
        if not self._open or self._entries.get(entry.life.pod.uid) is not entry:
            return
        now = _now()
        keys: list[str] = []
        while actions := entry.life.step(now):
            for action in actions:
                if isinstance(action, Tell):
                    keys += self._happened(entry, action.happened, now)
                else:
                    self._do(self._act(entry, action))
        if entry.life.finished and not entry.wanted:
            self._dispose(entry)
            self._mark(keys)
            return
        self._save(entry, keys, now)
        if entry.timer is not None:
            entry.timer.cancel()
            entry.timer = None
        due = entry.life.due(now)
        if due is not None:
            loop = asyncio.get_running_loop()
            entry.timer = loop.call_later(max(0.0, due - now.mono) + 0.001, self._go_on, entry)

    def _save(self, entry: _Entry, keys: list[str], now: Now) -> None:
        life = entry.life
        address = self._runtime.address(life.pod.uid)
        status = status_of(life, self._orders.facts, self._runtime.name, now, address)
        if entry.wanted:
            keys += self._core.pods.status(entry.name, life.pod.uid, status, life.finished)
        saved = _encoder.encode(life.record)
        changes = [(TABLE, life.pod.uid, saved)] if saved != entry.saved else []
        entry.saved = saved
        if changes or keys:
            self._store.write(changes, partial(self._mark, keys))

    def _happened(self, entry: _Entry, happened: Happened, now: Now) -> list[str]:
        pod = entry.life.pod
        level = logging.WARNING if happened.type == "Warning" else logging.INFO
        log.log(level, "= %s pod=%s message=%s", happened.reason, pod.id, happened.message)
        subject = Subject(pod.metadata.namespace, pod.metadata.name, pod.uid)
        return self._core.pods.happened(subject, happened, rfc3339(now.wall))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("= edged task failed", exc_info=error)

    async def _act(self, entry: _Entry, action: Action) -> None:
        host = self._runtime.address(entry.life.pod.uid) or HOST
        match action:
            case Prepare():
                await self._prepare(entry)
            case Start(container, attempt):
                await self._start(entry, container, attempt)
            case Signal(name, attempt, number, everything):
                id = RunId(entry.life.pod.uid, name, attempt)
                try:
                    await self._runtime.signal(id, number, everything=everything)
                except RuntimeTrouble as trouble:
                    log.warning("= signal not sent run=%s number=%d reason=%s", id, number, trouble)
            case Hook(container, attempt, which, handler, timeout_s):
                error = await call(handler, container, partial(self._exec, entry, container, attempt), timeout_s, host)
                entry.life.hooked(container.name, which, error, _now())
            case Call(container, attempt, kind, probe):
                limit_s = float(probe.timeout_seconds)
                error = await call(probe, container, partial(self._exec, entry, container, attempt), limit_s, host)
                entry.life.probed(container.name, kind, not error, error, _now())
        self._go_on(entry)

    async def _prepare(self, entry: _Entry) -> None:
        try:
            await asyncio.to_thread(self._volumes.prepare, entry.life.pod)
            await self._runtime.prepare(entry.life.pod)
        except (VolumeError, PodError) as error:
            entry.life.prepare_failed(str(error), _now())
        except RuntimeTrouble as error:
            entry.life.prepare_failed(str(error), _now(), "FailedCreatePodSandBox")
        else:
            entry.life.prepare_done()

    async def _start(self, entry: _Entry, container: Container, attempt: int) -> None:
        life, id = entry.life, RunId(entry.life.pod.uid, container.name, attempt)
        try:
            order = self._orders.order(entry.life.pod, container, attempt, self._runtime.address(id.uid))
            at = await self._runtime.start(replace(order, tell=partial(self._told_of_start, entry, container.name)))
        except CannotStart as error:
            life.exited(container.name, attempt, Exit(error.code, time.time(), START_ERROR, str(error)), _now())
        except (Missing, VolumeError) as error:
            life.must_wait(container.name, str(error), _now())
        except NotYet as error:
            life.must_wait(container.name, str(error), _now(), error.reason)
        except EdgedError as error:
            log.warning("= runtime trouble run=%s reason=%s", id, error)
            life.must_wait(container.name, str(error), _now())
        else:
            entry.orders[container.name] = order
            life.started(container.name, attempt, at, _now())
            self._orders.forget_log(life.pod, container.name, attempt - 2)

    def _told_of_start(self, entry: _Entry, container: str, reason: str, message: str) -> None:
        """Something of note on a container's way to its start."""
        life = entry.life.of(container)
        if life is not None:
            type = "Normal" if reason in ("Pulling", "Pulled") else "Warning"
            keys = self._happened(entry, life.tell(type, reason, message).happened, _now())
            self._store.write((), partial(self._mark, keys))

    async def _exec(
        self, entry: _Entry, container: Container, attempt: int, command: tuple[str, ...], timeout_s: float
    ) -> tuple[int, bytes]:
        pod, order = entry.life.pod, entry.orders.get(container.name)
        if order is None or order.id.attempt != attempt:  # edgecore has found it running
            order = self._orders.order(pod, container, attempt, self._runtime.address(pod.uid))
        return await self._runtime.exec(order, command, timeout_s)

    def _exited(self, id: RunId, exit: Exit) -> None:
        entry = self._entries.get(id.uid)
        if entry is None or not self._open:
            self._note_late_exit(entry, id, exit)
            return
        log.info("= ended run=%s code=%d", id, exit.code)
        entry.life.exited(id.container, id.attempt, exit, _now())
        self._go_on(entry)
        self._forget(id)

    def _forget(self, id: RunId) -> None:
        """Its end is known, and durable in a moment."""
        self._store.write((), lambda: self._do(self._runtime.forget(id)))

    def _note_late_exit(self, entry: _Entry | None, id: RunId, exit: Exit) -> None:
        """While edgecore stops, or of a pod that is gone."""
        if entry is not None:
            entry.life.exited(id.container, id.attempt, exit, _now())

    def _dispose(self, entry: _Entry) -> None:
        """Nothing of it runs and nobody wants it: forget it."""
        pod = entry.life.pod
        if entry.timer is not None:
            entry.timer.cancel()
        self._entries.pop(pod.uid, None)
        if self._by_name.get(entry.name) == pod.uid:
            del self._by_name[entry.name]
        self._store.write([(TABLE, pod.uid, None)])
        self._do(self._clean(entry))

    async def _clean(self, entry: _Entry) -> None:
        pod = entry.life.pod
        for container in entry.life.containers:
            await self._runtime.forget(RunId(pod.uid, container.name, container.record.attempt))
        await remove(self._runtime, pod.uid)
        await asyncio.to_thread(self._volumes.remove, pod.uid)
        await asyncio.to_thread(self._orders.remove_logs, pod)
        log.info("= pod is gone pod=%s uid=%s", pod.id, pod.uid)


def _takes_room(entry: _Entry) -> bool:
    return entry.life.record.final is None


def _now() -> Now:
    return Now(time.monotonic(), time.time())
