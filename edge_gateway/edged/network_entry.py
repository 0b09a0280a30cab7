"""Sockets in the network of a pod: a socket stays in the network that its thread was in when it was made.

To enter a network takes CAP_SYS_ADMIN; without it, that of a pod stays closed.
"""

import asyncio
import os
import socket
import threading
from contextlib import suppress

_CLONE_NEWNET = 0x40000000


async def socket_in(network: str, family: socket.AddressFamily) -> socket.socket:
    """A TCP socket, not blocking, in the network of this file, or the machine's own. Raises OSError."""
    if not network:
        made = socket.socket(family, socket.SOCK_STREAM)
    else:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[socket.socket] = loop.create_future()

        def give(result: socket.socket | OSError) -> None:
            if isinstance(result, OSError):
                if not found.done():
                    found.set_exception(result)
            elif found.done():
                result.close()
            else:
                found.set_result(result)

        def make() -> None:
            # The thread is used for this alone: it ends in the network that it went to.
            result: socket.socket | OSError
            try:
                _enter(network)
                result = socket.socket(family, socket.SOCK_STREAM)
            except OSError as error:
                result = error
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(give, result)

        threading.Thread(target=make, name="network of a pod", daemon=True).start()
        made = await found
    made.setblocking(False)
    return made


def _enter(network: str) -> None:
    import ctypes  # only who forwards a port into a pod pays for it

    descriptor = os.open(network, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # os.setns is there from Python 3.12 on.
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, f"cannot enter the network of the pod: {os.strerror(number)}", network)
    finally:
        os.close(descriptor)
