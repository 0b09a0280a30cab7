"""Protocols that have devices but no mapper. A core: it is told who listens, and the time."""

from collections.abc import Callable

from edgewire import topics
from edgewire.config import nearest

PATIENCE_MS = 20_000
"""A mapper that starts with the gateway, or is restarted, is there within this."""

OURS = ("modbus", "ble", "bluetooth", "serial")
"""Protocols whose mappers come with Hedgerow: what a misspelt one may have been meant to be."""


class Unserved:
    """Since when nobody serves a protocol, and whether anybody has."""

    def __init__(self) -> None:
        self._served: set[str] = set()
        self._since: dict[str, int] = {}

    def look(self, protocols: set[str], wanted: Callable[[str], bool], now_ms: int) -> dict[str, tuple[str, bool]]:
        """The protocols nobody has served for `PATIENCE_MS`: why, in words, and whether that was otherwise before."""
        found: dict[str, tuple[str, bool]] = {}
        self._since = {protocol: since for protocol, since in self._since.items() if protocol in protocols}
        for protocol in protocols:
            if wanted(topics.mapper_index(protocol)):
                self._served.add(protocol)
                self._since.pop(protocol, None)
            elif now_ms - self._since.setdefault(protocol, now_ms) >= PATIENCE_MS:
                found[protocol] = _why(protocol, wanted), protocol in self._served
                self._served.discard(protocol)
        return found


def _why(protocol: str, wanted: Callable[[str], bool]) -> str:
    here = [other for other in OURS if other != protocol and wanted(topics.mapper_index(other))]
    near = nearest(protocol, here)
    hint = f"; did you mean {near!r}?" if near else ""
    return f"no mapper of Device spec.protocol.protocolName {protocol!r} is here, and the device does not speak itself{hint}"
