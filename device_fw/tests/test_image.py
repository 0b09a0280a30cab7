"""Images and their bundles, and the keys that sign them: nothing comes through that a board would refuse."""

import contextlib
import json
import os
import stat
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from device_fw.boot import p256
from device_fw.tools import firmware, image, signing
from device_fw.tools.errors import FirmwareError
from device_fw.tools.image import Image, ImageError
from edgewire import ota

KEY = signing.new_key()
FILES = {"main.py": b"print('hello')\n", "lib/x.py": b"", "lib/y.py": b"y = 1\n"}


def made(files: dict[str, bytes] | None = None, **changes: object) -> Image:
    wanted: dict[str, object] = {
        "version": "1.4.0",
        "counter": 7,
        "board": "unix",
        "runtime": "1.20.0",
        "mpy": "",
        "arch": "",
        "key": KEY,
        **changes,
    }
    return image.build(files or FILES, **wanted)  # type: ignore[arg-type]


def test_an_image_is_signed_such_that_boards_believe_it() -> None:
    built = made()
    digest = bytes.fromhex(built.id)
    assert p256.verify(KEY.public, digest, built.signature)
    assert not p256.verify(signing.new_key().public, digest, built.signature)
    assert signing.verified(KEY.public, built.manifest, built.signature)
    assert not signing.verified(KEY.public, built.manifest + b" ", built.signature)


def test_the_stream_is_the_manifest_and_the_files_in_its_order() -> None:
    built = made()
    parts = ota.parts(len(built.manifest), built.described)
    assert [path for path, _, _ in parts] == [ota.MANIFEST, "lib/x.py", "lib/y.py", "main.py"]
    for path, offset, size in parts[1:]:
        assert built.stream[offset : offset + size] == FILES[path]
    offered = ota.parse_offer(ota.offer(built.offer(3)).encode())
    assert offered is not None
    assert (offered.id, offered.size, offered.counter, offered.retry) == (built.id, len(built.manifest), 7, 3)


def test_what_boards_would_refuse_is_not_built() -> None:
    for files in ({"../x": b""}, {"/x": b""}, {"manifest.json": b""}, {"a": b"", "a/b": b""}, {}):
        with pytest.raises(ImageError, match="no board would take this image"):
            image.build(files, version="1", counter=1, board="unix", runtime="1.20.0", mpy="", arch="", key=KEY)
    with pytest.raises(ImageError, match="arch"):
        made(arch="z80")
    with pytest.raises(ImageError, match="no board"):
        made({f"f{n}": b"" for n in range(ota.MAX_FILES + 1)})


def test_a_bundle_gives_back_the_image_and_is_the_same_twice(tmp_path: Path) -> None:
    built = made()
    image.save(built, tmp_path / "one.hfw")
    image.save(built, tmp_path / "two.hfw")
    assert (tmp_path / "one.hfw").read_bytes() == (tmp_path / "two.hfw").read_bytes()
    assert image.load(tmp_path / "one.hfw") == Image(built.manifest, built.signature, dict(sorted(FILES.items())))


def test_what_is_no_bundle_is_refused_and_why(tmp_path: Path) -> None:
    path = tmp_path / "x.hfw"
    built = made()

    def bundle(**changes: bytes | None) -> None:
        members = {"manifest.json": built.manifest, "signature.hex": built.signature.hex().encode()}
        members |= {f"files/{name}": content for name, content in FILES.items()}
        for name, content in changes.items():
            members.pop(name, None)
            if content is not None:
                members[name] = content
        with zipfile.ZipFile(path, "w") as file:
            for name, content in members.items():
                file.writestr(name, content)

    with pytest.raises(ImageError, match="No such file"):
        image.load(path)
    path.write_bytes(b"PK no zip")
    with pytest.raises(ImageError, match="no firmware bundle"):
        image.load(path)
    for changes, why in (
        ({"manifest.json": None}, "manifest.json"),
        ({"manifest.json": b"{}"}, "format"),
        ({"manifest.json": b"x" * 9000}, "more than 8192"),
        ({"signature.hex": b"00"}, "64 bytes"),
        ({"signature.hex": b"no hex"}, "no firmware bundle"),
        ({"files/main.py": None}, "main.py"),
        ({"files/main.py": b"x" * len(FILES["main.py"])}, "main.py is not what the manifest says"),
        ({"files/main.py": b"x" * 100}, "more than"),
        ({"files/more.py": b""}, "files/more.py is not in the manifest"),
    ):
        bundle(**changes)
        with pytest.raises(ImageError, match=why):
            image.load(path)
    bundle()
    assert image.load(path).id == built.id


