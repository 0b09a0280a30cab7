"""What one device has reported until Kubernetes has it. No I/O.

Reports wait while a patch is in flight, and the next patch carries all of them; whoever sent one is answered when the patch
that carried it has succeeded. A report that says nothing new is acknowledged at once, but only when nothing is on its way.
What Kubernetes rejects is refused to its sender alone: reports that shared a rejected patch are tried one by one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cloud.device_status import ACCEPTED, Condition, DeviceStatus, difference
from cloud.sessions import Sender
from edgewire.twin import DeviceState, Twin

WAITING_LIMIT = 32
"""Reports that wait with their senders; a node that awaits its answers has two of a device at most."""


@dataclass(frozen=True, slots=True)
class Report:
    """Properties or a state of a device, and who wants to know that they are safe."""

    sender: Sender
    at: int
    """Stands in for source times that are not known; ms since 1970."""
    twins: Mapping[str, Twin | None] = field(default_factory=dict)
    state: DeviceState | None = None

    def merge_into(self, status: DeviceStatus) -> None:
        """Bring a status up to date."""
        status.merge_twins(self.twins, self.at)
        if self.state is not None:
            status.merge_state(self.state, self.at)

    def joined(self, later: "Report") -> "Report":
        """This report and a later one as one, whose sender alone is answered; the sender of this one sends again."""
        twins = dict(self.twins)
        for name, twin in later.twins.items():
            if name not in twins or _at(twin, later.at) >= _at(twins[name], self.at):
                twins[name] = twin
        return Report(later.sender, later.at, twins, later.state or self.state)


class DeviceReports:
    """One device's status: as it is in Kubernetes, and as it shall be."""

    def __init__(self, saved: DeviceStatus) -> None:
        """`saved` is the status in Kubernetes."""
        self._saved = saved
        self._accepted = saved.conditions.get(ACCEPTED)
        self._waiting: list[Report] = []
        self._flying: list[Report] = []
        self._flying_status = saved
        self._one_by_one = False

    @property
    def accepted(self) -> Condition | None:
        """The condition as it shall be."""
        return self._accepted

    @property
    def unfinished(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._waiting) or self._accepted != self._saved.conditions.get(ACCEPTED)

    def accept(self, condition: Condition) -> None:
        """Set the condition."""
        self._accepted = condition

    def take(self, report: Report) -> bool:
        """Take a report in; False when there is nothing to write because of it."""
        unanswered = self._flying + self._waiting
        if any(other.sender.message.id == report.sender.message.id for other in unanswered):
            return False
        if not unanswered and self._known(report):
            report.sender.acknowledge()
            return False
        self._waiting.append(report)
        if len(self._waiting) > WAITING_LIMIT:
            oldest = self._waiting.pop(0)
            self._waiting[0] = oldest.joined(self._waiting[0])
        return True

    def patch(self) -> bytes | None:
        """The merge patch of everything that waits, in flight from now on; None when there is nothing to write."""
        while True:
            count = 1 if self._one_by_one else len(self._waiting)
            self._flying, self._waiting = self._waiting[:count], self._waiting[count:]
            self._flying_status = self._next_status()
            patch = difference(self._saved, self._flying_status)
            if patch is None:
                self._answer_flying()
            if patch is not None or not self._waiting:
                return patch

    def succeeded(self) -> None:
        """Kubernetes has what was in flight."""
        self._saved = self._flying_status
        self._one_by_one = self._one_by_one and bool(self._waiting)
        self._answer_flying()

    def failed(self) -> None:
        """Kubernetes does not have what was in flight, and may take it later."""
        self._waiting = self._flying + self._waiting
        self._flying = []

    def rejected(self, code: int, reason: str) -> None:
        """Kubernetes will never take what was in flight."""
        if len(self._flying) > 1:
            self._one_by_one = True
            self.failed()
            return
        if not self._flying:
            self._accepted = self._saved.conditions.get(ACCEPTED)
        for report in self._flying:
            report.sender.refuse(code, reason)
        self._flying = []

    def gone(self, reason: str) -> None:
        """There is no such device any more."""
        for report in self._flying + self._waiting:
            report.sender.refuse(404, reason)
        self._flying, self._waiting = [], []
        self._accepted = self._saved.conditions.get(ACCEPTED)

    def _known(self, report: Report) -> bool:
        status = self._saved.copy()
        report.merge_into(status)
        return difference(self._saved, status) is None

    def _next_status(self) -> DeviceStatus:
        status = self._saved.copy()
        if self._accepted is not None:
            status.conditions[ACCEPTED] = self._accepted
        for report in self._flying:
            report.merge_into(status)
        return status

    def _answer_flying(self) -> None:
        for report in self._flying:
            report.sender.acknowledge()
        self._flying = []


def _at(twin: Twin | None, arrived_at: int) -> int:
    """The source time of what a report says of a property; a deletion has the time of its arrival."""
    reported = twin.reported if twin is not None else None
    return reported.at or arrived_at if reported is not None else arrived_at
