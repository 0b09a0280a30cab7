"""The store's memory twin, for cores' tests and for a gateway that shall keep nothing: durable at once, gone at the end."""

from collections.abc import Callable, Iterable, Iterator

from edge_gateway.store import TABLES, Change


class MemoryStore:
    """A Store in dictionaries; what is written counts as durable when `write` returns."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, bytes]] = {table: {} for table in TABLES}

    def read(self, table: str) -> Iterator[tuple[str, bytes]]:
        """Every key and value of a table, in key order."""
        yield from sorted(self._tables[table].items())

    def write(self, changes: Iterable[Change], then: Callable[[], None] | None = None) -> None:
        """Apply `changes`, then call `then`."""
        for table, key, value in changes:
            if value is None:
                self._tables[table].pop(key, None)
            else:
                self._tables[table][key] = value
        if then is not None:
            then()

    def waiting(self) -> int:
        """Always 0."""
        return 0

    async def close(self) -> None:
        """Nothing to wait for."""
