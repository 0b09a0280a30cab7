"""How many connections this process may have open: each is a file descriptor, and the system gives each process so many.

Debian starts a process with 1,024 and lets it ask for more. A broker that takes the last one leaves none to the rest of the
gateway, which then cannot reach its cloud.
"""

import logging
import resource

log = logging.getLogger(__name__)

RESERVE = 128
"""Descriptors that are left to the rest of the gateway."""


def room_for(connections: int, burst: int) -> int:
    """Ask the system for `connections`, and `burst` more that are accepted before they are counted; how many there may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + burst + RESERVE
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    room = connections if soft == resource.RLIM_INFINITY else min(connections, soft - RESERVE)
    if room < connections:
        log.warning("the system allows fewer connections limit=%d wanted=%d open_files=%d", room, connections, soft)
    return max(room, 1)
