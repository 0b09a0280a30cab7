"""Firmware images: built and signed, kept as bundles, laid out for a fresh board.

A bundle (`.hfw`) is a zip: `manifest.json` as it was signed, `signature.hex`, and the files below `files/`. The same input
gives the same zip, but for the signature.
"""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from device_fw.tools import bytecode, said, signing, sources
from device_fw.tools.errors import FirmwareError
from edgewire import ota

WATCHDOG_MS = 30_000
"""Of a trial: no turn of the firmware takes longer. Where a board's watchdog cannot wait so long (RP2), 8 s."""
TRIAL_S = 300
"""Within which a new firmware must have reached the gateway."""

_FILES = "files/"
_MAX_BUNDLE = ota.MAX_IMAGE + 1024 * 1024
"""Bytes of a bundle's file: an image that does not compress, and the zip's own words."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Of compression, those that can be unpacked a piece at a time."""
_BOOT = ("__init__", "slots", "changes", "choice", "start", "p256")
_WORDS = ("__init__", "ota_codes", "ota_fields", "ota_manifest")  # of edgewire
_MAIN = b"from hedgerow_boot import start\n\nstart.run()\n"
_RECOVERY = "device_fw.boot.recovery"


class ImageError(FirmwareError):
    """An image cannot be built, or a file is no bundle; the text says why."""


@dataclass(frozen=True)
class Image:
    """One signed image. Whole: each file is as the manifest says; whether the signature is good, `signing.verified` tells."""

    manifest: bytes
    """As it was signed."""
    signature: bytes
    """r and s, 32 bytes each."""
    files: Mapping[str, bytes]
    """In the manifest's order."""

    @property
    def id(self) -> str:
        """The manifest's sha256, in hex."""
        return hashlib.sha256(self.manifest).hexdigest()

    @property
    def described(self) -> ota.Manifest:
        """The manifest, read."""
        return ota.parse_manifest(self.manifest)

    @property
    def stream(self) -> bytes:
        """What boards ask for: the manifest, then the files."""
        return self.manifest + b"".join(self.files.values())

    def offer(self, retry: int = 0) -> ota.Offer:
        """What the gateway says of it."""
        manifest = self.described
        return ota.Offer(self.id, len(self.manifest), self.signature, manifest.version, manifest.counter, retry)


def build(
    files: Mapping[str, bytes],
    *,
    version: str,
    counter: int,
    board: str,
    runtime: str,
    mpy: str,
    arch: str,
    key: signing.SigningKey,
) -> Image:
    """Sign files as an image, in order of their paths. ImageError for what boards would refuse.

    `counter` must rise from release to release: a board takes none lower than what it confirmed last. `runtime` is the oldest
    MicroPython that will do; `mpy` and `arch` are those of compiled files (`bytecode_of`), empty for sources.
    """
    ordered = dict(sorted(files.items()))
    listed = [(path, len(content), hashlib.sha256(content).hexdigest()) for path, content in ordered.items()]
    try:
        manifest = ota.encode_manifest(ota.Manifest(board, counter, listed, mpy, arch, runtime, version))
    except ota.OtaError as error:
        raise ImageError(f"no board would take this image: {error}") from error
    return Image(manifest, key.sign(manifest), ordered)


def bytecode_of(files: Mapping[str, bytes]) -> tuple[str, str]:
    """Version ("6.3") and architecture of the compiled files; empty where there are none. ImageError when they differ."""
    kinds = [bytecode.of_file(content) for path, content in files.items() if path.endswith(".mpy")]
    versions = {str(kind) if kind.arch else f"{kind.version}.0" for kind in kinds}
    archs = {kind.arch for kind in kinds} - {""}
    native = {version for version, kind in zip(map(str, kinds), kinds, strict=True) if kind.arch}
    if len({kind.version for kind in kinds}) > 1 or len(archs) > 1 or len(native) > 1:
        raise ImageError(f"compiled files of several kinds: {', '.join(sorted({*versions, *archs}))}")
    return (max(native, default="") or max(versions, default="")), max(archs, default="")


def save(image: Image, path: Path) -> None:
    """Write a bundle, whole or not at all. OSError when it cannot be written."""
    fresh = path.with_name(path.name + ".new")
    with zipfile.ZipFile(fresh, "w") as bundle:
        _add(bundle, ota.MANIFEST, image.manifest)
        _add(bundle, ota.SIGNATURE, image.signature.hex().encode())
        for name, content in image.files.items():
            _add(bundle, _FILES + name, content)
    fresh.replace(path)


