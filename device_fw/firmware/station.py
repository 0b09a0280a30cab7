"""The station: the loop that joins agent, link and board. It samples, connects, sends, waits for messages, and never gives up.

Whatever fails (the link, a sensor, an output) is logged once and tried again: the link with back-off and jitter, a
sensor at its next turn, an output when the gateway asks next.
"""

import gc

from device_fw.firmware.log import log
from device_fw.firmware.ticks import sleep_ms

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from device_fw.boards.unix import Board
    from device_fw.firmware.agent import Agent
    from device_fw.firmware.mqtt_link import MqttLink
    from device_fw.firmware.retry import Backoff
    from device_fw.firmware.ticks import Clock

_TURN_MS = 1000


class Station:
    """One board, its agent and its link."""

    def __init__(self, agent: "Agent", link: "MqttLink", board: "Board", backoff: "Backoff", clock: "Clock") -> None:
        self._agent = agent
        self._link = link
        self._board = board
        self._backoff = backoff
        self._clock = clock
        self._sampled_ms: "int | None" = None  # when all was read last
        self._connect_ms = 0  # when the next try is due
        self._failures: "dict[str, str]" = {}  # sensors that do not answer, and why
        link.set_callback(self._on_message)
        topic, payload, qos = agent.last_will()
        link.set_last_will(topic, payload, qos=qos)

    def run(self) -> None:
        """Work until the power goes."""
        while True:
            self.step()

    def step(self) -> None:
        """One turn, of a second at most (unless connecting takes longer: at most the link's own deadlines)."""
        self._board.alive()
        now = self._clock.now()
        self._agent.set_clock(now, self._board.unix_ms())
        if self._sampled_ms is None or now >= self._sampled_ms + self._board.interval_ms:
            self._sampled_ms = now
            for name in self._board.properties:
                self._sample(name, now)
        try:
            if self._link.connected:
                self._serve(now)
            elif now >= self._connect_ms:
                self._connect()
            else:
                sleep_ms(min(self._pause(), self._connect_ms - now))
        except (OSError, MemoryError) as error:
            self._lost(error)

    def _serve(self, now: int) -> None:
        while self._link.idle:
            message = self._agent.tick(now)
            if message is None:
                break
            self._link.send(*message)
        self._link.poll(self._pause())
        if self._link.acknowledged:
            self._backoff.reset()

    def _pause(self) -> int:
        """How long there is nothing to read: the board's interval may have changed meanwhile."""
        due = (self._sampled_ms or 0) + self._board.interval_ms
        return max(0, min(_TURN_MS, due - self._clock.now()))

    def _connect(self) -> None:
        gc.collect()
        self._link.connect()
        self._link.subscribe(*self._agent.subscriptions)
        self._agent.connected(self._clock.now())
        log("connected", host=self._link.server, port=self._link.port)

    def _lost(self, error: "OSError | MemoryError") -> None:
        self._link.close()
        self._agent.disconnected()
        delay_ms = self._backoff.next_ms()
        self._connect_ms = self._clock.now() + delay_ms
        log("link_lost", reason=error, retry_ms=delay_ms)

    def _on_message(self, topic: bytes, payload: bytes) -> None:
        for name, value in self._agent.on_message(topic, payload, self._clock.now()):
            try:
                self._board.write(name, value)
                log("output", property=name, value=value)
            except (OSError, ValueError) as error:
                self._agent.failed(name, value, error)
            self._sample(name, self._clock.now())

    def _sample(self, name: str, now: int) -> None:
        try:
            self._agent.sample(name, self._board.read(name), now)
            if self._failures.pop(name, None):
                log("sensor_back", property=name)
        except (OSError, ValueError) as error:
            if self._failures.get(name) != str(error):
                self._failures[name] = str(error)
                log("sensor_failed", property=name, reason=error)
