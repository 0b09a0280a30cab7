"""Keeps the tokens of running pods young: a service that looks every few seconds whether they have one of now.

It is the time of day that counts, which jumps where a machine has no clock of its own; so it looks, and waits for no time.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable

from edge_gateway.edged import EdgedError
from edge_gateway.edged.access import Access
from edge_gateway.edged.pods import Pod

log = logging.getLogger(__name__)

LOOK_S = 20.0


class Renewal:
    """A service."""

    name = "pod-tokens"

    def __init__(
        self, pods: Callable[[], Iterable[Pod]], access: Access, renew: Callable[[Pod], None], look_s: float = LOOK_S
    ) -> None:
        """`pods` are those that run; `renew` puts a pod's files in their place, if they are not there already."""
        self._pods = pods
        self._access = access
        self._renew = renew
        self._look_s = look_s

    async def run(self, ready: asyncio.Event) -> None:
        """Renew until cancelled."""
        ready.set()
        while True:
            for pod in [pod for pod in self._pods() if self._access.asked(pod)]:
                try:
                    await asyncio.to_thread(self._renew, pod)
                except EdgedError as error:
                    log.warning("= token not renewed pod=%s reason=%s", pod.id, error)
            await asyncio.sleep(self._look_s)
