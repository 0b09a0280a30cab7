"""The agent: what a board reports, when, and what it does about desired values. No I/O, no clock.

A shell feeds it with readings (`sample`), messages (`on_message`), the state of the link (`connected`, `disconnected`) and the
time (`tick`, `time`), carries out the actions it returns, and sends what `tick` hands out, one message at a time. It holds
the newest reading of each property and nothing else, so a board that is cut off for a year needs no more memory than
one that is not.

- A property is reported when it moved by its dead band, together with the others that moved meanwhile; all of them are
  reported on connecting, after `heartbeat_ms` without a full report, and again, ever later, after the gateway refused a report.
- A desired value becomes an action; the property is reported once the output's own reading says so.
- A desired value that cannot be followed is logged, told with the state and answered with the current value, once: the
  gateway answers each report with what still differs, and the two would go on for ever.

Times are milliseconds: `now_ms` on the shell's monotonic clock, source times since 1970, or 0 while the board never learned the
time; then the gateway's time counts. The gateway's answer to a report tells its time; one that shows the board's to be behind
lets everything be said again, for the gateway took the older times for old news.
"""

from device_fw.firmware.timekeeper import Timekeeper
from edgewire import board
from edgewire import device_topics as topics

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from collections.abc import Callable

    from device_fw.firmware.properties import Property

FIRST_RETRY_MS = 2000
_AILMENT_KEPT = 200  # characters
_STATE_PAUSE_MS = 10000  # a sensor that comes and goes must not fill the link
_REFUSALS_KEPT = 32  # names in one delta that need not be logged again
_DOUBT_MS = 100  # of the gateway's time, whatever came of its way
_SLOW_MS = 2000  # an answer that took longer tells no time
_BEHIND_MS = 1000


class _Reading:
    """The newest reading of a property, and what was last reported of it."""

    def __init__(self) -> None:
        self.text = ""
        self.sampled_ms = 0
        self.reported: "str | None" = None
        self.source_ms = 0
        self.due = True


