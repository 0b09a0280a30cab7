"""Which device is updated in which wave, and what each gateway has to know of it. No I/O.

Devices stand in a row: named canaries first, then by a hash of the rollout's uid and their name. Waves are stretches of that row.
So the row is the same whenever it is made, another for each rollout, and a share of it is an exact share of all gateways'
devices: three canaries are three, and 50 percent of five are three.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cloud.firmware_objects import MANUAL, DeviceFirmware, Seat
from edgewire.rollout import Metadata, Plan, Wave


@dataclass(frozen=True, slots=True)
class Placed:
    """A rollout's devices: `waves` by name, `skipped` with the reason why they are in none."""

    waves: list[list[str]]
    nodes: Mapping[str, str]
    """Device -> node."""
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All devices that were selected."""
        return sum(map(len, self.waves)) + len(self.skipped)

    def opened(self, open: int) -> int:
        """Devices in the first `open` waves."""
        return sum(map(len, self.waves[:open]))

    def gateways(self, open: int) -> set[str]:
        """The nodes that have devices in the first `open` waves."""
        return {self.nodes[name] for wave in self.waves[:open] for name in wave}


def place(rollouts: Iterable[DeviceFirmware], seats: Mapping[str, Seat]) -> dict[str, Placed]:
    """Every rollout's devices, by its id; `seats` by device id. Of two rollouts for one device the greater gets it."""
    taken: dict[str, str] = {}
    placed = {}
    for firmware in sorted(rollouts, key=lambda f: f.order, reverse=True):
        nodes, skipped = {}, {}
        namespace, devices = firmware.metadata.namespace, firmware.spec.devices
        for id, seat in seats.items():
            of, _, name = id.partition("/")
            if of != namespace or not devices.meant(name, seat.model, seat.labels):
                continue
            if (other := taken.setdefault(id, firmware.id)) != firmware.id:
                skipped[name] = f"superseded by {other}"
            elif not seat.node:
                skipped[name] = "without a node"
            else:
                nodes[name] = seat.node
        placed[firmware.id] = Placed(_waves(firmware, list(nodes)), nodes, skipped)
    return placed


def plans(firmware: DeviceFirmware, placed: Placed, open: int, *, aborted: bool) -> dict[str, Plan]:
    """What each gateway has to know, by node."""
    metadata, spec = firmware.metadata, firmware.spec
    made = {}
    for node in sorted(set(placed.nodes.values())):
        here = [[name for name in wave if placed.nodes[name] == node] for wave in placed.waves]
        pairs = zip(here, placed.waves, strict=True)
        made[node] = Plan(
            Metadata(metadata.namespace, metadata.name, metadata.uid),
            node,
            metadata.creation_timestamp,
            spec.image,
            [Wave(mine, len(wave) - len(mine)) for mine, wave in pairs],
            open=open,
            approved=spec.waves.approved,
            manual=spec.waves.gate == MANUAL,
            paused=spec.paused,
            aborted=aborted,
            retry=spec.retry,
            pause_s=spec.waves.pause_seconds,
            timeout_s=spec.timeout_seconds,
            concurrency=spec.concurrency,
            max_failure_percent=spec.max_failure_percent,
        )
    return made


def _waves(firmware: DeviceFirmware, names: list[str]) -> list[list[str]]:
    waves, uid = firmware.spec.waves, firmware.metadata.uid
    canaries = set(waves.canary.names) if waves.canary is not None else set()
    row = sorted(names, key=lambda name: (name not in canaries, hashlib.sha256(f"{uid}/{name}".encode()).digest()))
    ends = []
    if waves.canary is not None:
        ends.append(waves.canary.count or len(canaries & set(names)))
    ends += [-(-len(row) * percent // 100) for percent in sorted({*waves.percent, 100})]
    made, begin = [], 0
    for end in ends:
        end = min(max(begin, end), len(row))
        made.append(row[begin:end])
        begin = end
    return made
