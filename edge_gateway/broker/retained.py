"""The retained messages: the last one of each topic that was published with the retain flag (specification, section 3.3.1.3)."""

from bisect import bisect_left, insort

from edge_gateway.broker.filters import matches

_AFTER_EVERY_CHARACTER = chr(0x10FFFF)


class Retained:
    """Messages by topic, with the topics in order so that a prefix finds its own without a look at the others."""

    def __init__(self) -> None:
        self._messages: dict[str, tuple[bytes, int]] = {}
        self._order: list[str] = []

    def __len__(self) -> int:
        return len(self._messages)

    def __contains__(self, topic: str) -> bool:
        return topic in self._messages

    def get(self, topic: str) -> tuple[bytes, int] | None:
        """Payload and QoS."""
        return self._messages.get(topic)

    def set(self, topic: str, payload: bytes, qos: int) -> bool:
        """Keep a message, or with an empty payload forget the topic's; whether that changed anything."""
        before = self._messages.get(topic)
        if not payload:
            if before is None:
                return False
            del self._messages[topic]
            del self._order[bisect_left(self._order, topic)]
            return True
        if before == (payload, qos):
            return False
        if before is None:
            insort(self._order, topic)
        self._messages[topic] = (payload, qos)
        return True

    def topics(self, prefix: str = "") -> list[str]:
        """The topics that begin with `prefix`, in order."""
        order = self._order
        return order[bisect_left(order, prefix) : bisect_left(order, prefix + _AFTER_EVERY_CHARACTER)]

    def matching(self, name_filter: str) -> list[str]:
        """The topics that a filter matches, in order."""
        wildcard = min((at for at in (name_filter.find("+"), name_filter.find("#")) if at >= 0), default=-1)
        if wildcard < 0:
            return [name_filter] if name_filter in self._messages else []
        # `a/#` matches `a` too, so the prefix ends before the slash.
        prefix = name_filter[:wildcard].removesuffix("/")
        return [topic for topic in self.topics(prefix) if matches(name_filter, topic)]
