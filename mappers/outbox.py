"""What waits for the broker: the newest report of each property and the newest state of each device, until acknowledged.

paho's own queue is unlimited and keeps every report ever made; this one is as large as there are properties. A device has one
message on its way at a time, so that its order is kept and values read meanwhile become one report.
"""

from collections.abc import Iterator

from msgspec import Struct, field

from edgewire import board, topics, twin

from .health import State
from .mapped import Report

LARGEST_REPORT = 500
"""Properties in one message; the rest goes in the next."""


class Publication(Struct, frozen=True):
    """A message to publish with QoS 1; say `acknowledged` of its device when it was."""

    device: str
    topic: str
    payload: str | bytes


class _Waiting(Struct):
    state: State | None = None
    values: dict[str, tuple[str, int]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.state is not None or bool(self.values)


class Outbox:
    """Outputs in, publications out."""

    def __init__(self) -> None:
        self._waiting: dict[str, _Waiting] = {}
        self._sent: dict[str, _Waiting] = {}

    def put(self, output: Report | State) -> None:
        """Let an output wait, in place of an older one of the same."""
        waiting = self._waiting.setdefault(output.device, _Waiting())
        if isinstance(output, State):
            waiting.state = output
        else:
            waiting.values.update(output.values)

    def take(self) -> Iterator[Publication]:
        """What can be published now; each counts as on its way once it is taken."""
        for device in [d for d in self._waiting if d not in self._sent]:
            yield self._publication(device)

    def acknowledged(self, device: str) -> None:
        """The broker took a device's publication."""
        self._sent.pop(device, None)

    def lost(self) -> None:
        """The connection is gone: what was on its way waits again, unless something newer does."""
        for device, sent in self._sent.items():
            if not sent:  # forgotten
                continue
            waiting = self._waiting.setdefault(device, _Waiting())
            waiting.state = waiting.state if waiting.state is not None else sent.state
            waiting.values = {**sent.values, **waiting.values}
        self._sent.clear()

    def forget(self, device: str) -> None:
        """A device is served no more: nothing of it is sent any longer."""
        self._waiting.pop(device, None)
        if device in self._sent:
            self._sent[device] = _Waiting()

    def __len__(self) -> int:
        """Devices of which something waits or is on its way."""
        return len(self._waiting.keys() | self._sent.keys())

    def _publication(self, device: str) -> Publication:
        waiting = self._waiting[device]
        payload: str | bytes
        sent = self._sent[device] = _Waiting()
        if waiting.state is not None:  # first, so that a report of a device back online finds it so
            sent.state, waiting.state = waiting.state, None
            topic, payload = topics.of_device(device, topics.STATE), _payload(sent.state)
        else:
            if len(waiting.values) <= LARGEST_REPORT:
                sent.values, waiting.values = waiting.values, {}
            else:
                for name in list(waiting.values)[:LARGEST_REPORT]:
                    sent.values[name] = waiting.values.pop(name)
            topic, payload = topics.of_device(device, topics.UPDATE), _report(sent.values)
        if not waiting:
            del self._waiting[device]
        return Publication(device, topic, payload)


def _report(values: dict[str, tuple[str, int]]) -> str | bytes:
    try:
        return twin.encode_report(values)
    except UnicodeEncodeError:  # half a surrogate pair, which only plain JSON can name
        return board.report(values)


def _payload(state: State) -> str:
    return board.state(state.state, reason=state.reason, message=state.message, refused=state.refused)
