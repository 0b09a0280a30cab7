"""What is seldom needed is forgotten, and imported anew when it is needed again."""

import sys

import pytest

from device_fw.firmware import seldom


def test_modules_are_forgotten_by_python_and_by_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("package", "package.part"):
        monkeypatch.setitem(sys.modules, name, type(sys)(name))
    package = sys.modules["package"]
    package.part = sys.modules["package.part"]  # type: ignore[attr-defined]
    seldom.forget("package.part", "package.never_imported", "nothing.at_all")
    assert "package.part" not in sys.modules
    assert not hasattr(package, "part")
    assert "package" in sys.modules
