"""Takes the devices of each bus in turn through its driver: one task a bus, one call at a time on it.

The device that is due first goes first, so that an overloaded bus serves all its devices alike, and one that is dead costs its
neighbours one timeout before it is left alone for a while. Buses know nothing of each other. A turn under way is never cut
short for a changed definition, because a request given up half way leaves an answer on the wire for the next one to trip over;
only a bus that is not needed any more is cancelled, and closed with it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Sequence

from edgewire import backoff, methods

from .calling import answer, carry_out, make
from .driver import BusDown, Driver, DriverError, Listener, NoAnswer, Relay, ValueRefused
from .ears import Ears
from .health import ONLINE
from .mapped import MappedDevice, Output
from .mapper import Mapper
from .relays import Courier
from .wishes import RETRY_REFUSED_S

log = logging.getLogger(__name__)

BUS_RETRY_LIMIT_S = 30.0
"""The longest wait before a bus that is down is opened again."""


class Poller:
    """Runs the buses of a mapper; a service."""

    name = "poller"

    def __init__(self, mapper: Mapper, emit: Callable[[Sequence[Output]], None]) -> None:
        """`emit` is called in the event loop with what is to be told the gateway."""
        self._mapper = mapper
        self._emit = emit
        self._tasks: dict[Hashable, asyncio.Task[None]] = {}
        self._wakes: dict[Hashable, asyncio.Event] = {}
        self._running = False

    async def run(self, ready: asyncio.Event) -> None:
        """Serve the mapper's buses until cancelled."""
        self._running = True
        try:
            self.follow()
            ready.set()
            await asyncio.get_running_loop().create_future()
        finally:
            self._running = False
            stopped = list(self._tasks.values())
            for task in stopped:
                task.cancel()
            await asyncio.gather(*stopped, return_exceptions=True)
            self._tasks.clear()

    def follow(self) -> None:
        """The mapper's devices or what is desired of them changed: start and stop buses, and let each look again."""
        if not self._running:
            return
        wanted = self._mapper.buses()
        for bus in self._tasks.keys() - wanted:
            self._tasks.pop(bus).cancel()
            del self._wakes[bus]
        for bus in wanted - self._tasks.keys():
            self._wakes[bus] = asyncio.Event()
            self._tasks[bus] = asyncio.create_task(self._supervise(bus, self._wakes[bus]), name=f"bus {bus}")
        for wake in self._wakes.values():
            wake.set()

    async def _supervise(self, bus: Hashable, wake: asyncio.Event) -> None:
        """Keep a bus served, whatever its driver does."""
        for delay in backoff.delays(limit_s=BUS_RETRY_LIMIT_S):
            try:
                await self._serve(bus, wake)
            except Exception as error:
                log.exception("= driver failed bus=%s", bus)
                failure = DriverError(f"the driver failed: {error!r}")
                self._emit(self._mapper.bus_down(bus, failure, time.monotonic(), _now_ms()))
            await asyncio.sleep(delay)

    async def _serve(self, bus: Hashable, wake: asyncio.Event) -> None:
        driver = self._mapper.drivers.driver(bus)
        delays = backoff.delays(limit_s=BUS_RETRY_LIMIT_S)
        try:
            while True:
                try:
                    await driver.open()
                    ears = None
                    if isinstance(driver, Listener):
                        ears = Ears(self._mapper, bus, driver, self._emit, wake.set)
                    courier = Courier(self._mapper, bus, driver, self._emit) if isinstance(driver, Relay) else None
                    while True:
                        device = await self._first_due(bus, wake, ears, courier)
                        if await self._turn(driver, device):
                            delays = backoff.delays(limit_s=BUS_RETRY_LIMIT_S)
                except BusDown as error:
                    self._emit(self._mapper.bus_down(bus, error, time.monotonic(), _now_ms()))
                    await driver.close()
                    await asyncio.sleep(next(delays))
        finally:
            await driver.close()

    async def _first_due(
        self, bus: Hashable, wake: asyncio.Event, ears: Ears | None, courier: Courier | None
    ) -> MappedDevice:
        loop, waited = asyncio.get_running_loop(), False
        while True:
            _honour_cancellation()
            wake.clear()
            if ears is not None:
                ears.follow()
            if courier is not None:
                courier.follow()
            first = self._mapper.next_on(bus)
            now = time.monotonic()
            if first is not None and first[1] <= now:
                if not waited:
                    await asyncio.sleep(0)  # a driver that never waits must not hold up the others
                return first[0]
            # A timer of its own is a third of the price of asyncio.timeout, which cancels and catches.
            never = first is None or first[1] == float("inf")
            timer = None if first is None or never else loop.call_later(first[1] - now, wake.set)
            try:
                await wake.wait()
            finally:
                if timer is not None:
                    timer.cancel()
            waited = True

    async def _turn(self, driver: Driver, device: MappedDevice) -> bool:
        """One device's call, then its writes, then its reads; whether it answered. Raises BusDown."""
        try:
            called, answers = await carry_out(driver, device, time.monotonic(), _now_ms())
            self._told(device, answers)
            await self._write(driver, device)
            points = device.reads(time.monotonic())
            results = await driver.read([point.visitor for point in points]) if points else []
        except NoAnswer as error:
            self._told(device, device.missed(error, time.monotonic()))
            self._told(device, device.calls.refused(methods.TOO_LATE, str(error), _now_ms()))
            if device.state != ONLINE:
                self._told(device, device.give_up_calls(_now_ms()))
            return False
        if points:
            self._told(device, device.answered(points, results, time.monotonic(), _now_ms()))
        else:
            self._told(device, device.idle(time.monotonic()))
        if called:
            self._told(device, answer(device, called, points, results, _now_ms()))
        return True

    async def _write(self, driver: Driver, device: MappedDevice) -> None:
        writes = device.writes(time.monotonic())
        for number, write in enumerate(writes):
            try:
                await make(driver, write)
            except (NoAnswer, BusDown):
                device.wishes.unwritten(writes[number:])
                raise
            except ValueRefused as error:
                device.wishes.refused(write.point, write.desired, str(error), float("inf"))
            except DriverError as error:
                device.wishes.refused(write.point, write.desired, str(error), time.monotonic() + RETRY_REFUSED_S)
            else:
                device.wishes.wrote(write, time.monotonic())

    def _told(self, device: MappedDevice, outputs: Sequence[Output]) -> None:
        if outputs and self._mapper.serves(device):
            self._emit(outputs)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _honour_cancellation() -> None:
    """End a task whose cancellation a library swallowed, as asyncio.wait_for of Python 3.11 does when its future is done."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
