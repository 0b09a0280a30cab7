"""A board that plays its firmware update over MQTT: what it is offered it fetches, checks, and reports as a real one does.

No MicroPython and no flash: many of them are cheap, and each does what its test wants. Everything happens in paho's thread.
"""

import hashlib
import threading
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from edgewire import board, ota, topics

DEADLINE_S = 10.0
ASK_AGAIN_S = 1.0
_OFFER, _CHUNK, _GET = topics.OTA_OFFER, topics.OTA_CHUNK, topics.OTA_GET


class PlayedBoard:
    """Connected while in its `with` block. `received` is what it downloaded last, `offers` the versions it was offered."""

    def __init__(
        self, port: int, device: str, *, outcome: str = ota.CONFIRMED, reason: str = ota.NONE, chunk: int = 2048
    ) -> None:
        """`outcome` and `reason` are what it reports in the end: confirmed, or reverted or refused for that reason."""
        self.device = device
        self.outcome, self.reason = outcome, reason
        self.offers: list[str] = []
        self.received = b""
        self.hold_at: int | None = None
        """After so many bytes it asks for no more, until `go_on`."""
        self.held = threading.Event()
        self.finished = threading.Event()
        self._chunk = chunk
        self._offer: ota.Offer | None = None
        self._version = "1.0.0"
        self._done = ""
        self._online = threading.Event()
        self._stop = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, device)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        self._client.will_set(topics.of_device(device, topics.STATE), board.state("offline"), 1)
        self._port = port
        self._repeater = threading.Thread(target=self._repeat, name=f"repeat {device}", daemon=True)

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._port, keepalive=30)
        self._client.loop_start()
        assert self._online.wait(DEADLINE_S), f"{self.device} was not let in"
        self._repeater.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._repeater.join(DEADLINE_S)
        self._client.disconnect()
        self._client.loop_stop()
        self._client.on_connect = self._client.on_message = None

    def go_on(self) -> None:
        """Ask for the rest."""
        self.hold_at = None
        self.held.clear()
        self._ask()

    def _on_connect(self, client: Client, data: Any, flags: Any, code: Any, properties: Any) -> None:
        self._client.subscribe([(topics.of_device(self.device, kind), 1) for kind in (_OFFER, _CHUNK)])
        if not self._done:
            self._say(ota.IDLE if self._offer is None else ota.DOWNLOADING)
        self._client.publish(topics.of_device(self.device, topics.STATE), board.state("online"), 1)
        self._online.set()

    def _on_message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        if message.topic.endswith(_OFFER):
            self._offered(ota.parse_offer(bytes(message.payload)))
        else:
            short, offset, content = ota.parse_chunk(bytes(message.payload))
            if self._offer is not None and short == ota.short(self._offer.id) and offset == len(self.received):
                self._take(content)

    def _offered(self, offer: ota.Offer | None) -> None:
        if offer is None:
            self._offer = None
            self._say(ota.IDLE, reason=ota.STOPPED)
        elif (self._offer is None or self._offer.id != offer.id) and self._done != f"{offer.id} {offer.retry}":
            self.offers.append(offer.version)
            self._offer, self.received = offer, b""
            self._say(ota.DOWNLOADING)
            self._ask()

    def _take(self, content: bytes) -> None:
        assert self._offer is not None
        if not content:
            self._finish(ota.REFUSED, ota.GONE)
            return
        self.received += content
        if len(self.received) >= self._size():
            self._check()
        elif self.hold_at is not None and len(self.received) >= self.hold_at:
            self.held.set()
        else:
            self._ask()

    def _size(self) -> int:
        assert self._offer is not None
        if len(self.received) < self._offer.size:
            return self._offer.size + 1
        return self._offer.size + ota.parse_manifest(self.received[: self._offer.size]).size()

    def _check(self) -> None:
        assert self._offer is not None
        manifest = ota.parse_manifest(self.received[: self._offer.size])
        for (_, offset, size), (_, _, digest) in zip(
            ota.parts(self._offer.size, manifest)[1:], manifest.files, strict=True
        ):
            if hashlib.sha256(self.received[offset : offset + size]).hexdigest() != digest:
                self._finish(ota.REFUSED, ota.CHECKSUM)
                return
        self._say(ota.TRIAL)
        if self.outcome == ota.CONFIRMED:
            self._version = self._offer.version
        self._finish(self.outcome, self.reason)

    def _finish(self, state: str, reason: str) -> None:
        assert self._offer is not None
        self._done = f"{self._offer.id} {self._offer.retry}"
        self._say(state, reason=reason)
        self._offer = None
        self.finished.set()

    def _ask(self) -> None:
        offer = self._offer
        if offer is not None and (self.hold_at is None or len(self.received) < self.hold_at):
            length = min(self._chunk, offer.size - len(self.received) or self._chunk)
            length = length if length > 0 else self._chunk
            asked = ota.get(offer.id, len(self.received), length)
            self._client.publish(topics.of_device(self.device, _GET), asked)

    def _repeat(self) -> None:
        """Ask again when nothing has come for a while."""
        before = -1
        while not self._stop.wait(ASK_AGAIN_S):
            if len(self.received) == before:
                self._ask()
            before = len(self.received)

    def _say(self, state: str, *, reason: str = ota.NONE) -> None:
        target = ota.short(self._offer.id) if self._offer is not None else self._done[:16] or ota.NONE
        values = {
            ota.FIRMWARE: self._version,
            ota.FIRMWARE_TARGET: target,
            ota.FIRMWARE_STATE: state,
            ota.FIRMWARE_PROGRESS: "0" if state == ota.DOWNLOADING else "100",
            ota.FIRMWARE_REASON: reason,
        }
        report = board.report({name: (value, 0) for name, value in values.items()})
        self._client.publish(topics.of_device(self.device, topics.UPDATE), report, 1)


def manifests(node: str, *names: str, labels: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """A DeviceModel with the properties of updates, and Devices of it."""
    properties = [
        {"name": name, "type": "INT" if name == ota.FIRMWARE_PROGRESS else "STRING", "accessMode": "ReadOnly"}
        for name in ota.PROPERTIES
    ]
    head = {"apiVersion": "devices.kubeedge.io/v1beta1"}
    model = {**head, "kind": "DeviceModel", "metadata": {"name": "played-board"}, "spec": {"properties": properties}}
    spec = {
        "deviceModelRef": {"name": "played-board"},
        "nodeName": node,
        "protocol": {"protocolName": "mqtt"},
    }
    boards = [
        {**head, "kind": "Device", "metadata": {"name": name, "labels": labels or {}}, "spec": spec} for name in names
    ]
    return [model, *boards]
