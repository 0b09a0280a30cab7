"""The project's firmware as files for a board of the bench: compiled, with its configuration.

An emulated board gets the demo's, with `temperature`, `led` (ON, OFF) and `interval`; a real one what its board file says.
"""

import functools
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from device_fw.tools import board_file, firmware

_ROOT = Path(__file__).resolve().parents[2]


def files(config: Mapping[str, object], instead: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
    """Path -> content of what a board with this configuration needs (docs/firmware.md). Raises FirmwareError.

    umqtt.simple is fetched unless it is in the cache of the repository. `instead` are sources that take the place of others.
    """
    described = json.dumps({**config, "host": "127.0.0.1", "port": 1883}, sort_keys=True)
    made = dict(_compiled(described, tuple((instead or {}).items())))
    made["config.json"] = json.dumps(dict(config)).encode()
    return made


def by_board_file(path: Path, config: Mapping[str, object]) -> dict[str, bytes]:
    """The same for a board that a board file describes (docs/sensors.md); `config` goes before what that file says."""
    described = board_file.load(path)
    umqtt = firmware.umqtt_simple(_ROOT / firmware.CACHE) if described.transport == "mqtt" else None
    made = firmware.compiled(firmware.collect(described, umqtt))
    made["config.json"] = json.dumps({**described.configuration(), **config}).encode()
    return made


@functools.lru_cache(maxsize=8)
def _compiled(config: str, instead: tuple[tuple[str, bytes], ...]) -> tuple[tuple[str, bytes], ...]:
    with tempfile.TemporaryDirectory(prefix="hedgerow-") as name:
        paths = firmware.assemble(Path(name), json.loads(config), firmware.umqtt_simple(_ROOT / firmware.CACHE))
        sources = {str(path): Path(name, path).read_bytes() for path in paths}
    return tuple(firmware.compiled({**sources, **dict(instead)}).items())
