"""One rollout of firmware at this gateway: whose turn it is, what became of each device, when the next wave opens, when to stop.

A core, used by `firmware_updates.py`. It decides on phases and names the devices to be offered the image or to be told that
nothing is offered any more; it knows neither topics nor messages. A wave opens here when the cloud says so, or by this gateway
alone once every device of the waves before it is its own and finished: a site that holds a whole rollout needs no cloud for it.

Time is the caller's `clock`, in ms: it counts while the gateway runs and never jumps. After a restart all waits begin anew.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec
from msgspec import Struct

from edge_gateway.store import Change
from edgewire import ota, rollout
from edgewire.message import UNREADABLE
from edgewire.rollout import (
    DOWNLOADING,
    FAILED,
    FINISHED,
    MAX_FAILURES,
    OFFERED,
    PENDING,
    SKIPPED,
    TRIAL,
    UPDATED,
    Failure,
    Plan,
    Report,
)

log = logging.getLogger(__name__)

REPEAT_MS = 30_000
"""An offer that a device has not taken up is repeated: nobody acknowledges offers."""
LONGEST_TIMEOUTS = 10
"""So many timeouts an attempt of a device may take in all, however lively it is: it must not hold the others up for ever."""
TABLE = "rollout"

TIMEOUT, OFFLINE, NO_PROPERTIES, SUPERSEDED = "timeout", "offline", "no-firmware-properties", "superseded"
_ACTIVE = frozenset({OFFERED, DOWNLOADING, TRIAL})


class DeviceRecord(Struct, omit_defaults=True):
    """What became of one device; kept."""

    phase: str = PENDING
    reason: str = ""
    retry: int = 0
    """The attempt that this speaks of."""
    stale: str = ""
    """What the device said when the gateway decided otherwise: only something new counts."""


class RolloutRecord(Struct, omit_defaults=True):
    """Where a rollout stands; kept."""

    uid: str = ""
    image: str = ""
    open: int = 0
    stopped_at: int | None = None
    """The attempt (`Plan.retry`) in which too many failed."""


class Watched(Struct):
    """What is remembered of a device while the gateway runs. Times are the clock's."""

    wave: int
    since: int
    offered_at: int = 0
    begun: int | None = None
    """When it was first offered the image in this attempt; None once it has been finished for a timeout."""
    said: str = ""
    """Its firmware properties when they were last looked at."""


