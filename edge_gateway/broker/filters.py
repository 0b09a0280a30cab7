"""Topic names and topic filters: what MQTT allows (specification, section 4.7), who matches whom, and the tree of subscriptions.

A filter's `+` stands for one level, a last `#` for the level before it and everything below. Neither matches a first level
that begins with `$` [MQTT-4.7.2-1], so a subscriber to `#` does not see the gateway's `$hw/...` topics.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

# More levels than any real topic has; bounds what one subscription costs in the tree.
MAX_LEVELS = 128
MAX_BYTES = 65_535
# What a level of the tree takes, and a subscription beside its levels; measured on CPython 3.11, x86-64.
_NODE_BYTES, _SUBSCRIPTION_BYTES = 310, 300


def topic_fault(name: str) -> str | None:
    """Why `name` is no topic to publish to, or None when it is one."""
    if not name:
        return "topic is empty"
    if "\0" in name:
        return "topic contains U+0000"
    if "+" in name or "#" in name:
        return "topic contains a wildcard"
    if name.count("/") >= MAX_LEVELS:
        return f"topic has more than {MAX_LEVELS} levels"
    return None


def filter_fault(name: str) -> str | None:
    """Why `name` is no topic filter, or None when it is one."""
    if not name:
        return "filter is empty"
    if "\0" in name:
        return "filter contains U+0000"
    levels = name.split("/")
    if len(levels) > MAX_LEVELS:
        return f"filter has more than {MAX_LEVELS} levels"
    if any("#" in level for level in levels[:-1]) or ("#" in levels[-1] and levels[-1] != "#"):
        return "filter has # elsewhere than as its last level"
    if any("+" in level and level != "+" for level in levels):
        return "filter has + in part of a level"
    return None


def matches(name_filter: str, topic: str) -> bool:
    """Whether a subscription to `name_filter` receives what is published to `topic`."""
    if topic.startswith("$") and name_filter.startswith(("+", "#")):
        return False
    levels = topic.split("/")
    wanted = name_filter.split("/")
    for at, level in enumerate(wanted):
        if level == "#":
            return True
        if at >= len(levels) or (level != "+" and level != levels[at]):
            return False
    return len(wanted) == len(levels)


def covers(allowed: str, asked: str) -> bool:
    """Whether `allowed`, a filter in a user's permissions, takes in every topic of `asked`, a topic or filter.

    In permissions `#` alone means every topic, those beginning with `$` too.
    """
    if allowed == "#":
        return True
    limits = allowed.split("/")
    levels = asked.split("/")
    if levels[0].startswith("$") and limits[0] == "+":
        return False
    for at, limit in enumerate(limits):
        if limit == "#":
            return True
        if at >= len(levels) or levels[at] == "#":
            return False
        if limit != "+" and limit != levels[at]:
            return False
    return len(limits) == len(levels)


def overlap(one: str, other: str) -> bool:
    """Whether some topic matches both of two filters."""
    levels, others = one.split("/"), other.split("/")
    for first, second in ((levels[0], others[0]), (others[0], levels[0])):
        if first.startswith("$") and second in ("+", "#"):
            return False
    for level, against in zip(levels, others, strict=False):
        if "#" in (level, against):
            return True
        if level != against and "+" not in (level, against):
            return False
    longer = levels[len(others) :] or others[len(levels) :]
    return not longer or longer == ["#"]  # `a/#` matches `a` too


class _Node(Generic[T]):
    __slots__ = ("children", "subscribers")

    def __init__(self) -> None:
        self.children: dict[str, _Node[T]] = {}
        self.subscribers: dict[T, int] = {}


class FilterTree(Generic[T]):
    """Subscriptions by filter, one tree level a topic level, so that a topic finds its subscribers without trying them all."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self.bytes = 0
        """The memory it takes, about."""

    def add(self, name_filter: str, subscriber: T, qos: int) -> None:
        """Subscribe, or change the QoS of a subscription that is there."""
        node = self._root
        for level in name_filter.split("/"):
            child = node.children.get(level)
            if child is None:
                child = node.children[level] = _Node()
                self.bytes += _NODE_BYTES + len(level)
            node = child
        if subscriber not in node.subscribers:
            self.bytes += _SUBSCRIPTION_BYTES + len(name_filter)
        node.subscribers[subscriber] = qos

    def remove(self, name_filter: str, subscriber: T) -> None:
        """Unsubscribe; branches that lead nowhere any more go. Without such a subscription nothing happens."""
        path: list[tuple[_Node[T], str]] = []
        node = self._root
        for level in name_filter.split("/"):
            child = node.children.get(level)
            if child is None:
                return
            path.append((node, level))
            node = child
        if node.subscribers.pop(subscriber, None) is not None:
            self.bytes -= _SUBSCRIPTION_BYTES + len(name_filter)
        for parent, level in reversed(path):
            child = parent.children[level]
            if child.subscribers or child.children:
                return
            del parent.children[level]
            self.bytes -= _NODE_BYTES + len(level)

    def match(self, topic: str) -> dict[T, int]:
        """Every subscriber to `topic` and the highest QoS among its matching filters [MQTT-3.3.5-1]."""
        found: dict[T, int] = {}
        nodes = [self._root]
        hidden = topic.startswith("$")
        for level in topic.split("/"):
            below = []
            for node in nodes:
                children = node.children
                if (child := children.get(level)) is not None:
                    below.append(child)
                if hidden:
                    continue
                if (child := children.get("+")) is not None:
                    below.append(child)
                if (child := children.get("#")) is not None:
                    _merge(found, child.subscribers)
            nodes = below
            hidden = False
        for node in nodes:
            _merge(found, node.subscribers)
            if (child := node.children.get("#")) is not None:
                _merge(found, child.subscribers)
        return found


def _merge(found: dict[T, int], subscribers: dict[T, int]) -> None:
    for subscriber, qos in subscribers.items():
        if found.get(subscriber, -1) < qos:
            found[subscriber] = qos
