"""TCP connections whose waits end by a deadline; `dial.py` makes them."""

import select

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LOST = select.POLLERR | select.POLLHUP
_SLICE_MS = 1000  # the longest wait without a sign of life


class LinkError(OSError):
    """The link is of no use any more: silent, closed or garbled."""


def ready(sock: "Any", event: int, wait_ms: int, alive: "Callable[[], None]") -> int:
    """The events a socket has within the time; LinkError when none."""
    poller = select.poll()
    poller.register(sock, event)
    while wait_ms > 0:
        found: "list[Any]" = poller.poll(min(wait_ms, _SLICE_MS))
        if found:
            return int(found[0][1])
        wait_ms -= _SLICE_MS
        alive()
    raise LinkError("no answer in time")
