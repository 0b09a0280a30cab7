"""Manifests of firmware images: what an image consists of, and which boards it fits. Also runs on MicroPython."""

import json

from edgewire.ota_codes import (
    BAD_MANIFEST,
    DOWNGRADE,
    FORMAT,
    MANIFEST,
    MAX_COUNTER,
    MAX_FILES,
    MAX_IMAGE,
    MAX_MANIFEST,
    MAX_PATH,
    NONE,
    RESERVED,
    RUNTIME_TOO_OLD,
    WRONG_BOARD,
    WRONG_MPY,
)
from edgewire.ota_fields import OtaError, hex_digits, number, parsed, text

# Processors as mpy-cross names them, by their number in .mpy files (MicroPython, py/persistentcode.h).
ARCHITECTURES = (
    "", "x86", "x64", "armv6", "armv6m", "armv7m", "armv7em", "armv7emsp", "armv7emdp", "xtensa", "xtensawin",
    "rv32imc", "rv64imc",
)  # fmt: skip


class Manifest:
    """What an image consists of and which boards it fits. `files` holds (path, bytes, sha256 in hex) in the stream's order."""

    def __init__(
        self,
        board: str,
        counter: int,
        files: "list[tuple[str, int, str]]",
        mpy: str,
        arch: str,
        runtime: str,
        version: str,
    ) -> None:
        self.board = board
        self.counter = counter
        self.files = files
        self.mpy = mpy
        self.arch = arch
        self.runtime = runtime
        self.version = version

    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for _, size, _ in self.files)

    def misfit(self, board: str, runtime: str, mpy: str, arch: str, counter: int) -> str:
        """Why a board cannot run it, one of `REASONS`; `NONE` when it can. `counter` is the lowest that the board still takes."""
        if self.board != board:
            return WRONG_BOARD
        if self.counter < counter:
            return DOWNGRADE
        if numbers(runtime) < numbers(self.runtime):
            return RUNTIME_TOO_OLD
        if self.mpy and self.mpy.split(".")[0] != mpy.split(".")[0]:
            return WRONG_MPY
        if self.arch and (self.arch != arch or self.mpy != mpy):  # native code also needs the same minor version
            return WRONG_MPY
        return NONE


def mpy_of(code: int) -> "tuple[str, str]":
    """What `sys.implementation._mpy` says: version of bytecode and processor, ("6.3", "x64"); empty where it loads none."""
    arch = code >> 10 & 0x0F
    return (
        "{}.{}".format(code & 0xFF, code >> 8 & 3) if code else "",
        ARCHITECTURES[arch] if arch < len(ARCHITECTURES) else "",
    )


def encode_manifest(manifest: Manifest) -> bytes:
    """The bytes to be signed: compact JSON with sorted keys. OtaError when `parse_manifest` would refuse them."""
    fields: "list[tuple[str, object]]" = [
        ("arch", manifest.arch),
        ("board", manifest.board),
        ("counter", manifest.counter),
        ("files", [[path, size, digest] for path, size, digest in manifest.files]),
        ("format", FORMAT),
        ("mpy", manifest.mpy),
        ("runtime", manifest.runtime),
        ("version", manifest.version),
    ]
    # MicroPython's json puts blanks where it likes; no text that is allowed here has one.
    encoded = ",".join('"{}":{}'.format(name, json.dumps(value).replace(" ", "")) for name, value in fields)
    made = ("{" + encoded + "}").encode()
    parse_manifest(made)
    return made


