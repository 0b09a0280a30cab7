"""Carries out what the lives of pods want done, with the runtime and the volumes, and tells them what came of it. A shell."""

import asyncio
import logging
import time
from dataclasses import replace
from functools import partial

from edge_gateway.edged import EdgedError
from edge_gateway.edged.actions import Action, Call, Hook, Now, Prepare, Release, Signal, Start
from edge_gateway.edged.container_life import START_ERROR
from edge_gateway.edged.ending import remove
from edge_gateway.edged.environment import Missing
from edge_gateway.edged.last_words import LastWords
from edge_gateway.edged.ledger import Entry, Ledger
from edge_gateway.edged.orders import Orders
from edge_gateway.edged.pod_life import PodLife
from edge_gateway.edged.pods import Container, PodError
from edge_gateway.edged.probe_calls import HOST, call
from edge_gateway.edged.runtime import CannotStart, Exit, NotYet, RunId, Running, Runtime, RuntimeTrouble
from edge_gateway.edged.volumes import VolumeError, Volumes

log = logging.getLogger(__name__)


def now() -> Now:
    """The time."""
    return Now(time.monotonic(), time.time())


class Performer:
    """Of one node."""

    def __init__(self, runtime: Runtime, volumes: Volumes, orders: Orders, ledger: Ledger) -> None:
        self._runtime = runtime
        self._volumes = volumes
        self._orders = orders
        self._ledger = ledger
        self._last_words = LastWords(volumes.disk)

    async def perform(self, entry: Entry, action: Action) -> None:
        """Do it, and tell the pod's life what came of it."""
        life = entry.life
        host = self._runtime.address(life.pod.uid) or HOST
        match action:
            case Prepare():
                await self._prepare(entry)
            case Release():
                await asyncio.to_thread(self._volumes.remove, life.pod.uid)
            case Start(container, attempt):
                await self._start(entry, container, attempt)
            case Signal(name, attempt, number, everything):
                id = RunId(life.pod.uid, name, attempt)
                try:
                    await self._runtime.signal(id, number, everything=everything)
                except RuntimeTrouble as trouble:
                    log.warning("= signal not sent run=%s number=%d reason=%s", id, number, trouble)
            case Hook(container, attempt, which, handler, timeout_s):
                error = await call(handler, container, partial(self._exec, entry, container, attempt), timeout_s, host)
                life.hooked(container.name, which, error, now())
            case Call(container, attempt, kind, probe):
                limit_s = float(probe.timeout_seconds)
                error = await call(probe, container, partial(self._exec, entry, container, attempt), limit_s, host)
                life.probed(container.name, kind, not error, error, now())

    def ended(self, life: PodLife, id: RunId, exit: Exit) -> Exit:
        """The end of a run, with what it said of it."""
        container = life.of(id.container)
        if container is None:
            return exit
        log_file = self._orders.log_file(life.pod, id.container, id.attempt)
        return self._last_words.with_message(id, container.spec, exit, log_file)

    def found(self, life: PodLife, run: Running) -> Running:
        """A run of before likewise, if it has ended."""
        return run if run.exit is None else replace(run, exit=self.ended(life, run.id, run.exit))

    async def refresh(self, entry: Entry) -> None:
        """Bring the files of a pod's volumes up to date."""
        try:
            await asyncio.to_thread(self._volumes.prepare, entry.life.pod)
        except (VolumeError, PodError) as error:
            log.warning("= volumes not refreshed pod=%s reason=%s", entry.life.pod.id, error)

    async def clean(self, entry: Entry) -> None:
        """Nothing of it runs any more: leave nothing of it."""
        pod = entry.life.pod
        for container in entry.life.containers:
            await self._runtime.forget(RunId(pod.uid, container.name, container.record.attempt))
        await remove(self._runtime, pod.uid)
        await asyncio.to_thread(self._volumes.remove, pod.uid)
        await asyncio.to_thread(self._orders.remove_logs, pod)
        log.info("= pod is gone pod=%s uid=%s", pod.id, pod.uid)

    async def _prepare(self, entry: Entry) -> None:
        try:
            await asyncio.to_thread(self._volumes.prepare, entry.life.pod)
            await self._runtime.prepare(entry.life.pod)
        except (VolumeError, PodError) as error:
            entry.life.prepare_failed(str(error), now())
        except RuntimeTrouble as error:
            entry.life.prepare_failed(str(error), now(), "FailedCreatePodSandBox")
        else:
            entry.life.prepare_done()

    async def _start(self, entry: Entry, container: Container, attempt: int) -> None:
        life, id = entry.life, RunId(entry.life.pod.uid, container.name, attempt)
        try:
            order = self._orders.order(entry.life.pod, container, attempt, self._runtime.address(id.uid))
            order = self._last_words.make(order)
            at = await self._runtime.start(replace(order, tell=partial(self._told_of_start, entry, container.name)))
        except CannotStart as error:
            life.exited(container.name, attempt, Exit(error.code, time.time(), START_ERROR, str(error)), now())
        except (Missing, VolumeError) as error:
            life.must_wait(container.name, str(error), now())
        except NotYet as error:
            life.must_wait(container.name, str(error), now(), error.reason)
        except EdgedError as error:
            log.warning("= runtime trouble run=%s reason=%s", id, error)
            life.must_wait(container.name, str(error), now())
        else:
            entry.orders[container.name] = order
            life.started(container.name, attempt, at, now())
            self._orders.forget_log(life.pod, container.name, attempt - 2)

    def _told_of_start(self, entry: Entry, container: str, reason: str, message: str) -> None:
        """Something of note on a container's way to its start."""
        life = entry.life.of(container)
        if life is not None:
            type = "Normal" if reason in ("Pulling", "Pulled") else "Warning"
            self._ledger.tell(entry.life, [life.tell(type, reason, message).happened], now())

    async def _exec(
        self, entry: Entry, container: Container, attempt: int, command: tuple[str, ...], timeout_s: float
    ) -> tuple[int, bytes]:
        pod, order = entry.life.pod, entry.orders.get(container.name)
        if order is None or order.id.attempt != attempt:  # edgecore has found it running
            order = self._orders.order(pod, container, attempt, self._runtime.address(pod.uid))
        return await self._runtime.exec(order, command, timeout_s)
