"""An external broker (mosquitto) instead of the built-in one: EdgeCore as a paho-mqtt client with manual acknowledgement.

The session is persistent and every report comes with QoS 1, so what mosquitto acknowledged to a device stays with mosquitto
until this gateway has it on disk. It does not ask for QoS 2: a report that comes twice changes nothing.

What the gateway publishes while the broker is away is not kept: reports are answered when the broker sends them again, and
mappers' definitions are published anew on every connection.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_gateway.bus import Inbound
from edgewire import backoff, topics

log = logging.getLogger(__name__)

KEEPALIVE_S = 30
CONNECT_DEADLINE_S = 10.0
MISC_INTERVAL_S = 1.0
"""How often paho looks after its keepalive (its own loop does so each second)."""


_ECHO = topics.MAPPER_PREFIX + "echo"
"""Published after subscribing: when it comes back, every retained message has come before it."""


class ExternalBrokerError(Exception):
    """The external broker refused this gateway."""


class _Inbound:
    """A PUBLISH from the broker; `ack` lets the broker forget it."""

    __slots__ = ("_client", "_message", "payload", "size", "topic")

    def __init__(self, client: Client, message: MQTTMessage) -> None:
        self._client = client
        self._message = message
        self.topic: str = message.topic
        self.payload: bytes | None = bytes(message.payload)
        self.size = len(message.payload)

    def ack(self) -> None:
        """Send the PUBACK; without a connection the broker sends the message again."""
        if self._message.qos:
            self._client.ack(self._message.mid, self._message.qos)


class ExternalBroker:
    """A Bus on a broker somebody else runs. `connected` is called on every connection, once retained topics are known."""

    name = "external-broker"

    def __init__(self, host: str, port: int, *, client_id: str, user: str = "", password: str = "") -> None:
        self._host, self._port = host, port
        self._client = Client(CallbackAPIVersion.VERSION2, client_id, clean_session=False, manual_ack=True)
        if user:
            self._client.username_pw_set(user, password)
        self._handler: Callable[[Inbound], None] | None = None
        self._wants: Callable[[str], bool] = lambda topic: False
        self._connected: Callable[[], None] = lambda: None
        self._retained: set[str] = set()
        self._socket: Any = None
        self._paused = False
        self._up = asyncio.Event()
        self._down = asyncio.Event()

    def attach(self, handler: Callable[[Inbound], None], wants: Callable[[str], bool]) -> None:
        """`handler` gets every PUBLISH on a topic that it `wants`, among `topics.GATEWAY_FILTERS`."""
        self._handler, self._wants = handler, wants

    def on_connected(self, connected: Callable[[], None]) -> None:
        """Whom to call on every connection, once the broker's retained topics are known."""
        self._connected = connected

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> None:
        """Publish if connected; else nothing, as the module says."""
        if self._up.is_set():
            self._client.publish(topic, payload, qos, retain)

    def wanted(self, topic: str) -> bool:
        """Always True: an external broker does not tell who listens."""
        return True

    def retained_topics(self, prefix: str) -> list[str]:
        """The topics below a prefix retained by the broker, as it said on connecting."""
        return sorted(topic for topic in self._retained if topic.startswith(prefix))

    def pause(self) -> None:
        """Read nothing more from the broker until `resume`."""
        self._paused = True
        if self._socket is not None:
            self._loop.remove_reader(self._socket)

    def resume(self) -> None:
        """Go on after `pause`."""
        self._paused = False
        if self._socket is not None:
            self._loop.add_reader(self._socket, self._client.loop_read)

    async def run(self, ready: asyncio.Event) -> None:
        """Stay connected until cancelled. Ready at once: without its broker the gateway still has a cloud."""
        self._hook(asyncio.get_running_loop())
        ready.set()
        delays = backoff.delays()
        try:
            while True:
                try:
                    await self._connect()
                    delays = backoff.delays()
                    await self._until_down()
                    why = "connection lost"
                except (OSError, ExternalBrokerError) as error:
                    why = f"{type(error).__name__}: {error}"
                wait_s = next(delays)
                log.info("broker not connected host=%s:%d retry_s=%.1f reason=%s", self._host, self._port, wait_s, why)
                await asyncio.sleep(wait_s)
        finally:
            self._client.disconnect()

    async def _connect(self) -> None:
        self._up.clear()
        self._down.clear()
        self._retained.clear()
        try:
            async with asyncio.timeout(CONNECT_DEADLINE_S):
                # paho's connect blocks until the TCP connection stands; the socket callbacks run in that thread
                await asyncio.to_thread(self._client.connect, self._host, self._port, KEEPALIVE_S)
                await self._up.wait()
        except TimeoutError as error:
            self._client.disconnect()
            raise ExternalBrokerError(f"no CONNACK within {CONNECT_DEADLINE_S:.0f} s") from error
        log.info("broker connected host=%s:%d", self._host, self._port)
        self._client.subscribe([(f, 1) for f in (*topics.GATEWAY_FILTERS, topics.MAPPER_PREFIX + "#")])
        self._client.publish(_ECHO)

    async def _until_down(self) -> None:
        while not self._down.is_set():
            self._client.loop_misc()
            try:
                async with asyncio.timeout(MISC_INTERVAL_S):
                    await self._down.wait()
            except TimeoutError:
                continue

    def _hook(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let paho's socket run on the event loop; `connect` calls back from an executor's thread."""
        self._loop = loop
        client = self._client
        client.on_socket_open = self._on_socket_open
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_register_write
        client.on_socket_unregister_write = self._on_unregister_write
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message

    def _on_socket_open(self, client: Client, data: Any, sock: Any) -> None:
        self._loop.call_soon_threadsafe(self._opened, sock)

    def _opened(self, sock: Any) -> None:
        self._socket = sock
        if not self._paused:
            self._loop.add_reader(sock, self._client.loop_read)

    def _on_register_write(self, client: Client, data: Any, sock: Any) -> None:
        self._loop.call_soon_threadsafe(self._writable, sock)

    def _writable(self, sock: Any) -> None:
        if sock is self._socket:
            self._loop.add_writer(sock, self._client.loop_write)

    def _on_unregister_write(self, client: Client, data: Any, sock: Any) -> None:
        self._loop.remove_writer(sock)

    def _on_socket_close(self, client: Client, data: Any, sock: Any) -> None:
        self._socket = None
        if sock.fileno() >= 0:
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)

    def _on_connect(
        self, client: Client, data: Any, flags: ConnectFlags, code: ReasonCode, p: Properties | None
    ) -> None:
        if code.is_failure:
            log.error("broker refused this gateway host=%s:%d reason=%s", self._host, self._port, code)
        else:
            self._up.set()

    def _on_disconnect(
        self, client: Client, data: Any, flags: DisconnectFlags, code: ReasonCode, p: Properties | None
    ) -> None:
        self._up.clear()
        self._down.set()

    def _on_message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        if message.topic == _ECHO:
            self._connected()
        elif message.topic.startswith(topics.MAPPER_PREFIX):
            if message.retain and message.payload:
                self._retained.add(message.topic)
            _Inbound(client, message).ack()
        elif self._handler is not None and self._wants(message.topic):
            self._handler(_Inbound(client, message))
        else:
            _Inbound(client, message).ack()
