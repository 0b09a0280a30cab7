"""Keeps the tokens of running pods young: a service that looks every few seconds whether they have one of now.

It is the time of day that counts, which jumps where a machine has no clock of its own; so it looks, and waits for no time.
"""

import asyncio
import logging
from collections.abc import Callable

from edge_gateway.edge_core import EdgeCore
from edge_gateway.edged import EdgedError
from edge_gateway.edged.access import ANNOTATION, Access
from edge_gateway.edged.pods import Pod, PodError, parse
from edgewire import resource

log = logging.getLogger(__name__)

LOOK_S = 20.0


class Renewal:
    """A service."""

    name = "pod-tokens"

    def __init__(self, core: EdgeCore, access: Access, renew: Callable[[Pod], None], look_s: float = LOOK_S) -> None:
        """`renew` puts a pod's files in their place, where nothing happens when they are there already."""
        self._core = core
        self._access = access
        self._renew = renew
        self._look_s = look_s

    async def run(self, ready: asyncio.Event) -> None:
        """Renew until cancelled."""
        ready.set()
        while True:
            for pod in self._pods():
                try:
                    await asyncio.to_thread(self._renew, pod)
                except EdgedError as error:
                    log.warning("= token not renewed pod=%s reason=%s", pod.id, error)
            await asyncio.sleep(self._look_s)

    def _pods(self) -> list[Pod]:
        """Those that have a token."""
        found = []
        for name in self._core.names_of(resource.POD):
            content = self._core.content_of(name) or b""
            if ANNOTATION.encode() not in content:
                continue
            try:
                pod = parse(content)
            except PodError:  # Edged has said so
                continue
            if self._access.asked(pod):
                found.append(pod)
        return found