class Agent:
    """One device, `<namespace>/<name>`, and its properties by name."""

    def __init__(
        self, device: str, properties: "dict[str, Property]", log: "Callable[..., None]", heartbeat_ms: int = 60000
    ) -> None:
        self.device = device
        self.reports_refused = 0
        self.desired_refused = 0
        self.subscriptions = (topics.of_device(device, topics.DELTA), topics.of_device(device, topics.RESULT))
        self._properties = properties
        self._log = log
        self._heartbeat_ms = heartbeat_ms
        self._readings: "dict[str, _Reading]" = {}
        self._not_followed: "dict[str, tuple[str, str]]" = {}  # property -> the desired value, and why not
        self._refusals_told = True
        self._ailment = self._ailment_told = ""
        self._state_ms = 0  # when the state was said last
        self._online = False
        self._announce_ms: "int | None" = None
        self._retry_ms = FIRST_RETRY_MS
        self._full_ms = 0
        self.time = Timekeeper(log)
        self._events = 0
        self._asked_ms = 0  # when the last report went out

    def last_will(self) -> "tuple[str, str, int]":
        """Topic, payload and QoS of what the broker shall say when the board is lost."""
        return topics.of_device(self.device, topics.STATE), board.state("offline"), 1

    def gateway_time(self, unix_ms: int, now_ms: int, doubt_ms: int = 0) -> None:
        """The gateway told its time, give or take `doubt_ms`."""
        if self.time.gateway(unix_ms, now_ms, doubt_ms + _DOUBT_MS) >= _BEHIND_MS:
            self._all_due(now_ms)

    def connected(self, now_ms: int) -> None:
        """The link is up and subscribed to `subscriptions`: the state and all values go out next."""
        self._online = True
        self._retry_ms = FIRST_RETRY_MS
        self._announce_ms = now_ms

    def disconnected(self) -> None:
        """The link is down. What was on its way may be lost; the newest values go out on the next `connected`."""
        self._online = False

    def sample(self, name: str, value: "str | int | float | bool", now_ms: int) -> str:
        """Take a reading; returns it as it is reported. ValueError for an unknown property or no finite number."""
        kind = self._properties.get(name)
        if kind is None:
            raise ValueError("no property " + name)
        text = kind.text(value)
        reading = self._readings.get(name)
        if reading is None:
            reading = self._readings[name] = _Reading()
        if text != reading.text:
            self._follow(name)
        reading.text = text
        reading.sampled_ms = now_ms
        if reading.reported is None or kind.moved(reading.reported, text):
            reading.due = True
        return text

    def on_message(self, topic: bytes, payload: bytes, now_ms: int) -> "list[tuple[str, str | int | float | bool]]":
        """Take a message of `subscriptions`. Returns the outputs to set: (property, value). Never raises for what it says."""
        try:
            address = topics.device_topic(topic.decode())
            if address == (self.device, topics.DELTA):
                return self._obey(board.delta(payload))
            if address == (self.device, topics.RESULT):
                self._note_answer(payload, now_ms)
            else:
                self._log("message_ignored", topic=topic)
        except (ValueError, MemoryError) as error:  # a large document may not fit the board's heap
            self._log("message_unreadable", topic=topic, bytes=len(payload), reason=error)
        return []

    def failed(self, name: str, value: "str | int | float | bool", reason: object) -> None:
        """An action could not be carried out."""
        self._not_follow(name, self._properties[name].text(value), reason)

    def unwell(self, failures: "dict[str, str]") -> None:
        """Properties that cannot be read now, and why; none: all can. The state says so, every ten seconds at most."""
        self._ailment = "; ".join([name + ": " + failures[name] for name in sorted(failures)])[:_AILMENT_KEPT]

    def tick(self, now_ms: int) -> "tuple[str, str, int] | None":
        """The next message to send: (topic, payload, QoS), or None. Ask again when it was acknowledged."""
        if not self._online:
            return None
        if self._announce_ms is not None and now_ms >= self._announce_ms:
            self._announce_ms = None
            self._all_due(now_ms)
            return (
                topics.of_device(self.device, topics.STATE),
                self._state(now_ms),
                1,
            )
        if not self._refusals_told or (
            self._ailment != self._ailment_told and now_ms - self._state_ms >= _STATE_PAUSE_MS
        ):
            return topics.of_device(self.device, topics.STATE), self._state(now_ms), 1
        if now_ms - self._full_ms >= self._heartbeat_ms:
            self._retry_ms = FIRST_RETRY_MS
            self._all_due(now_ms)
        values = {}
        for name, reading in self._readings.items():
            if reading.due:
                values[name] = self._take(reading)
        if not values:
            return None
        self._asked_ms = now_ms
        report = board.report(values, self._event(), self.time.unix_ms(now_ms))
        return topics.of_device(self.device, topics.UPDATE), report, 1

    def _all_due(self, now_ms: int) -> None:
        self._full_ms = now_ms
        for reading in self._readings.values():
            reading.due = True

    def _take(self, reading: _Reading) -> "tuple[str, int]":
        """Value and source time for a report. The time strictly increases, or the gateway would take it for a replay."""
        if self.time.source:
            reading.source_ms = max(self.time.unix_ms(reading.sampled_ms), reading.source_ms + 1)
        reading.reported = reading.text
        reading.due = False
        return reading.text, reading.source_ms

    def _event(self) -> str:
        self._events += 1
        return str(self._events)

    def _obey(self, desired: "dict[str, str]") -> "list[tuple[str, str | int | float | bool]]":
        actions = []
        for name, text in desired.items():
            kind = self._properties.get(name)
            if kind is None:
                self._not_follow(name, text, "no such property")
            elif not kind.writable:
                self._not_follow(name, text, "read only")
            else:
                try:
                    actions.append((name, kind.parse(text)))
                    if self._not_followed.get(name, (text,))[0] != text:
                        self._follow(name)
                except ValueError as error:
                    self._not_follow(name, text, error)
        return actions

    def _state(self, now_ms: int) -> str:
        self._refusals_told = True
        self._ailment_told = self._ailment
        self._state_ms = now_ms
        reason = "SensorFailed" if self._ailment else ""
        refused = {name: "{!r}: {}".format(text[:40], why) for name, (text, why) in self._not_followed.items()}
        return board.state("online", self._event(), self.time.unix_ms(now_ms), reason, self._ailment, refused)

    def _follow(self, name: str) -> None:
        if self._not_followed.pop(name, None):
            self._refusals_told = False

    def _not_follow(self, name: str, text: str, reason: object) -> None:
        self.desired_refused += 1
        before = self._not_followed.get(name)
        if before and before[0] == text:
            return
        if len(self._not_followed) >= _REFUSALS_KEPT:
            self._not_followed.clear()
        self._not_followed[name] = text, str(reason)[:100]
        self._refusals_told = False
        self._log("desired_not_followed", property=name, desired=text[:64], reason=reason)
        if name in self._readings:
            self._readings[name].due = True

    def _note_answer(self, payload: bytes, now_ms: int) -> None:
        event, unix_ms, code, reason = board.answer(payload)
        took_ms = now_ms - self._asked_ms
        if unix_ms and event == str(self._events) and took_ms <= _SLOW_MS:
            self.gateway_time(unix_ms + took_ms // 2, now_ms, took_ms)
        if not code:
            return
        self.reports_refused += 1
        self._log("report_refused", event_id=event, code=code, reason=reason)
        if self._announce_ms is None:  # perhaps the node does not know the device yet: say everything again, ever later
            self._announce_ms = now_ms + self._retry_ms
            self._retry_ms = min(self._heartbeat_ms, self._retry_ms * 2)
