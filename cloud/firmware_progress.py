"""How far one rollout is: what its gateways report, summed; when the next wave opens, and when to abort. No I/O.

A wave opens when every gateway that has devices in the waves before it says, of the plan as it stands, that all of them are
finished; then after the pause, or once a person agrees. A gateway that holds all these devices opens the wave by itself, with or
without the cloud, and is believed.
"""

from collections import Counter
from collections.abc import Callable

from msgspec import UNSET

from cloud.device_status import MESSAGE_LIMIT, Condition, rfc3339
from cloud.firmware_objects import (
    ABORTED,
    COMPLETE,
    MANUAL,
    PAUSED,
    PHASE_PENDING,
    RUNNING,
    WAITING,
    DeviceFirmware,
    FailureStatus,
    FirmwareStatus,
    GatewayStatus,
)
from cloud.firmware_planning import Placed, plans
from edgewire import rollout
from edgewire.rollout import FAILED, MAX_FAILURES, PENDING, PHASES, SKIPPED, UPDATED, Plan, Report

IMAGE_READY, COMPLETED = "ImageReady", "Complete"
_LONGEST_REASON = 64
_NAMED = 5
"""Gateways that a message names."""


class Progress:
    """One rollout."""

    def __init__(self, firmware: DeviceFirmware) -> None:
        self.firmware = firmware
        self.saved = firmware.status
        """The status in Kubernetes."""
        self.placed = Placed([], {})
        self.plans: dict[str, Plan] = {}
        """By node."""
        self.missing = "the image has not been looked for"
        """What of the image is not in Kubernetes, or empty."""
        self.open = max(1, firmware.status.wave)
        self.stopped_at = firmware.status.stopped_attempt
        self._gateways = {gateway.node: gateway for gateway in firmware.status.gateways}
        self._failures: dict[str, list[FailureStatus]] = {}
        for failure in firmware.status.failures:
            self._failures.setdefault(failure.node, []).append(failure)
        self._finished_at: float | None = None
        self._begin_anew_after(firmware.status.image)

    @property
    def stopped(self) -> bool:
        """Whether too many devices failed."""
        return self.stopped_at is not None and self.stopped_at >= self.firmware.spec.retry

    @property
    def aborted(self) -> bool:
        """Whether it is over, and not because it is complete."""
        return self.firmware.spec.aborted or self.stopped

    def edited(self, firmware: DeviceFirmware) -> None:
        """The DeviceFirmware has been changed."""
        before, self.firmware = self.firmware, firmware
        self._begin_anew_after(before.spec.image.id)

    def _begin_anew_after(self, image: str) -> None:
        if image and image != self.firmware.spec.image.id:
            self._gateways, self._failures = {}, {}
            self.open, self.stopped_at, self._finished_at = 1, None, None

    def replan(self, placed: Placed) -> None:
        """Make the plans anew."""
        self.placed = placed
        self.open = min(self.open, max(1, len(placed.waves)))
        self.plans = plans(self.firmware, placed, self.open, aborted=self.aborted)
        for node in self._gateways.keys() - self.plans.keys():
            del self._gateways[node]
            self._failures.pop(node, None)

    def reported(self, node: str, report: Report) -> bool:
        """A gateway says where it stands; whether plans change by that. What it says of other work is passed over."""
        plan = self.plans.get(node)
        if plan is None or plan.work != report.work:
            return False
        message = report.missing or ("too many devices failed" if report.stopped else "")
        own = {name for wave in plan.waves for name in wave.devices}
        counts = _counted(report, len(own))
        opened = min(max(0, report.open), max(1, len(plan.waves)))
        self._gateways[node] = GatewayStatus(
            node, opened, min(report.done, opened), counts, report.work, message[:MESSAGE_LIMIT]
        )
        failures = [f for f in report.failures[:MAX_FAILURES] if f.device in own]
        self._failures[node] = [FailureStatus(f.device, node, f.reason[:_LONGEST_REASON]) for f in failures]
        before = self.open, self.aborted
        if self.placed.gateways(opened - 1) <= {node}:  # else it is not its to open
            self.open = max(self.open, opened)
        spec = self.firmware.spec
        failed, of = self.counts()[FAILED], self.placed.opened(self.open)
        if report.stopped or rollout.too_many(failed, of, spec.max_failure_percent):
            self.stopped_at = spec.retry
        return (self.open, self.aborted) != before

    def tick(self, now: float) -> bool:
        """Time has passed; whether a wave has opened."""
        spec, open = self.firmware.spec, self.open
        if open >= len(self.placed.waves) or self.aborted or spec.paused or self._gated() or self.behind():
            self._finished_at = None
            return False
        if self._finished_at is None:
            self._finished_at = now
        if self.placed.waves[open - 1] and now - self._finished_at < spec.waves.pause_seconds:
            return False
        self._finished_at = None
        self.open += 1
        return True

    def _gated(self) -> bool:
        waves = self.firmware.spec.waves
        return waves.gate == MANUAL and waves.approved < self.open

    def behind(self) -> list[str]:
        """The gateways that have not finished their devices of the open waves, as far as is known."""
        return [node for node in sorted(self.plans) if self._is_behind(node, self.plans[node])]

    def _is_behind(self, node: str, plan: Plan) -> bool:
        needed = max((n for n, wave in enumerate(plan.waves[: self.open], 1) if wave.devices), default=0)
        gateway = self._gateways.get(node)
        return needed > 0 and (gateway is None or gateway.work != plan.work or gateway.done < needed)

    def counts(self) -> dict[str, int]:
        """Devices by phase, `total` among them."""
        sums: Counter[str] = Counter()
        known = 0
        for gateway in self._gateways.values():
            sums.update(gateway.counts)
            known += sum(gateway.counts.values())
        sums[SKIPPED] += len(self.placed.skipped)
        sums[PENDING] += max(0, self.placed.total - len(self.placed.skipped) - known)
        return {"total": self.placed.total, **{phase: sums[phase] for phase in PHASES}}

    # What Kubernetes is told

    def status(self, clock: Callable[[], float]) -> FirmwareStatus:
        """The status as it should be."""
        counts = self.counts()
        waves = len(self.placed.waves)
        open = self.open if self.placed.total else 0
        phase, reason, message = self._stand(counts)
        failures = [failure for node in sorted(self._failures) for failure in self._failures[node]]
        return FirmwareStatus(
            self.firmware.metadata.generation,
            phase,
            self.firmware.spec.image.id,
            open,
            waves,
            f"{open}/{waves}",
            f"{counts[UPDATED]}/{counts['total']}",
            self.stopped_at,
            counts,
            [self._gateways[node] for node in sorted(self._gateways)],
            failures[:MAX_FAILURES],
            [
                self._condition(
                    IMAGE_READY, not self.missing, "PartsMissing" if self.missing else "Found", self.missing, clock
                ),
                self._condition(COMPLETED, phase == COMPLETE, reason, message, clock),
            ],
        )

    def _stand(self, counts: dict[str, int]) -> tuple[str, str, str]:
        """Phase, reason and message."""
        spec = self.firmware.spec
        if spec.aborted:
            return ABORTED, "Aborted", "spec.aborted is set"
        if self.stopped:
            return (
                ABORTED,
                "TooManyFailures",
                f"{counts[FAILED]} devices failed; more than {spec.max_failure_percent} %",
            )
        if not self.placed.total:
            return PHASE_PENDING, "NoDevices", "no device is selected"
        behind = self.behind()
        if behind and self.missing:
            return PHASE_PENDING, "ImageMissing", self.missing
        if not behind and self.open >= len(self.placed.waves):
            return COMPLETE, "Complete", f"{counts[UPDATED]} of {counts['total']} devices updated"
        if spec.paused:
            return PAUSED, "Paused", "spec.paused is set"
        if behind:
            return RUNNING, "Updating", f"wave {self.open} at {self._named(behind)}"
        if self._gated():
            return (
                WAITING,
                "Gate",
                f"wave {self.open} is finished: look at it, then set spec.waves.approved to {self.open}",
            )
        return WAITING, "Pause", f"wave {self.open} is finished; {spec.waves.pause_seconds} s to the next"

    def _named(self, behind: list[str]) -> str:
        said = {node: gateway.message for node, gateway in self._gateways.items() if gateway.message}
        named = [f"{node} ({said[node]})" if node in said else node for node in behind[:_NAMED]]
        more = f" and {len(behind) - _NAMED} more" if len(behind) > _NAMED else ""
        return ", ".join(named) + more

    def _condition(self, type: str, holds: bool, reason: str, message: str, clock: Callable[[], float]) -> Condition:
        status = "True" if holds else "False"
        old = self.saved.condition(type)
        same = old is not None and old.status == status
        since = old.last_transition_time if old is not None and same else rfc3339(clock())
        generation = self.firmware.metadata.generation or UNSET
        return Condition(type, status, reason, message[:MESSAGE_LIMIT], generation, since)


def _counted(report: Report, devices: int) -> dict[str, int]:
    """The phases of a gateway's devices: it speaks for its own, and for no more than there are."""
    counts, left = {}, devices
    for phase in PHASES:
        if (count := min(max(0, report.counts.get(phase, 0)), left)) > 0:
            counts[phase] = count
            left -= count
    return counts
