"""Which object changed when: resource versions, and what a watch is told. A core.

State, not messages, here too: a watch is a version up to which its client knows everything. What changed since is looked up when
the client can take more, so a slow one costs nothing and hears of ten changes as one. Deletions are remembered, the newest
`DELETIONS_LIMIT` of them; a watch that begins before that, or before this process did, must list anew (410).

Versions begin at the time of the start, in ms, and count changes: none is used twice, over restarts too, unless a gateway
changes more than a thousand objects a second all its life.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from edgewire.resource import Resource

DELETIONS_LIMIT = 512


class Known(NamedTuple):
    """When an object came, and when it last changed."""

    born: int
    version: int


class Change(NamedTuple):
    """An object that is not as a watch last told."""

    name: Resource
    version: int
    new: bool
    """It came since."""
    gone: bool


class Versions:
    """The versions of all objects."""

    def __init__(self, start: int) -> None:
        """`start` is the time in ms since 1970."""
        self.newest = start
        self._oldest = start
        """Deletions up to here are forgotten."""
        self._known: OrderedDict[Resource, Known] = OrderedDict()
        self._gone: OrderedDict[Resource, int] = OrderedDict()

    def of(self, name: Resource) -> int:
        """The version of an object; one that nobody told of yet is as old as this process."""
        return self._known[name].version if name in self._known else self._oldest

    def names(self, type: str) -> list[Resource]:
        """What is known of a type."""
        return [name for name in self._known if name.type == type]

    def begin(self, names: Iterable[Resource]) -> None:
        """These are there from the start."""
        for name in names:
            self._known[name] = Known(self.newest, self.newest)

    def touch(self, name: Resource, there: bool) -> None:
        """An object came, changed or went; `there` says whether there is one now."""
        known = self._known.pop(name, None)
        if known is None and not there:
            return
        self.newest += 1
        if there:
            born = known.born if known is not None else self.newest
            self._known[name] = Known(born, self.newest)
            return
        self._gone.pop(name, None)
        self._gone[name] = self.newest
        if len(self._gone) > DELETIONS_LIMIT:
            _, self._oldest = self._gone.popitem(last=False)

    def can_tell_since(self, version: int) -> bool:
        """Whether everything that happened since a version is known."""
        return self._oldest <= version <= self.newest

    def since(self, version: int, concerns: Callable[[Resource], bool]) -> list[Change]:
        """What is otherwise than at a version, the oldest change first."""
        found: list[Change] = []
        for name, known in reversed(self._known.items()):
            if known.version <= version:
                break
            if concerns(name):
                found.append(Change(name, known.version, known.born > version, False))
        for name, at in reversed(self._gone.items()):
            if at <= version:
                break
            if concerns(name):
                found.append(Change(name, at, False, True))
        found.sort(key=lambda change: change.version)
        return found
