"""Frames of all three kinds against pymodbus's, and against noise, pieces, echoes and answers that are not the one asked for."""

import itertools
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerAscii, FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU

from mappers import modbus_pdu as pdu
from mappers.modbus_frames import AsciiFrames, Framing, Garbled, RtuFrames, TcpFrames, crc16, lrc

ONE = pdu.read(3, 0, 1)
SEVEN = bytes.fromhex("03020007")
SERIAL = [RtuFrames, AsciiFrames]
ALL = [TcpFrames, *SERIAL]

requests = st.one_of(
    st.builds(pdu.read, st.integers(1, 4), st.integers(0, 65535), st.integers(1, 125)),
    st.builds(pdu.write_register, st.integers(0, 65535), st.binary(min_size=2, max_size=2)),
    st.builds(pdu.write_coil, st.integers(0, 65535), st.booleans()),
    st.builds(pdu.mask_write, st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 65535)),
    st.builds(pdu.write_registers, st.integers(0, 65535), st.binary(min_size=2, max_size=40).map(lambda b: b + b)),
)


def right_answer(request: pdu.Request) -> bytes:
    return request.head + random.Random(1).randbytes(request.length - len(request.head))


def on_wire(framing: Framing, unit: int, answer: bytes, transaction: int = 1) -> bytes:
    """An answer's frame, made by another hand than the code under test."""
    if isinstance(framing, TcpFrames):
        return FramerSocket(DecodePDU(False)).encode(answer, unit, transaction)
    framer = FramerRTU if isinstance(framing, RtuFrames) else FramerAscii
    return bytes(framer(DecodePDU(False)).encode(answer, unit, 0))


@pytest.mark.parametrize("kind", ALL)
@given(unit=st.integers(0, 247), request_=requests)
def test_frames_are_those_of_another_implementation(kind: type[Framing], unit: int, request_: pdu.Request) -> None:
    framing = kind()
    assert framing.begin(unit, request_) == on_wire(framing, unit, request_.pdu)
    answer = right_answer(request_)
    frame = on_wire(framing, unit, answer)
    assert len(frame) == framing.answer_length(request_)
    assert framing.feed(frame) == answer


@pytest.mark.parametrize("kind", ALL)
@given(request_=requests, cuts=st.lists(st.integers(0, 300), max_size=6))
def test_an_answer_in_pieces_is_put_together(kind: type[Framing], request_: pdu.Request, cuts: list[int]) -> None:
    framing = kind()
    framing.begin(9, request_)
    frame, found = on_wire(framing, 9, right_answer(request_)), []
    ends = [0, *sorted(min(cut, len(frame)) for cut in cuts), len(frame)]
    for start, end in itertools.pairwise(ends):
        if frame[start:end]:
            found.append(framing.feed(frame[start:end]))
    assert found[-1] == right_answer(request_)
    assert set(found[:-1]) <= {None}


@pytest.mark.parametrize("kind", SERIAL)
@given(noise=st.binary(max_size=60), more=st.binary(max_size=5))
def test_noise_before_and_after_an_answer_loses_nothing(kind: type[Framing], noise: bytes, more: bytes) -> None:
    framing = kind()
    framing.begin(9, ONE)
    frame = on_wire(framing, 9, SEVEN)
    found = framing.feed(noise)
    assert found is None or len(found) in (2, 2 + found[1])  # 1 in 65536 of the noise that looks like an answer
    if found is None:
        assert framing.feed(frame + more) == SEVEN


@pytest.mark.parametrize("kind", SERIAL)
def test_the_echo_of_a_read_and_answers_of_others_are_noise(kind: type[Framing]) -> None:
    framing = kind()
    echo = framing.begin(9, ONE)
    assert framing.feed(echo) is None
    assert framing.feed(on_wire(framing, 8, SEVEN)) is None
    assert framing.feed(on_wire(framing, 9, bytes.fromhex("0402beef"))) is None
    assert framing.feed(on_wire(framing, 9, SEVEN)) == SEVEN