class Rollout:
    """One plan, carried out. `offers`, `withdrawals` (of devices) and `changes` (of rows) gather until the caller takes them."""

    def __init__(self, plan: Plan, clock: int) -> None:
        self.plan = plan
        self.record = RolloutRecord()
        self.devices: dict[str, DeviceRecord] = {}
        self.watched: dict[str, Watched] = {}
        self.offers: list[str] = []
        self.withdrawals: list[str] = []
        self.changes: list[Change] = []
        self.missing = "no part of the image is here"
        self._finished_at: int | None = None
        self.follow(plan, clock)

    # What is known

    @property
    def id(self) -> str:
        """`<namespace>/<name>`."""
        return self.plan.id

    @property
    def stopped(self) -> bool:
        """Whether too many devices failed here."""
        return self.record.stopped_at is not None and self.record.stopped_at >= self.plan.retry

    @property
    def serves(self) -> bool:
        """Whether devices may fetch the image."""
        return not self.plan.aborted and not self.stopped and not self.missing

    def waiting_for(self, name: str) -> bool:
        """Whether the device has been offered the image and is not done with it."""
        record = self.devices.get(name)
        return record is not None and record.phase in (OFFERED, DOWNLOADING)

    def report(self) -> Report:
        """Where it stands, for the cloud."""
        failed = [(name, record) for name, record in sorted(self.devices.items()) if record.phase == FAILED]
        return Report(
            self.plan.work,
            self.plan.retry,
            self.record.open,
            self._done(),
            self.stopped,
            self.missing,
            dict(sorted(Counter(record.phase for record in self.devices.values()).items())),
            [Failure(name, record.reason) for name, record in failed[:MAX_FAILURES]],
        )

    # What changes

    def restore(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Take back what the store kept of it, the rows of its id and below; what cannot be read is dropped."""
        kept = dict(rows)
        record, devices = RolloutRecord(), {}
        try:
            record = msgspec.json.decode(kept.pop(self.id, b"{}"), type=RolloutRecord)
            devices = {
                key[len(self.id) + 1 :]: msgspec.json.decode(row, type=DeviceRecord) for key, row in kept.items()
            }
        except UNREADABLE as error:
            log.error("stored rollout is unreadable and begun anew rollout=%s error=%s", self.id, error)
        if (record.uid, record.image) != (self.plan.metadata.uid, self.plan.image.id):
            self.changes += [(TABLE, key, None) for key in kept]
            return
        self.record.stopped_at = record.stopped_at
        self.record.open = max(self.record.open, record.open)
        for name in self.devices.keys() & devices.keys():
            self.devices[name] = devices[name]
        self.changes += [(TABLE, f"{self.id}/{name}", None) for name in devices.keys() - self.devices.keys()]
        self.changes.append((TABLE, self.id, msgspec.json.encode(self.record)))
        self._retry()

    def follow(self, plan: Plan, clock: int) -> None:
        """The plan is new, or has changed."""
        self.plan = plan
        if (self.record.uid, self.record.image) != (plan.metadata.uid, plan.image.id):
            self.changes += [(TABLE, f"{self.id}/{name}", None) for name in self.devices]
            self.devices.clear()
            self.watched.clear()
            self.record = RolloutRecord(plan.metadata.uid, plan.image.id)
            self._finished_at = None
        waves = {name: number for number, wave in enumerate(plan.waves) for name in wave.devices}
        for name in self.devices.keys() - waves.keys():
            if self.waiting_for(name):
                self.withdrawals.append(name)
            del self.devices[name], self.watched[name]
            self.changes.append((TABLE, f"{self.id}/{name}", None))
        for name, wave in waves.items():
            self.devices.setdefault(name, DeviceRecord(retry=plan.retry))
            self.watched.setdefault(name, Watched(wave, clock)).wave = wave
        self._retry()
        self._open_until(max(self.record.open, plan.open), clock)
        if plan.aborted:
            self._withdraw()

    def _retry(self) -> None:
        """Give failed devices another attempt, if the plan has one."""
        for name, record in self.devices.items():
            if record.retry < self.plan.retry:
                record.retry = self.plan.retry
                self.watched[name].begun = None
                if record.phase == FAILED:
                    self._decide(name, PENDING, "")
                self._keep(name)

    def observe(self, name: str, said: Mapping[str, str] | None, *, owned: bool, clock: int) -> None:
        """What a device reports in its firmware properties; None for a device that is not here, or has no model yet.

        `owned` is False when another rollout decides about it.
        """
        record, watched = self.devices[name], self.watched[name]
        if not owned:
            watched.said = ""
            self._enter(name, SKIPPED, SUPERSEDED, clock)
            return
        if said is None or ota.FIRMWARE_STATE not in said:
            if record.phase not in _ACTIVE:
                self._enter(name, *((PENDING, "") if said is None else (SKIPPED, NO_PROPERTIES)), clock=clock)
            return
        text = "\n".join(said.get(p, "") for p in ota.PROPERTIES)
        if text == watched.said:
            return
        watched.said, watched.since = text, clock
        if record.stale == text:
            return
        record.stale = ""
        found = rollout.phase_of(self.plan.image, said)
        if found is not None:
            self._enter(name, found.phase, found.reason, clock)
        elif record.phase in (DOWNLOADING, TRIAL, UPDATED) or record.reason in (NO_PROPERTIES, SUPERSEDED):
            self._enter(name, PENDING, "", clock)  # it is to have this image, and says that it has another

    def heard(self, name: str, clock: int) -> None:
        """The device fetches: it is alive."""
        self.watched[name].since = clock

    def came_online(self, name: str, clock: int) -> None:
        """The device may have missed what it was offered."""
        record = self.devices[name]
        if record.phase == SKIPPED and record.reason == OFFLINE:
            self._enter(name, PENDING, "", clock)
        if self.serves and self.waiting_for(name) and self.watched[name].wave < self.record.open:
            self._offer(name, clock)

    def step(self, clock: int, online: Callable[[str], bool]) -> None:
        """Do what is due: time out, stop, open the next wave, offer."""
        for name, record in self.devices.items():
            watched = self.watched[name]
            late = clock - watched.since >= self.plan.timeout_s * 1000
            overdue = self._is_overdue(record, watched, late, clock)
            if overdue or (record.phase in _ACTIVE and late):
                self._decide(name, FAILED, TIMEOUT)
                self.withdrawals.append(name)
            elif record.phase == PENDING and watched.wave < self.record.open:
                if online(name):
                    watched.since = clock
                elif late:
                    self._decide(name, SKIPPED, OFFLINE)
        self._stop_if_too_many_failed()
        if not self.serves or self.plan.paused:
            self._finished_at = None
            return
        self._open_next(clock)
        self._make_offers(clock, online)

    def _is_overdue(self, record: DeviceRecord, watched: Watched, late: bool, clock: int) -> bool:
        """Whether a device has been at it for too long, however lively it is."""
        at_rest = self.plan.paused or not self.serves
        if (record.phase in FINISHED and late) or (record.phase == PENDING and at_rest):
            watched.begun = None
        elif record.phase in _ACTIVE and watched.begun is None:
            watched.begun = clock
        longest_ms = self.plan.timeout_s * 1000 * LONGEST_TIMEOUTS
        return record.phase not in FINISHED and watched.begun is not None and clock - watched.begun >= longest_ms

    # Waves

    def _done(self) -> int:
        """In how many of the open waves every device here is finished."""
        unfinished = (self.watched[n].wave for n, record in self.devices.items() if record.phase not in FINISHED)
        return min(self.record.open, min(unfinished, default=self.record.open))

    def _open_next(self, clock: int) -> None:
        plan = self.plan
        while (open := self.record.open) < len(plan.waves) and self._done() >= open:
            last = plan.waves[open - 1]
            if any(wave.elsewhere for wave in plan.waves[:open]) or (plan.manual and plan.approved < open):
                break
            if self._finished_at is None:
                self._finished_at = clock
            if last.devices and clock - self._finished_at < plan.pause_s * 1000:
                return
            self._open_until(open + 1, clock)
        self._finished_at = None

    def _open_until(self, open: int, clock: int) -> None:
        if open == self.record.open:
            return
        for watched in self.watched.values():
            if self.record.open <= watched.wave < open:
                watched.since = clock
        self.record.open = open
        self._finished_at = None
        self.changes.append((TABLE, self.id, msgspec.json.encode(self.record)))
        log.info("= wave open rollout=%s wave=%d of=%d", self.id, open, len(self.plan.waves))

    def _stop_if_too_many_failed(self) -> None:
        failed = sum(record.phase == FAILED for record in self.devices.values())
        of = self.plan.opened(self.record.open)
        if self.stopped or not rollout.too_many(failed, of, self.plan.max_failure_percent):
            return
        self.record.stopped_at = self.plan.retry
        self.changes.append((TABLE, self.id, msgspec.json.encode(self.record)))
        log.warning("= rollout stopped rollout=%s failed=%d of=%d", self.id, failed, of)
        self._withdraw()

    # Devices

    def _make_offers(self, clock: int, online: Callable[[str], bool]) -> None:
        free = self.plan.concurrency - sum(record.phase in _ACTIVE for record in self.devices.values())
        for name in self._in_turn():
            record, watched = self.devices[name], self.watched[name]
            if record.phase == OFFERED and clock - watched.offered_at >= REPEAT_MS and online(name):
                self._offer(name, clock)
            elif record.phase == PENDING and free > 0 and watched.wave < self.record.open and online(name):
                free -= 1
                self._enter(name, OFFERED, "", clock)
                self._offer(name, clock)

    def _in_turn(self) -> Iterator[str]:
        """The devices, earlier waves first."""
        for wave in self.plan.waves:
            yield from wave.devices

    def _offer(self, name: str, clock: int) -> None:
        self.watched[name].offered_at = clock
        self.offers.append(name)

    def _withdraw(self) -> None:
        """Nothing is offered any more; devices on trial come to their end by themselves."""
        for name in self.devices:
            if self.waiting_for(name):
                self.withdrawals.append(name)
                self._decide(name, PENDING, "")

    def _decide(self, name: str, phase: str, reason: str) -> None:
        """Enter a phase that is not what the device says."""
        self.devices[name].stale = self.watched[name].said
        self._enter(name, phase, reason)

    def _enter(self, name: str, phase: str, reason: str, clock: int | None = None) -> None:
        record = self.devices[name]
        if (record.phase, record.reason) == (phase, reason):
            return
        level = logging.WARNING if phase == FAILED else logging.INFO
        log.log(level, "= firmware rollout=%s device=%s phase=%s reason=%s", self.id, name, phase, reason or "none")
        record.phase, record.reason = phase, reason
        if clock is not None:
            self.watched[name].since = clock
        self._keep(name)

    def _keep(self, name: str) -> None:
        self.changes.append((TABLE, f"{self.id}/{name}", msgspec.json.encode(self.devices[name])))
