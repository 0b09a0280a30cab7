"""`hedgerow up --demo --once`: the stack shows by itself that values go up and down, also over a broken link."""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from rich.console import Console

from edgewire import board as messages
from edgewire import topics
from hedgerow.cluster import Cluster, DeviceView
from hedgerow.up import Site
from hil_tests.bench import demo
from hil_tests.bench.mqtt_client import MqttClient

log = logging.getLogger(__name__)

_BOILER, _METER, _BOARD = "default/boiler", "default/meter", "default/board-1"


Condition = Callable[[], Awaitable[str | None]]
"""Nothing when it holds, else what was seen instead."""


class Measured(NamedTuple):
    """A reported value and when it was measured, ms since 1970, as text."""

    value: str = ""
    timestamp: str = ""


class StepFailed(Exception):
    """A step of the tour did not come true; the text names it and says what was seen instead."""


async def take(site: Site, console: Console, deadline_s: float) -> None:
    """Every step in turn, each within the deadline. Raises StepFailed naming the first that fails."""
    tour = _Tour(site, console, deadline_s)
    await tour.step("every device reports to Kubernetes", tour.all_reported)
    setpoint = tour.another(_BOILER, "setpoint", "71.5", "68.5", "65.5")
    await tour.set(_BOILER, "setpoint", setpoint)
    await tour.step("the PLC's register follows its desired value", tour.register_follows(setpoint))
    await tour.step("and Kubernetes sees that", tour.reports(_BOILER, "setpoint", setpoint))
    if site.boards:
        led = tour.another(_BOARD, "led", "ON", "OFF")
        await tour.set(_BOARD, "led", led)
        await tour.step("the board's output follows its desired value", tour.output_follows(led))
        await tour.step("and Kubernetes sees that", tour.reports(_BOARD, "led", led))
    await tour.leave_alone(_METER, "tariff")
    await tour.cut()
    await tour.step("the link to the cloud is cut, and Kubernetes notices", tour.node_lost)
    tariff = tour.another(_METER, "tariff", "3", "2")
    await tour.write_register("meter/tariff", int(tariff))
    await tour.step("meanwhile a value changes, and the gateway keeps it", tour.gateway_knows(_METER, "tariff", tariff))
    await tour.step("which Kubernetes cannot know", tour.reports_not(_METER, "tariff", tariff))
    await tour.restore()
    await tour.step("the link is restored, and the newest value arrives", tour.reports(_METER, "tariff", tariff))
    await tour.step("and the node is ready again", tour.node_ready)


