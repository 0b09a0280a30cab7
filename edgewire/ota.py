"""Firmware updates in words: offer, request, chunk and manifest, built and read alike by gateway and board. No I/O, no crypto.

The gateway offers an image (`ota/offer`); the board asks for it piece by piece (`ota/get`) and gets the pieces (`ota/chunk`).
What it asks for is one stream of bytes: the manifest, then the files in the manifest's order. The manifest's sha256 is the
image's id, and its bytes are what is signed, so that whoever believes the signature can check every byte that follows.

Also runs on MicroPython, on boards and in their boot code.
"""

import json
from binascii import hexlify, unhexlify

FORMAT = 1

# Bounds of what either side takes in, in bytes unless said otherwise.
MAX_OFFER = 1024
MAX_MANIFEST = 8192
MAX_FILES = 100  # files
MAX_IMAGE = 8 * 1024 * 1024
MAX_CHUNK = 4096
MAX_PATH = 96
MAX_TEXT = 32  # of version, board, runtime
MAX_COUNTER = 0x7FFFFFFF

# Twin properties of a board that can be updated, all read only: `firmware-progress` is an INT, the others are STRINGs.
FIRMWARE = "firmware"  # the version that runs
FIRMWARE_TARGET = "firmware-target"  # `short(id)` of the image it works on, or last did
FIRMWARE_STATE = "firmware-state"
FIRMWARE_PROGRESS = "firmware-progress"  # of the download, 0 to 100
FIRMWARE_REASON = "firmware-reason"
PROPERTIES = (FIRMWARE, FIRMWARE_TARGET, FIRMWARE_STATE, FIRMWARE_PROGRESS, FIRMWARE_REASON)

# What `firmware-state` may say.
IDLE = "idle"  # nothing was ever offered, or the offer was taken back
DOWNLOADING = "downloading"
TRIAL = "trial"  # complete and verified; about to run, or running, for the first time
CONFIRMED = "confirmed"  # the target runs, and proved itself
REVERTED = "reverted"  # the target ran and failed; the version before runs again
REFUSED = "refused"  # the target was not run
RECOVERY = "recovery"  # no slot can be run: the board waits for an image
STATES = (IDLE, DOWNLOADING, TRIAL, CONFIRMED, REVERTED, REFUSED, RECOVERY)

# What `firmware-reason` may say.
NONE = "none"  # also of `firmware-target`
BAD_OFFER = "bad-offer"
BAD_MANIFEST = "bad-manifest"
BAD_SIGNATURE = "bad-signature"
WRONG_BOARD = "wrong-board"
DOWNGRADE = "downgrade"
RUNTIME_TOO_OLD = "runtime-too-old"
WRONG_MPY = "wrong-mpy"  # compiled for another version of bytecode, or another processor
CHECKSUM = "checksum"
NO_SPACE = "no-space"
FLASH = "flash"  # writing failed otherwise
GONE = "gone"  # the gateway has the image no more
STOPPED = "stopped"  # the offer was taken back
WATCHDOG = "watchdog"  # the trial hung
EXCEPTION = "exception"  # the trial raised
SELF_TEST = "self-test"  # the trial found something not working
NOT_CONFIRMED = "not-confirmed"  # the trial was cut off, or never reached the gateway
CRASHED = "crashed"  # recovery: the active firmware failed too often
NO_IMAGE = "no-image"  # recovery: no slot holds a whole, signed image
REASONS = (
    NONE, BAD_OFFER, BAD_MANIFEST, BAD_SIGNATURE, WRONG_BOARD, DOWNGRADE, RUNTIME_TOO_OLD, WRONG_MPY, CHECKSUM, NO_SPACE,
    FLASH, GONE, STOPPED, WATCHDOG, EXCEPTION, SELF_TEST, NOT_CONFIRMED, CRASHED, NO_IMAGE,
)  # fmt: skip

# Files of a slot, and of a bundle, that are not the image's own.
MANIFEST = "manifest.json"
SIGNATURE = "signature.hex"
OFFER = "offer.json"
_RESERVED = (MANIFEST, SIGNATURE, OFFER)

# Processors as mpy-cross names them, by their number in .mpy files (MicroPython, py/persistentcode.h).
ARCHITECTURES = (
    "", "x86", "x64", "armv6", "armv6m", "armv7m", "armv7em", "armv7emsp", "armv7emdp", "xtensa", "xtensawin",
    "rv32imc", "rv64imc",
)  # fmt: skip

_HEAD = 12  # of a chunk: the first 8 bytes of the id, 4 of the offset


