"""A stand-in for the gateway in updates, for tests of boards: offers images over a broker, answers, keeps what is reported.

What it does to pieces on their way is up to `on_chunk`.
"""

import contextlib
import json
import threading
from collections.abc import Callable
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from device_fw.tools.image import Image
from edgewire import ota, topics

DEADLINE_S = 40.0


class OtaGateway:
    """One gateway for all devices of a broker on loopback, while in its `with` block."""

    def __init__(self, port: int, *images: Image) -> None:
        self.images = {image.id: image for image in images}
        self.streams = {image.id: image.stream for image in images}
        self.offers: dict[str, str] = {}
        self.twins: dict[str, dict[str, str]] = {}
        self.history: dict[str, list[dict[str, str]]] = {}
        self.gets: list[tuple[str, int, int]] = []
        self.online: dict[str, int] = {}
        self.on_chunk: Callable[[str, int, bytes], bytes | None] = lambda device, offset, data: data
        self._changed = threading.Condition()
        self.port = port
        self._ready = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe(
            [(topics.of_device("+/+", kind), 1) for kind in _HEARD]
        )
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self.port)
        self._client.loop_start()
        assert self._ready.wait(DEADLINE_S), "the broker did not answer"
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._client.on_connect = self._client.on_message = self._client.on_subscribe = None

    def offer(self, device: str, image: Image | None, *, retry: int = 0, **changes: Any) -> None:
        """Open an offer for a device, or (None) take it back. `changes` to the offer's fields make it a wrong one."""
        if image is None:
            payload = ota.no_offer()
        else:
            self.images[image.id], self.streams[image.id] = image, image.stream
            payload = json.dumps({**json.loads(ota.offer(image.offer(retry))), **changes})
        self.offers[device] = payload
        self._say(device, topics.OTA_OFFER, payload)

    def retain(self, topic: str, payload: str | bytes) -> None:
        """Say something that the broker keeps, such as what a mapper is to know."""
        self._client.publish(topic, payload, 1, retain=True)

    def until(self, device: str, deadline_s: float = DEADLINE_S, **wanted: str) -> dict[str, str]:
        """Wait until the newest reports of a device say this: `state="confirmed", firmware="1.1.0"`. All it reported."""
        properties = {f"firmware-{name}" if name != "firmware" else name: value for name, value in wanted.items()}

        def holds() -> bool:
            return properties.items() <= self.twins.get(device, {}).items()

        with self._changed:
            if not self._changed.wait_for(holds, deadline_s):
                raise AssertionError(f"{device} did not report {properties} but {self.twins.get(device)}")
            return dict(self.twins[device])

    def until_seen(self, condition: Callable[[Self], object], what: str, deadline_s: float = DEADLINE_S) -> None:
        """Wait for a condition on what came so far."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(condition(self)), deadline_s):
                raise AssertionError(f"not within {deadline_s:g} s: {what}")

    def states(self, device: str) -> list[str]:
        """Every state that a device reported, in order, without repetitions."""
        found: list[str] = []
        for report in self.history.get(device, []):
            state = report.get(ota.FIRMWARE_STATE)
            if state is not None and found[-1:] != [state]:
                found.append(state)
        return found

    def _on_message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        device, kind = topics.device_topic(message.topic) or ("", "")
        payload = bytes(message.payload)
        with self._changed:
            if kind == topics.STATE and json.loads(payload)["state"] == "online":
                self.online[device] = self.online.get(device, 0) + 1
                if device in self.offers:
                    self._say(device, topics.OTA_OFFER, self.offers[device])
            elif kind == topics.UPDATE:
                values = {name: entry["actual"]["value"] for name, entry in json.loads(payload)["twin"].items()}
                self.twins.setdefault(device, {}).update(values)
                self.history.setdefault(device, []).append(values)
            elif kind == topics.OTA_GET:
                self._answer(device, payload)
            self._changed.notify_all()

    def _answer(self, device: str, payload: bytes) -> None:
        id, offset, length = ota.parse_get(payload)
        self.gets.append((device, offset, length))
        data = self.on_chunk(device, offset, self.streams.get(id, b"")[offset : offset + length])
        if data is not None:
            self._say(device, topics.OTA_CHUNK, ota.chunk(id, offset, data))

    def _say(self, device: str, kind: str, payload: str | bytes) -> None:
        with contextlib.suppress(ValueError):
            self._client.publish(topics.of_device(device, kind), payload, 1 if kind == topics.OTA_OFFER else 0)


_HEARD = (topics.STATE, topics.UPDATE, topics.OTA_GET)
