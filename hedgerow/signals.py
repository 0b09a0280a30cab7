"""Ctrl-C, SIGTERM and a closed terminal: each ends the command in order, and a second Ctrl-C ends it at once."""

import asyncio
import os
import signal
from collections.abc import Coroutine
from typing import Any

IMPATIENT_AFTER_S = 0.3
"""A second SIGINT or SIGTERM within this time is the first one's echo: wrappers pass on what the terminal sent already."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def until_signalled(work: Coroutine[Any, Any, int]) -> int:
    """Run to the end, whose result is the exit status; a signal cancels it, then the status is 128 + the signal's number.

    A second SIGINT or SIGTERM cancels it again, in the midst of its cleaning up. Signals that were ignored before stay so,
    as `nohup` wants it.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(work, name="command")
    terminals = [stream for stream in (0, 1, 2) if os.isatty(stream)]
    first: list[tuple[signal.Signals, float]] = []

    def received(number: signal.Signals) -> None:
        if number == signal.SIGHUP:
            _let_go(terminals)
        if not first:
            first.append((number, loop.time()))
            task.cancel()
        elif number != signal.SIGHUP and loop.time() - first[0][1] >= IMPATIENT_AFTER_S:
            task.cancel()

    handled = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    for number in handled:
        loop.add_signal_handler(number, received, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not first:
            raise
        return 128 + first[0][0]
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


def _let_go(of: list[int]) -> None:
    """The terminal is gone: what is still written there goes nowhere instead of failing."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in of:
        os.dup2(nowhere, stream)
    os.close(nowhere)
