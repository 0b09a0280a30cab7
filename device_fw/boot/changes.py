"""What becomes of the slots: one record on flash, changed as the firmware and the choice of a slot ask for it.

A new record is written beside the one before, which is kept, and on reading the newest whole one counts: neither a power cut
nor a damaged record is more than a step back. `Slots` has each function whose first argument it is as a method.
"""

import hashlib
import json
import os
from binascii import hexlify, unhexlify

try:
    from hedgerow_boot.slots import NEW, RECORD, STARTED, forget
except ImportError:  # where it is not laid out for a board
    from device_fw.boot.slots import NEW, RECORD, STARTED, forget

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from device_fw.boot.slots import Slots

# Of `edgewire.ota_codes`: while the firmware runs, `edgewire` is the slot's, which this does not rely on.
_CONFIRMED, _REFUSED, _NONE = "confirmed", "refused", "none"
_MANIFEST = "manifest.json"
_MAX_MANIFEST = 8192


def verify(slots: "Slots", manifest: bytes, signature: bytes) -> bool:
    """Whether the owner of the board's key signed this manifest."""
    package = __name__.rsplit(".", 1)[0]
    p256 = __import__(package + ".p256", None, None, ("verify",))
    try:
        return bool(p256.verify(unhexlify(slots.identity["key"]), hashlib.sha256(manifest).digest(), signature))
    finally:  # seldom used, and the heap is small
        forget(package + ".p256")


def begin(slots: "Slots") -> None:
    """The passive slot is about to be written: nothing may count on it any more."""
    if slots.record["previous"] or slots.record["trial"]:
        change(slots, previous="", trial=None)


def arm(slots: "Slots", id: str, counter: int, retry: int) -> None:
    """The passive slot holds this image: try it at the next start."""
    change(slots, trial=[slots.passive, id, counter, retry, NEW])


def start_trial(slots: "Slots") -> None:
    """The image on trial is about to run."""
    change(slots, trial=slots.record["trial"][:4] + [STARTED])


def confirm(slots: "Slots") -> None:
    """What runs on trial has proved itself: it is active from now on, and no image with a lower counter is taken."""
    slot, id, counter, retry, _ = slots.record["trial"]
    try:
        previous = image(slots, slots.record["active"])
    except OSError:
        previous = ""
    change(
        slots,
        active=slot,
        counter=max(counter, slots.record["counter"]),
        crashes=0,
        last=[id, _CONFIRMED, _NONE, retry],
        previous=previous,
        trial=None,
    )
    note(slots)  # a damaged record must not take this back; it is confirmed without, too


def fail(slots: "Slots", reason: str) -> None:
    """What runs on trial has failed, and why; the next start reverts it."""
    change(slots, trial=slots.record["trial"][:4] + [reason])


def refuse(slots: "Slots", id: str, reason: str, retry: int) -> None:
    """Remember that an image was refused."""
    change(slots, last=[id, _REFUSED, reason, retry])


def crashed(slots: "Slots", count: "int | None" = None) -> None:
    """The active firmware has ended, or, with `count`, so many crashes are to be assumed."""
    change(slots, crashes=slots.record["crashes"] + 1 if count is None else count)


def image(slots: "Slots", slot: str) -> str:
    """The id of the image in a slot. OSError when it holds none."""
    path = slots.folder(slot) + "/" + _MANIFEST
    size = os.stat(path)[6]
    if size > _MAX_MANIFEST:
        return ""
    with open(path, "rb") as file:
        return hexlify(hashlib.sha256(file.read(size)).digest()).decode()


def change(slots: "Slots", **changes: object) -> None:
    """Write the record with these changes. OSError when it cannot be; then nothing changed."""
    record = dict(slots.record)
    record.update(changes)
    record["seq"] += 1
    text = json.dumps(record)
    path = slots.root + "/" + RECORD
    with open(path + ".new", "w") as file:
        file.write(checksum(text) + text)
    put_in_place(path)
    slots.record, slots.known = record, True


def note(slots: "Slots", **changes: object) -> None:
    """Write it if that can be: on a full flash the next start comes to the same result."""
    try:
        change(slots, **changes)
    except OSError as error:
        slots.log("record_not_written", reason=error)
        slots.record.update(changes)


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
