"""From a message to those who want it: the subscribers' outboxes, and the handler inside the gateway.

Who wants a topic is worked out once and kept in the match cache until a subscription changes; a gateway sees the same few
thousand topics for ever. Retained messages are kept here too.
"""

import logging
from collections.abc import Callable

from edge_gateway.broker.errors import InvalidTopic
from edge_gateway.broker.filters import MAX_BYTES, FilterTree, topic_fault
from edge_gateway.broker.journal import Journal
from edge_gateway.broker.limits import Limits
from edge_gateway.broker.outbox import Outbox
from edge_gateway.broker.packets import encode_publish
from edge_gateway.broker.retained import Retained

log = logging.getLogger(__name__)

# Bounds of the match cache: topics, and characters of a topic that is worth keeping.
_ROUTES = 4096
_LONGEST_TOPIC = 256


class Route:
    """Where the messages of one topic go."""

    __slots__ = ("targets", "wanted")

    def __init__(self, targets: tuple[tuple[Outbox, int], ...], wanted: bool) -> None:
        self.targets = targets
        self.wanted = wanted


class Router:
    """Subscriptions, retained messages and the match cache."""

    def __init__(self, journal: Journal, limits: Limits) -> None:
        self.retained = Retained()
        self._journal = journal
        self._limits = limits
        self._tree: FilterTree[Outbox] = FilterTree()
        self._routes: dict[str, Route] = {}
        self._full = False  # the last message was not retained for want of room
        self._wants: Callable[[str], bool] = _nothing

    def attach(self, wants: Callable[[str], bool]) -> None:
        """Ask `wants` from now on whether the gateway's own handler takes a topic."""
        self._wants = wants
        self._routes.clear()

    def load(self) -> None:
        """Take the retained messages from the store."""
        for topic, payload, qos in self._journal.retained():
            self.retained.set(topic, payload, qos)

    def subscribe(self, outbox: Outbox, name_filter: str, qos: int) -> None:
        """Let messages that match go to `outbox`."""
        self._tree.add(name_filter, outbox, qos)
        self._routes.clear()

    @property
    def subscription_bytes(self) -> int:
        """The memory that subscriptions take, about."""
        return self._tree.bytes

    def unsubscribe(self, outbox: Outbox, name_filter: str) -> None:
        """Let them no longer go there."""
        self._tree.remove(name_filter, outbox)
        self._routes.clear()

    def rights_changed(self) -> None:
        """Somebody may read other topics than before."""
        self._routes.clear()

    def route(self, topic: str) -> Route:
        """Where messages of `topic` go."""
        route = self._routes.get(topic)
        if route is None:
            found = self._tree.match(topic).items()
            targets = tuple(to for to in found if (reader := to[0].reader) is None or reader.may_read(topic))
            route = Route(targets, self._wants(topic))
            if len(topic) <= _LONGEST_TOPIC:
                if len(self._routes) >= _ROUTES:
                    self._routes.clear()
                self._routes[topic] = route
        return route

    def deliver(self, route: Route, topic: str, payload: bytes, qos: int, retain: bool) -> bool:
        """Retain a message if asked, and pass it to the subscribers.

        Whether it must become durable before its sender is told: what the journal has to write is put by then. Subscribers get it
        without the retain flag [MQTT-3.3.1-9].
        """
        durable = retain and self._retain_if_room(topic, payload, qos)
        packet = None
        for outbox, granted in route.targets:
            if qos and granted:
                if outbox.put(topic, payload, qos if qos < granted else granted):
                    durable = True
                continue
            line = outbox.line
            if line is None:
                continue
            if line.full:
                line.drop()
                continue
            if packet is None:
                packet = encode_publish(topic, payload)
            line.send(packet)
        return durable

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        """A message of the gateway itself. Raises InvalidTopic."""
        if topic not in self._routes:
            fault = topic_fault(topic) or ("topic is too long" if len(topic.encode()) > MAX_BYTES else None)
            if fault:
                raise InvalidTopic(f"{topic!r}: {fault}")
        if retain:  # mappers live by it: what clients retain leaves room
            self._retain(topic, payload, min(qos, 2))
        self.deliver(self.route(topic), topic, payload, min(qos, 2), False)

    def _retain_if_room(self, topic: str, payload: bytes, qos: int) -> bool:
        if payload and self._too_much_retained(topic, len(payload)):
            if not self._full:
                log.warning("not retained, there are too many topic=%r topics=%d", topic, len(self.retained))
            self._full = True
            return False
        self._full = False
        self._retain(topic, payload, qos)
        # Even an unchanged one counts: the write of its twin may still be on its way to the disk.
        return True

    def _retain(self, topic: str, payload: bytes, qos: int) -> None:
        if self.retained.set(topic, payload, qos):
            self._journal.put_retained(topic, payload, qos)

    def _too_much_retained(self, topic: str, size: int) -> bool:
        retained, limits = self.retained, self._limits
        if topic not in retained:
            return len(retained) >= limits.retained or retained.bytes + size > limits.retained_bytes
        found = retained.get(topic)
        assert found is not None
        return size > len(found[0]) and retained.bytes + size - len(found[0]) > limits.retained_bytes


def _nothing(topic: str) -> bool:
    return False
