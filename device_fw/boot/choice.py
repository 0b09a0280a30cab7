"""Chooses the slot that a board runs, after looking at all that is in it. Imported at the start only: it leaves the heap to the
firmware.

A slot is looked at before every start, wholly: the signature, then the sha256 of each file, then that there is nothing else.
No result is kept, for it could only lie beside the files: whoever, or whatever, changes those could change it as well.
"""

import hashlib
import json
import os
from binascii import hexlify, unhexlify

from edgewire import ota_codes as codes
from edgewire.ota_fields import OtaError
from edgewire.ota_manifest import mpy_of, parse_manifest

try:
    from hedgerow_boot.changes import checksum, put_in_place
    from hedgerow_boot.slots import NEW, RECORD, STARTED, Slots
except ImportError:  # where it is not laid out for a board
    from device_fw.boot.changes import checksum, put_in_place
    from device_fw.boot.slots import NEW, RECORD, STARTED, Slots

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from edgewire.ota_manifest import Manifest

MAX_CRASHES = 3  # of the active slot without contact to the gateway; then recovery
IDENTITY = "hedgerow_boot/identity.json"  # board, public key, watchdog_ms, trial_s: written when the board is flashed
_LEAST_WATCHDOG_MS = 8000  # every port takes that much
_PIECE = 1024
_FOLDER = 0x4000  # in a stat's mode
_FRESH: "dict[str, Any]" = {
    "active": "a",
    "counter": 0,  # the lowest that is still taken; raised when a trial is confirmed
    "crashes": 0,
    "last": ["", codes.IDLE, codes.NONE, 0],  # id, state, reason, retry of the last image that came to an end
    "previous": "",  # id of the image in the other slot, when it is one that proved itself
    "seq": 0,
    "trial": None,  # or [slot, id, counter, retry, stage]
}


def begin(root: str, package: "Any", machine: "Any", log: "Callable[..., None]") -> str:
    """Choose what to run, a slot or "recovery", and give the package what the firmware finds there: the slots, as `running`.

    On trial it also gets `feed`, which feeds the watchdog, armed then. Raises as `load`, and whatever a damaged flash brings.
    """
    package.running = slots = load(root, log)
    bitten = hasattr(machine, "WDT_RESET") and machine.reset_cause() == machine.WDT_RESET
    chosen = choose(slots, bitten, log)
    if slots.on_trial:
        package.feed = watchdog(slots, machine)
    log("boot", slot=chosen, version=slots.version, trial=slots.on_trial, reason=slots.reason)
    return chosen


def load(root: str, log: "Callable[..., None]") -> Slots:
    """What is on the flash below `root`. OSError, ValueError, KeyError when the board has no identity."""
    with open(root + "/" + IDENTITY) as file:
        identity = json.load(file)
    record, known = _load_record(root + "/" + RECORD, log)
    return Slots(root, identity, record, known, log)


def watchdog(slots: Slots, machine: "Any") -> "Callable[[], None]":
    """Arm the watchdog if there is one; what feeds it."""
    if not hasattr(machine, "WDT"):
        return lambda: None
    timeout_ms = slots.watchdog_ms
    try:
        armed = machine.WDT(timeout=timeout_ms)
    except ValueError:  # longer than this port can wait
        armed = machine.WDT(timeout=min(timeout_ms, _LEAST_WATCHDOG_MS))
    feed: "Callable[[], None]" = armed.feed
    return feed


def choose(slots: Slots, bitten: bool, log: "Callable[..., None]") -> str:
    """Choose what to run: a slot, or "recovery", and tell it to `slots`. `bitten`: the watchdog ended the last start."""
    record = slots.record
    chosen = ""
    if record["trial"]:
        chosen = _try(slots, bitten, log)
    elif bitten:
        slots.note(crashes=record["crashes"] + 1)
    if not chosen:
        if slots.record["crashes"] >= MAX_CRASHES:
            slots.reason = codes.CRASHED
        else:
            chosen = _pick(slots, log)
    slots.slot = chosen
    return chosen or codes.RECOVERY


def check(slots: Slots, slot: str) -> "Manifest":
    """The manifest of a slot with a whole image, signed, for this board, and nothing else. OtaError says what is wrong."""
    folder = slots.folder(slot) + "/"
    try:
        size = os.stat(folder + codes.MANIFEST)[6]
        with open(folder + codes.MANIFEST, "rb") as file:
            data = file.read(min(size, codes.MAX_MANIFEST + 1))
        with open(folder + codes.SIGNATURE, "rb") as file:
            signature = unhexlify(file.read(200).strip())
    except (OSError, ValueError):
        raise OtaError(codes.NO_IMAGE, "no manifest, or no signature")
    if not slots.verify(data, signature):
        raise OtaError(codes.BAD_SIGNATURE, "the manifest is not signed with this board's key")
    manifest = parse_manifest(data)
    mpy, arch = mpy_of(slots.bytecode)
    reason = manifest.misfit(slots.board, slots.runtime, mpy, arch, 0)
    if reason != codes.NONE:
        raise OtaError(reason, "not for this board")
    _check_names(folder, manifest)
    for path, size, digest in manifest.files:
        _check_file(folder + path, size, digest)
    return manifest


