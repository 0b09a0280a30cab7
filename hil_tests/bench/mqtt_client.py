"""A test's own MQTT client: paho in its thread, and waits with deadlines."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

DEADLINE_S = 10.0


class MqttClient:
    """Connected while in its `with` block; `messages` holds what came, in order."""

    def __init__(
        self, port: int, client_id: str = "", *, user: str = "", password: str = "", clean: bool = True
    ) -> None:
        self._client = Client(CallbackAPIVersion.VERSION2, client_id, clean_session=clean)
        if user:
            self._client.username_pw_set(user, password)
        self._port = port
        self._connected = threading.Event()
        self._subscribed: dict[int, threading.Event] = {}
        self.messages: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.on_subscribe = self._on_subscribe

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._port, keepalive=30)
        self._client.loop_start()
        assert self._connected.wait(DEADLINE_S), "the broker did not accept the connection"
        return self

    def __exit__(self, *error: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        # paho closes its pair of sockets when it is deleted. In a cycle the collector may take the sockets first, and warn.
        self._client.on_connect = self._client.on_message = self._client.on_subscribe = None

    def subscribe(self, *filters: str, qos: int = 1) -> None:
        """Subscribe, and wait for the SUBACK."""
        _, mid = self._client.subscribe([(f, qos) for f in filters])
        acknowledged = self._subscribed.setdefault(mid or 0, threading.Event())
        assert acknowledged.wait(DEADLINE_S), f"no SUBACK for {filters}"

    def publish(self, topic: str, payload: str | bytes, *, qos: int = 1, deadline_s: float = DEADLINE_S) -> bool:
        """Publish, and wait for the PUBACK: whether it came."""
        info = self._client.publish(topic, payload, qos)
        info.wait_for_publish(deadline_s)
        return info.is_published()

    def next(
        self, topic: str, deadline_s: float = DEADLINE_S, where: Callable[[bytes], bool] = lambda p: True
    ) -> bytes:
        """The payload of the next message on a topic (that fulfils `where`); others are dropped on the way."""
        until = time.monotonic() + deadline_s
        while (left := until - time.monotonic()) > 0:
            try:
                found, payload = self.messages.get(timeout=left)
            except queue.Empty:
                break
            if found == topic and where(payload):
                return payload
        raise AssertionError(f"nothing on {topic} within {deadline_s} s")

    def _on_connect(self, client: Client, data: Any, flags: Any, code: Any, properties: Any) -> None:
        if not code.is_failure:
            self._connected.set()

    def _on_message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        self.messages.put((message.topic, bytes(message.payload)))

    def _on_subscribe(self, client: Client, data: Any, mid: int, codes: Any, properties: Any) -> None:
        self._subscribed.setdefault(mid, threading.Event()).set()
