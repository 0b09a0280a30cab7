"""A rollout of firmware between the cloud, which plans it, and the gateways, which carry it out.

The cloud sends each gateway its part of a plan (`Plan`): which of its devices are in which wave, and how many devices of
that wave are elsewhere. The image's bytes follow in parts. The gateway answers with where it stands (`Report`). A device's phase
follows from what it reports in its `firmware*` properties (`phase_of`).
"""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from msgspec import Struct, field

from edgewire import ota
from edgewire.message import UNREADABLE

PART_SIZE = 48 * 1024
"""Bytes of an image in one ConfigMap, 64 KiB in base64: on a slow uplink other messages wait for one part at most."""
MAX_PARTS = 200
"""ConfigMaps of one image: `ota.MAX_IMAGE` and the manifest."""
MAX_FAILURES = 50
"""Failed devices that a report or a status names; the others are counted only."""

PENDING, OFFERED, DOWNLOADING, TRIAL = "pending", "offered", "downloading", "trial"
UPDATED, FAILED, SKIPPED = "updated", "failed", "skipped"
PHASES = (PENDING, OFFERED, DOWNLOADING, TRIAL, UPDATED, FAILED, SKIPPED)
FINISHED = frozenset({UPDATED, FAILED, SKIPPED})

_EMPTY = ("", ota.NONE)
_QUIET = (ota.IDLE, ota.CONFIRMED)


class RolloutError(Exception):
    """A plan, a report or a part of an image that cannot be used; the text says why."""


class Image(Struct, frozen=True, rename="camel"):
    """A signed firmware image, as `hedgerow ota publish` stored it."""

    name: str
    """The ConfigMap that describes it; its parts are called `part_name(name, n)`."""
    id: str
    """sha256 of the manifest, hex."""
    version: str
    counter: int
    """Against rollback: a device takes no lower one than it has had."""
    board: str
    size: int
    """Bytes of the stream: the manifest, then its files."""
    manifest_size: int
    signature: str
    """Of the manifest: ECDSA P-256 with SHA-256, r and s, hex."""
    parts: int

    @property
    def target(self) -> str:
        """What a device that works on it reports as its `firmware-target`."""
        return ota.short(self.id)


class Metadata(Struct, frozen=True, rename="camel"):
    """Which rollout this is, and which version of the plan."""

    namespace: str
    name: str
    uid: str
    resource_version: str = ""
    """Hash of all the rest: a plan has a new version when it says something new to its gateway."""


class Wave(Struct, frozen=True, omit_defaults=True):
    """Devices that are updated together."""

    devices: list[str] = field(default_factory=list)
    """Names of those at this gateway."""
    elsewhere: int = 0
    """How many more are at other gateways."""


