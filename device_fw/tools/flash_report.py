"""Hears at the gateway's broker whether a device reports, as the device's own user: it may read its own topics."""

import contextlib
import json
import queue
import secrets
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from device_fw.tools.flash_errors import NoReport
from edgewire import topics

WAIT_S = 60.0
CONNECT_S = 10.0
_VERDICT_S = 1.5


class Listener:
    """Listens from its making on."""

    def __init__(self, configuration: Mapping[str, Any], wait_s: float = WAIT_S, ca: Path | None = None) -> None:
        """`configuration` is the board's `config.json`, `ca` who signed the broker's certificate, for TLS.

        NoReport when the broker cannot be reached from here.
        """
        self._device = str(configuration["name"])
        self._wait_s = wait_s
        self._heard: queue.Queue[tuple[str, bytes]] = queue.Queue(maxsize=100)
        self._subscribed = threading.Event()
        self._problem = ""
        self._where = f"{configuration['host']}:{configuration.get('port', 1883)}"
        client = self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"flash-{secrets.token_hex(4)}")
        if configuration.get("user"):
            client.username_pw_set(str(configuration["user"]), str(configuration.get("password", "")))
        if ca is not None:
            client.tls_set(ca_certs=str(ca))
        elif configuration.get("ca"):
            raise NoReport(
                f"the broker at {self._where} speaks TLS: give --ca FILE, or --wait 0 to leave this step out"
            )
        client.on_connect = self._on_connect
        client.on_subscribe = lambda *_: self._subscribed.set()
        client.on_message = self._on_message
        try:
            client.connect(
                str(configuration["host"]), int(configuration.get("port", 8883 if ca else 1883)), keepalive=30
            )
        except OSError as error:
            raise NoReport(
                f"the board is flashed, but no broker answers at {self._where} from here ({error}): is the gateway running? "
                "--wait 0 leaves this step out"
            ) from error
        client.loop_start()
        self._until_subscribed()

    def wait(self) -> str:
        """What the gateway made of its first report. NoReport when it hears none."""
        deadline = time.monotonic() + self._wait_s
        reported, verdict = False, ""
        try:
            while not verdict:
                left = (deadline if not reported else min(deadline, time.monotonic() + _VERDICT_S)) - time.monotonic()
                try:
                    topic, payload = self._heard.get(timeout=max(0.0, left))
                except queue.Empty:
                    break
                if topic == topics.of_device(self._device, topics.UPDATE):
                    reported = True
                elif reported:
                    verdict = _verdict(payload)
        finally:
            self._client.disconnect()
            self._client.loop_stop()
        if not reported:
            raise NoReport(
                f"the board is flashed, but {self._device} says nothing at {self._where} within {self._wait_s:g} s: is it in "
                "reach of its Wi-Fi, and the gateway in its (--wifi, --gateway)? The gateway's log tells of refused connections"
            )
        return verdict or "reported"

    def _until_subscribed(self) -> None:
        """paho tries again by itself: a gateway needs a moment to take a new user."""
        if not self._subscribed.wait(CONNECT_S):
            self._client.disconnect()
            self._client.loop_stop()
            problem = self._problem or f"it does not answer within {CONNECT_S:g} s"
            raise NoReport(f"the board is flashed, but the broker at {self._where} does not let its user in: {problem}")

    def _on_connect(self, client: mqtt.Client, _: Any, __: Any, reason: Any, *___: Any) -> None:
        if reason.is_failure:
            self._problem = f"{reason}; give --users FILE, or enter the user that was printed"
        else:
            kinds = (topics.UPDATE, topics.RESULT)
            client.subscribe([(topics.of_device(self._device, kind), 1) for kind in kinds])

    def _on_message(self, _: mqtt.Client, __: Any, message: mqtt.MQTTMessage) -> None:
        with contextlib.suppress(queue.Full):
            self._heard.put_nowait((message.topic, bytes(message.payload)))


def _verdict(payload: bytes) -> str:
    """Of a `twin/update/result`."""
    try:
        found = json.loads(payload)
    except ValueError:
        return ""
    code = found.get("code", 0) if isinstance(found, dict) else 0
    return "reported" if code in (0, 200) else f"reported, and the gateway refused it: {found.get('reason') or code}"
