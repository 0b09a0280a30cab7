"""The retained messages: the last one of each topic that was published with the retain flag (specification, section 3.3.1.3)."""

from bisect import bisect_left, insort

from edge_gateway.broker.filters import matches

_AFTER_EVERY_CHARACTER = chr(0x10FFFF)


class Retained:
    """Messages by topic, with the topics in order so that a prefix finds its own without a look at the others."""

    def __init__(self) -> None:
        self._messages: dict[str, tuple[bytes, int]] = {}
        self._order: list[str] = []
        self.bytes = 0
        """Of all payloads and topics."""

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
            self.bytes -= len(before[0]) + len(topic)
            del self._messages[topic]
            del self._order[bisect_left(self._order, topic)]
            return True
        if before == (payload, qos):
            return False
        if before is None:
            insort(self._order, topic)
            self.bytes += len(payload) + len(topic)
        else:
            self.bytes += len(payload) - len(before[0])
        self._messages[topic] = (payload, qos)
        return True

    def topics(self, prefix: str = "") -> list[str]:
        """The topics that begin with `prefix`, in order."""
        return self._order[self._range(prefix)]

    def candidates(self, name_filter: str) -> int:
        """How many topics `matching` has to look at."""
        prefix = _prefix(name_filter)
        if prefix is None:
            return 1
        found = self._range(prefix)
        return int(found.stop - found.start)

    def matching(self, name_filter: str) -> list[str]:
        """The topics that a filter matches, in order."""
        prefix = _prefix(name_filter)
        if prefix is None:
            return [name_filter] if name_filter in self._messages else []
        return [topic for topic in self.topics(prefix) if matches(name_filter, topic)]

    def _range(self, prefix: str) -> slice:
        order = self._order
        return slice(bisect_left(order, prefix), bisect_left(order, prefix + _AFTER_EVERY_CHARACTER))


def _prefix(name_filter: str) -> str | None:
    """How every topic that a filter matches begins; None for a filter without wildcards."""
    wildcard = min((at for at in (name_filter.find("+"), name_filter.find("#")) if at >= 0), default=-1)
    # `a/#` matches `a` too, so the prefix ends before the slash.
    return None if wildcard < 0 else name_filter[:wildcard].removesuffix("/")
