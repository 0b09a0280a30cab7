"""The boards and drivers that there are: the modules of `device_fw/boards` and `device_fw/drivers`, by their names."""

import importlib
from collections.abc import Collection
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from device_fw.tools.errors import FirmwareError
from edgewire.config import nearest

_ROOT = Path(__file__).resolve().parents[1]


class DriverClass(Protocol):
    """What a driver says of itself; `device_fw/drivers/__init__.py` explains each."""

    READINGS: dict[str, tuple[str, str, int]]
    OUTPUTS: tuple[str, ...]
    OPTIONS: dict[str, Any]
    INTERVAL_MS: int
    SHORTEST_MS: int
    DEADLINE_MS: int
    PIN: str


def boards() -> dict[str, ModuleType]:
    """Boards that a board file can name."""
    return _modules("boards", "PLATFORM")


def drivers() -> dict[str, type[DriverClass]]:
    """Drivers that a board file can name."""
    return {name: module.Driver for name, module in _modules("drivers", "Driver").items()}


def known(what: str, name: str, names: Collection[str]) -> str:
    """The name, if it is one of these. FirmwareError with the nearest known one, or all of them, if it is not."""
    if name in names:
        return name
    near = nearest(name, list(names))
    hint = f"did you mean {near!r}?" if near else f"known are {', '.join(sorted(names))}"
    raise FirmwareError(f"no {what} {name!r}; {hint}")


def _modules(folder: str, mark: str) -> dict[str, ModuleType]:
    names = sorted(path.stem for path in (_ROOT / folder).glob("[a-z]*.py"))
    modules = {name: importlib.import_module(f"device_fw.{folder}.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, mark)}
