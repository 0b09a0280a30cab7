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


class Station:
    """One board, its agent and its link."""

    def __init__(self, agent: "Agent", link: "MqttLink", board: "Board", backoff: "Backoff", clock: "Clock") -> None:
        self._agent = agent
        self._link = link
        self._board = board
        self._backoff = backoff
        self._clock = clock
        self._sample_ms = 0  # when the next reading is due
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
        """One turn, of `board.interval_ms` at most (unless connecting takes longer: at most the link's own deadlines)."""
        self._board.alive()
        now = self._clock.now()
        self._agent.set_clock(now, self._board.unix_ms())
        if now >= self._sample_ms:
            for name in self._board.properties:
                self._sample(name, now)
            self._sample_ms = now + self._board.interval_ms
        try:
            if self._link.connected:
                self._serve(now)
            elif now >= self._connect_ms:
                self._connect()
            else:
                sleep_ms(min(self._connect_ms, self._sample_ms) - now)
        except (OSError, MemoryError) as error:
            self._lost(error)

    def _serve(self, now: int) -> None:
        while self._link.idle:
            message = self._agent.tick(now)
            if message is None:
                break
            self._link.send(*message)
        self._link.poll(max(0, self._sample_ms - self._clock.now()))
        if self._link.acknowledged:
            self._backoff.reset()

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
