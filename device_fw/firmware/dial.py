"""Makes TCP connections, by a deadline. Imported for that, and forgotten afterwards.

A host's name is resolved by the system, within the system's own deadline; an address avoids that.
"""

import errno
import select
import socket

from device_fw.firmware.tcp import LOST, LinkError, ready

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from device_fw.firmware.ticks import Clock

_IPPROTO_TCP = 6  # Linux and lwIP agree on these numbers, and few ports name them
_TCP_NODELAY = 1


def dial(host: "str | bytes", port: int, deadline: int, clock: "Clock", alive: "Callable[[], None]") -> "Any":
    """A connected, non-blocking socket without Nagle's delay; the last address's error when none answers by the deadline.

    `alive` is called at least once a second.
    """
    failure: OSError = LinkError("no address for " + str(host))
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            _connect(sock, address, deadline - clock.now(), alive)
            return sock
        except OSError as error:
            sock.close()
            failure = error
    raise failure


def _connect(sock: "Any", address: "Any", wait_ms: int, alive: "Callable[[], None]") -> None:
    sock.setblocking(False)
    try:
        sock.connect(address)
    except OSError as error:
        if error.errno != errno.EINPROGRESS:
            raise
    if ready(sock, select.POLLOUT, wait_ms, alive) & LOST:
        raise LinkError("connection refused or host unreachable")
    try:
        sock.setsockopt(_IPPROTO_TCP, _TCP_NODELAY, 1)
    except OSError:  # a port without it is slower, not wrong
        pass
