"""The mapper's connection to the broker: paho-mqtt inside asyncio, reconnecting by itself.

Each connection is a new, clean MQTT session on a new paho client, so that nothing of an old one is sent twice: what must not
get lost waits in the outbox of the caller. No last will is set: one connection serves many devices, and a will speaks for one
topic only; that a mapper died is for the gateway that supervises it to see.

    MapperError
    └── BrokerError     the broker cannot be reached, or refuses; retried with back-off, never raised out of `run`
"""

import asyncio
import logging
import socket
import time
from typing import Any, Protocol

import paho.mqtt.client as paho
from msgspec import Struct
from paho.mqtt.enums import CallbackAPIVersion

from edgewire import backoff, topics

from .driver import MapperError

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 5.0
"""For the broker's answer to CONNECT and to SUBSCRIBE."""
ACKNOWLEDGE_TIMEOUT_S = 30.0
"""A broker that acknowledges nothing for so long is taken for dead."""
SETTLED_S = 30.0
"""A connection that lasts so long is a good one: the next break is retried at once."""
TUSSLES = 3
"""So many in a row that did not: perhaps two mappers take one client id from each other."""
_REFUSED = 128  # a reason code from here on is a failure; MQTT 5, section 2.4; paho gives MQTT 3.1.1's codes as these

_TUSSLE = (
    "= broker ends every connection soon client_id=%s hint=if another mapper of this protocol runs here, end one, or give it an "
    "`instance`"
)


class BrokerError(MapperError):
    """The broker cannot be reached, or refuses."""


class BrokerConfig(Struct, frozen=True):
    """Where the gateway's MQTT broker is, and who the mapper is to it."""

    host: str = "127.0.0.1"
    """The gateway itself by default: mappers run beside it."""
    port: int = 1883
    """MQTT's registered port."""
    user: str = ""
    """Empty: no name is given."""
    password: str = ""
    """Sent in clear text: keep the broker on the loopback interface."""
    client_id: str = ""
    """Empty: `mapper-<protocol>`, with `@<instance>` for one that has a name, so that a mapper which is started anew takes over
    from the one before."""
    keepalive_s: int = 15
    """A silent connection is noticed after one and a half times this."""

    def __post_init__(self) -> None:
        if not 0 < self.port < 65536:
            raise ValueError("`port` must lie between 1 and 65535")
        if not 0 < self.keepalive_s < 65536:
            raise ValueError("`keepalive_s` must lie between 1 and 65535")


class Handler(Protocol):
    """Who uses the connection. The methods are called in the event loop and must not block or raise."""

    def filters(self) -> list[str]:
        """What to subscribe to when a connection begins."""
        ...

    def connected(self) -> None:
        """The connection is up and the subscriptions are in place: publish."""
        ...

    def received(self, topic: str, payload: bytes) -> None:
        """A message arrived."""
        ...

    def acknowledged(self, device: str) -> None:
        """The broker acknowledged the publication made for `device`."""
        ...

    def disconnected(self) -> None:
        """The connection ended; publications not acknowledged are void."""
        ...