def _try(slots: Slots, bitten: bool, log: "Callable[..., None]") -> str:
    """The slot on trial, when it may start for the first time; else what became of it is written down."""
    slot, id, counter, retry, stage = slots.record["trial"]
    if stage != NEW:
        reason = stage if stage != STARTED else codes.WATCHDOG if bitten else codes.NOT_CONFIRMED
        log("reverted", slot=slot, reason=reason)
        slots.note(last=[id, codes.REVERTED, reason, retry], trial=None)
        _remove(slots.folder(slot) + "/" + codes.SIGNATURE)  # even without a record nothing runs it again
        return ""
    try:
        manifest = check(slots, slot)
        if counter < slots.record["counter"] or manifest.counter != counter or slots.image(slot) != id:
            raise OtaError(codes.DOWNGRADE, "not the image that was armed")
    except OtaError as error:
        log("slot_refused", slot=slot, reason=error.reason, why=error)
        slots.note(last=[id, codes.REFUSED, error.reason, retry], trial=None)
        return ""
    try:
        slots.start_trial()
    except OSError as error:  # unwritten, it would be tried for ever
        log("trial_postponed", reason=error)
        slots.note(last=[id, codes.REFUSED, codes.NO_SPACE, retry], trial=None)
        return ""
    slots.id, slots.version = id, manifest.version
    return str(slot)


def _pick(slots: Slots, log: "Callable[..., None]") -> str:
    """A slot that is whole: the active one, or the one before it; without a record the one with the highest counter."""
    found: "dict[str, Manifest]" = {}
    active = slots.record["active"]
    why = codes.NO_IMAGE
    for slot in (active, slots.passive):
        if found and slots.known:
            break
        try:
            manifest = check(slots, slot)
            if slot == active or not slots.known or slots.image(slot) == slots.record["previous"]:
                found[slot] = manifest
        except OtaError as error:
            log("slot_refused", slot=slot, reason=error.reason, why=error)
            why = error.reason if slot == active else why
    if not found:
        slots.reason = why
        return ""
    slot = max(found, key=lambda name: found[name].counter)
    slots.id, slots.version = slots.image(slot), found[slot].version
    if slot != active or not slots.known:
        _adopt(slots, slot, found[slot].counter, why)
    return str(slot)


def _adopt(slots: Slots, slot: str, counter: int, why: str) -> None:
    """Make another slot the active one."""
    changes: "dict[str, Any]" = {"active": slot, "counter": max(counter, slots.record["counter"]), "previous": ""}
    if slots.known:  # the active slot is damaged: whoever offers its image again, repairs it
        try:
            damaged = slots.image(slots.record["active"])
        except OSError:
            damaged = ""
        changes["last"] = [damaged, codes.REVERTED, why, -1]
    slots.note(**changes)


def _load_record(path: str, log: "Callable[..., None]") -> "tuple[dict[str, Any], bool]":
    """The newest whole record, and whether there was one."""
    best = None
    for name in (path, path + ".new", path + ".old"):
        try:
            with open(name, "rb") as file:
                text = file.read(2048).decode()
            if text[:16] != checksum(text[16:]):
                raise ValueError("checksum")
            record = json.loads(text[16:])
        except OSError:
            continue
        except ValueError as error:
            log("record_damaged", file=name, reason=error)
            continue
        if best is None or record["seq"] > best["seq"]:
            best = record
            if name == path + ".new":  # the power failed before it was renamed; the next record must not go over it
                put_in_place(path)
    return (best, True) if best is not None else (dict(_FRESH), False)


def _check_names(folder: str, manifest: "Manifest") -> None:
    """A left-over `main.py` would be found before the image's `main.mpy`."""
    files = {codes.MANIFEST, codes.SIGNATURE, codes.OFFER}
    folders = set()
    for path, _, _ in manifest.files:
        files.add(path)
        while "/" in path:
            path = path.rsplit("/", 1)[0]
            folders.add(path)
    waiting = [""]
    while waiting:
        below = waiting.pop()
        for name in os.listdir(folder + below):
            path = below + name
            is_folder = os.stat(folder + path)[0] & _FOLDER
            if path not in (folders if is_folder else files):
                raise OtaError(codes.CHECKSUM, "{} is not in the manifest".format(path))
            if is_folder:
                waiting.append(path + "/")


def _check_file(path: str, size: int, digest: str) -> None:
    found = hashlib.sha256()
    try:
        if os.stat(path)[6] != size:
            raise OtaError(codes.CHECKSUM, "{} has not {} bytes".format(path, size))
        with open(path, "rb") as file:
            while True:
                piece = file.read(_PIECE)
                if not piece:
                    break
                found.update(piece)
    except OSError:
        raise OtaError(codes.CHECKSUM, "{} cannot be read".format(path))
    if hexlify(found.digest()).decode() != digest:
        raise OtaError(codes.CHECKSUM, "{} is damaged".format(path))


def _remove(path: str) -> None:
    try:
        os.remove(path)
    except OSError:
        pass
