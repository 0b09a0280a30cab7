"""What the slots of a board's flash hold, which one is active, and what becomes of an image on trial: one record on flash.

Two slots, `a` and `b`, hold an image each: its files as the signed manifest names them, the manifest, and its signature. One
is active; an update goes into the other one and is tried once. A new record is written beside the one before, which is kept,
and on reading the newest whole one counts: neither a power cut nor a damaged record is more than a step back.

The firmware calls `Slots` too, so this stays in memory while it runs; `choice.py` does not.
"""

import hashlib
import json
import os
import sys
from binascii import hexlify, unhexlify

from edgewire.ota_codes import CONFIRMED, MANIFEST, MAX_MANIFEST, NONE, RECOVERY, REFUSED

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

RECORD = "slots.json"
NEW, STARTED = "new", "started"  # stages of a trial; any other is the reason for which it ended


class Slots:
    """What the boot code knows, and what the firmware may ask it to do. Each change is on flash when its call returns."""

    def __init__(
        self,
        root: str,
        identity: "dict[str, Any]",
        record: "dict[str, Any]",
        known: bool,
        log: "Callable[..., None]",
    ) -> None:
        """`root` is the folder that is the board's flash, empty for the root folder; `known`: there was a record."""
        self.root = root
        self.record = record
        self.known = known
        self._log = log
        self._identity = identity
        self.board: str = identity["board"]
        self.watchdog_ms: int = identity["watchdog_ms"]
        self.trial_s: int = identity["trial_s"]
        self.runtime = ".".join(str(part) for part in sys.implementation.version[:3])
        self.bytecode: int = getattr(sys.implementation, "_mpy", 0)  # what it loads; 0: none
        self.slot = ""  # that runs
        self.id = ""  # of the image that runs, and its version
        self.version = RECOVERY
        self.reason: str = NONE  # for which recovery runs

    # What the firmware asks.

    @property
    def passive(self) -> str:
        """The slot that an update goes into."""
        return "b" if self.record["active"] == "a" else "a"

    @property
    def on_trial(self) -> bool:
        """Whether what runs still has to prove itself."""
        trial = self.record["trial"]
        return trial is not None and trial[4] == STARTED and trial[0] == self.slot

    def folder(self, slot: str) -> str:
        """Where a slot's files are."""
        return self.root + "/" + slot

    def verify(self, manifest: bytes, signature: bytes) -> bool:
        """Whether the owner of the board's key signed this manifest."""
        package = __name__.rsplit(".", 1)[0]
        p256 = __import__(package + ".p256", None, None, ("verify",))
        try:
            return bool(p256.verify(unhexlify(self._identity["key"]), hashlib.sha256(manifest).digest(), signature))
        finally:  # seldom used, and the heap is small
            del sys.modules[package + ".p256"]
            del sys.modules[package].p256

    def begin(self) -> None:
        """The passive slot is about to be written: nothing may count on it any more."""
        if self.record["previous"] or self.record["trial"]:
            self._change(previous="", trial=None)

    def arm(self, id: str, counter: int, retry: int) -> None:
        """The passive slot holds this image: try it at the next start."""
        self._change(trial=[self.passive, id, counter, retry, NEW])

    def start_trial(self) -> None:
        """The image on trial is about to run."""
        self._change(trial=self.record["trial"][:4] + [STARTED])

    def confirm(self) -> None:
        """What runs on trial has proved itself: it is active from now on, and no image with a lower counter is taken."""
        slot, id, counter, retry, _ = self.record["trial"]
        try:
            previous = self.image(self.record["active"])
        except OSError:
            previous = ""
        self._change(
            active=slot,
            counter=max(counter, self.record["counter"]),
            crashes=0,
            last=[id, CONFIRMED, NONE, retry],
            previous=previous,
            trial=None,
        )
        self._change()  # a damaged record must not take this back

    def fail(self, reason: str) -> None:
        """What runs on trial has failed, and why; the next start reverts it."""
        trial = self.record["trial"]
        self._change(trial=trial[:4] + [reason])

    def refuse(self, id: str, reason: str, retry: int) -> None:
        """Remember that an image was refused."""
        self._change(last=[id, REFUSED, reason, retry])

    def well(self) -> None:
        """The active firmware has reached the gateway: forget its crashes."""
        if self.record["crashes"] and self.slot == self.record["active"]:
            self._change(crashes=0)

    def crashed(self, count: "int | None" = None) -> None:
        """The active firmware has ended, or, with `count`, so many crashes are to be assumed."""
        self._change(crashes=self.record["crashes"] + 1 if count is None else count)

    def image(self, slot: str) -> str:
        """The id of the image in a slot. OSError when it holds none."""
        path = self.folder(slot) + "/" + MANIFEST
        size = os.stat(path)[6]
        if size > MAX_MANIFEST:
            return ""
        with open(path, "rb") as file:
            return hexlify(hashlib.sha256(file.read(size)).digest()).decode()

    # The record.

    def _change(self, **changes: object) -> None:
        """Write the record with these changes. OSError when it cannot be; then nothing changed."""
        record = dict(self.record)
        record.update(changes)
        record["seq"] += 1
        text = json.dumps(record)
        path = self.root + "/" + RECORD
        with open(path + ".new", "w") as file:
            file.write(checksum(text) + text)
        put_in_place(path)
        self.record, self.known = record, True

    def note(self, **changes: object) -> None:
        """Write it if that can be: on a full flash the next start comes to the same result."""
        try:
            self._change(**changes)
        except OSError as error:
            self._log("record_not_written", reason=error)
            self.record.update(changes)


def put_in_place(path: str) -> None:
    """Make the new record the record, and keep the one before."""
    try:
        os.rename(path, path + ".old")
    except OSError:
        pass  # the first one
    os.rename(path + ".new", path)


def checksum(text: str) -> str:
    """What stands before a record: 16 hex digits of its sha256."""
    return hexlify(hashlib.sha256(text.encode()).digest()[:8]).decode()