def load(path: Path) -> Image:
    """Read a bundle and hold each file against the manifest. ImageError when it is none; the signature is not checked."""
    try:
        if path.stat().st_size > _MAX_BUNDLE or not path.is_file():
            raise ImageError(f"{path} is no firmware bundle: no file of up to {_MAX_BUNDLE} bytes")
        with zipfile.ZipFile(path) as bundle:
            manifest = _member(bundle, ota.MANIFEST, ota.MAX_MANIFEST)
            described = ota.parse_manifest(manifest)
            signature = bytes.fromhex(_member(bundle, ota.SIGNATURE, 200).decode("ascii"))
            if len(signature) != 64:
                raise ImageError(f"{path}: the signature has not 64 bytes")
            wanted = {ota.MANIFEST, ota.SIGNATURE, *(_FILES + name for name, _, _ in described.files)}
            if strange := set(bundle.namelist()) - wanted:
                raise ImageError(f"{path}: {said.plain(min(strange))} is not in the manifest")
            files = {name: _member(bundle, _FILES + name, size) for name, size, _ in described.files}
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, RuntimeError) as error:
        # RuntimeError: a password, or a method that is not known
        raise ImageError(f"{path} is no firmware bundle: {error}") from error
    for name, _, digest in described.files:
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise ImageError(f"{path}: {name} is not what the manifest says")
    return Image(manifest, signature, files)


def layout(
    image: Image,
    boot: Mapping[str, bytes],
    recovery: Mapping[str, bytes],
    public_key: bytes,
    config: Mapping[str, object],
    *,
    watchdog_ms: int = WATCHDOG_MS,
    trial_s: int = TRIAL_S,
) -> dict[str, bytes]:
    """Every file of a fresh board: boot code, image in slot `a`, recovery, `config.json`. The first start adds the record.

    `boot` and `recovery` are what `boot_files` and `recovery_files` give, compiled or not; `public_key` is x and y.
    ImageError when the image is not signed with that key: the board would not run it.
    """
    if not signing.verified(public_key, image.manifest, image.signature):
        raise ImageError("the image is not signed with the key that the board is to trust")
    identity = {
        "board": image.described.board,
        "key": public_key.hex(),
        "watchdog_ms": watchdog_ms,
        "trial_s": trial_s,
    }
    configuration = (json.dumps(dict(config), indent=2) + "\n").encode()
    files = dict(boot)
    files["hedgerow_boot/identity.json"] = (json.dumps(identity) + "\n").encode()
    files |= {f"recovery/{path}": content for path, content in recovery.items()}
    files["recovery/config.json"] = configuration
    files |= {f"a/{path}": content for path, content in image.files.items()}
    files[f"a/{ota.MANIFEST}"] = image.manifest
    files[f"a/{ota.SIGNATURE}"] = image.signature.hex().encode()
    files["config.json"] = configuration
    files["main.py"] = _MAIN  # last: until it is there, the board starts into its REPL
    return files


def boot_files() -> dict[str, bytes]:
    """The sources of the boot code. A board that gets it compiled runs it with the MicroPython that it was compiled for."""
    files = {f"hedgerow_boot/{name}.py": _source(f"device_fw/boot/{name}.py") for name in _BOOT}
    return files | {f"hedgerow_boot/edgewire/{name}.py": _source(f"edgewire/{name}.py") for name in _WORDS}


def recovery_files(transport: str, umqtt: Path | None) -> dict[str, bytes]:
    """The sources of recovery for a transport of `config.json`; `umqtt` is umqtt.simple's file, needed for MQTT."""
    entries = [_RECOVERY, f"device_fw.firmware.{transport}_link", "device_fw.firmware.update_parts"]
    found = sources.closure(entries, _boards())
    files = {path: file.read_bytes() for path, file in found.items() if not path.startswith("device_fw/boot/")}
    files["main.py"] = found["device_fw/boot/recovery.py"].read_bytes()
    if umqtt is not None:
        files["umqtt/simple.py"] = umqtt.read_bytes()
    return dict(sorted(files.items()))


def counter_of(version: str) -> int:
    """A counter that rises with a version of up to three numbers: 1.4.2 is 1004002. ImageError for any other version."""
    try:
        parts = [int(part) for part in version.split(".")]
    except ValueError as error:
        raise ImageError(f"version {version} is not numbers: give a counter") from error
    if not 1 <= len(parts) <= 3 or any(not 0 <= part < 1000 for part in parts):
        raise ImageError(f"version {version} is not one to three numbers below 1000: give a counter")
    major, minor, patch = (*parts, 0, 0)[:3]
    return (major * 1000 + minor) * 1000 + patch


def _boards() -> Collection[str]:
    """The modules of boards: recovery has one of its own."""
    return {f"device_fw.boards.{path.stem}" for path in (sources.ROOT / "device_fw/boards").glob("[a-z]*.py")}


def _source(path: str) -> bytes:
    return (sources.ROOT / path).read_bytes()


def _add(bundle: zipfile.ZipFile, name: str, content: bytes) -> None:
    bundle.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def _member(bundle: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """One member of the zip; no more of it is unpacked than may be there, whatever the zip says of its size."""
    found = bundle.getinfo(name)
    if found.file_size > limit:
        raise ValueError(f"{name} has more than {limit} bytes")
    if found.compress_type not in _METHODS:
        raise ValueError(f"{name} is compressed by method {found.compress_type}")
    with bundle.open(found) as member:
        return member.read(limit + 1)