class _Tour:
    """The tour's steps: each waits for a condition that a method returns or is, and says what it saw if it never came."""

    def __init__(self, site: Site, console: Console, deadline_s: float) -> None:
        self._site = site
        self._deadline_s = deadline_s
        self._cluster: Cluster = site.cluster
        self._console = console

    async def step(self, what: str, condition: Condition) -> None:
        """Wait until the condition has nothing to complain of, and say so."""
        began = time.perf_counter()
        await self._until(what, condition)
        self._console.print(f"[green]ok[/] {what} [dim]({time.perf_counter() - began:.1f} s)[/]", soft_wrap=True)

    async def _until(self, what: str, condition: Condition) -> None:
        complaint: str | None = "nothing was seen"
        try:
            async with asyncio.timeout(self._deadline_s):
                while (complaint := await condition()) is not None:
                    self._site.changed.clear()
                    await self._something_new()
        except TimeoutError as error:
            raise StepFailed(f"{what}: not within {self._deadline_s:.0f} s; {complaint}") from error

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

    def another(self, device: str, property: str, *values: str) -> str:
        """The first of the values that is neither reported nor desired now: only that can be seen to arrive."""
        view = self._cluster.devices[device]
        reported = view.reported(property)
        taken = (reported.value if reported is not None else None, view.desired(property))
        return next(value for value in values if value not in taken)

    async def leave_alone(self, device: str, property: str) -> None:
        """Desire nothing of a property, lest the gateway set it back."""
        await self._cluster.forget_desired(device, property)

        async def condition() -> str | None:
            twins = self._cluster.devices[device].status.twins
            left = any(twin.property_name == property and twin.observed_desired is not None for twin in twins)
            return f"{property} is still desired" if left else None

        await self._until(f"{device}/{property} is left alone", condition)

    async def all_reported(self) -> str | None:
        """Every property of the demo's devices was measured in this run, and Kubernetes has that value."""
        expected = [_BOILER, _METER, *(f"default/{name}" for name in demo.BOARDS if self._site.boards)]
        if missing := [id for id in expected if id not in self._cluster.devices]:
            return f"Kubernetes lacks {', '.join(missing)}"
        for id in expected:
            if complaint := await self._has_reported(self._cluster.devices[id]):
                return complaint
        return await self.node_ready()

    async def _has_reported(self, device: DeviceView) -> str | None:
        """A value that is what it was in an earlier run is not sent to Kubernetes again: then the gateway tells its age."""
        older = {}
        for p in device.spec.properties:
            found = device.reported(p.name)
            if found is None:
                return f"{device.id} has not reported {p.name}"
            if not self._of_this_run(found.metadata.get("timestamp", "")):
                older[p.name] = found.value
        if not older:
            return None
        known = await self._gateway_twin(device.id)
        for name, value in older.items():
            found_here = known.get(name, Measured())
            if found_here.value != value or not self._of_this_run(found_here.timestamp):
                return f"{device.id} has not reported {name} since the start; the gateway has {found_here}"
        return None

    def _of_this_run(self, timestamp: str) -> bool:
        return timestamp.isdigit() and int(timestamp) >= self._site.began_ms

    async def _gateway_twin(self, device: str) -> dict[str, Measured]:
        try:
            return await asyncio.to_thread(_twin, self._site.stack.ports.mqtt, device)
        except (OSError, AssertionError) as error:  # as MqttClient says that nobody answers
            log.debug("= gateway does not answer error=%s", error)
            return {}

    def register_follows(self, value: str) -> Condition:
        """The PLC itself has the setpoint in its register."""

        async def condition() -> str | None:
            found = demo.registers(self._site.plc_state).get("boiler/setpoint")
            return None if found == float(value) else f"the register holds {found}"

        return condition

    def output_follows(self, value: str) -> Condition:
        """The board itself has its output switched."""

        async def condition() -> str | None:
            found = self._site.boards[0].outputs().get("led")
            return None if found == value else f"the output is {found}"

        return condition

    def reports(self, device: str, property: str, value: str) -> Condition:
        """Kubernetes has this reported value."""

        async def condition() -> str | None:
            found = self._cluster.devices[device].reported(property)
            return None if found is not None and found.value == value else f"Kubernetes has {found}"

        return condition

    def reports_not(self, device: str, property: str, value: str) -> Condition:
        """Kubernetes has another reported value."""

        async def condition() -> str | None:
            found = self._cluster.devices[device].reported(property)
            return f"Kubernetes has {found}" if found is not None and found.value == value else None

        return condition

    def gateway_knows(self, device: str, property: str, value: str) -> Condition:
        """The gateway's own twin has this reported value."""

        async def condition() -> str | None:
            found = (await self._gateway_twin(device)).get(property)
            return None if found is not None and found.value == value else f"the gateway has {found}"

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
        try:
            await asyncio.to_thread(demo.write_register, self._site.plc_port, name, value)
        except ConnectionError as error:
            raise StepFailed(f"somebody turns a knob at the PLC: {error}") from error


def _twin(port: int, device: str) -> dict[str, Measured]:
    """What the gateway whose broker is on this port last heard of a device's properties."""
    with MqttClient(port) as mqtt:
        answers = topics.of_device(device, topics.GET_RESULT)
        mqtt.subscribe(answers)
        mqtt.publish(topics.of_device(device, topics.GET), messages.get("tour"))
        twin = json.loads(mqtt.next(answers)).get("twin", {})
    found = {}
    for name, entry in twin.items():
        if reported := entry.get(messages.REPORTED):
            timestamp = reported.get("metadata", {}).get("timestamp", "")
            found[name] = Measured(reported.get("value", ""), str(timestamp))
    return found
