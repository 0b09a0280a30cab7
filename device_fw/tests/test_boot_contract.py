"""What a firmware asks of boot code that may be years older than it, or younger: it cannot be updated, so that never changes."""

import ast
from pathlib import Path

from device_fw.tools import board_file, firmware, image
from device_fw.tools.named import words

ROOT = Path(__file__).parents[1]
ASKED = {
    *("arm", "begin", "confirm", "crashed", "fail", "folder", "image", "note", "refuse", "verify", "well"),
    *("board", "bytecode", "id", "on_trial", "passive", "reason", "record", "runtime", "slot", "trial_s", "version"),
    "watchdog_ms",
}
"""Of `Slots`: what the first boot code had, and each since."""
_NUMBERED = {"bytecode", "id"}  # names that every MicroPython has: bytecode only says which
BOARD = """
board: unix
name: default/b1
properties: {temperature: {driver: simulated}}
"""


def asked(source: Path) -> set[str]:
    """What a module of the firmware looks up in the slots."""
    return {
        node.attr
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Attribute)
        and getattr(node.value, "attr", getattr(node.value, "id", "")).endswith("slots")
    }


def test_the_firmware_asks_nothing_of_the_slots_that_the_first_boot_code_did_not_know() -> None:
    found = set().union(*map(asked, (ROOT / "firmware").glob("*.py")))
    assert {"record", "verify", "confirm"} <= found <= ASKED


def test_the_names_that_boot_code_and_firmware_meet_by_are_those_of_the_sources_in_both(tmp_path: Path) -> None:
    (tmp_path / "board.yaml").write_text(BOARD)
    (tmp_path / "simple.py").write_bytes(b"class MQTTClient:\n    def __init__(self): ...\n")
    boot = firmware.compiled(image.boot_files())
    made = firmware.compiled(firmware.collect(board_file.load(tmp_path / "board.yaml"), tmp_path / "simple.py"))
    knows = words(boot["hedgerow_boot/slots.mpy"], boot["hedgerow_boot/changes.mpy"])
    assert not ASKED - knows - _NUMBERED
    assert {"running", "feed"} <= words(boot["hedgerow_boot/choice.mpy"])
    wanted = set().union(*map(asked, (ROOT / "firmware").glob("*.py"))) | {"running", "feed"}
    assert not wanted - words(*made.values()) - _NUMBERED
