"""The time from an NTP server (RFC 4330), asked without waiting. Imported only by boards that use it.

The station calls `tick` at every turn: a question goes out when one is due, and the answer is taken when it comes, until the
deadline. Where the server has a name, the system resolves it, in the system's own time; an address avoids that.
"""

import os
import socket

from device_fw.firmware.log import log

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

    from device_fw.firmware.retry import Backoff

PORT = 123
ANSWER_MS = 2000
EVERY_MS = 3600000  # the crystal of a cheap board is off by 0.4 s after that
_WATCH_MS = 10  # while an answer is due, so that its arrival is known that well
_TO_1970_S = 2208988800  # NTP counts from 1900
_ERA_S = 1 << 32  # and begins anew in 2036


def request(nonce: bytes) -> bytes:
    """The question of a client of version 4; `nonce`, 8 bytes in the place of the time, must come back."""
    return b"\x23" + bytes(39) + nonce


def parse(packet: bytes, nonce: bytes) -> int:
    """Milliseconds since 1970 when the server answered. ValueError when it is no answer to that question, or knows no time."""
    if len(packet) < 48 or packet[0] & 7 != 4:
        raise ValueError("no NTP answer")
    if packet[24:32] != nonce:
        raise ValueError("an answer to somebody else")
    seconds = int.from_bytes(packet[40:44], "big")
    if packet[0] >> 6 == 3 or not 0 < packet[1] < 16 or not seconds:
        raise ValueError("the server knows no time")
    if seconds < _ERA_S >> 1:
        seconds += _ERA_S
    return (seconds - _TO_1970_S) * 1000 + (int.from_bytes(packet[44:48], "big") * 1000 >> 32)


class Sntp:
    """One server, asked each hour; after a failure sooner, with back-off."""

    def __init__(self, host: str, backoff: "Backoff", port: int = PORT) -> None:
        self._host = host
        self._port = port
        self._backoff = backoff
        self._sock: "Any" = None
        self._nonce = b""
        self._asked_ms = 0
        self._due_ms = 0
        self._failure = ""

    def tick(self, now_ms: int) -> int:
        """Ask when it is time, and take the answer: milliseconds since 1970 at `now_ms`, 0 when there is no news."""
        try:
            if self._sock is None:
                if now_ms >= self._due_ms:
                    self._ask(now_ms)
                return 0
            found = self._answer()
            if found:
                self._close(now_ms + EVERY_MS)
                self._backoff.reset()
                self._failure = ""
                return found + (now_ms - self._asked_ms) // 2
            if now_ms - self._asked_ms >= ANSWER_MS:
                self._failed("no answer", now_ms)
        except (OSError, ValueError) as error:
            self._failed(str(error), now_ms)
        return 0

    def wait_ms(self, now_ms: int) -> int:
        """When to call next."""
        return _WATCH_MS if self._sock is not None else max(0, self._due_ms - now_ms)

    def _ask(self, now_ms: int) -> None:
        family, kind, protocol, _, address = socket.getaddrinfo(self._host, self._port, 0, socket.SOCK_DGRAM)[0]
        self._sock = socket.socket(family, kind, protocol)
        self._sock.setblocking(False)
        self._sock.connect(address)  # nobody else's packets come in
        self._nonce = os.urandom(8)
        self._asked_ms = now_ms
        self._sock.send(request(self._nonce))

    def _answer(self) -> int:
        packet = self._sock.read(128)  # None when nothing has come
        return parse(packet, self._nonce) if packet else 0

    def _failed(self, reason: str, now_ms: int) -> None:
        self._close(now_ms + ANSWER_MS + self._backoff.next_ms())
        if self._failure != reason:
            self._failure = reason
            log("ntp_failed", server=self._host, reason=reason)

    def _close(self, due_ms: int) -> None:
        self._due_ms = due_ms
        if self._sock is not None:
            self._sock.close()
            self._sock = None
