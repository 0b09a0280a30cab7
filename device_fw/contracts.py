"""What the firmware's parts expect of each other, for the type checker and the reader; boards carry none of it.

`Station` joins one `Board`, one `Link` and, where the firmware lies in slots, an `Updater`. A link for another transport is a
module `device_fw/firmware/<transport>_link.py` with a function `make(config, board) -> Link`; `parts.py` imports the one that
the configuration names, `config.py` lists them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from device_fw.firmware.properties import Property

Value = str | int | float | bool


class Board(Protocol):
    """Pins, sensors, outputs and clock of one board. Made from the configuration; see `device_fw/boards`."""

    @property
    def properties(self) -> Mapping[str, Property]:
        """What it has."""

    def due(self, now_ms: int) -> Sequence[str]:
        """The properties to read now: those whose interval is over and whose sensor is ready. Never waits for a sensor."""

    def wait_ms(self, now_ms: int) -> int:
        """How long nothing will be due; an output may change it."""

    def read(self, name: str) -> Value:
        """The newest reading of a property. OSError or ValueError when there is none, and why."""

    def write(self, name: str, value: Value) -> None:
        """Set an output. OSError or ValueError when it cannot be; then it stays as it is."""

    def unix_ms(self) -> int:
        """Milliseconds since 1970; 0 while nobody knows."""

    def set_unix_ms(self, unix_ms: int) -> None:
        """Set the clock, where there is one to set: others on the board, such as TLS, look at it."""

    def alive(self) -> None:
        """Called at every turn: feed the watchdog."""


class Network(Protocol):
    """What must be there before a link can be, such as Wi-Fi."""

    def tick(self, now_ms: int) -> bool:
        """Whether it is there; if not, work on it. Never raises, never waits."""

    def wait_ms(self, now_ms: int) -> int:
        """When to call next while it is not there."""


class Sntp(Protocol):
    """Somebody to ask what time it is."""

    def tick(self, now_ms: int) -> int:
        """Milliseconds since 1970 at `now_ms` when an answer came, else 0. Never raises, never waits."""

    def wait_ms(self, now_ms: int) -> int:
        """When to call next."""


class Link(Protocol):
    """One connection at a time to the gateway. Every error is an OSError; after one the link is closed, and `connect` may follow.

    No call takes longer than the link's own deadlines. The kinds and payloads are those of MQTT, whatever carries them.
    """

    @property
    def peer(self) -> str:
        """Whom it speaks to, for the log: `127.0.0.1:1883`."""

    @property
    def connected(self) -> bool:
        """Whether there is a link, as far as is known."""

    @property
    def idle(self) -> bool:
        """Whether the next QoS 1 message may be sent: one is on its way at a time."""

    @property
    def acknowledged(self) -> int:
        """How many QoS 1 messages of this connection the other side has taken over."""

    def unix_ms(self) -> int:
        """Milliseconds since 1970, now, as the other side told on this transport; 0 when it did not."""

    def set_callback(self, f: Callable[[bytes, bytes], None]) -> None:
        """What gets topic and payload of each message, from within `connect`, `subscribe` and `poll`."""

    def set_alive(self, alive: Callable[[], None]) -> None:
        """What to call about once a second while `connect`, `subscribe` or `send` wait: it feeds the watchdog."""

    def set_last_will(self, topic: str, msg: str, retain: bool = False, qos: int = 0) -> None:
        """What the other side shall say to itself when the board is lost. Counts from the next `connect`."""

    def connect(self) -> object:
        """Connect, after closing what was."""

    def subscribe(self, *topics: str) -> None:
        """Ask for these topics, and wait for the answer."""

    def send(self, topic: str, msg: "str | bytes", qos: int = 1) -> None:
        """Send and return at once; at QoS 1 only while `idle`. `poll` raises when the acknowledgement is late."""

    def poll(self, wait_ms: int = 0) -> bool:
        """Handle what has come, keep alive, watch the deadlines; wait up to `wait_ms` for something to come. Whether it did."""

    def close(self) -> None:
        """Close without a farewell, so that the last will is said. Never raises."""


class Updater(Protocol):
    """Takes firmware over the link, piece by piece, into the slot that does not run."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """What to subscribe to, below the device (`edgewire.topics`)."""

    def properties(self) -> Mapping[str, Property]:
        """What it reports of itself, beside the board's own."""

    def read(self, name: str) -> Value:
        """One of them now."""

    def on_message(self, kind: str, payload: bytes, now_ms: int) -> None:
        """A message of one of `kinds`. Never raises for what it says."""

    def tick(self, now_ms: int) -> "tuple[str, str | bytes, int] | None":
        """The next message (kind, payload, QoS), asked for while the link is idle and the agent has nothing to send."""

    def contact(self, now_ms: int) -> None:
        """The other side has taken over a message."""

    def alive(self, now_ms: int) -> None:
        """Called at every turn, with a link and without."""
