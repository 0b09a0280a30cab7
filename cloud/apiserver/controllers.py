"""The shell of what a control plane does besides storing: each controller is woken when something is due, and what it writes is
brought to the disk.

A controller is a core: it is told of every committed change, says when it has something to do, and does it in small steps
through the same gate as a client's requests.
"""

import asyncio
import logging
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


class Controller(Protocol):
    """One part of the control plane."""

    @property
    def name(self) -> str:
        """Its name in logs."""
        ...

    def load(self) -> None:
        """Start from the committed state."""
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


class Controllers:
    """Runs controllers on one server's objects."""

    def __init__(self, objects: Objects, storage: Storage, controllers: Sequence[Controller]) -> None:
        self._objects = objects
        self._storage = storage
        self._controllers = controllers
        self._awake = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled."""
        for controller in self._controllers:
            controller.load()
        self._objects.observers.append(self._observe)
        try:
            while True:
                self._awake.clear()
                for controller in self._controllers:
                    await self._step(controller)
                await self._sleep()
        finally:
            self._objects.observers.remove(self._observe)

    def _observe(self, change: Change) -> None:
        for controller in self._controllers:
            controller.observe(change)
        self._awake.set()

    async def _step(self, controller: Controller) -> None:
        due = controller.due()
        if due is None or due > self._objects.now():
            return
        try:
            self._storage.check_room()
        except ApiError:
            await asyncio.sleep(BUSY_S)
            return
        transaction = controller.work()
        if transaction is None:
            return
        try:
            # Nothing may come between the changes and their place in the store's queue.
            await self._storage.write(transaction)
        except ApiError as error:
            log.error(
                "= not stored controller=%s changes=%d error=%s", controller.name, len(transaction.changes), error
            )
            controller.failed(transaction)
            await asyncio.sleep(BUSY_S)

    async def _sleep(self) -> None:
        """Until a change is committed, or something is due."""
        times = [due for controller in self._controllers if (due := controller.due()) is not None]
        if not times:
            await self._awake.wait()
            return
        try:
            async with asyncio.timeout(max((min(times) - self._objects.now()).total_seconds(), 0)):
                await self._awake.wait()
        except TimeoutError:
            pass
