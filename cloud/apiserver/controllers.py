"""The shell of what a control plane does besides storing: each controller is woken when something is due, and what it writes is
brought to the disk.

A controller is a core: it is told of every committed change, says when it has something to do, and does it in small steps
through the same gate as a client's requests. None of them runs within a client's request, and one that fails is logged, left
alone for a while and started anew from the committed state: it disturbs neither the API nor the others.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from cloud.apiserver.objects import Objects
from cloud.apiserver.state import Change, Transaction
from cloud.apiserver.status import ApiError
from cloud.apiserver.storage import Storage

log = logging.getLogger(__name__)

BUSY_S = 0.2
"""Seconds to wait when the store takes no more, or could not keep a change."""
RESTART_S, RESTART_LIMIT_S = 1.0, 300.0
"""Seconds before a controller that failed is started anew: the first, doubled with each failure, and the last."""
LOOK_S = 60.0
"""Seconds of sleep at most: a clock that is set back holds nothing up for longer."""
CHANGES_LIMIT = 4096
"""Changes that wait to be told; when there are more, all controllers start anew from the committed state."""


class Controller(Protocol):
    """One part of the control plane."""

    @property
    def name(self) -> str:
        """Its name in logs."""
        ...

    def load(self) -> None:
        """Start from the committed state; whatever was known before is forgotten."""
        ...

    def observe(self, change: Change) -> None:
        """A change is committed."""
        ...

    def due(self) -> datetime | None:
        """When there is something to do; None when there is nothing."""
        ...

    def work(self) -> Transaction | None:
        """Do some of what is due: the changes to bring to the disk, or None."""
        ...

    def failed(self, transaction: Transaction) -> None:
        """The store could not keep those."""
        ...


class _Running:
    """A controller and how it fares."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.loaded = False
        self.start_at = 0.0
        """The loop's time at which it is to be started."""
        self._restart_s = RESTART_S

    def load(self) -> None:
        self.controller.load()
        self.loaded = True

    def broke(self, now: float) -> None:
        log.exception("= controller failed name=%s restart_s=%.0f", self.controller.name, self._restart_s)
        self.loaded = False
        self.start_at = now + self._restart_s
        self._restart_s = min(self._restart_s * 2, RESTART_LIMIT_S)


class Controllers:
    """Runs controllers on one server's objects."""

    def __init__(self, objects: Objects, storage: Storage, controllers: Sequence[Controller]) -> None:
        self._objects = objects
        self._storage = storage
        self._running = [_Running(controller) for controller in controllers]
        self._changes: deque[Change] = deque()
        self._awake = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled."""
        self._objects.observers.append(self._observe)
        try:
            while True:
                self._awake.clear()
                for running in self._running:
                    self._tell()
                    await self._step(running)
                await self._sleep()
        finally:
            self._objects.observers.remove(self._observe)

    def _observe(self, change: Change) -> None:
        """Within the commit of a change: it is only noted."""
        self._changes.append(change)
        self._awake.set()
        if len(self._changes) > CHANGES_LIMIT:
            self._changes.clear()
            for running in self._running:
                running.loaded = False

    def _tell(self) -> None:
        """Tell all controllers what was committed."""
        while self._changes:
            change = self._changes.popleft()
            for running in self._running:
                if running.loaded:
                    try:
                        running.controller.observe(change)
                    except Exception:  # of a supervisor: see the module's docstring
                        running.broke(self._time())

    async def _step(self, running: _Running) -> None:
        before = self._objects.state.assigned
        try:
            transaction = self._work(running)
        except Exception:  # of a supervisor: see the module's docstring
            running.broke(self._time())
            # What it changed before it failed is pending, and nobody else would bring it to the disk.
            transaction = self._objects.state.pending_after(before)
        if transaction is None or not transaction.changes:
            return
        try:
            # Nothing may come between the changes and their place in the store's queue.
            await self._storage.write(transaction)
        except ApiError as error:
            name = running.controller.name
            log.error("= not stored controller=%s changes=%d error=%s", name, len(transaction.changes), error)
            if running.loaded:
                running.controller.failed(transaction)
            await asyncio.sleep(BUSY_S)

    def _work(self, running: _Running) -> Transaction | None:
        if not running.loaded:
            if self._time() < running.start_at:
                return None
            running.load()
        due = running.controller.due()
        if due is None or due > self._objects.now() or not self._has_room():
            return None
        return running.controller.work()

    def _has_room(self) -> bool:
        try:
            self._storage.check_room()
        except ApiError:
            return False
        return True

    async def _sleep(self) -> None:
        """Until a change is committed, or something is due."""
        if self._changes:
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(self._pause_s()):
                await self._awake.wait()
        except TimeoutError:
            pass

    def _pause_s(self) -> float:
        pause = LOOK_S
        for running in self._running:
            if not running.loaded:
                pause = min(pause, running.start_at - self._time())
            elif (due := running.controller.due()) is not None:
                pause = min(pause, (due - self._objects.now()).total_seconds())
        if pause <= 0 and not self._has_room():
            return BUSY_S
        return max(pause, 0.0)

    def _time(self) -> float:
        return asyncio.get_running_loop().time()
