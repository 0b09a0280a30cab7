"""What the boot code runs, whatever it finds on flash: the slots themselves, the record, a flash without room for one."""

import builtins
import json
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from device_fw.boot import choice
from device_fw.boot.slots import Slots
from device_fw.tools import image, signing
from device_fw.tools.image import Image
from edgewire import ota

KEY = signing.new_key()


def built(version: str, counter: int, **changes: Any) -> Image:
    files = {"main.py": f"print({version!r})\n".encode(), "lib/x.py": b""}
    wanted = {"board": "unix", "runtime": "3.0", "mpy": "", "arch": "", "key": KEY, **changes}
    return image.build(files, version=version, counter=counter, **wanted)


OLD, NEW = built("1.0.0", 1), built("1.1.0", 2)


class Flash:
    """A board's flash, as a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write(image.layout(OLD, image.boot_files(), {}, KEY.public, {}))
        self.logged: list[str] = []

    def write(self, files: dict[str, bytes]) -> None:
        for path, content in files.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_bytes(content)

    def put(self, slot: str, held: Image) -> None:
        """Put an image into a slot."""
        self.write({f"{slot}/{path}": content for path, content in held.files.items()})
        self.write({f"{slot}/{ota.MANIFEST}": held.manifest, f"{slot}/{ota.SIGNATURE}": held.signature.hex().encode()})

    def start(self, *, bitten: bool = False) -> tuple[str, Slots]:
        """What is chosen, and what the firmware would find."""

        def log(event: str, **fields: object) -> None:
            self.logged.append(f"{event} {fields}")

        slots = choice.load(str(self.root), log)
        return choice.choose(slots, bitten, log), slots


@pytest.fixture
def flash(tmp_path: Path) -> Flash:
    return Flash(tmp_path)


def no_room(monkeypatch: pytest.MonkeyPatch, room: int = 0) -> None:
    """From now on no record can be written, but for so many."""

    real = open
    left = [None] * room

    def full(path: str, mode: str = "r") -> IO[Any]:
        if "w" in mode:
            if not left:
                raise OSError(28, "No space left on device")
            left.pop()
        return real(path, mode)

    monkeypatch.setattr(builtins, "open", full)


def test_a_fresh_board_runs_what_it_was_flashed_with(flash: Flash) -> None:
    chosen, slots = flash.start()
    assert (chosen, slots.version, slots.id, slots.on_trial) == ("a", "1.0.0", OLD.id, False)
    assert slots.record["counter"] == 1


def test_a_trial_runs_once_and_is_confirmed_or_reverted(flash: Flash) -> None:
    _, slots = flash.start()
    flash.put("b", NEW)
    slots.arm(NEW.id, 2, 0)
    chosen, slots = flash.start()
    assert (chosen, slots.version, slots.on_trial) == ("b", "1.1.0", True)
    chosen, slots = flash.start(bitten=True)
    assert (chosen, slots.version, slots.on_trial) == ("a", "1.0.0", False)
    assert slots.record["last"] == [NEW.id, ota.REVERTED, ota.WATCHDOG, 0]
    assert slots.record["crashes"] == 0
    flash.put("b", NEW)
    slots.arm(NEW.id, 2, 1)
    _, slots = flash.start()
    slots.confirm()
    chosen, slots = flash.start()
    assert (chosen, slots.version, slots.record["counter"], slots.record["previous"]) == ("b", "1.1.0", 2, OLD.id)


def test_a_trial_is_confirmed_on_a_flash_with_room_for_one_record_only(
    flash: Flash, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, slots = flash.start()
    flash.put("b", NEW)
    slots.arm(NEW.id, 2, 0)
    _, slots = flash.start()
    no_room(monkeypatch, 1)
    slots.confirm()
    assert not slots.on_trial
    assert flash.start()[0] == "b"


@pytest.mark.parametrize("reason", [ota.EXCEPTION, ota.SELF_TEST, ota.NOT_CONFIRMED])
def test_a_trial_that_says_why_it_failed_is_believed_whatever_reset_the_board(flash: Flash, reason: str) -> None:
    _, slots = flash.start()
    flash.put("b", NEW)
    slots.arm(NEW.id, 2, 0)
    _, slots = flash.start()
    slots.fail(reason)
    _, slots = flash.start(bitten=True)  # on RP2 every reset looks like the watchdog's
    assert slots.record["last"] == [NEW.id, ota.REVERTED, reason, 0]


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda slot: _flip(slot / "main.py"), ota.CHECKSUM),
        (lambda slot: (slot / "main.py").unlink(), ota.CHECKSUM),
        (lambda slot: (slot / "main.py").write_bytes(b""), ota.CHECKSUM),
        (lambda slot: (slot / "more.py").write_bytes(b""), ota.CHECKSUM),
        (lambda slot: (slot / "more").mkdir(), ota.CHECKSUM),
        (lambda slot: _flip(slot / ota.MANIFEST), ota.BAD_SIGNATURE),
        (lambda slot: _flip(slot / ota.SIGNATURE), None),
        (lambda slot: (slot / ota.SIGNATURE).unlink(), ota.NO_IMAGE),
        (lambda slot: (slot / ota.MANIFEST).unlink(), ota.NO_IMAGE),
    ],
    ids=["flipped", "gone", "cut", "more", "folder", "manifest", "signature", "unsigned", "bare"],
)
def test_a_slot_that_is_not_what_was_signed_does_not_run(
    flash: Flash, harm: Callable[[Path], object], reason: str | None
) -> None:
    flash.start()
    harm(flash.root / "a")
    chosen, slots = flash.start()
    assert (chosen, slots.slot, slots.version) == ("recovery", "", "recovery")
    assert slots.reason in ([reason] if reason else [ota.BAD_SIGNATURE, ota.NO_IMAGE])


def test_an_armed_image_is_looked_at_again_before_it_runs(flash: Flash) -> None:
    for armed, reason in (
        (built("1.1.0", 2, key=signing.new_key()), ota.BAD_SIGNATURE),
        (built("1.1.0", 2, board="pico"), ota.WRONG_BOARD),
        (built("0.9.0", 0), ota.DOWNGRADE),
    ):
        _, slots = flash.start()
        flash.put("b", armed)
        slots.arm(armed.id, armed.described.counter, 0)
        chosen, slots = flash.start()
        assert (chosen, slots.record["last"]) == ("a", [armed.id, ota.REFUSED, reason, 0])


def test_a_record_that_arms_another_image_than_the_slot_holds_is_not_followed(flash: Flash) -> None:
    _, slots = flash.start()
    flash.put("b", NEW)
    slots.arm(OLD.id, 2, 0)
    assert flash.start()[0] == "a"


def test_a_firmware_that_crashes_three_times_leads_to_recovery_and_contact_forgives(flash: Flash) -> None:
    for _ in range(2):
        assert flash.start(bitten=True)[0] == "a"
    _, slots = flash.start()
    slots.well()
    for _ in range(2):
        assert flash.start(bitten=True)[0] == "a"
    chosen, slots = flash.start(bitten=True)
    assert (chosen, slots.reason) == ("recovery", ota.CRASHED)
    slots.crashed(1)
    assert flash.start()[0] == "a"


def test_without_a_record_the_highest_counter_runs_and_counts(flash: Flash) -> None:
    flash.put("b", NEW)
    chosen, slots = flash.start()
    assert (chosen, slots.record["counter"], slots.record["active"]) == ("b", 2, "b")


def test_a_record_cut_off_before_it_was_renamed_counts_and_the_next_does_not_go_over_it(flash: Flash) -> None:
    _, slots = flash.start()
    slots.crashed()
    record = flash.root / "slots.json"
    newest = json.loads(record.read_text()[16:])
    record.rename(flash.root / "slots.json.new")
    (flash.root / "slots.json.old").unlink()
    _, slots = flash.start()
    assert slots.record == newest
    assert record.exists()


def test_a_flash_without_room_for_a_record_still_starts_and_tries_nothing(
    flash: Flash, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, slots = flash.start()
    flash.put("b", NEW)
    slots.arm(NEW.id, 2, 0)
    with monkeypatch.context() as patch:
        no_room(patch)
        chosen, slots = flash.start()
        assert (chosen, slots.on_trial) == ("a", False)
        assert slots.record["last"] == [
            NEW.id,
            ota.REFUSED,
            ota.NO_SPACE,
            0,
        ]  # or it would be fetched, and armed, for ever
    assert flash.start()[0] == "b"


def test_a_failed_trial_is_not_run_again_even_if_that_cannot_be_written(
    flash: Flash, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, slots = flash.start()
    flash.put("b", NEW)
    slots.arm(NEW.id, 2, 0)
    flash.start()
    with monkeypatch.context() as patch:
        no_room(patch)
        for _ in range(2):
            chosen, slots = flash.start()
            assert (chosen, slots.record["last"][1]) == ("a", ota.REVERTED)


def test_a_fallback_is_only_an_image_that_proved_itself(flash: Flash) -> None:
    _, slots = flash.start()
    flash.put("b", NEW)  # fetched, but never tried
    slots.begin()
    _flip(flash.root / "a/main.py")
    assert flash.start()[0] == "recovery"


class WDT:
    """A watchdog that waits 8 s at most, as RP2's."""

    def __init__(self, timeout: int) -> None:
        if timeout > 8388:
            raise ValueError("timeout exceeds 8388")
        self.timeout = timeout
        self.fed = 0

    def feed(self) -> None:
        self.fed += 1


def test_the_watchdog_is_armed_for_as_long_as_the_board_can_wait(flash: Flash) -> None:
    _, slots = flash.start()
    armed: list[WDT] = []

    class Machine:
        @staticmethod
        def WDT(timeout: int) -> WDT:
            made = WDT(timeout)
            armed.append(made)
            return made

    choice.watchdog(slots, Machine)()
    assert [(one.timeout, one.fed) for one in armed] == [(8000, 1)]
    choice.watchdog(slots, object())()