@pytest.mark.parametrize("kind", SERIAL)
def test_a_short_answer_is_given_as_it_is_and_not_waited_for(kind: type[Framing]) -> None:
    framing = kind()
    framing.begin(9, pdu.read(3, 0, 4))
    assert framing.feed(on_wire(framing, 9, SEVEN)) == SEVEN


@pytest.mark.parametrize("kind", ALL)
def test_an_exception_is_an_answer(kind: type[Framing]) -> None:
    framing = kind()
    framing.begin(9, ONE)
    assert framing.feed(on_wire(framing, 9, b"\x83\2")) == b"\x83\2"


@pytest.mark.parametrize("kind", SERIAL)
def test_a_flipped_bit_anywhere_is_no_answer(kind: type[Framing]) -> None:
    frame = on_wire(kind(), 9, SEVEN)
    for place in range(8 * len(frame)):
        framing = kind()
        framing.begin(9, ONE)
        broken = bytearray(frame)
        broken[place // 8] ^= 1 << place % 8
        found = framing.feed(bytes(broken))
        # Hexadecimal digits of the other case are the same digits.
        assert found is None or (kind is AsciiFrames and broken.lower() == frame.lower() and found == SEVEN)


def test_a_late_answer_over_tcp_is_dropped_and_the_next_is_found() -> None:
    framing = TcpFrames()
    framing.begin(9, ONE)
    framing.begin(9, ONE)
    late, right = (on_wire(framing, 9, bytes((3, 2, 0, n)), n) for n in (1, 2))
    assert framing.feed(late + right[:4]) is None
    assert framing.feed(right[4:]) == bytes((3, 2, 0, 2))


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not a Modbus TCP header"),
        (b"\0\1\0\0\0\0\1\3\2\0\7", "not a Modbus TCP header"),
        (b"\0\1\0\0\0\5\2\3\2\0\7", "unit 2 instead of 1"),
        (b"\0\1\0\0\0\5\1\3\2\0\7" * 2, "more than one answer"),
    ],
)
def test_what_is_not_modbus_tcp_says_why(frame: bytes, words: str) -> None:
    framing = TcpFrames()
    framing.begin(1, ONE)
    with pytest.raises(Garbled, match=words):
        framing.feed(frame)


def test_transactions_go_round() -> None:
    framing = TcpFrames()
    numbers = {struct.unpack_from(">H", framing.begin(1, ONE))[0] for _ in range(65536)}
    assert numbers == set(range(1, 65536))


@pytest.mark.parametrize("kind", SERIAL)
def test_the_beginning_of_an_answer_is_told_from_noise(kind: type[Framing]) -> None:
    framing = kind()
    framing.begin(9, ONE)
    framing.feed(b"\xff\xfe")
    assert not framing.begun()
    framing.feed(on_wire(framing, 9, SEVEN)[:6])
    assert framing.begun()


@pytest.mark.parametrize("kind", ALL)
@given(pieces=st.lists(st.binary(max_size=40), max_size=12), request_=requests, unit=st.integers(1, 5))
def test_garbage_never_becomes_an_answer_that_is_not_there(
    kind: type[Framing], pieces: list[bytes], request_: pdu.Request, unit: int
) -> None:
    framing = kind()
    framing.begin(unit, request_)
    seen = b""
    for piece in pieces:
        seen += piece
        try:
            found = framing.feed(piece)
        except Garbled:
            return
        if found is not None:
            frame = on_wire(framing, unit, found)
            assert frame.lower() in seen.lower()
            return


def test_checksums_are_those_of_the_specification() -> None:
    assert crc16(bytes.fromhex("0207")) == bytes.fromhex("4112")  # Modbus over Serial Line V1.02, section 6.2.2
    assert lrc(bytes.fromhex("f7031389000a")) == b"\x60"
