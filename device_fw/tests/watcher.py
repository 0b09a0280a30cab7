"""An application on the site: hears and says things over MQTT, with paho, while a test waits for what it hears."""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

WAIT_S = 15.0


class Watcher:
    """`with Watcher(port) as site:` hears every `$hw/` topic."""

    def __init__(self, port: int, user: str | None = None, password: str | None = None) -> None:
        self.heard: list[tuple[str, Any]] = []
        self._port = port
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.username_pw_set(user, password)
        self._client.on_connect = lambda client, *_: client.subscribe("$hw/#", 1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = lambda _client, _data, message: self.heard.append(
            (message.topic, json.loads(message.payload))
        )

    async def __aenter__(self) -> "Watcher":
        self._client.connect_async("127.0.0.1", self._port)
        self._client.loop_start()
        await asyncio.to_thread(self._subscribed.wait, WAIT_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)
        # paho closes its pair of sockets when it is deleted. In a cycle the collector may take the sockets first, and warn.
        self._client.on_connect = self._client.on_message = self._client.on_subscribe = None

    def say(self, topic: str, content: object) -> None:
        """Publish JSON at QoS 1."""
        self._client.publish(topic, json.dumps(content), 1)

    def on(self, topic: str) -> list[Any]:
        """All that was heard on a topic, in order."""
        return [content for heard, content in self.heard if heard == topic]


async def until(condition: Callable[[], object]) -> None:
    """Wait until the condition is true; TimeoutError after 15 s."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110, files and processes give no event
            await asyncio.sleep(0.01)
