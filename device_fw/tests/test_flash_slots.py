"""What becomes of a board with slots when it is flashed: what stays, what is made anew, what is refused."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from device_fw.boot.changes import checksum
from device_fw.tools import board_file, image, signing
from device_fw.tools.errors import FirmwareError
from device_fw.tools.flash_board import Facts
from device_fw.tools.flash_contents import Contents
from device_fw.tools.flash_errors import FlashError, RuntimeTooOld, WrongBoard
from device_fw.tools.flash_slots import Slots

KEY = signing.new_key()
FACTS = Facts("linux", (1, 28, 0), "MicroPython v1.28.0 on 2026-05-01", "", "", 0, "", "", "00", True, 1 << 20, 4096)
CONFIG = {"name": "default/b1", "host": "gateway"}

Read = Callable[[str], bytes | None]


@pytest.fixture
def slots(tmp_path: Path, umqtt: Path) -> Slots:
    """Version 1.4.0 for a board that loads no bytecode: nothing is compiled."""
    path = tmp_path / "board.yaml"
    path.write_text("board: unix\nname: b1\nproperties:\n  temperature: {driver: simulated}\n")
    described = board_file.load(path)
    return Slots(described, umqtt, wanted_version="1.4.0", key=KEY, public=KEY.public, runtime="1.20.0")


def reading(files: dict[str, bytes]) -> Read:
    return files.get


def record(active: str, trial: object = None) -> bytes:
    text = json.dumps({"active": active, "trial": trial, "seq": 3})
    return (checksum(text) + text).encode()


def test_a_fresh_board_gets_slot_recovery_and_boot_code(slots: Slots) -> None:
    layout = slots.layout(FACTS, CONFIG, reading({}))
    assert {path.partition("/")[0] for path in layout.files} == {
        "a",
        "recovery",
        "hedgerow_boot",
        "config.json",
        "main.py",
    }
    manifest = json.loads(layout.files["a/manifest.json"])
    assert (manifest["version"], manifest["counter"], manifest["runtime"]) == ("1.4.0", 1004000, "1.20.0")
    assert {"b", "slots.json", "device_fw"} <= set(layout.gone)


@pytest.mark.parametrize(
    ("found", "stays"), [(None, True), (record("a"), True), (record("b"), False), (b"\xff", False)]
)
def test_a_board_that_runs_this_image_keeps_its_signature_and_its_record(
    slots: Slots, found: bytes | None, stays: bool
) -> None:
    files = dict(slots.layout(FACTS, CONFIG, reading({})).files)
    if found is not None:
        files["slots.json"] = found
    again = slots.layout(FACTS, CONFIG, reading(files))
    assert again.files == {path: content for path, content in files.items() if path != "slots.json"}
    assert ("b" not in again.gone) is ("slots.json" not in again.gone) is stays


def test_a_trial_and_another_image_make_the_board_fresh(slots: Slots) -> None:
    files = {**slots.layout(FACTS, CONFIG, reading({})).files, "slots.json": record("a", ["b", "", 1, 0, "new"])}
    assert "b" in slots.layout(FACTS, CONFIG, reading(files)).gone
    files["slots.json"] = record("a")
    newer = dataclasses.replace(slots, wanted_version="1.5.0")
    assert "b" in newer.layout(FACTS, CONFIG, reading(files)).gone


def test_a_signature_by_another_key_is_made_anew(slots: Slots) -> None:
    files = slots.layout(FACTS, CONFIG, reading({})).files
    other = signing.new_key()
    again = dataclasses.replace(slots, key=other, public=other.public).layout(FACTS, CONFIG, reading(dict(files)))
    assert again.files["a/manifest.json"] == files["a/manifest.json"]
    assert again.files["a/signature.hex"] != files["a/signature.hex"]


def test_a_bundle_for_another_board_or_a_newer_runtime_is_refused(slots: Slots) -> None:
    def bundle(board: str, runtime: str) -> Slots:
        made = image.build(
            {"main.py": b""}, version="2.0.0", counter=1, board=board, runtime=runtime, mpy="", arch="", key=KEY
        )
        return dataclasses.replace(slots, bundle=made)

    assert bundle("unix", "1.20.0").version == "2.0.0"
    with pytest.raises(WrongBoard, match=r"bundle is for pico_w, and the board file says unix"):
        bundle("pico_w", "1.20.0").layout(FACTS, CONFIG, reading({}))
    with pytest.raises(RuntimeTooOld, match=r"runs MicroPython 1\.28\.0, and the bundle needs 1\.29\.0.*--runtime"):
        bundle("unix", "1.29.0").layout(FACTS, CONFIG, reading({}))
    signed_by_another = dataclasses.replace(bundle("unix", "1.20.0"), public=signing.new_key().public)
    with pytest.raises(FirmwareError, match="not signed with the key"):
        signed_by_another.layout(FACTS, CONFIG, reading({}))


def test_a_board_with_slots_does_not_lose_them_by_chance(slots: Slots) -> None:
    plain = Contents(slots.described, slots.umqtt)
    files = {"hedgerow_boot/identity.json": b"{}"}
    with pytest.raises(FlashError, match=r"--key FILE.*--no-updates"):
        plain.layout(FACTS, CONFIG, reading(files))
    layout = dataclasses.replace(plain, drop_updates=True).layout(FACTS, CONFIG, reading(files))
    assert {"a", "b", "hedgerow_boot", "slots.json"} <= set(layout.gone)


def test_a_configuration_that_the_board_would_refuse_is_not_written(slots: Slots) -> None:
    with pytest.raises(FirmwareError, match=r"config\.json would be wrong: key port: 70000 is above 65535"):
        slots.layout(FACTS, {**CONFIG, "port": 70000}, reading({}))