class MqttConnection:
    """Connects, and connects again; a service."""

    name = "mqtt"

    def __init__(self, config: BrokerConfig, client_id: str, handler: Handler) -> None:
        self._config = config
        self._client_id = config.client_id or client_id
        self._handler = handler
        self._session: _Session | None = None

    async def run(self, ready: asyncio.Event) -> None:
        """Keep a connection until cancelled; ready with the first one."""
        delays, short = backoff.delays(), 0
        while True:
            # Known from the start: what the first messages make the handler subscribe to comes before `connected`.
            session = self._session = _Session(self._config, self._client_id, self._handler)
            connected, since = False, 0.0
            try:
                await session.open()
                log.info("= broker connected host=%s port=%d", self._config.host, self._config.port)
                connected, since = True, time.monotonic()
                self._handler.connected()
                ready.set()
                await session.until_lost()
            except BrokerError as error:
                if connected and time.monotonic() - since >= SETTLED_S:
                    delays, short = backoff.delays(), 0
                elif connected:
                    short += 1
                    if short % TUSSLES == 0:
                        log.error(_TUSSLE, self._client_id)
                delay = next(delays)
                log.warning("= broker unreachable retry_s=%.1f error=%s", delay, error)
            finally:
                self._session = None
                if connected:
                    self._handler.disconnected()
                session.close()
            await asyncio.sleep(delay)

    def publish(self, device: str, topic: str, payload: str | bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Publish; without a connection nothing happens: `disconnected` said so. QoS 0 is acknowledged when it is sent."""
        if self._session is not None:
            self._session.publish(device, topic, payload, qos, retain)

    def subscribe(self, topic: str) -> None:
        """Subscribe with QoS 1, as long as the connection lasts; `filters` is asked for the next one."""
        if self._session is not None:
            self._session.client.subscribe(topic, qos=1)

    def unsubscribe(self, topic: str) -> None:
        """Undo `subscribe`."""
        if self._session is not None:
            self._session.client.unsubscribe(topic)


class _Session:
    """One connection, from CONNECT to its end."""

    def __init__(self, config: BrokerConfig, client_id: str, handler: Handler) -> None:
        self._config = config
        self._handler = handler
        self._loop = asyncio.get_running_loop()
        self._answered: asyncio.Future[None] = self._loop.create_future()
        self._lost: asyncio.Future[str] = self._loop.create_future()
        self._unacknowledged: dict[int, tuple[str, float]] = {}
        self._socket: socket.socket | None = None
        self._writing = self._watched = False
        self.client = self._make_client(client_id)

    async def open(self) -> None:
        """Connect and subscribe. Raises BrokerError."""
        # Blocks in name resolution and connect(2); its socket is watched by the loop only afterwards.
        connecting = self._loop.run_in_executor(None, self._connect)
        try:
            await asyncio.shield(connecting)
        except (OSError, ValueError) as error:
            raise BrokerError(f"no connection to {self._config.host}:{self._config.port}: {error}") from error
        except asyncio.CancelledError:  # a thread cannot be cancelled; it ends within CONNECT_TIMEOUT_S
            await asyncio.gather(connecting, return_exceptions=True)
            raise
        self._watch()
        await self._answer("CONNECT")
        filters = self._handler.filters()
        if filters:
            self._answered = self._loop.create_future()
            self.client.subscribe([(topic, 1) for topic in filters])
            await self._answer("SUBSCRIBE")

    async def until_lost(self) -> None:
        """Keep the connection alive. Raises BrokerError when it has ended."""
        while not self._lost.done():
            await asyncio.wait((self._lost,), timeout=1)
            self.client.loop_misc()
            oldest = min((sent for _, sent in self._unacknowledged.values()), default=None)
            if oldest is not None and self._loop.time() - oldest > ACKNOWLEDGE_TIMEOUT_S:
                raise BrokerError(f"the broker acknowledged nothing for {ACKNOWLEDGE_TIMEOUT_S:.0f} s")
        raise BrokerError(self._lost.result())

    def publish(self, device: str, topic: str, payload: str | bytes, qos: int, retain: bool) -> None:
        sent = self.client.publish(topic, payload, qos, retain)
        self._unacknowledged[sent.mid] = (device, self._loop.time())

    def close(self) -> None:
        """End the connection; harmless when it has ended, or never began."""
        self._unwatch()
        connected = self.client.socket()
        self.client.on_disconnect = None
        self.client.disconnect()
        self.client.loop_write()
        if isinstance(connected, socket.socket):
            connected.close()

    def _make_client(self, client_id: str) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id, clean_session=True)
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(0)  # unlimited: the outbox has one message a device on its way
        if self._config.user:
            client.username_pw_set(self._config.user, self._config.password)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        return client

    def _connect(self) -> None:
        self.client.connect(self._config.host, self._config.port, self._config.keepalive_s)

    def _watch(self) -> None:
        watched = self.client.socket()
        if not isinstance(watched, socket.socket):
            raise BrokerError("the connection ended at once")
        self._socket = watched
        self.client.on_socket_close = self._on_socket_close
        self.client.on_socket_register_write = self._on_socket_register_write
        self.client.on_socket_unregister_write = self._on_socket_unregister_write
        self._loop.add_reader(watched, self.client.loop_read)
        if self.client.want_write():
            self._watched = True
            self._loop.add_writer(watched, self.client.loop_write)

    def _unwatch(self) -> None:
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket = None

    def _on_socket_close(self, _client: Any, _data: Any, _socket: Any) -> None:
        self._unwatch()

    def _on_socket_register_write(self, _client: Any, _data: Any, _socket: Any) -> None:
        """There is something to send. Mostly it can be sent at once, which spares the loop the watching."""
        if self._socket is not None and not self._writing:
            self._writing = True
            self._loop.call_soon(self._write)

    def _write(self) -> None:
        if self._socket is not None:
            self.client.loop_write()
        self._writing = False
        if self._socket is not None and self.client.want_write():
            self._watched = True
            self._loop.add_writer(self._socket, self.client.loop_write)

    def _on_socket_unregister_write(self, _client: Any, _data: Any, _socket: Any) -> None:
        if self._socket is not None and self._watched:
            self._watched = False
            self._loop.remove_writer(self._socket)

    async def _answer(self, to: str) -> None:
        await asyncio.wait((self._answered, self._lost), timeout=ANSWER_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if self._answered.done():
            self._answered.result()
        elif self._lost.done():
            raise BrokerError(self._lost.result())
        else:
            raise BrokerError(f"no answer to {to} within {ANSWER_TIMEOUT_S:.0f} s")

    def _settle(self, problem: str) -> None:
        if self._answered.done():
            return
        if problem:
            self._answered.set_exception(BrokerError(problem))
        else:
            self._answered.set_result(None)

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._settle(f"the broker refuses: {reason}" if reason.is_failure else "")

    def _on_subscribe(self, _client: Any, _data: Any, _mid: int, reasons: Any, _properties: Any) -> None:
        refused = [reason for reason in reasons if reason.value >= _REFUSED]
        if refused:
            log.warning("= broker refused a subscription reason=%s", refused[0])
        self._settle(f"the broker refuses a subscription: {refused[0]}" if refused else "")

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._unwatch()
        if not self._lost.done():
            self._lost.set_result(f"the connection ended: {reason}")

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        if message.retain and message.topic.endswith(topics.METHOD):
            log.warning(
                "< call refused, it is retained and would be made with every connection topic=%s", message.topic
            )
            return
        self._handler.received(message.topic, bytes(message.payload))

    def _on_publish(self, _client: Any, _data: Any, mid: int, _reason: Any, _properties: Any) -> None:
        device = self._unacknowledged.pop(mid, None)
        if device is not None:
            self._handler.acknowledged(device[0])
