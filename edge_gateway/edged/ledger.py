"""What is saved of pods, and told to the cloud once it is saved: their records, statuses and events. A shell around the store."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from edge_gateway.edge_core import EdgeCore
from edge_gateway.edged.actions import Now
from edge_gateway.edged.environment import Facts
from edge_gateway.edged.pod_life import PodLife
from edge_gateway.edged.pod_status import rfc3339, status_of
from edge_gateway.edged.records import PodRecord
from edge_gateway.edged.runtime import Runtime, StartOrder
from edge_gateway.pod_reports import Happened, Subject
from edge_gateway.store import Store
from edgewire.resource import Resource

log = logging.getLogger(__name__)

INVALID, INVALID_FILE = "InvalidPod", "InvalidStaticPod"
TABLE = "pod"

_record = msgspec.json.Decoder(PodRecord)
_encoder = msgspec.json.Encoder()


@dataclass(eq=False, slots=True)
class Entry:
    """A pod that runs, or did, here."""

    life: PodLife
    name: Resource
    manifest: dict[str, Any] | None = None
    """Of a static pod."""
    wanted: bool = True
    saved: bytes = b""
    orders: dict[str, StartOrder] = field(default_factory=dict)
    """Container -> how it was started: its probes see that, whatever became of the ConfigMaps it was made from."""


class Ledger:
    """Of one node."""

    def __init__(
        self, core: EdgeCore, store: Store, runtime: Runtime, facts: Facts, mark: Callable[[list[str]], None]
    ) -> None:
        """`mark` is told what the cloud does not know."""
        self._core, self._store = core, store
        self._runtime, self._facts = runtime, facts
        self._mark = mark

    def records(self) -> Iterable[tuple[str, PodRecord]]:
        """What was known of each pod when edgecore last ran, by uid."""
        for uid, content in self._store.read(TABLE):
            try:
                yield uid, _record.decode(content)
            except msgspec.DecodeError as error:
                log.error("stored row is unreadable and dropped table=%s key=%s error=%s", TABLE, uid, error)

    def drop(self, uids: Iterable[str]) -> None:
        """Forget what was known of these pods."""
        self._store.write([(TABLE, uid, None) for uid in uids])

    def save(self, entry: Entry, happened: list[Happened], now: Now) -> None:
        """A pod has gone on, and this happened to it on the way."""
        life = entry.life
        keys = self._happened(life, happened, now)
        if entry.wanted or entry.manifest is not None:
            address = self._runtime.address(life.pod.uid)
            status = status_of(life, self._facts, self._runtime.name, now, address)
            keys += self._core.pods.status(entry.name, life.pod.uid, status, life.finished, entry.manifest)
        saved = _encoder.encode(life.record)
        changes = [(TABLE, life.pod.uid, saved)] if saved != entry.saved else []
        entry.saved = saved
        if changes or keys:
            self._store.write(changes, partial(self._mark, keys))

    def tell(self, life: PodLife, happened: list[Happened], now: Now) -> None:
        """This happened to a pod; nothing else has changed."""
        self._store.write((), partial(self._mark, self._happened(life, happened, now)))

    def _happened(self, life: PodLife, happened: list[Happened], now: Now) -> list[str]:
        pod, keys = life.pod, []
        subject = Subject(pod.metadata.namespace, pod.metadata.name, pod.uid)
        for what in happened:
            level = logging.WARNING if what.type == "Warning" else logging.INFO
            log.log(level, "= %s pod=%s message=%s", what.reason, pod.id, what.message)
            keys += self._core.pods.happened(subject, what, rfc3339(now.wall))
        return keys

    def once_saved(self, then: Callable[[], None]) -> None:
        """Call when all is durable that was given so far."""
        self._store.write((), then)

    def invalid(self, name: Resource, content: bytes, why: str) -> None:
        """A pod that cannot be read: its user is told, as far as it says who it is."""
        log.warning("< pod cannot be read pod=%s reason=%s", name.id, why)
        try:
            metadata = msgspec.json.decode(content)["metadata"]
            uid, deleted = metadata["uid"], "deletionTimestamp" in metadata
        except (msgspec.DecodeError, KeyError, TypeError):
            return
        status = {"phase": "Failed", "reason": INVALID, "message": why}
        keys = self._core.pods.status(name, uid, status, deleted)
        subject = Subject(name.namespace, name.name, uid)
        keys += self._core.pods.happened(subject, Happened("Warning", INVALID, why), rfc3339(time.time()))
        self._mark(keys)

    def invalid_file(self, file: str, why: str) -> None:
        """A file of a static pod that cannot be used."""
        log.warning("= static pod cannot be used file=%s reason=%s", file, why)
        happened = Happened("Warning", INVALID_FILE, f"{file}: {why}")
        self._mark(self._core.pods.happened_to_node(self._facts.node, happened, rfc3339(time.time())))

    def mirrors_nothing(self, name: Resource, uid: str) -> None:
        """The cloud shows a static pod that there is not any more."""
        self._mark(self._core.pods.status(name, uid, {}, finished=True))
