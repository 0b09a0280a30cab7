"""Framing: any chunking gives the same frames, garbage gives none, and what is encoded is decoded."""

from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mappers.serial_framing import FRAMERS, Framing, make_framer

ALL = [
    Framing(kind="lines"),
    Framing(kind="lines", checksum="nmea"),
    Framing(kind="jsonLines", checksum="crc32", checksum_form="hex"),
    Framing(kind="delimiter", start=b"\x02", end=b"\x03"),
    Framing(kind="delimiter", end=b"\r\x04", checksum="xor", checksum_form="hex"),
    Framing(kind="delimiter", start=b"<<", end=b">>", checksum="sum8", checksum_form="hex", checksum_covers="frame"),
    Framing(kind="length"),
    Framing(kind="length", length_bytes=1, checksum="crc8", checksum_at="start"),
    Framing(kind="length", length_bytes=4, length_order="little", length_counts="frame", checksum="crc32"),
    Framing(
        kind="length", start=b"\xaa\x55", length_counts="payload", checksum="crc16-modbus", checksum_covers="frame"
    ),
    Framing(kind="slip", checksum="crc16-xmodem"),
    Framing(kind="cobs", checksum="crc16-ccitt-false"),
    Framing(kind="cobs"),
    Framing(kind="idle", idle_ms=20, checksum="crc16-modbus"),
]
SEALED = [framing for framing in ALL if framing.checksum]
# Without a start, garbage reads as a length; behind it a checksum of 8 bits is right by chance once in 256 times.
FOUND_AGAIN = [framing for framing in SEALED if framing.kind != "length" or framing.length_bytes > 1]
framings = st.sampled_from(ALL)
TOKENS = [b"\0", b"\r\n", b"\n", b"\x02", b"\x03", b"\x04", b"<<", b">>", b"\xc0", b"\xdb", b"\xaa\x55", b"*", b"$GP"]
streams = st.lists(st.one_of(st.binary(max_size=12), st.sampled_from(TOKENS)), max_size=30).map(b"".join)
payload = st.one_of(st.binary(min_size=1, max_size=300), st.text("abc,*$ 1.", min_size=1).map(str.encode))


def encoded(framing: Framing, payload: bytes) -> bytes:
    """The frame, if there is one for this payload."""
    if framing.kind in ("lines", "jsonLines"):
        assume(payload.rstrip(b"\r\n") == payload)
    try:
        return make_framer(framing).encode(payload)
    except ValueError:
        assume(False)
        raise


def decoded(framing: Framing, *chunks: bytes) -> list[bytes]:
    """The frames of a stream that comes in these pieces and then ends."""
    framer = make_framer(framing)
    found = [frame for chunk in chunks for frame in framer.feed(chunk)]
    return found + framer.idle()


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    """The stream in pieces."""
    ends = sorted(place % (len(stream) + 1) for place in at)
    return [stream[one:other] for one, other in zip([0, *ends], [*ends, len(stream)], strict=True)]


@given(framings, streams, st.lists(st.integers(0, 400), max_size=12))
def test_the_pieces_a_stream_comes_in_do_not_matter(framing: Framing, stream: bytes, at: list[int]) -> None:
    assert decoded(framing, *cut(stream, at)) == decoded(framing, stream)
    assert decoded(framing, *(stream[n : n + 1] for n in range(len(stream)))) == decoded(framing, stream)


@given(framings, streams)
def test_a_short_limit_keeps_the_pieces_from_mattering_too(framing: Framing, stream: bytes) -> None:
    tight = _with(framing, max_frame=7)
    assert decoded(tight, *(stream[n : n + 1] for n in range(len(stream)))) == decoded(tight, stream)
    assert all(len(frame) <= 7 for frame in decoded(tight, stream))


@given(framings, st.lists(payload, max_size=5))
def test_what_is_encoded_is_decoded(framing: Framing, sent: list[bytes]) -> None:
    frames = [encoded(framing, payload) for payload in sent]
    framer = make_framer(framing)
    found = []
    for frame in frames:
        found += framer.feed(frame)
        if framing.kind == "idle":
            found += framer.idle()
    assert found == sent
    assert framer.refused == 0


@given(st.sampled_from(FOUND_AGAIN), streams, st.binary(min_size=1, max_size=40), streams)
def test_a_good_frame_is_found_after_garbage(framing: Framing, before: bytes, payload: bytes, after: bytes) -> None:
    frame = encoded(framing, payload)
    if framing.kind in ("lines", "jsonLines"):
        before += b"\r\n"
    if framing.kind == "cobs" or (framing.kind == "delimiter" and not framing.start):
        before += framing.end or b"\0"  # the end of whatever that was
    if framing.kind == "delimiter" and framing.end:
        assume((before + frame).find(framing.end, len(before)) == (before + frame).rfind(framing.end))
    if framing.kind == "idle":
        framer = make_framer(framing)
        framer.feed(before)
        framer.idle()
        assert framer.feed(frame) + framer.idle() == [payload]
        return
    assert payload in decoded(framing, before, frame, after)


