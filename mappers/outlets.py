"""From what a mapper reports to where else it goes: pushed to targets, and shown as gauges."""

from .gauges import Gauges
from .health import ONLINE, State
from .mapped import MappedDevice, Report
from .push import Sample
from .pusher import Pusher


class Outlets:
    """Shared by the mappers of a process."""

    def __init__(self, pusher: Pusher, gauges: Gauges) -> None:
        self._pusher = pusher
        self._gauges = gauges

    def put(self, output: Report | State, device: MappedDevice | None) -> None:
        """Take what is told the gateway of a device; None when it is served no more."""
        if isinstance(output, State):
            self._gauges.state(output.device, online=output.state == ONLINE)
            return
        pushed_on = device.plan.pushed_on if device is not None else {}
        for name in pushed_on.keys() & output.values.keys() if pushed_on else ():
            point, (value, at_ms) = pushed_on[name], output.values[name]
            sample = Sample(output.device, name, value, point.type, point.unit, at_ms)
            if point.pushes is not None:
                self._pusher.put(point.pushes, sample)
                if point.pushes.gauge is not None:
                    self._gauges.set(point.pushes.gauge, sample)

    def follow(self, id: str, device: MappedDevice | None) -> None:
        """A device's definition came, or is gone: gauges that it does not ask for any more go too."""
        if device is None:
            self._gauges.forget(id)
            return
        points = device.plan.pushed_on.values()
        self._gauges.keep(id, [p.name for p in points if p.pushes is not None and p.pushes.gauge is not None])
