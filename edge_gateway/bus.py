"""The broker as the gateway sees it: built in (`broker/`), or an external one (`external_broker.py`)."""

from collections.abc import Callable
from typing import Protocol


class Inbound(Protocol):
    """One PUBLISH of a client; `payload` is None when its `size` was over the limit."""

    @property
    def topic(self) -> str: ...
    @property
    def payload(self) -> bytes | None: ...
    @property
    def size(self) -> int: ...

    def ack(self) -> None:
        """Exactly once: what it said is safe, its sender may forget it."""
        ...


class Bus(Protocol):
    """What EventBus needs of a broker."""

    def attach(self, handler: Callable[[Inbound], None], wants: Callable[[str], bool]) -> None:
        """`handler` gets every PUBLISH on a topic that it `wants`."""
        ...

    def on_connected(self, connected: Callable[[], None]) -> None:
        """Whom to call each time the broker can be published to and its retained topics are known."""
        ...

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> None:
        """Publish from the gateway itself."""
        ...

    def wanted(self, topic: str) -> bool:
        """Whether anyone listens to a topic, as far as the broker tells."""
        ...

    def retained_topics(self, prefix: str) -> list[str]:
        """The topics below a prefix that the broker holds retained messages of."""
        ...

    def pause(self) -> None:
        """Take no more from clients until `resume`."""
        ...

    def resume(self) -> None:
        """Go on after `pause`."""
        ...
