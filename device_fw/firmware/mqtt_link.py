"""The MQTT link of a board: umqtt.simple's client, repaired where a board on a roof would hang.

`MQTTClient` gives the names (`connect`, `subscribe`, `ping`, `sock`, `pid`, `cb`, the last will; the others, which a station does
not need, are in `mqtt_client.py`), in the version of PyPI (1.3.4) as in micropython-lib's newer one; nothing else is used of it.
Replaced is what moves bytes:

- every wait has a deadline of `timeout_ms`: connecting, CONNACK, SUBACK, PUBACK, PINGRESP, a peer that no longer reads;
- `poll` never blocks inside a packet that has come half, and reads exactly what the packet lacks;
- one write a packet, and TCP_NODELAY, or QoS 1 runs at 22 messages a second;
- packet ids wrap; pings go out by themselves; topics may have any length;
- a packet larger than `max_packet` is skipped and acknowledged;
- every error is an OSError: `PacketError` and `Refused` of `mqtt_packets`, `tcp.LinkError`; after one the link is closed.

One QoS 1 message is on its way at a time (`idle` says when the next may go): what to send again after a loss is the
agent's matter, which knows the newest values. MQTT 3.1.1, clean sessions.
"""

import select
import sys

from umqtt.simple import MQTTClient

from device_fw.firmware import mqtt_packets as mqtt
from device_fw.firmware.seldom import forget
from device_fw.firmware.tcp import LOST, LinkError, ready
from device_fw.firmware.ticks import Clock

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from device_fw.contracts import Board
    from device_fw.firmware.tls import Trust

_READS_A_POLL = 128  # a flood of messages must not keep the board from its sensors


def make(config: "dict[str, Any]", board: "Board") -> "MqttLink":
    """The link that a configuration describes."""
    trust = None
    if config["ca"]:
        from device_fw.firmware.tls import Trust

        trust = Trust(config["ca"], config["server_name"] or config["host"], config["certificate"], config["key"])
        try:
            trust.load()  # now, while the heap is whole
        except (LinkError, MemoryError):  # each try will say so
            pass
    return MqttLink(
        config["client_id"] or config["name"],
        config["host"],
        config["port"],
        config["user"] or None,
        config["password"] or None,
        config["keepalive_s"],
        config["timeout_ms"],
        config["max_packet"],
        trust,
    )