class Plan(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A rollout, as far as one gateway has to know."""

    metadata: Metadata
    node: str
    created: str
    image: Image
    waves: list[Wave]
    open: int = 1
    """So many waves the cloud has opened."""
    approved: int = 0
    """So many waves a person has looked at, where that is asked for."""
    manual: bool = False
    """Whether the wave after `approved` waits for a person."""
    paused: bool = False
    aborted: bool = False
    retry: int = 0
    """Devices that failed in an earlier one are tried again."""
    pause_s: int = 0
    timeout_s: int = 600
    concurrency: int = 10
    max_failure_percent: int = 20

    @property
    def id(self) -> str:
        """`<namespace>/<name>`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def order(self) -> tuple[int, str, str]:
        """Of two plans for one device, the greater counts: the higher counter, then the later made."""
        return self.image.counter, self.created, self.metadata.name

    @property
    def work(self) -> str:
        """Which devices are to be brought to which image, in which attempt: of the same work, an older report still holds."""
        work = [self.metadata.uid, self.image.id, self.retry, [wave.devices for wave in self.waves]]
        return hashlib.sha256(_encoder.encode(work)).hexdigest()[:16]

    def opened(self, open: int) -> int:
        """Devices at all gateways in the first `open` waves."""
        return sum(len(wave.devices) + wave.elsewhere for wave in self.waves[:open])


class Failure(Struct, frozen=True):
    """A device that failed, and why."""

    device: str
    reason: str


class Report(Struct, frozen=True, omit_defaults=True):
    """Where one gateway stands."""

    work: str
    """`Plan.work` of the plan that it speaks of."""
    retry: int = 0
    open: int = 0
    """So many waves are open here."""
    done: int = 0
    """In so many of them every device here is finished."""
    stopped: bool = False
    """Too many devices failed."""
    missing: str = ""
    """Why the image cannot be offered yet."""
    counts: dict[str, int] = field(default_factory=dict)
    """Phase -> devices here."""
    failures: list[Failure] = field(default_factory=list)


class Found(NamedTuple):
    """What a device's properties say of its update."""

    phase: str
    reason: str


_HEX = frozenset("0123456789abcdef")

_encoder = msgspec.json.Encoder(order="deterministic")
_plan = msgspec.json.Decoder(Plan)
_OF_STATE = {
    ota.DOWNLOADING: DOWNLOADING,
    ota.TRIAL: TRIAL,
    ota.CONFIRMED: UPDATED,
    ota.REVERTED: FAILED,
    ota.REFUSED: FAILED,
}


def phase_of(image: Image, reported: Mapping[str, str]) -> Found | None:
    """What a device says of its update to an image; None when it says nothing of it."""
    state, target = reported.get(ota.FIRMWARE_STATE, ""), reported.get(ota.FIRMWARE_TARGET, "")
    if target == image.target:
        phase, reason = _OF_STATE.get(state), reported.get(ota.FIRMWARE_REASON, "")
        if phase is None or reason == ota.GONE:
            return None  # idle, in recovery, or its gateway had nothing for it for a while: it waits for an offer
        return Found(phase, (state if reason in _EMPTY else reason[:64]) if phase == FAILED else "")
    if target in _EMPTY and state in _QUIET and reported.get(ota.FIRMWARE) == image.version:
        return Found(UPDATED, "")  # it came with it over the cable
    return None


def too_many(failed: int, of: int, max_percent: int) -> bool:
    """Whether more failed than may."""
    return failed * 100 > max_percent * of


def part_name(image: str, number: int) -> str:
    """The ConfigMap of an image's part; parts count from 0."""
    return f"{image}-{number:03d}"


def encode_plan(plan: Plan) -> tuple[str, bytes]:
    """A plan's version and JSON, the version in it."""
    version = hashlib.sha256(_encoder.encode(plan)).hexdigest()[:16]
    metadata = msgspec.structs.replace(plan.metadata, resource_version=version)
    return version, _encoder.encode(msgspec.structs.replace(plan, metadata=metadata))


def parse_plan(content: bytes) -> Plan:
    """A plan from its JSON. Raises RolloutError."""
    try:
        plan = _plan.decode(content)
    except UNREADABLE as error:
        raise RolloutError(f"plan: {error}") from error
    if (
        not 0 < plan.image.size <= ota.MAX_IMAGE + ota.MAX_MANIFEST
        or not 0 < plan.image.manifest_size <= plan.image.size
    ):
        raise RolloutError(f"image of {plan.image.size} bytes, {plan.image.manifest_size} of them its manifest")
    if not _is_hex(plan.image.id, 64) or not _is_hex(plan.image.signature, 128):
        raise RolloutError(f"image {plan.image.id[:80]!r}: id or signature is no hex of their length")
    if not 0 < plan.image.parts <= MAX_PARTS:
        raise RolloutError(f"image of {plan.image.parts} parts")
    return plan


def offer_of(plan: Plan) -> bytes:
    """The payload that offers a plan's image to a device."""
    image = plan.image
    signature = bytes.fromhex(image.signature)
    offered = ota.Offer(image.id, image.manifest_size, signature, image.version, image.counter, plan.retry)
    return ota.offer(offered).encode()


def _is_hex(text: str, digits: int) -> bool:
    return len(text) == digits and _HEX.issuperset(text)
