"""A board's serial link over lines that lose, flip, insert and reorder: nothing twice, nothing torn, everything in the end."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewire import cobs as cobs_module
from edgewire.board_end import BoardEnd
from edgewire.board_frames import DELTA, HELLO, LOST, OTA_CHUNK, REPORT, STATE
from edgewire.board_link import Link
from edgewire.cobs import cobs, uncobs
from edgewire.gateway_end import GatewayEnd
from edgewire.tests.golden import SAMPLES
from edgewire.tests.serial_wire import Line

STEADY = settings(max_examples=300, deadline=None, derandomize=True)
"""The same examples in each run: one corrupted frame in 65,536 passes any CRC-16, and a search would find it some day."""

MESSAGES = st.lists(st.binary(max_size=90), max_size=6)
FAULTS = st.lists(
    st.tuples(st.sampled_from(["lost", "flipped", "inserted", "swapped", "gone"]), st.integers(0, 1 << 30)), max_size=25
)


def spoiled(faults: list[tuple[str, int]]) -> Callable[[bytes], bytes]:
    """A line that does these to what passes, one to each piece, and is clean afterwards."""
    left = list(faults)

    def spoil(data: bytes) -> bytes:
        if not left or not data:
            return data
        what, where = left.pop(0)
        at = where % len(data)
        if what == "lost":
            return data[:at] + data[at + 1 + where % 3 :]
        if what == "flipped":
            return data[:at] + bytes([data[at] ^ 1 << where % 8]) + data[at + 1 :]
        if what == "inserted":
            return data[:at] + bytes([where >> 8 & 0xFF]) * (1 + where % 4) + data[at:]
        if what == "swapped":
            half = at // 2
            return data[:half] + data[at:] + data[half:at]
        return b""

    return spoil


def run(line: Line, up: list[bytes], down: list[bytes]) -> None:
    """Send what there is from both ends, and wait until it has arrived."""
    waiting: list[tuple[Any, int, list[bytes]]] = [
        (line.board, REPORT, list(up)),
        (line.gateway, DELTA, list(down)),
    ]
    for _ in range(1500):
        for end, kind, messages in waiting:
            if messages and end.connected and end.idle:
                end.send(kind, messages.pop(0), line.now)
        if not line.carry():
            if not any(messages for *_, messages in waiting) and line.board.idle and line.gateway.idle:
                return
            line.wait(50)
    raise AssertionError("it does not come to an end")


@STEADY
@given(up=MESSAGES, down=MESSAGES, faults=FAULTS, room=st.integers(1, 60))
def test_within_a_session_everything_arrives_once_in_order_and_whole(
    up: list[bytes], down: list[bytes], faults: list[tuple[str, int]], room: int
) -> None:
    board = BoardEnd("default/b1", 7, room=room, timeout_ms=600_000, keepalive_s=250)
    line = Line(board, GatewayEnd(99, timeout_ms=600_000))
    line.connect()
    line.spoil = spoiled(faults)
    run(line, up, down)
    assert line.at_gateway == [(REPORT, message) for message in up]
    assert line.at_board == [(DELTA, message) for message in down]
    assert LOST not in line.names("board")
    assert line.names("gateway").count(HELLO) == 1


@STEADY
@given(up=MESSAGES, down=MESSAGES, faults=FAULTS, resets=st.lists(st.integers(0, 30), min_size=1, max_size=4))
def test_a_board_that_is_reset_at_any_time_is_heard_again_and_nothing_comes_twice(
    up: list[bytes], down: list[bytes], faults: list[tuple[str, int]], resets: list[int]
) -> None:
    line = Line()
    line.connect()
    line.spoil = spoiled(faults)
    for number, reset in enumerate(resets):
        messages = [bytes([number, n]) for n in range(8)]
        sent = list(messages)
        before = len(line.at_gateway)
        for _ in range(reset):
            if sent and line.board.connected and line.board.idle:
                line.board.send(REPORT, sent.pop(0), line.now)
            if not line.carry():
                line.wait(50)
        arrived = [content for _, content in line.at_gateway[before:]]
        assert arrived == messages[: len(arrived)]
        line.board = BoardEnd("default/b1", 7)
        line.connect()
    line.spoil = lambda data: data
    line.wait(1000)
    assert line.board.connected
    before_up, before_down = len(line.at_gateway), len(line.at_board)
    line.wait(6000)  # what the gateway had under way for a life before arrives, or has been given up
    run(line, up, down)
    assert [content for _, content in line.at_gateway[before_up:]] == up
    assert [content for _, content in line.at_board[before_down:]][-len(down) :] == down or not down


@STEADY
@given(faults=FAULTS, up=MESSAGES)
def test_a_gateway_that_starts_anew_hears_the_board_again(faults: list[tuple[str, int]], up: list[bytes]) -> None:
    line = Line()
    line.connect()
    line.spoil = spoiled(faults)
    run(line, up, [])
    line.gateway = GatewayEnd(99)
    line.gateway.ask(line.now)
    for _ in range(2000):
        line.wait(50)
        if not line.board.connected and LOST in line.names("board")[-1:]:
            line.connect()
        if line.board.connected and line.gateway.connected:
            break
    before = len(line.at_gateway)
    run(line, [b"now"], [])
    assert line.at_gateway[before:] == [(REPORT, b"now")]


@STEADY
@given(st.binary(max_size=700))
def test_noise_of_any_kind_delivers_nothing_and_breaks_nothing(noise: bytes) -> None:
    line = Line()
    line.connect()
    line.gateway.receive(noise, line.now)
    line.board.receive(noise, line.now)
    run(line, [b"after"], [b"all"])
    assert line.at_gateway == [(REPORT, b"after")]
    assert line.at_board == [(DELTA, b"all")]


@STEADY
@given(st.binary(max_size=1200), st.integers(0, 4))
def test_what_is_stuffed_is_unstuffed_and_has_no_zero(data: bytes, zeros: int) -> None:
    data = data.replace(b"\1", b"\0" * zeros)
    stuffed = cobs(data)
    assert 0 not in stuffed
    assert uncobs(stuffed) == data
    assert len(stuffed) <= len(data) + len(data) // 254 + 1


@given(st.binary(max_size=300))
def test_the_crc_without_a_library_is_the_crc_of_the_library(data: bytes) -> None:
    of_library = cobs_module.crc16(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cobs_module, "crc_hqx", None)
        assert cobs_module.crc16(data) == of_library


def frames(about: str) -> tuple[str, bytes]:
    """Direction and bytes of a golden sample's line."""
    direction, _, digits = about.partition(" ")
    return direction, bytes.fromhex(digits)


