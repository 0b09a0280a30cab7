"""TCP connections that end by a deadline.

A host's name is resolved by the system, within the system's own deadline; an address avoids that.
"""

import errno
import select
import socket

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any

    from device_fw.firmware.ticks import Clock

LOST = select.POLLERR | select.POLLHUP
_IPPROTO_TCP = 6  # Linux and lwIP agree on these numbers, and few ports name them
_TCP_NODELAY = 1


class LinkError(OSError):
    """The link is of no use any more: silent, closed or garbled."""


def dial(host: "str | bytes", port: int, deadline: int, clock: "Clock") -> "Any":
    """A connected, non-blocking socket without Nagle's delay; the last address's error when none answers by the deadline."""
    failure: OSError = LinkError("no address for " + str(host))
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            _connect(sock, address, deadline - clock.now())
            return sock
        except OSError as error:
            sock.close()
            failure = error
    raise failure


def _connect(sock: "Any", address: "Any", wait_ms: int) -> None:
    sock.setblocking(False)
    try:
        sock.connect(address)
    except OSError as error:
        if error.errno != errno.EINPROGRESS:
            raise
    if ready(sock, select.POLLOUT, wait_ms) & LOST:
        raise LinkError("connection refused or host unreachable")
    try:
        sock.setsockopt(_IPPROTO_TCP, _TCP_NODELAY, 1)
    except OSError:  # a port without it is slower, not wrong
        pass


def ready(sock: "Any", event: int, wait_ms: int) -> int:
    """The events a socket has within the time; LinkError when none."""
    poller = select.poll()
    poller.register(sock, event)
    found: "list[Any]" = poller.poll(wait_ms) if wait_ms > 0 else []
    if not found:
        raise LinkError("no answer in time")
    return int(found[0][1])
