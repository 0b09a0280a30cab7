"""What goes to a board has no more names than it needs, and means the same."""

import pytest

from device_fw.tools import bytecode, sources
from device_fw.tools.slimming import slimmed, with_methods


def test_what_type_checkers_read_stays_behind_and_lines_stay_where_they_are() -> None:
    source = b"TYPE_CHECKING = False\nif TYPE_CHECKING:\n    from typing import (\n        Any,\n    )\n\nx = 1\n"
    assert slimmed(source) == b"\n\n\n\n\n\nx = 1\n"


def test_private_constants_are_put_where_they_are_used() -> None:
    source = b"_A = 5  # seconds\n_B = 'x'\n_C = b'y'\n\n\ndef f():\n    return _A, _B, _C\n"
    assert slimmed(source).startswith(b"_A = const(5)  # seconds\n_B = const('x')\n_C = const(b'y')\n")
    made = bytecode.compiled(slimmed(source), "a.py", "")
    assert b"_A" not in made
    assert b"_A" in bytecode.compiled(source, "a.py", "")


@pytest.mark.parametrize(
    "source",
    [
        b"A = 5\n",  # others may import it
        b"_a = 5\n",
        b"_A = 5\n_A = 6\n",
        b"_A = 5\n\n\ndef f():\n    global _A\n    _A += 1\n",
        b"_A = 5 * 2\n",
        b"_A = None\n",
        b"_A = True\n",
        b"if TYPE_CHECKING:\n    a = 1\nelse:\n    a = 2\n",
        b"def f(:\n",
    ],
)
def test_all_else_is_left_as_it_is(source: bytes) -> None:
    assert slimmed(source) == source


def test_no_module_of_ours_takes_a_private_constant_of_another() -> None:
    for name in ("device_fw.firmware.main", "device_fw.boards.hardware", "device_fw.firmware.update_parts"):
        for path, file in sources.closure([name]).items():
            bytecode.compiled(slimmed(file.read_bytes()), path, "")
            assert b"import _" not in file.read_bytes()


def test_methods_that_nobody_calls_stay_behind_with_the_imports_that_only_they_used() -> None:
    source = b"import a as b\nimport c\n\n\nclass X:\n    def kept(self):\n        c.f()\n\n    def left(self):\n        b.g()\n"
    slim = with_methods(source, "X", ["kept"])
    assert slim == b"\nimport c\n\n\nclass X:\n    def kept(self):\n        c.f()\n\n\n\n"