SAMPLE = [frames(line) for line in (SAMPLES / "serial-link.txt").read_text().splitlines() if line[0] != "#"]


def test_both_ends_say_what_the_golden_session_says_byte_for_byte() -> None:
    board, gateway = BoardEnd("default/pico", 0x1A2A, room=64, limit=2048), GatewayEnd(0x4D2)
    gateway.epoch_ms = 1_750_000_000_000
    gateway.ask(0)
    board.connect(0)
    messages = {
        ">": [(STATE, b'{"state": "online"}'), (REPORT, b'{"twin": {"led": {"actual": {"value": "OFF"}}}}')],
        "<": [
            (DELTA, b'{"event_id": "7", "timestamp": 1750000000000, "delta": {"led": "ON"}}'),
            (OTA_CHUNK, bytes.fromhex("00112233445566770000040000ff00")),
        ],
    }
    asked = board.output()
    assert asked == SAMPLE[1][1]
    for direction, expected in SAMPLE:
        sender, receiver = (board, gateway) if direction == ">" else (gateway, board)
        assert (sender.output() or _next(sender, messages[direction])) == expected
        receiver.receive(expected, 0)
    assert not messages[">"]
    assert not messages["<"]


def _next(end: Link, messages: list[tuple[int, bytes]]) -> bytes:
    if messages and end.connected and end.idle:
        end.send(*messages.pop(0), 0)
    else:
        end.tick(10_000)  # nothing is left but signs of life
    return end.output()