class OtaError(ValueError):
    """A message or manifest is not what it should be; the text says where. `reason` is one of `REASONS`."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Offer:
    """An image that the gateway offers. `signature` is r and s, 32 bytes each; a higher `retry` has a failed one tried again."""

    def __init__(self, id: str, size: int, signature: bytes, version: str, counter: int, retry: int = 0) -> None:
        self.id = id
        self.size = size
        self.signature = signature
        self.version = version
        self.counter = counter
        self.retry = retry


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


def offer(offered: Offer) -> str:
    """An `ota/offer` payload."""
    content: "dict[str, object]" = {
        "id": offered.id,
        "size": offered.size,
        "signature": hexlify(offered.signature).decode(),
        "version": offered.version,
        "counter": offered.counter,
    }
    if offered.retry:
        content["retry"] = offered.retry
    return json.dumps(content)


def no_offer() -> str:
    """The `ota/offer` payload that takes an offer back."""
    return "{}"


def parse_offer(payload: bytes) -> "Offer | None":
    """What is offered, None when nothing is. OtaError when it is no offer."""
    content = _object(payload, MAX_OFFER, BAD_OFFER)
    if not content:
        return None
    signature = _hex(content, "signature", 128, BAD_OFFER)
    return Offer(
        _hex(content, "id", 64, BAD_OFFER),
        _number(content, "size", 1, MAX_MANIFEST, BAD_OFFER),
        unhexlify(signature),
        _text(content, "version", BAD_OFFER),
        _number(content, "counter", 0, MAX_COUNTER, BAD_OFFER),
        _number(content, "retry", 0, MAX_COUNTER, BAD_OFFER) if "retry" in content else 0,
    )


def get(id: str, offset: int, length: int) -> str:
    """An `ota/get` payload: asks for a piece of an image's stream."""
    return json.dumps({"id": id, "offset": offset, "length": length})


def parse_get(payload: bytes) -> "tuple[str, int, int]":
    """Id, offset and length that a board asks for. OtaError when it is no request, or asks for more than `MAX_CHUNK`."""
    content = _object(payload, MAX_OFFER, BAD_OFFER)
    return (
        _hex(content, "id", 64, BAD_OFFER),
        _number(content, "offset", 0, MAX_IMAGE + MAX_MANIFEST, BAD_OFFER),
        _number(content, "length", 1, MAX_CHUNK, BAD_OFFER),
    )


def chunk(id: str, offset: int, data: bytes) -> bytes:
    """An `ota/chunk` payload; without data it says that there is no such stream, or nothing at this offset."""
    return unhexlify(id[:16]) + offset.to_bytes(4, "big") + data


def parse_chunk(payload: bytes) -> "tuple[str, int, bytes]":
    """`short(id)`, offset and data of a chunk. OtaError when it is shorter than its head or longer than `MAX_CHUNK` allows."""
    if not _HEAD <= len(payload) <= _HEAD + MAX_CHUNK:
        raise OtaError(BAD_OFFER, "a chunk has {} to {} bytes, not {}".format(_HEAD, _HEAD + MAX_CHUNK, len(payload)))
    return hexlify(payload[:8]).decode(), int.from_bytes(payload[8:_HEAD], "big"), payload[_HEAD:]


def short(id: str) -> str:
    """How chunks and twins name an image: the first 16 hex digits of its id."""
    return id[:16]


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
    content = _object(payload, MAX_MANIFEST, BAD_MANIFEST)
    if content.get("format") != FORMAT:
        raise OtaError(BAD_MANIFEST, "format {} is not {}".format(content.get("format"), FORMAT))
    files = content.get("files")
    if not isinstance(files, list) or not 0 < len(files) <= MAX_FILES:
        raise OtaError(BAD_MANIFEST, "files: not a list of 1 to {}".format(MAX_FILES))
    manifest = Manifest(
        _text(content, "board", BAD_MANIFEST),
        _number(content, "counter", 0, MAX_COUNTER, BAD_MANIFEST),
        [_file(entry) for entry in files],
        _text(content, "mpy", BAD_MANIFEST, may_be_empty=True),
        _text(content, "arch", BAD_MANIFEST, may_be_empty=True),
        _text(content, "runtime", BAD_MANIFEST),
        _text(content, "version", BAD_MANIFEST),
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
    if path in _RESERVED:
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
        _number(fields, "bytes", 0, MAX_IMAGE, BAD_MANIFEST),
        _hex(fields, "sha256", 64, BAD_MANIFEST),
    )


def _object(payload: bytes, limit: int, reason: str) -> "dict[str, object]":
    if len(payload) > limit:
        raise OtaError(reason, "{} bytes are more than {}".format(len(payload), limit))
    try:
        content = json.loads(payload)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise OtaError(reason, "not a JSON object")
    return content


def _text(content: "dict[str, object]", name: str, reason: str, may_be_empty: bool = False) -> str:
    value = content.get(name)
    if not isinstance(value, str) or len(value) > MAX_TEXT or not (value or may_be_empty):
        raise OtaError(reason, "{}: not a text of up to {} characters".format(name, MAX_TEXT))
    for character in value:
        if not "!" <= character <= "~" or character in '"\\':
            raise OtaError(reason, "{}: a character other than visible ASCII, or a quote".format(name))
    return value


def _number(content: "dict[str, object]", name: str, least: int, most: int, reason: str) -> int:
    value = content.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise OtaError(reason, "{}: not a whole number from {} to {}".format(name, least, most))
    return value


def _hex(content: "dict[str, object]", name: str, digits: int, reason: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or len(value) != digits:
        raise OtaError(reason, "{}: not {} hex digits".format(name, digits))
    for character in value:
        if character not in "0123456789abcdef":
            raise OtaError(reason, "{}: {!r} is no small hex digit".format(name, character))
    return value
