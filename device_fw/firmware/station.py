"""The station: the loop that joins agent, link and board. It samples, connects, sends, waits for messages, and never gives up.

Whatever fails (the link, a sensor, an output) is logged once and tried again: the link with back-off and jitter, a
sensor at its next turn, an output when the gateway asks next.
"""

import gc

from device_fw.firmware.log import log
from device_fw.firmware.ticks import sleep_ms
from edgewire import device_topics as topics

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from device_fw.contracts import Board, Link, Network, Sntp, Updater
    from device_fw.firmware.agent import Agent
    from device_fw.firmware.journal import Journal
    from device_fw.firmware.retry import Backoff
    from device_fw.firmware.ticks import Clock

_TURN_MS = 1000
_CLOCK_OFF_MS = 2000  # from then on the board's own clock is set
_LONG_MS = 3600000
_SENDS_A_TURN = 16  # a flood of messages must not keep the board from its sensors


class Station:
    """One board, its agent and its link, and what not every board has: updater, network to join, NTP server, journal."""

    def __init__(
        self,
        agent: "Agent",
        link: "Link",
        board: "Board",
        backoff: "Backoff",
        clock: "Clock",
        updater: "Updater | None" = None,
        network: "Network | None" = None,
        sntp: "Sntp | None" = None,
        journal: "Journal | None" = None,
    ) -> None:
        """`agent` knows the properties of the board and of the updater."""
        self._agent = agent
        self._link = link
        self._board = board
        self._backoff = backoff
        self._clock = clock
        self._updater = updater
        self._network = network
        self._sntp = sntp
        self._journal = journal
        self._telling = False  # a batch of the journal is on its way
        self._reachable = network is None
        self._own = tuple(updater.properties()) if updater is not None else ()  # the updater's, not the board's
        self._acknowledged = 0
        self._slow = False  # the readings of the last turn
        self._connect_ms = 0  # when the next try is due
        self._failures: "dict[str, str]" = {}  # sensors that do not answer, and why
        link.set_callback(self._on_message)
        link.set_alive(self._alive)
        topic, payload, qos = agent.last_will()
        link.set_last_will(topic, payload, qos=qos)

    def run(self) -> None:
        """Work until the power goes."""
        while True:
            self.step()

    def close(self) -> None:
        """End the link, as if the power had gone."""
        self._link.close()

    def step(self) -> None:
        """One turn, of a second at most (unless connecting takes longer: at most the link's own deadlines)."""
        self._alive()
        now = self._clock.now()
        self._ask_the_time(now)
        for name in self._board.due(now):
            self._sample(name, now)
        for name in self._own:
            self._sample(name, now)
        self._note_slowness(self._clock.now() - now)
        try:
            self._reach(now)
            if self._link.connected:
                self._serve(now)
            elif self._reachable and now >= self._connect_ms:
                self._connect()
            else:
                if self._journal is not None:
                    self._journal.tick(now)
                sleep_ms(self._pause())
        except (OSError, MemoryError) as error:
            self._lost(error)

    def _alive(self) -> None:
        """Feed the watchdog: at each turn, and within the link's waits, which all end."""
        self._board.alive()
        if self._updater is not None:
            self._updater.alive(self._clock.now())

    def _note_slowness(self, took_ms: int) -> None:
        """Readings should take no time: a driver that waits holds up all else, and what never ends is for the watchdog."""
        slow = took_ms >= _TURN_MS
        if slow and not self._slow:
            log("sensors_slow", ms=took_ms)
        self._slow = slow

    def _reach(self, now: int) -> None:
        """Keep to the network; a link without one is lost at once, and tried at once when it is back."""
        if self._network is None:
            return
        before, self._reachable = self._reachable, self._network.tick(now)
        if self._reachable and not before:
            self._connect_ms = now
        elif self._link.connected and not self._reachable:
            raise OSError("no network")

    def _ask_the_time(self, now: int) -> None:
        time = self._agent.time
        own = self._board.unix_ms()
        time.own_clock(own, now)
        told = self._link.unix_ms()
        if told:
            self._agent.gateway_time(told, now)
        if self._sntp is not None and self._reachable:
            found = self._sntp.tick(now)
            if found:
                if abs(time.ntp(found, now)) >= _LONG_MS or not own:
                    self._connect_ms = now  # a certificate may have become valid
        unix_ms = time.unix_ms(now)
        if unix_ms and abs(unix_ms - own) > _CLOCK_OFF_MS:
            self._board.set_unix_ms(unix_ms)

    def _serve(self, now: int) -> None:
        for _ in range(_SENDS_A_TURN):
            message = self._next(now) if self._link.idle else None
            if message is None:
                break
            self._link.send(*message)
        self._link.poll(self._pause())
        if self._link.acknowledged != self._acknowledged:
            self._acknowledged = self._link.acknowledged
            self._backoff.reset()
            if self._updater is not None:
                self._updater.contact(self._clock.now())
            if self._journal is not None:
                self._journal.told()
        if self._telling and self._link.idle and self._journal is not None:
            self._telling = False
            self._journal.acknowledged()

    def _next(self, now: int) -> "tuple[str, str | bytes, int] | None":
        """What to send next: the newest values first, then new firmware, then what was missed."""
        message: "tuple[str, str | bytes, int] | None" = self._agent.tick(now)
        if message is None and self._updater is not None:
            wanted = self._updater.tick(now)
            if wanted is not None:
                kind, payload, qos = wanted
                message = topics.of_device(self._agent.device, kind), payload, qos
        if message is None and self._journal is not None and not self._telling:
            message = self._journal.message(self._agent.device, self._agent.time.unix_ms(now))
            self._telling = message is not None
        return message

    def _pause(self) -> int:
        """How long there is nothing to do but to listen."""
        now = self._clock.now()
        pause = min(_TURN_MS, self._board.wait_ms(now))
        if not self._reachable and self._network is not None:
            pause = min(pause, self._network.wait_ms(now))
        elif not self._link.connected:
            pause = min(pause, self._connect_ms - now)
        if self._sntp is not None and self._reachable:
            pause = min(pause, self._sntp.wait_ms(now))
        return max(0, pause)

    def _connect(self) -> None:
        gc.collect()
        self._acknowledged = 0
        self._link.connect()
        self._alive()
        self._link.subscribe(*self._agent.subscriptions)
        if self._updater is not None:
            self._alive()
            self._link.subscribe(*[topics.of_device(self._agent.device, kind) for kind in self._updater.kinds])
        if self._journal is not None:
            self._journal.save()  # so that it goes out in order, with what was written before
        self._agent.connected(self._clock.now())
        log("connected", to=self._link.peer)

    def _lost(self, error: "OSError | MemoryError") -> None:
        self._link.close()
        self._agent.disconnected()
        if self._journal is not None:
            self._telling = False
            self._journal.save()
        delay_ms = self._backoff.next_ms()
        self._connect_ms = self._clock.now() + delay_ms
        log("link_lost", reason=error, retry_ms=delay_ms)

    def _on_message(self, topic: bytes, payload: bytes) -> None:
        if self._updater is not None:
            for kind in self._updater.kinds:
                if topic == topics.of_device(self._agent.device, kind).encode():
                    self._updater.on_message(kind, payload, self._clock.now())
                    return
        for name, value in self._agent.on_message(topic, payload, self._clock.now()):
            try:
                self._board.write(name, value)
                log("output", property=name, value=value)
            except (OSError, ValueError) as error:
                self._agent.failed(name, value, error)
            self._sample(name, self._clock.now())

    def _sample(self, name: str, now: int) -> None:
        read = self._updater.read if self._updater is not None and name in self._own else self._board.read
        try:
            text = self._agent.sample(name, read(name), now)
            if self._journal is not None and name in self._journal.names:
                self._journal.note(name, text, self._agent.time.unix_ms(now), now)
            if self._failures.pop(name, None):
                log("sensor_back", property=name)
                self._agent.unwell(self._failures)
        except (OSError, ValueError, MemoryError) as error:
            if self._failures.get(name) != str(error):
                self._failures[name] = str(error)
                log("sensor_failed", property=name, reason=error)
                self._agent.unwell(self._failures)
