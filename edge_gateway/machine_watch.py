"""Looks how the machine is, now and then, and has the cloud told when it is otherwise than before."""

import asyncio
from collections.abc import Callable, Mapping

from edge_gateway.edge_core import EdgeCore
from edge_gateway.effects import Effects
from edge_gateway.machine import addresses
from edge_gateway.machine_conditions import Conditions

PERIOD_S = 10.0


class MachineWatch:
    """A service."""

    name = "machine watch"

    def __init__(
        self,
        core: EdgeCore,
        perform: Callable[[Effects], None],
        facts: Mapping[str, object],
        conditions: Conditions,
        period_s: float = PERIOD_S,
    ) -> None:
        """`facts` are what stays, `machine.describe`'s; only the addresses among them are looked up again."""
        self._core = core
        self._perform = perform
        self._facts = dict(facts)
        self._conditions = conditions
        self._period_s = period_s
        self.images: Callable[[], list[dict[str, object]]] = list
        """What the Node shall say of the images that the machine has."""

    async def run(self, ready: asyncio.Event) -> None:
        """Look until cancelled; ready when it has looked once."""
        while True:
            self._look()
            ready.set()
            await asyncio.sleep(self._period_s)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        conditions = [condition._asdict() for condition in self._conditions.read(now)]
        report = {**self._facts, "addresses": addresses(), "conditions": conditions, "images": self.images()}
        if (effects := self._core.machine_is(report)) is not None:
            self._perform(effects)
