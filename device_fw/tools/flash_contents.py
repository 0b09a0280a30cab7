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
from device_fw.tools.flash_errors import FlashError
from device_fw.tools.flash_order import Layout
from edgewire import __version__

CONFIG = "config.json"
PLAIN = ("device_fw", "edgewire", "umqtt")
"""Top folders of a firmware without slots."""
SLOTS = ("a", "b", "recovery", "hedgerow_boot", "slots.json", "slots.json.old", "slots.json.new")
"""What a board with slots has at the top; `flash_slots.py` fills it."""
IDENTITY = "hedgerow_boot/identity.json"


@dataclass(frozen=True)
class Contents:
    """The firmware of a board file."""

    described: BoardFile
    umqtt: Path | None = None
    """umqtt.simple's file; fetched or taken from the cache when None."""
    more: Mapping[str, bytes] = field(default_factory=dict)
    """Files that the configuration names: certificates."""
    wanted_version: str = ""
    """Empty: that of this package."""
    drop_updates: bool = False
    """Whether a board that takes updates over the air may lose that."""

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
        """The one that was asked for, or this package's: the firmware is part of it."""
        return self.wanted_version or __version__

    @property
    def configuration(self) -> Mapping[str, Any]:
        """What the board file says."""
        return self.described.configuration()

    def layout(self, facts: Facts, configuration: Mapping[str, Any], read: Callable[[str], bytes | None]) -> Layout:
        """All files, compiled for the board's bytecode; sources where it loads none."""
        if not self.drop_updates and read(IDENTITY) is not None:
            raise FlashError(
                "this board takes updates over the air, and would not any more: give the key that signs them (--key FILE), "
                "or --no-updates"
            )
        files = of_board(facts, firmware.collect(self.described, self.umqtt))
        config = json.dumps(checked(configuration), indent=1) + "\n"
        return Layout({**files, **self.more, CONFIG: config.encode()}, gone=SLOTS)


def of_board(facts: Facts, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Files as a board like this loads them."""
    if not facts.mpy:
        return dict(files)
    made = firmware.compiled(files, facts.architecture)
    firmware.check_board(made, facts.mpy_number)
    return made


def checked(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration in one order, as the board will find it right. FirmwareError that names the key."""
    try:
        board_config.check(dict(configuration))
    except ValueError as error:
        raise FirmwareError(f"config.json would be wrong: {error}") from error
    return dict(sorted(configuration.items()))