@given(st.sampled_from(SEALED), streams)
def test_no_frame_passes_that_its_checksum_does_not_bear_out(framing: Framing, stream: bytes) -> None:
    for frame in decoded(framing, stream):
        assert _plain(framing, make_framer(framing).encode(frame)) in _plain(framing, stream)


@given(st.sampled_from(SEALED), st.binary(min_size=1, max_size=20), st.integers(0, 10_000))
def test_a_frame_with_one_bit_flipped_is_refused(framing: Framing, payload: bytes, place: int) -> None:
    frame = encoded(framing, payload)
    bit = place % (8 * len(frame))
    broken = (int.from_bytes(frame) ^ 1 << bit).to_bytes(len(frame))
    found = decoded(framing, broken)
    assert found == [] or _plain(framing, broken) == _plain(framing, frame) or found == [payload]


@pytest.mark.parametrize("framing", ALL, ids=lambda framing: f"{framing.kind} {framing.checksum}")
def test_a_flood_of_garbage_keeps_memory_bounded(framing: Framing) -> None:
    framer = make_framer(_with(framing, max_frame=256))
    for byte in (b"\x01", b"\x31", b"\xaa", b"\x00"):
        for _ in range(50):
            framer.feed(byte * 1000)
            assert len(framer._buffer) <= 2 * 256 + 64  # type: ignore[attr-defined]


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n", b"\n\r"])
def test_lines_end_as_they_like(end: bytes) -> None:
    assert decoded(Framing(), b"one" + end + b"two" + end + end + b"thr") == [b"one", b"two"]


@pytest.mark.parametrize(
    ("framing", "payload", "frame"),
    [
        (Framing(), b"P", b"P\r\n"),
        (Framing(), b"P\r", b"P\r"),
        (Framing(end=b""), b"P", b"P"),
        (Framing(checksum="nmea"), b"$PMTK220,100\r\n", b"$PMTK220,100*2F\r\n"),
        (Framing(kind="delimiter", start=b"\x02", end=b"\x03"), b"W", b"\x02W\x03"),
        (Framing(kind="length", length_bytes=1), b"abc", b"\x03abc"),
        (Framing(kind="length", length_order="little"), b"abc", b"\x03\x00abc"),
        (Framing(kind="length", length_counts="frame"), b"abc", b"\x00\x05abc"),
        (Framing(kind="length", start=b"\x7e", length_bytes=1, checksum="sum8"), b"\x01\x02", b"\x7e\x03\x01\x02\x03"),
        (Framing(kind="length", length_bytes=1, length_counts="payload", checksum="sum8"), b"\x01", b"\x01\x01\x01"),
        (Framing(kind="slip"), b"\xc0\xdb\x01", b"\xc0\xdb\xdc\xdb\xdd\x01\xc0"),
        (Framing(kind="cobs"), b"\x11\x22\x00\x33", b"\x03\x11\x22\x02\x33\x00"),
    ],
)
def test_frames_look_as_the_manuals_say(framing: Framing, payload: bytes, frame: bytes) -> None:
    assert make_framer(framing).encode(payload) == frame


def test_a_length_that_nothing_follows_is_given_up_after_a_silence() -> None:
    framer = make_framer(Framing(kind="length", idle_ms=100))
    assert framer.gap_s == 0.1
    assert framer.feed(b"\x00\x40half") == []
    framer.idle()
    assert framer.feed(b"\x00\x02ok") == [b"ok"]
    assert framer.refused == 1


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"kind": "line"}, "`framing` 'line' is not known: did you mean lines?"),
        ({"checksum": "crc16"}, "`checksum` 'crc16' is not known"),
        ({"kind": "length", "length_bytes": 3}, "`lengthBytes` 3 is not known: one of 1, 2, 4"),
        ({"kind": "delimiter"}, "`frameEnd` is missing"),
        ({"kind": "delimiter", "start": b"\r\n", "end": b"\n"}, "`frameEnd` stands in `frameStart`"),
        ({"kind": "idle"}, "`idleMs` is missing"),
        ({"max_frame": 0}, "`maxFrame` must lie between 1 and 65536"),
        ({"idle_ms": -1}, "`idleMs` must lie between 0 and 60000"),
    ],
)
def test_a_framing_that_cannot_be_is_refused_by_its_key(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("`", ".").split(":")[0]) as caught:
        Framing(**keys)
    assert words in str(caught.value)


def test_every_framing_is_tested_here() -> None:
    assert {framing.kind for framing in ALL} == set(FRAMERS)


def _with(framing: Framing, **changes: Any) -> Framing:
    return msgspec.structs.replace(framing, **changes)


def _plain(framing: Framing, stream: bytes) -> bytes:
    """A stream in which two ways of writing the same look the same."""
    if framing.kind in ("lines", "jsonLines"):
        stream = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    elif framing.kind == "slip":
        stream = stream.strip(b"\xc0")
    return stream.upper() if framing.checksum_form == "hex" or framing.checksum == "nmea" else stream
