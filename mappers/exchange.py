"""Between the broker and the mapper's core: messages in, outputs into the outbox and out as far as the broker keeps up.

It is the `Handler` of the MQTT connection and the one place that all three meet: what a message changes is told the poller,
what the poller read is told the gateway.
"""

import time
from collections.abc import Sequence

from edgewire import topics

from .calls import Answer
from .mapped import Output
from .mapper import Effect, Ignore, Listen, Mapper, concerning
from .mqtt import BrokerConfig, MqttConnection
from .outbox import Outbox
from .outlets import Outlets
from .poller import Poller
from .relays import Relayed, Relays


class Exchange:
    """Wires a mapper to its broker and its buses. `poller` and `connection` are the services to run."""

    def __init__(self, mapper: Mapper, broker: BrokerConfig, outlets: Outlets | None = None) -> None:
        self._mapper = mapper
        self._outlets = outlets
        self._outbox = Outbox()
        self._relays = Relays()
        self._up = False
        self.poller = Poller(mapper, self._tell)
        self.connection = MqttConnection(broker, f"mapper-{mapper.protocol}", self)

    @property
    def services(self) -> tuple[Poller, MqttConnection]:
        """The poller, and the connection."""
        return self.poller, self.connection

    def filters(self) -> list[str]:
        """What to subscribe to when a connection begins."""
        return self._mapper.filters()

    def connected(self) -> None:
        """The connection is up: tell the states again, and what waited."""
        self._up = True
        self._apply(self._mapper.reconnected())

    def received(self, topic: str, payload: bytes) -> None:
        """A definition, the index, or a desired value."""
        self._apply(self._mapper.received(topic, payload, time.monotonic(), time.time_ns() // 1_000_000))
        self.poller.follow()
        defined = topics.device_of_mapper_topic(topic)
        if self._outlets is not None and defined is not None and defined[1] is not None:
            self._outlets.follow(defined[1], self._mapper.served(defined[1]))

    def acknowledged(self, device: str) -> None:
        """The gateway has a device's publication on its disk; the next may go."""
        self._relays.acknowledged(device)
        self._outbox.acknowledged(device)
        self._pump()

    def disconnected(self) -> None:
        """What was on its way waits again."""
        self._up = False
        self._outbox.lost()
        self._relays.lost()
        self._mapper.disconnected()

    def _tell(self, outputs: Sequence[Output]) -> None:
        for output in outputs:
            self._put(output)
        self._pump()

    def _put(self, output: Output) -> None:
        if isinstance(output, Relayed):
            if self._up:
                self._relays.put(output)
            return
        if isinstance(output, Answer):  # to someone who waits: now or never, beside what waits of the device
            self.connection.publish("", topics.of_device(output.device, topics.METHOD_RESULT), output.payload.decode())
            return
        self._outbox.put(output)
        if self._outlets is not None:
            self._outlets.put(output, self._mapper.served(output.device))

    def _apply(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Listen):
                for topic in concerning(effect.device, effect.relays):
                    self.connection.subscribe(topic)
            elif isinstance(effect, Ignore):
                for topic in concerning(effect.device, effect.relays):
                    self.connection.unsubscribe(topic)
                self._outbox.forget(effect.device)
            else:
                self._put(effect)
        self._pump()

    def _pump(self) -> None:
        if self._up:
            for publication in self._outbox.take():
                self.connection.publish(publication.device, publication.topic, publication.payload)
            for topic, payload in self._relays.take():
                self.connection.publish(topic, topic, payload)
