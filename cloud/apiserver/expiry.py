"""Objects that do not last, such as events, go when their time is over."""

from datetime import datetime, timedelta

from cloud.apiserver.objects import Objects
from cloud.apiserver.state import Change, Transaction

EVERY = timedelta(seconds=60)
"""Time between two looks."""


class Expiry:
    """Removes what has expired from one server. It is a `controllers.Controller`."""

    name = "expiry"

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._next: datetime | None = None

    def load(self) -> None:
        """Start from the committed state."""
        self._next = self._objects.now() + EVERY

    def observe(self, change: Change) -> None:
        """A change is committed."""

    def due(self) -> datetime | None:
        """When there is something to do."""
        return self._next

    def work(self) -> Transaction | None:
        """Remove what has expired; None when there is nothing."""
        self._next = self._objects.now() + EVERY
        return self._objects.expire()

    def failed(self, transaction: Transaction) -> None:
        """The store could not keep what `work` returned: it expires at the next look."""