class MqttLink(MQTTClient):  # type: ignore[misc]
    """One connection at a time to one broker; `connect` again after any OSError. The callback gets topic and payload as bytes."""

    def __init__(
        self,
        client_id: str,
        server: str,
        port: int = 1883,
        user: "str | None" = None,
        password: "str | None" = None,
        keepalive: int = 30,
        timeout_ms: int = 5000,
        max_packet: int = 16384,
        trust: "Trust | None" = None,
    ) -> None:
        """`keepalive` is in seconds, as in umqtt.simple; a silent broker is noticed after half of it and `timeout_ms`.

        With `trust` the link is TLS.
        """
        super().__init__(client_id, server, port, user, password, keepalive)
        self.sock: "Any" = None
        self.pid = 0  # of the packet sent last
        self.timeout_ms = timeout_ms
        self.max_packet = max_packet
        self.acknowledged = 0  # PUBACKs on this connection
        self.trust = trust
        self.alive = _nothing
        self.skipped = 0  # packets larger than max_packet, since the start
        self.clock = Clock()
        self.poller: "Any" = None
        self.closing_on_error = _ClosingOnError(self)  # or somebody might go on after half a packet
        self.reset(0)

    def reset(self, now: int) -> None:
        """Forget the connection before."""
        self._waiting = 0  # the packet id whose PUBACK is due
        self._waiting_ms = now  # since when
        self._answer: "tuple[int, bytes] | None" = None  # CONNACK or SUBACK
        self._sent_ms = self._received_ms = now
        self._pinged_ms: "int | None" = None
        self._reader = mqtt.Reader(self.max_packet)

    # What a station calls.

    def set_alive(self, alive: "Callable[[], None]") -> None:
        """What to call once a second while a call waits for the broker."""
        self.alive = alive

    @property
    def peer(self) -> str:
        """The broker, for the log."""
        return "{}:{}".format(self.server, self.port)

    def unix_ms(self) -> int:
        """0: MQTT itself tells no time."""
        return 0

    @property
    def connected(self) -> bool:
        """Whether there is a link, as far as is known."""
        return self.sock is not None

    @property
    def idle(self) -> bool:
        """Whether the next QoS 1 message may be sent."""
        return self._waiting == 0

    def connect(self, clean_session: bool = True, timeout: "int | None" = None) -> bool:
        """Connect and log in, within `timeout_ms` (or `timeout` seconds), four times that for TLS.

        Returns whether the broker kept a session.
        """
        from device_fw.firmware import mqtt_login

        try:
            return mqtt_login.login(self, clean_session, self.timeout_ms if timeout is None else timeout * 1000)
        finally:
            forget("device_fw.firmware.mqtt_login", "device_fw.firmware.dial")

    def subscribe(self, *topics: "str | bytes", qos: int = 1) -> None:
        """Subscribe to all topics in one packet and wait for the SUBACK."""
        body = mqtt.u16(self._next_pid())
        for topic in topics:
            body += mqtt.string(topic) + bytes((qos,))
        with self.closing_on_error:
            self.write(mqtt.SUBSCRIBE, body)
            codes = self.await_answer(mqtt.SUBACK, self.clock.now() + self.timeout_ms)
            for code in codes[2:]:
                if code > 2:
                    raise mqtt.Refused("subscription", code)

    def send(self, topic: "str | bytes", msg: "str | bytes", qos: int = 1, retain: bool = False) -> None:
        """Send a message and return at once; at QoS 1 only while `idle`, and `poll` raises when the PUBACK is late."""
        body = mqtt.string(topic)
        with self.closing_on_error:
            if qos:
                if self._waiting:
                    raise LinkError("a message is on its way")
                pid = self._next_pid()
                body += mqtt.u16(pid)
                self._waiting = pid
                self._waiting_ms = self.clock.now()
            self.write(mqtt.PUBLISH | qos << 1 | int(retain), body + mqtt.raw(msg))

    def poll(self, wait_ms: int = 0) -> bool:
        """Handle what has come, ping when it is time, watch the deadlines; wait up to `wait_ms` for something to come.

        Returns whether anything came; comes back early when it did.
        """
        with self.closing_on_error:
            came = self._receive()
            if not came and wait_ms:
                self.poller.poll(min(wait_ms, self._patience()))
                came = self._receive()
            self._watch()
            return came

    def close(self) -> None:
        """Close without a farewell, so that the broker announces the last will. Never raises."""
        sock, self.sock, self.poller = self.sock, None, None
        if sock is not None:
            try:
                sock.close()
            except OSError:  # already broken: nothing to save
                pass

    def ping(self) -> None:
        """Send a PINGREQ; `poll` raises when its answer is late."""
        with self.closing_on_error:
            self.write(mqtt.PINGREQ, b"")
            self._pinged_ms = self._sent_ms

    # Out.

    def _next_pid(self) -> int:
        self.pid = self.pid % 65535 + 1
        return self.pid

    def write(self, first: int, body: bytes, deadline: "int | None" = None) -> None:
        """Write one packet in one call; what the system did not take at once follows within the deadline."""
        rest = memoryview(mqtt.packet(first, body))
        self._sent_ms = self.clock.now()
        if deadline is None:
            deadline = self._sent_ms + self.timeout_ms
        while True:
            taken = self.sock.write(rest)  # None when the system takes nothing at the moment
            rest = rest[taken or 0 :]
            if not rest:
                return
            if ready(self.sock, select.POLLOUT, deadline - self.clock.now(), self.alive) & LOST:
                raise LinkError("connection lost while writing")

    # In.

    def await_answer(self, kind: int, deadline: int) -> bytes:
        """The body of the next packet of that kind."""
        self._answer = None
        while True:
            answer = self._answer
            if answer is not None and answer[0] == kind:
                return answer[1]
            left = deadline - self.clock.now()
            if left <= 0:
                raise LinkError("no CONNACK" if kind == mqtt.CONNACK else "no SUBACK")
            if not self._receive():
                self.poller.poll(min(left, 1000))
                self.alive()

    def _receive(self) -> bool:
        """Read and handle what has come, within reason; whether there was anything."""
        for reads in range(_READS_A_POLL):
            if self._reader.wants:
                part: "bytes | None" = self.sock.read(self._reader.wants)
                if not part and reads:
                    return True  # what was read counts first: a refusal, then the end of the connection
                if part is None:
                    return False
                if not part:
                    raise LinkError("closed by the broker")
                self._reader.feed(part)
            if not self._reader.wants:
                self._received_ms = self.clock.now()
                self._handle(*self._reader.take())
        return True

    def _handle(self, first: int, body: bytes, complete: bool) -> None:
        kind = first & 0xF0
        if kind == mqtt.PUBLISH:
            topic, pid, payload = mqtt.parse_publish(first, body)
            if not complete:
                self.skipped += 1
            elif self.cb is not None:
                self.cb(topic, payload)
            if pid:
                self.write(mqtt.PUBACK, pid)
        elif kind == mqtt.PUBACK and len(body) == 2:
            if body[0] << 8 | body[1] == self._waiting:
                self._waiting = 0
                self.acknowledged += 1
        elif kind == mqtt.PINGRESP:
            self._pinged_ms = None
        elif (kind == mqtt.CONNACK and len(body) == 2) or (kind == mqtt.SUBACK and len(body) > 2):
            self._answer = kind, body
        else:
            raise LinkError("unexpected packet 0x{:02x} of {} bytes".format(first, len(body)))

    def _patience(self) -> int:
        """How long nobody need look at the clock."""
        now = self.clock.now()
        due = now + self.timeout_ms
        if self._waiting:
            due = min(due, self._waiting_ms + self.timeout_ms)
        if self.keepalive and self._pinged_ms is None:
            due = min(due, self._sent_ms + self.keepalive * 500)
        return max(0, due - now)

    def _watch(self) -> None:
        now = self.clock.now()
        if self._waiting and now - self._waiting_ms >= self.timeout_ms:
            raise LinkError("no PUBACK")
        if self._pinged_ms is not None:
            if now - max(self._pinged_ms, self._received_ms) >= self.timeout_ms:
                raise LinkError("no PINGRESP")
        elif self.keepalive and now - self._sent_ms >= self.keepalive * 500:
            self.ping()


class _ClosingOnError:
    """`with` this, a link is closed when the block fails; and not entered when there is none."""

    def __init__(self, link: MqttLink) -> None:
        self._link = link

    def __enter__(self) -> None:
        if self._link.sock is None:
            raise LinkError("not connected")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is not None:
            self._link.close()


def _nothing() -> None:
    pass


def _lighten(base: "Any") -> None:
    """Let go of those methods of umqtt.simple that `MqttLink` replaces: 3 kB of heap. Who imports it anew gets it whole."""
    for name in (
        "connect",
        "disconnect",
        "ping",
        "publish",
        "subscribe",
        "wait_msg",
        "check_msg",
        "_send_str",
        "_recv_len",
    ):
        if hasattr(base, name):
            delattr(base, name)
    sys.modules.pop("umqtt.simple", None)


_lighten(MQTTClient)
