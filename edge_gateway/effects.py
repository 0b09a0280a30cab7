"""What a core wants done: changes to make durable, then messages to publish and objects to bring to the cloud."""

from typing import NamedTuple

from edge_gateway.store import Change
from edgewire.resource import Resource
from edgewire.twin import TwinError


class Publish(NamedTuple):
    """One MQTT message of the gateway."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


class Effects:
    """The outcome of one event. `publishes` and `dirty` count only once `changes` are durable."""

    __slots__ = ("changes", "dirty", "objects", "publishes", "refusals")

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.publishes: list[Publish] = []
        self.dirty: list[str] = []
        """Keys of what the cloud does not know yet, as `Unseen.message_for` takes them."""
        self.objects: list[Resource] = []
        """Pods, ConfigMaps and Secrets that came, changed or went; they count once `changes` are durable."""
        self.refusals: list[tuple[str, TwinError]] = []
        """Who sent what could not be taken, for the log: the answer is among `publishes`."""

    def add(self, other: "Effects") -> None:
        """Append another event's outcome."""
        self.changes += other.changes
        self.publishes += other.publishes
        self.dirty += other.dirty
        self.objects += other.objects
        self.refusals += other.refusals
