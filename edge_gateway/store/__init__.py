"""What the gateway keeps on disk, as small tables of key and value.

A store is read whole when the process starts; from then on the objects in memory are the truth and the store follows.
`write` takes the newest value of a key, so what waits for the disk is bounded by the number of keys, and calls back once
the change is durable. `sqlite.py` is the real one, `memory.py` its twin for cores' tests; both pass the same tests.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

# table, key, value (None deletes)
Change = tuple[str, str, bytes | None]

TABLES = ("object", "twin", "device", "retained", "session", "queued", "sent", "received", "rollout", "pod")


class StoreError(Exception):
    """The store cannot be opened or read."""


class Store(Protocol):
    """Tables of key and value with a durable write."""

    def read(self, table: str) -> Iterator[tuple[str, bytes]]:
        """Every key and value of a table, in key order. Meant for the start of the process."""
        ...

    def write(self, changes: Iterable[Change], then: Callable[[], None] | None = None) -> None:
        """Queue `changes`; `then` runs on the event loop once these and all earlier ones are durable, in order of the calls.

        Calls that nothing else on the event loop comes between become durable together or not at all.
        """
        ...

    def waiting(self) -> int:
        """How many `write` calls are not yet durable: what a caller bounds by pausing its senders."""
        ...

    async def close(self) -> None:
        """Wait until everything written is durable, then let go of the files."""
        ...
