"""EventBus: between the broker and the core. It makes effects durable first, and only then answers anybody.

Backpressure: while more than `HIGH_WATER` reports wait for the disk, or reports of `HIGH_BYTES`, the broker takes nothing from
clients, so what is in memory stays bounded; nothing is lost, for nobody got a PUBACK.
"""

import logging
from collections.abc import Callable
from functools import partial

from edge_gateway.bus import Bus, Inbound
from edge_gateway.edge_core import EdgeCore
from edge_gateway.effects import Effects
from edge_gateway.store import Store
from edgewire import topics
from edgewire.message import now_ms
from edgewire.resource import Resource

log = logging.getLogger(__name__)

HIGH_WATER, LOW_WATER = 4_000, 1_000
HIGH_BYTES, LOW_BYTES = 16 * 1024 * 1024, 4 * 1024 * 1024
"""Of payload; what is made of a report until it is durable takes about as much again."""

# Of a device's `<namespace>/<name>`: Kubernetes has no longer ones, and the topic of an answer is longer than that of the report.
_LONGEST_ID = 512
_LONGEST_EVENT_ID = 128
_KINDS = (topics.UPDATE, topics.GET, topics.STATE, topics.OTA_GET)


class EventBus:
    """Carries out what the core wants, in the order store, broker, cloud."""

    def __init__(self, core: EdgeCore, store: Store, bus: Bus) -> None:
        self._core = core
        self._store = store
        self._bus = bus
        self._mark: Callable[[list[str]], None] = _nobody
        self._changed: Callable[[list[Resource]], None] = _nothing_runs
        self._done: Callable[[Effects], None] | None = None
        self._paused = False
        self._bytes = 0  # of the reports that wait for the disk

    def open(self) -> None:
        """Restore the core and attach it, before any client can connect."""
        self.perform(self._core.restore(self._store, now_ms()))
        self._bus.attach(self._take, self._wants)
        self._bus.on_connected(self._define)

    def on_dirty(self, mark: Callable[[list[str]], None]) -> None:
        """Who is told what the cloud does not know yet."""
        self._mark = mark

    def on_objects(self, changed: Callable[[list[Resource]], None]) -> None:
        """Who is told of pods, ConfigMaps and Secrets that came, changed or went, once that is durable."""
        self._changed = changed

    def on_durable(self, done: Callable[[Effects], None]) -> None:
        """Who is told of everything that changed, once it is durable."""
        self._done = done

    def _define(self) -> None:
        """Tell mappers all their devices."""
        for publish in self._core.definitions(self._bus.retained_topics(topics.MAPPER_PREFIX)):
            self._bus.publish(publish.topic, publish.payload, qos=publish.qos, retain=publish.retain)

    def perform(self, effects: Effects, then: Callable[[], None] | None = None) -> None:
        """Make `effects` durable, then publish, mark for the cloud, and call `then`."""
        for sender, refused in effects.refusals:
            log.warning(
                "< refused device=%r event_id=%r code=%d reason=%r",  # all by the sender: no lines of its own, and no long ones
                sender,
                refused.event_id[:_LONGEST_EVENT_ID],
                refused.code,
                refused.reason,
            )
        self._store.write(effects.changes, lambda: self._durable(effects, then))
        waiting = self._store.waiting()
        if not self._paused and (waiting > HIGH_WATER or self._bytes > HIGH_BYTES):
            self._paused = True
            log.info("= clients paused until the store catches up waiting=%d bytes=%d", waiting, self._bytes)
            self._bus.pause()
            self._look_again()

    def _take(self, inbound: Inbound) -> None:
        size = len(inbound.payload or b"")
        self._bytes += size
        effects = self._core.from_broker(inbound.topic, inbound.payload, inbound.size, now_ms())
        self.perform(effects, partial(self._acknowledge, inbound, size))

    def _acknowledge(self, inbound: Inbound, size: int) -> None:
        self._bytes -= size
        inbound.ack()

    def _durable(self, effects: Effects, then: Callable[[], None] | None) -> None:
        if then is not None:
            then()
        for topic, payload, qos, retain in effects.publishes:
            self._bus.publish(topic, payload, qos=qos, retain=retain)
        if effects.objects:
            self._changed(effects.objects)
        if effects.dirty:
            self._mark(effects.dirty)
        if self._done is not None:
            self._done(effects)
        self._resume_when_caught_up()

    def _look_again(self) -> None:
        """Once all of now is durable: the last to be durable need not be reports, the broker writes too."""
        self._resume_when_caught_up()
        if self._paused:
            self._store.write((), self._look_again)

    def _resume_when_caught_up(self) -> None:
        if self._paused and self._store.waiting() < LOW_WATER and self._bytes < LOW_BYTES:
            self._paused = False
            self._bus.resume()

    def _wants(self, topic: str) -> bool:
        found = topics.device_topic(topic)
        if found is not None:
            return found[1] in _KINDS and len(found[0]) <= _LONGEST_ID
        return topics.node_of_membership_get(topic) == self._core.node


def _nobody(keys: list[str]) -> None:
    """Before EdgeHub runs nobody needs to know: it asks for everything when it connects."""


def _nothing_runs(objects: list[Resource]) -> None:
    """A gateway that runs no pods keeps them all the same, for the day it does."""