def parse_manifest(payload: bytes) -> Manifest:
    """Read and check a manifest. OtaError, naming what is wrong; nothing in it leads out of its slot."""
    content = parsed(payload, MAX_MANIFEST, BAD_MANIFEST)
    if content.get("format") != FORMAT:
        raise OtaError(BAD_MANIFEST, "format {} is not {}".format(content.get("format"), FORMAT))
    files = content.get("files")
    if not isinstance(files, list) or not 0 < len(files) <= MAX_FILES:
        raise OtaError(BAD_MANIFEST, "files: not a list of 1 to {}".format(MAX_FILES))
    manifest = Manifest(
        text(content, "board", BAD_MANIFEST),
        number(content, "counter", 0, MAX_COUNTER, BAD_MANIFEST),
        [_file(entry) for entry in files],
        text(content, "mpy", BAD_MANIFEST, may_be_empty=True),
        text(content, "arch", BAD_MANIFEST, may_be_empty=True),
        text(content, "runtime", BAD_MANIFEST),
        text(content, "version", BAD_MANIFEST),
    )
    _check_tree([path for path, _, _ in manifest.files])
    if manifest.size() > MAX_IMAGE:
        raise OtaError(BAD_MANIFEST, "files: {} bytes are more than {}".format(manifest.size(), MAX_IMAGE))
    if manifest.arch not in ARCHITECTURES:
        raise OtaError(BAD_MANIFEST, "arch: {} is not known".format(manifest.arch))
    try:
        numbers(manifest.runtime), numbers(manifest.mpy or "0")
    except ValueError as error:
        raise OtaError(BAD_MANIFEST, "runtime, mpy: {}".format(error))  # noqa: B904  # MicroPython has no chains
    return manifest


def parts(manifest_bytes: int, manifest: Manifest) -> "list[tuple[str, int, int]]":
    """What the stream consists of: (path, offset in the stream, bytes), the manifest first, as `MANIFEST`."""
    found = [(MANIFEST, 0, manifest_bytes)]
    offset = manifest_bytes
    for path, size, _ in manifest.files:
        found.append((path, offset, size))
        offset += size
    return found


def numbers(version: str) -> "tuple[int, ...]":
    """A version such as 1.24.0 as numbers to compare, without zeros at its end. ValueError when it has other parts."""
    found = [int(part) for part in version.split(".")]
    while found and not found[-1]:
        found.pop()
    return tuple(found)


def check_path(path: object) -> str:
    """A path of an image's file as it is. OtaError when it may lead out of its slot, or would be another file elsewhere."""
    if not isinstance(path, str) or not 0 < len(path) <= MAX_PATH:
        raise OtaError(BAD_MANIFEST, "files: a path has 1 to {} characters".format(MAX_PATH))
    for character in path:
        if not ("a" <= character.lower() <= "z" or "0" <= character <= "9" or character in "_-./"):
            raise OtaError(BAD_MANIFEST, "files: {!r} has a character other than letters, digits and _-./".format(path))
    for name in path.split("/"):
        if not name or name[0] == ".":  # absolute, empty, "." and ".."
            raise OtaError(BAD_MANIFEST, "files: {!r} is not a plain relative path".format(path))
    if path in RESERVED:
        raise OtaError(BAD_MANIFEST, "files: {!r} is a slot's own".format(path))
    return path


def _check_tree(paths: "list[str]") -> None:
    """No path twice, also where capitals do not count, and none that is a folder of another."""
    seen = set()
    for path in paths:
        if path.lower() in seen:
            raise OtaError(BAD_MANIFEST, "files: {!r} is there twice".format(path))
        seen.add(path.lower())
    for path in paths:
        folder = path.lower()
        while "/" in folder:
            folder = folder.rsplit("/", 1)[0]
            if folder in seen:
                raise OtaError(BAD_MANIFEST, "files: {!r} is a file and a folder".format(folder))


def _file(entry: object) -> "tuple[str, int, str]":
    if not isinstance(entry, list) or len(entry) != 3:
        raise OtaError(BAD_MANIFEST, "files: an entry is not [path, bytes, sha256]")
    fields: "dict[str, object]" = {"bytes": entry[1], "sha256": entry[2]}
    return (
        check_path(entry[0]),
        number(fields, "bytes", 0, MAX_IMAGE, BAD_MANIFEST),
        hex_digits(fields, "sha256", 64, BAD_MANIFEST),
    )
