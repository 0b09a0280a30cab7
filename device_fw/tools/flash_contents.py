"""What a board file's firmware is on a board: compiled for it, as plain files, with what the gateway's TLS needs."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from device_fw.firmware import config as board_config
from device_fw.tools import firmware
from device_fw.tools.board_file import BoardFile
from device_fw.tools.errors import FirmwareError
from device_fw.tools.flash_board import Facts
from device_fw.tools.flash_order import Layout
from edgewire import __version__

CONFIG = "config.json"
_SLOTS = ("a", "b", "recovery", "hedgerow_boot", "slots.json", "slots.json.old", "slots.json.new")


@dataclass(frozen=True)
class Contents:
    """The firmware of a board file."""

    described: BoardFile
    umqtt: Path | None = None
    """umqtt.simple's file; fetched or taken from the cache when None."""
    more: Mapping[str, bytes] = field(default_factory=dict)
    """Files that the configuration names: certificates."""

    @property
    def board(self) -> str:
        """As the board file names it."""
        return self.described.board

    @property
    def platform(self) -> str:
        """`sys.platform` of such a board."""
        return str(self.described.features.PLATFORM)

    @property
    def version(self) -> str:
        """That of this package: the firmware is part of it."""
        return __version__

    @property
    def configuration(self) -> Mapping[str, Any]:
        """What the board file says."""
        return self.described.configuration()

    def layout(self, facts: Facts, configuration: Mapping[str, Any], read: Callable[[str], bytes | None]) -> Layout:
        """All files, compiled for the board's bytecode; sources where it loads none."""
        files = self._compiled(facts, firmware.collect(self.described, self.umqtt))
        return Layout({**files, **self.more, CONFIG: encoded(configuration)}, gone=_SLOTS)

    def _compiled(self, facts: Facts, files: Mapping[str, bytes]) -> dict[str, bytes]:
        if not facts.mpy:
            return dict(files)
        made = firmware.compiled(files, facts.architecture)
        firmware.check_board(made, facts.mpy_number)
        return made


def encoded(configuration: Mapping[str, Any]) -> bytes:
    """`config.json`, checked as the board will check it. FirmwareError that names the key."""
    try:
        board_config.check(dict(configuration))
    except ValueError as error:
        raise FirmwareError(f"config.json would be wrong: {error}") from error
    return (json.dumps(dict(configuration), indent=1, sort_keys=True) + "\n").encode()
