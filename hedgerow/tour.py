"""`hedgerow up --demo --once`: the stack shows by itself that values go up and down, also over a broken link."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from rich.console import Console

from hedgerow.cluster import Cluster
from hedgerow.up import Site
from hil_tests.bench import demo

DEADLINE_S = 30.0
_BOILER, _BOARD = "default/boiler", "default/board-1"


class StepFailed(Exception):
    """A step of the tour did not come true; the text names it and says what was seen instead."""


async def take(site: Site, console: Console) -> None:
    """Every step in turn. Raises StepFailed naming the first that fails."""
    tour = _Tour(site, console)
    await tour.step("every device reports to Kubernetes", tour.all_reported)
    await tour.set(_BOILER, "setpoint", "71.5")
    await tour.step("the PLC's register follows its desired value", tour.register_follows)
    await tour.step("and Kubernetes sees that", tour.reports(_BOILER, "setpoint", "71.5"))
    if site.boards:
        await tour.set(_BOARD, "led", "ON")
        await tour.step("the board's output follows its desired value", tour.output_follows)
        await tour.step("and Kubernetes sees that", tour.reports(_BOARD, "led", "ON"))
    await tour.cut()
    await tour.step("the link to the cloud is cut, and Kubernetes notices", tour.node_lost)
    await tour.write_register("meter/tariff", 3)
    await tour.step(
        "meanwhile a value changes, and the gateway keeps it", tour.gateway_knows("default/meter", "tariff", "3")
    )
    await tour.step("which Kubernetes cannot know", tour.reports_not("default/meter", "tariff", "3"))
    await tour.restore()
    await tour.step("the link is restored, and the newest value arrives", tour.reports("default/meter", "tariff", "3"))
    await tour.step("and the node is ready again", tour.node_ready)


class _Tour:
    """The tour's steps: each waits for a condition that a method returns or is, and says what it saw if it never came."""

    def __init__(self, site: Site, console: Console) -> None:
        self._site = site
        self._cluster: Cluster = site.cluster
        self._console = console

    async def step(self, what: str, condition: Callable[[], Awaitable[str | None]]) -> None:
        """Wait until the condition has nothing to complain of."""
        began = time.perf_counter()
        complaint: str | None = "nothing"
        try:
            async with asyncio.timeout(DEADLINE_S):
                while (complaint := await condition()) is not None:
                    self._site.changed.clear()
                    await self._something_new()
        except TimeoutError as error:
            raise StepFailed(f"{what}: not within {DEADLINE_S:.0f} s; {complaint}") from error
        self._console.print(f"[green]ok[/] {what} [dim]({time.perf_counter() - began:.1f} s)[/]")

    async def _something_new(self) -> None:
        """Kubernetes told something, or it is time to look at what tells nothing."""
        try:
            async with asyncio.timeout(0.1):
                await self._site.changed.wait()
        except TimeoutError:
            return

    async def set(self, device: str, property: str, value: str) -> None:
        """Set a desired value through the Kubernetes API."""
        await self._cluster.set_desired(device, property, value)

    async def all_reported(self) -> str | None:
        """Every property that the demo's models declare has a value in Kubernetes."""
        expected = 2 + len(self._site.boards)
        if len(self._cluster.devices) < expected:
            return f"Kubernetes has {len(self._cluster.devices)} of {expected} devices"
        for device in self._cluster.devices.values():
            for p in device.spec.properties:
                if device.reported(p.name) is None:
                    return f"{device.id} has not reported {p.name}"
        return None

    async def register_follows(self) -> str | None:
        """The PLC itself has the setpoint in its register."""
        found = demo.registers(self._site.plc_state).get("boiler/setpoint")
        return None if found == 71.5 else f"the register holds {found}"

    async def output_follows(self) -> str | None:
        """The board itself has its output switched."""
        found = self._site.boards[0].outputs().get("led")
        return None if found == "ON" else f"the output is {found}"

    def reports(self, device: str, property: str, value: str) -> Callable[[], Awaitable[str | None]]:
        """Kubernetes has this reported value."""

        async def condition() -> str | None:
            found = self._cluster.devices[device].reported(property)
            return None if found is not None and found.value == value else f"Kubernetes has {found}"

        return condition

    def reports_not(self, device: str, property: str, value: str) -> Callable[[], Awaitable[str | None]]:
        """Kubernetes has another reported value."""

        async def condition() -> str | None:
            found = self._cluster.devices[device].reported(property)
            return f"Kubernetes has {found}" if found is not None and found.value == value else None

        return condition

    def gateway_knows(self, device: str, property: str, value: str) -> Callable[[], Awaitable[str | None]]:
        """The gateway's own twin has this reported value."""

        async def condition() -> str | None:
            found = await asyncio.to_thread(demo.twin_value, self._site.stack.ports.mqtt, device, property)
            return None if found == value else f"the gateway has {found}"

        return condition

    async def cut(self) -> None:
        """Pull the uplink's cable."""
        assert self._site.cable is not None
        await self._site.cable.cut()

    async def restore(self) -> None:
        """Plug it in again."""
        assert self._site.cable is not None
        await self._site.cable.restore()

    async def node_lost(self) -> str | None:
        """The Node is not Ready."""
        return None if not self._ready() else "the node is still Ready"

    async def node_ready(self) -> str | None:
        """The Node is Ready."""
        return None if self._ready() else "the node is not Ready"

    def _ready(self) -> bool:
        node = self._cluster.nodes.get(self._site.stack.node)
        return node is not None and node.ready

    async def write_register(self, name: str, value: int) -> None:
        """Turn a knob at the PLC, as somebody at the cabinet would: a Modbus client of its own."""
        await asyncio.to_thread(demo.write_register, self._site.plc_port, name, value)
