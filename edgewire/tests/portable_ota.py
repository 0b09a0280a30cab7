"""What `edgewire.ota` promises, in plain asserts: runs on CPython and on MicroPython."""

import json

from edgewire import ota

ID = "0123456789abcdef" * 4
DIGEST = "ab" * 32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def refused(reason: str, call: "Callable[..., object]", *arguments: object) -> str:
    """The text of the OtaError that the call must raise, for this reason."""
    try:
        call(*arguments)
    except ota.OtaError as error:
        if error.reason == reason:
            return str(error)
        raise
    raise AssertionError(arguments)


def manifest(
    files: "list[tuple[str, int, str]] | None" = None, counter: int = 7, mpy: str = "", arch: str = ""
) -> ota.Manifest:
    return ota.Manifest(
        "unix", counter, files or [("main.py", 10, DIGEST), ("lib/x.py", 0, DIGEST)], mpy, arch, "1.24.0", "1.4.0"
    )


def changed(**fields: object) -> bytes:
    """A manifest with these fields instead of its own."""
    content = json.loads(ota.encode_manifest(manifest()))
    content.update(fields)
    return json.dumps(content).encode()


def test_an_offer_comes_back_as_it_was_made() -> None:
    for retry in (0, 2):
        got = ota.parse_offer(ota.offer(ota.Offer(ID, 400, bytes(range(64)), "1.4.0", 7, retry)).encode())
        assert got is not None
        assert (got.id, got.size, got.signature) == (ID, 400, bytes(range(64)))
        assert (got.version, got.counter, got.retry) == ("1.4.0", 7, retry)


def test_an_empty_offer_is_none() -> None:
    assert ota.parse_offer(ota.no_offer().encode()) is None


def test_a_wrong_offer_is_refused_and_the_field_named() -> None:
    good = json.loads(ota.offer(ota.Offer(ID, 400, bytes(64), "1.4.0", 7)))
    for name, value in (
        ("id", ID[:-1]),
        ("id", ID[:-1] + "G"),
        ("id", ID.upper()),
        ("id", None),
        ("size", 0),
        ("size", ota.MAX_MANIFEST + 1),
        ("size", True),
        ("size", "400"),
        ("signature", "00" * 63),
        ("version", ""),
        ("version", "1 4"),
        ("version", "x" * 33),
        ("counter", -1),
        ("counter", 1 << 31),
        ("retry", -1),
    ):
        wrong = dict(good)
        wrong[name] = value
        assert name in refused(ota.BAD_OFFER, ota.parse_offer, json.dumps(wrong).encode())
    for payload in (b"", b"[]", b"null", b"{", b"\xff", b"[" * 1000, b" " * (ota.MAX_OFFER + 1)):
        refused(ota.BAD_OFFER, ota.parse_offer, payload)


def test_a_request_comes_back_as_it_was_made() -> None:
    assert ota.parse_get(ota.get(ID, 4096, 512).encode()) == (ID, 4096, 512)
    for wrong in (ota.get(ID, -1, 512), ota.get(ID, 0, 0), ota.get(ID, 0, ota.MAX_CHUNK + 1), ota.get("", 0, 1), "{}"):
        refused(ota.BAD_OFFER, ota.parse_get, wrong.encode())


def test_a_chunk_comes_back_as_it_was_made() -> None:
    payload = ota.chunk(ID, 70000, b"data")
    assert payload == b"\x01\x23\x45\x67\x89\xab\xcd\xef\x00\x01\x11\x70data"
    assert ota.parse_chunk(payload) == (ota.short(ID), 70000, b"data")
    assert ota.parse_chunk(ota.chunk(ID, 0, b"")) == (ota.short(ID), 0, b"")
    refused(ota.BAD_OFFER, ota.parse_chunk, payload[:11])
    refused(ota.BAD_OFFER, ota.parse_chunk, ota.chunk(ID, 0, bytes(ota.MAX_CHUNK + 1)))