def test_a_bundle_that_lies_about_its_sizes_is_not_unpacked_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.hfw"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("manifest.json", bytes(64 * 1024 * 1024))
    content = path.read_bytes()
    central = content.rindex(b"PK\1\2") + 24  # where the zip's directory has the size
    path.write_bytes(content[:central] + struct.pack("<I", 100) + content[central + 4 :])
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match="no firmware bundle"):
            image.load(path)
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_whatever_is_wrong_with_a_bundle_is_said_in_words(tmp_path: Path) -> None:
    path = tmp_path / "x.hfw"
    for method, name in ((zipfile.ZIP_BZIP2, "method 12"), (zipfile.ZIP_LZMA, "method 14")):
        with zipfile.ZipFile(path, "w", method) as file:
            file.writestr("manifest.json", bytes(1000))
        with pytest.raises(ImageError, match=name):
            image.load(path)
    image.save(made(), path)
    whole = path.read_bytes()
    for at in range(len(whole)):  # a byte anywhere
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        with contextlib.suppress(ImageError):
            image.load(path)
    strange = "\x1b]0;title\x07\x1b[2J"
    image.save(made(), path)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(strange, b"")
    with pytest.raises(ImageError, match="not in the manifest") as raised:
        image.load(path)
    assert "\x1b" not in str(raised.value)
    os.truncate(path, 64 * 1024 * 1024)
    with pytest.raises(ImageError, match="no file of up to"):
        image.load(path)
    with pytest.raises(ImageError, match="no file"):
        image.load(tmp_path)


def test_compiled_files_say_their_bytecode() -> None:
    compiled = firmware.compiled({"main.py": b"x = 1\n", "lib/x.py": b"x = 1\n"})
    assert image.bytecode_of(compiled) == ("6.0", "")
    assert image.bytecode_of({"main.py": b""}) == ("", "")
    native = b"import micropython\n@micropython.native\ndef f(a):\n    return a + 1\n"
    both = firmware.compiled({"lib/x.py": b"x = 1\n", "lib/y.py": native}, "armv6m")
    version, arch = image.bytecode_of(both)
    assert arch == "armv6m"
    assert version.startswith("6.")
    other = firmware.compiled({"lib/z.py": native}, "xtensawin")
    with pytest.raises(ImageError, match="several kinds"):
        image.bytecode_of({**both, **other})


def test_a_fresh_board_has_boot_code_a_slot_recovery_and_its_configuration() -> None:
    built = made()
    recovery = image.recovery_files("mqtt", None)
    files = image.layout(built, image.boot_files(), recovery, KEY.public, {"name": "default/b1", "host": "gateway"})
    assert list(files)[-1] == "main.py"
    assert files["a/main.py"] == FILES["main.py"]
    assert files["a/manifest.json"] == built.manifest
    assert bytes.fromhex(files["a/signature.hex"].decode()) == built.signature
    identity = json.loads(files["hedgerow_boot/identity.json"])
    assert (identity["board"], bytes.fromhex(identity["key"])) == ("unix", KEY.public)
    assert files["config.json"] == files["recovery/config.json"]
    assert "recovery/main.py" in files
    assert not any("boards/" in path and not path.endswith("__init__.py") for path in recovery)
    with pytest.raises(ImageError, match="not signed with the key"):
        image.layout(built, image.boot_files(), recovery, signing.new_key().public, {})


def test_a_counter_follows_from_a_version_of_numbers() -> None:
    assert [image.counter_of(v) for v in ("1", "1.4", "1.4.2", "0.0.1", "12.30.999")] == [
        1_000_000,
        1_004_000,
        1_004_002,
        1,
        12_030_999,
    ]
    for wrong in ("", "1.x", "1.2.3.4", "1.1000", "v1"):
        with pytest.raises(ImageError, match="give a counter"):
            image.counter_of(wrong)


def test_a_key_is_its_owners_alone_and_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = signing.generate(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert signing.load(path).public == key.public == signing.load_public(tmp_path / "key.pub")
    before = path.read_bytes()
    with pytest.raises(FirmwareError, match="there already"):
        signing.generate(path)
    assert path.read_bytes() == before


def test_what_is_no_key_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(FirmwareError, match="cannot read the key"):
        signing.load(path)
    path.write_text("no key")
    with pytest.raises(FirmwareError, match="no private key"):
        signing.load(path)
    with pytest.raises(FirmwareError, match="no public key"):
        signing.load_public(path)
    path.write_text("00" * 64)
    with pytest.raises(FirmwareError, match="a point on P-256"):
        signing.load_public(path)
