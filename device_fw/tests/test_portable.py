"""The portable tests, on CPython and on the real MicroPython: the same functions, so that one promise holds on both."""

import importlib
import subprocess
from collections.abc import Callable
from types import ModuleType

import pytest

from device_fw.tests import (
    portable_agent,
    portable_chips,
    portable_firmware,
    portable_hardware,
    portable_pins,
    portable_time,
    portable_update,
)
from device_fw.tests.conftest import PINS, ROOT
from hil_tests.bench import micropython_board

OURS = (
    portable_agent,
    portable_chips,
    portable_firmware,
    portable_hardware,
    portable_pins,
    portable_time,
    portable_update,
)
OF_EDGEWIRE = ("topics", "board", "ota", "cobs", "board_link")
ALL = (*OURS, *(importlib.import_module(f"edgewire.tests.portable_{name}") for name in OF_EDGEWIRE))


def names(module: ModuleType) -> list[str]:
    return [name for name in vars(module) if name.startswith("test_")]


@pytest.mark.parametrize("test", [pytest.param(getattr(m, n), id=n) for m in OURS for n in names(m)])
def test_it_holds_on_cpython(test: Callable[[], None]) -> None:
    test()


@pytest.fixture(scope="module")
def on_the_board(micropython: None) -> dict[tuple[str, str], str]:
    """All portable tests run once on MicroPython: (module, test) -> what was printed of it."""
    runner = ROOT / "device_fw/tests/run_portable.py"
    line = micropython_board.command(str(runner), *(module.__name__ for module in ALL))
    env = {**micropython_board.environment([ROOT, PINS]), "HEDGEROW_BOARD_CLOCK": "0"}
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results: dict[tuple[str, str], str] = {}
    key = ("", "")
    for text in done.stdout.splitlines():
        if text.startswith(("ok ", "failed ")):
            word, module, name = text.split()
            key, text = (module, name), word
        results[key] = results.get(key, "") + text + "\n"
    return results


@pytest.mark.parametrize(("module", "name"), [pytest.param(m.__name__, n, id=n) for m in ALL for n in names(m)])
def test_it_holds_on_micropython(on_the_board: dict[tuple[str, str], str], module: str, name: str) -> None:
    assert on_the_board[module, name] == "ok\n"