def test_a_manifest_is_compact_and_sorted_and_comes_back() -> None:
    encoded = ota.encode_manifest(manifest())
    assert encoded.startswith(b'{"arch":"","board":"unix","counter":7,"files":[["main.py",10,"abab')
    assert encoded.endswith(b'"]],"format":1,"mpy":"","runtime":"1.24.0","version":"1.4.0"}')
    assert b" " not in encoded
    got = ota.parse_manifest(encoded)
    assert got.files == [("main.py", 10, DIGEST), ("lib/x.py", 0, DIGEST)]
    assert (got.board, got.counter, got.version, got.size()) == ("unix", 7, "1.4.0", 10)


def test_a_path_out_of_the_slot_is_refused() -> None:
    for path in (
        "/main.py", "../main.py", "a/../../b", "a//b", "./a", "a/", "", "a\\b", "a\x00b", "é", "a b", "~/x", "C:x",
        ".hidden", "x" * 97, "manifest.json", "signature.hex", "offer.json",
    ):  # fmt: skip
        refused(ota.BAD_MANIFEST, ota.parse_manifest, changed(files=[[path, 1, DIGEST]]))


def test_a_path_that_is_there_twice_is_refused() -> None:
    for first, second in (("a.py", "a.py"), ("a.py", "A.py"), ("a", "a/b"), ("a/b/c", "a/b"), ("A", "a/b")):
        refused(ota.BAD_MANIFEST, ota.parse_manifest, changed(files=[[first, 1, DIGEST], [second, 1, DIGEST]]))
    ota.parse_manifest(changed(files=[["a.py", 1, DIGEST], ["a/b.py", 1, DIGEST]]))


def test_a_wrong_manifest_is_refused_and_the_field_named() -> None:
    too_many = [[f"f{n}", 1, DIGEST] for n in range(ota.MAX_FILES + 1)]
    for name, value in (
        ("format", 2),
        ("format", None),
        ("files", []),
        ("files", {}),
        ("files", [["x", 1, DIGEST], ["y", -1, DIGEST]]),
        ("files", [["x", 1]]),
        ("files", [["x", ota.MAX_IMAGE, DIGEST], ["y", 1, DIGEST]]),
        ("board", ""),
        ("counter", "7"),
        ("mpy", "6.x"),
        ("arch", "z80"),
        ("runtime", "latest"),
        ("version", 'a"b'),
    ):
        text = refused(ota.BAD_MANIFEST, ota.parse_manifest, changed(**{name: value}))
        assert name in text or "bytes" in text, text
    refused(ota.BAD_MANIFEST, ota.parse_manifest, changed(files=too_many))
    refused(ota.BAD_MANIFEST, ota.parse_manifest, b"[1]")


def test_an_image_fits_its_board_or_says_why_not() -> None:
    plain = manifest()
    assert plain.misfit("unix", "1.24.0", "6.3", "x64", 7) == ota.NONE
    assert plain.misfit("unix", "1.25", "5.0", "", 0) == ota.NONE
    assert plain.misfit("pico", "1.24.0", "6.3", "x64", 7) == ota.WRONG_BOARD
    assert plain.misfit("unix", "1.23.9", "6.3", "x64", 7) == ota.RUNTIME_TOO_OLD
    assert plain.misfit("unix", "1.24", "6.3", "x64", 8) == ota.DOWNGRADE
    compiled = manifest(mpy="6.3")
    assert compiled.misfit("unix", "1.24.0", "6.2", "x64", 7) == ota.NONE  # bytecode of one major version
    assert compiled.misfit("unix", "1.24.0", "5.3", "x64", 7) == ota.WRONG_MPY
    native = manifest(mpy="6.3", arch="armv6m")
    assert native.misfit("unix", "1.24.0", "6.3", "armv6m", 7) == ota.NONE
    assert native.misfit("unix", "1.24.0", "6.2", "armv6m", 7) == ota.WRONG_MPY
    assert native.misfit("unix", "1.24.0", "6.3", "x64", 7) == ota.WRONG_MPY


def test_the_stream_is_the_manifest_and_then_the_files() -> None:
    assert ota.parts(300, manifest()) == [(ota.MANIFEST, 0, 300), ("main.py", 300, 10), ("lib/x.py", 310, 0)]


def test_versions_compare_as_numbers() -> None:
    assert ota.numbers("1.24.0") == ota.numbers("1.24") < ota.numbers("1.24.1") < ota.numbers("1.100")
