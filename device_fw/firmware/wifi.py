"""Wi-Fi: joined without waiting, watched, and joined again. Imported only by boards that use it.

The station calls `tick` at every turn. A try that does not end in `JOIN_MS` is given up; after `TRIES` of them the radio is
switched off and on, which is what helps when a driver got stuck. Retries back off with jitter, so that a power cut on the site
does not bring all boards to the access point at once.
"""

import network  # type: ignore[import-not-found]

from device_fw.firmware.log import log

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

    from device_fw.firmware.retry import Backoff

JOIN_MS = 20000
TRIES = 3
_WATCH_MS = 100  # while joining

# Names of `network` that say why; each port has some of them.
_REASONS = (
    ("STAT_WRONG_PASSWORD", "wrong password"),
    ("STAT_NO_AP_FOUND", "no such network in reach"),
    ("STAT_HANDSHAKE_TIMEOUT", "no answer to the handshake"),
    ("STAT_ASSOC_FAIL", "the access point refused"),
    ("STAT_CONNECT_FAIL", "connecting failed"),
)


class Wifi:
    """The station side of one network."""

    def __init__(self, ssid: str, password: str, host_name: str, backoff: "Backoff") -> None:
        """An empty password is for an open network. `host_name` is what the access point's DHCP server hears."""
        self._ssid = ssid
        self._password = password
        self._backoff = backoff
        self._joining_ms: "int | None" = None  # since when
        self._due_ms = 0
        self._tries = 0
        self._up = False
        if hasattr(network, "hostname"):  # before the radio is on
            network.hostname(host_name)
        self._radio: "Any" = network.WLAN(network.STA_IF)

    def tick(self, now_ms: int) -> bool:
        """Whether the network is there; if not, work on it. Never raises, never waits."""
        try:
            if self._radio.isconnected():
                self._joined()
                return True
            if self._up:
                self._up = False
                log("wifi_lost", ssid=self._ssid)
            self._work(now_ms)
        except OSError as error:  # the driver's own: busy, out of memory
            self._failed(str(error), now_ms)
        return False

    def wait_ms(self, now_ms: int) -> int:
        """When to call next while the network is not there."""
        return _WATCH_MS if self._joining_ms is not None else max(0, self._due_ms - now_ms)

    def _joined(self) -> None:
        if self._up:
            return
        self._up = True
        self._joining_ms = None
        self._tries = 0
        self._backoff.reset()
        log("wifi", ssid=self._ssid, address=self._radio.ifconfig()[0])

    def _work(self, now_ms: int) -> None:
        if self._joining_ms is None:
            if now_ms >= self._due_ms:
                self._joining_ms = now_ms
                self._radio.active(True)
                self._radio.connect(self._ssid, self._password or None)
            return
        reason = self._reason()
        if reason:
            self._failed(reason, now_ms)
        elif now_ms - self._joining_ms >= JOIN_MS:
            self._failed("not joined in time", now_ms)

    def _reason(self) -> str:
        status = self._radio.status()
        for name, reason in _REASONS:
            if getattr(network, name, None) == status:
                return reason
        return ""

    def _failed(self, reason: str, now_ms: int) -> None:
        self._joining_ms = None
        self._tries += 1
        delay_ms = self._backoff.next_ms()
        self._due_ms = now_ms + delay_ms
        log("wifi_failed", ssid=self._ssid, reason=reason, retry_ms=delay_ms)
        try:
            self._radio.disconnect()
            if self._tries % TRIES == 0:
                self._radio.active(False)
        except OSError:  # a stuck driver: switching it on again is the next try's first step
            pass
