"""A board file's firmware on a board that takes updates over the air: signed, in slot `a`, with boot code and recovery.

A board that runs this very image keeps what it knows of its updates, and the version before in the other slot. Any other is made
as fresh as from its box: only then is it sure that what was flashed is what runs.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from device_fw.boot.changes import checksum
from device_fw.boot.slots import RECORD
from device_fw.tools import firmware, image, signing
from device_fw.tools.errors import FirmwareError
from device_fw.tools.flash_board import Facts
from device_fw.tools.flash_contents import PLAIN, Contents, checked, of_board
from device_fw.tools.flash_errors import RuntimeTooOld, WrongBoard
from device_fw.tools.flash_order import Layout
from device_fw.tools.image import Image
from device_fw.tools.signing import SigningKey
from edgewire import ota
from edgewire.ota_codes import OFFER

_RECORDS = (RECORD, f"{RECORD}.old", f"{RECORD}.new")
_ACTIVE = "a"


@dataclass(frozen=True)
class Slots(Contents):
    """The firmware of a board file, or of a bundle, for a board with slots."""

    key: SigningKey | None = None
    """Signs it; needed without `bundle`."""
    public: bytes = b""
    """What the board is to trust: x and y."""
    bundle: Image | None = None
    """What `hedgerow ota build` made, in place of what the board file makes now."""
    runtime: str = ""
    """The oldest MicroPython that will do, of what is made now."""

    @property
    def version(self) -> str:
        """The bundle's, or the one that was asked for."""
        return self.bundle.described.version if self.bundle is not None else self.wanted_version or super().version

    def layout(self, facts: Facts, configuration: Mapping[str, Any], read: Callable[[str], bytes | None]) -> Layout:
        """All files; the signature on the board stays if it is one of this image's."""
        made = self.bundle or self._made(facts)
        self._check(made, facts)
        there = read(f"{_ACTIVE}/{ota.MANIFEST}") == made.manifest
        signature = _signature(read(f"{_ACTIVE}/{ota.SIGNATURE}")) if there else b""
        if signing.verified(self.public, made.manifest, signature):
            made = replace(made, signature=signature)
        transport = str(configuration.get("transport", "mqtt"))
        umqtt = (self.umqtt or firmware.umqtt_simple()) if transport == "mqtt" else None
        recovery = of_board(facts, image.recovery_files(transport, umqtt))
        boot = of_board(facts, image.boot_files())
        files = image.layout(made, boot, recovery, self.public, checked(configuration))
        stays = there and _runs(read(RECORD))
        if stays:
            return Layout({**files, **self.more}, kept=(f"{_ACTIVE}/{OFFER}",), gone=PLAIN)
        return Layout({**files, **self.more}, gone=(*PLAIN, "b", *_RECORDS))

    def _made(self, facts: Facts) -> Image:
        if self.key is None:
            raise FirmwareError(
                "a key is needed to sign the firmware: --key FILE, or --bundle with what is signed already"
            )
        files = of_board(facts, firmware.collect(self.described, self.umqtt))
        mpy, arch = image.bytecode_of(files)
        counter = image.counter_of(self.version)
        facts_of = {"board": self.board, "runtime": self.runtime, "mpy": mpy, "arch": arch}
        return image.build(files, version=self.version, counter=counter, key=self.key, **facts_of)

    def _check(self, made: Image, facts: Facts) -> None:
        """Whether the board would run it. WrongBoard, RuntimeTooOld, FirmwareError."""
        manifest = made.described
        if manifest.board != self.board:
            raise WrongBoard(
                f"the bundle is for {manifest.board}, and the board file says {self.board}: one of them is the wrong one"
            )
        if facts.version < tuple(int(part) for part in manifest.runtime.split(".")):
            raise RuntimeTooOld(
                f"the board runs MicroPython {facts.release}, and the bundle needs {manifest.runtime}: write a newer one "
                "with --runtime IMAGE"
            )
        firmware.check_board(made.files, facts.mpy_number)


def _signature(text: bytes | None) -> bytes:
    try:
        return bytes.fromhex((text or b"").decode("ascii").strip())
    except ValueError:
        return b""


def _runs(record: bytes | None) -> bool:
    """Whether a board with this record runs slot `a`, with nothing on trial; also one that has none yet."""
    if record is None:
        return True
    try:
        text = record.decode()
        found = json.loads(text[16:])
        return bool(text[:16] == checksum(text[16:]) and found["active"] == _ACTIVE and found["trial"] is None)
    except (ValueError, KeyError, TypeError):
        return False
