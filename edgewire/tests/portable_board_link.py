"""What a board's serial link promises, in plain asserts: runs on CPython and on MicroPython."""

from edgewire import topics
from edgewire.board_end import BoardEnd
from edgewire.board_frames import (
    CODES,
    DELTA,
    HELLO,
    LOST,
    OTA_CHUNK,
    REPORT,
    TEXT,
    TIME,
    WELCOME,
    decode,
    encode,
)
from edgewire.gateway_end import GatewayEnd, is_text
from edgewire.tests.serial_wire import Line

REPORT_TEXT = b'{"twin": {"temperature": {"actual": {"value": "21.5"}}}}'


def connected(**options: int) -> Line:
    line = Line(BoardEnd("default/b1", 7, **options))
    line.connect()
    assert line.board.connected
    assert line.gateway.connected
    return line


def test_a_frame_is_what_the_specification_shows() -> None:
    assert encode(DELTA, 4, 3, b"") == b"\x00\x02\x04\x05\x05\x04\x06\x04\x05\x1c\x44\x00"
    assert encode(REPORT, 0x1234, 5, b"{}") == b"\x00\x09\x02\x12\x34\x05{}\x4c\x07\x00"
    assert decode(b"\x09\x02\x12\x34\x05{}\x4c\x07") == b"\x02\x12\x34\x05{}"


def test_no_frame_holds_a_ctrl_c_that_would_end_a_board_s_program() -> None:
    for content in (bytes(range(256)), b"\3\4\5\6\4\4\3\3", b"\4\6", b"\3" * 300, b"\0\3\0\4"):
        for tag in (0, 3, 4, 0x0303, 0x0405):
            frame = encode(DELTA, tag, 3, content)
            assert b"\3" not in frame
            body = decode(frame[1:-1])
            assert body is not None
            assert body[4:] == content


def test_a_session_begins_with_the_board_s_name_and_the_gateway_s_time() -> None:
    line = Line()
    line.gateway.epoch_ms = 1700000000000
    line.connect()
    assert ("gateway", HELLO, b"default/b1") in line.events
    times = [content for end, kind, content in line.events if end == "board" and kind == TIME]
    assert int.from_bytes(times[0], "big") == 1700000000000 + line.now
    assert line.names("board") == [WELCOME]


def test_messages_arrive_whole_whatever_their_length() -> None:
    line = connected(room=20)
    for length in (0, 1, 19, 20, 21, 40, 254, 3000):
        message = bytes(n * 7 & 0xFF for n in range(length))
        line.gateway.send(OTA_CHUNK, message, line.now)
        line.board.send(REPORT, message, line.now)
        line.settle()
        assert line.at_board.pop() == (OTA_CHUNK, message), length
        assert line.at_gateway.pop() == (REPORT, message), length
        assert line.board.idle
        assert line.gateway.idle


def test_a_frame_is_never_longer_than_the_peer_has_room_for() -> None:
    line = connected(room=48)
    line.gateway.send(DELTA, bytes(500), line.now)
    while not line.gateway.idle:
        out = line.gateway.output()
        assert len(out) <= 48 + 10 + 3, len(out)  # three bytes are escaped
        line.board.receive(out, line.now)
        line.gateway.receive(line.board.output(), line.now)


def test_a_message_longer_than_the_board_takes_is_refused_at_its_sender() -> None:
    line = connected(limit=100)
    try:
        line.gateway.send(DELTA, bytes(101), line.now)
        raise AssertionError("it was taken")
    except ValueError:
        pass
    line.gateway.send(DELTA, bytes(100), line.now)
    line.settle()
    assert line.at_board == [(DELTA, bytes(100))]


def test_a_message_longer_than_one_s_own_limit_is_left_out_and_the_next_one_taken() -> None:
    line = connected(limit=100)
    line.gateway.limit_of_peer = 1000  # it does not keep to what the board said
    line.gateway.send(DELTA, bytes(900), line.now)
    line.settle()
    line.gateway.send(DELTA, b"{}", line.now)
    line.settle()
    assert line.at_board == [(DELTA, b"{}")]
    assert line.board.skipped == 1


def test_a_lost_frame_is_sent_again_and_a_lost_acknowledgement_makes_no_duplicate() -> None:
    line = connected(room=20)
    lost = [True, False, True]

    def spoil(data: bytes) -> bytes:
        lose = lost.pop(0) if lost else False
        lost.append(False) if len(lost) < 40 else None
        return b"" if lose else data

    line.spoil = spoil
    line.board.send(REPORT, REPORT_TEXT, line.now)
    line.settle()
    line.wait(2000)
    assert line.at_gateway == [(REPORT, REPORT_TEXT)]
    assert line.board.resent > 0
    assert line.board.idle


def test_a_board_that_starts_anew_is_not_mistaken_for_the_one_before() -> None:
    line = connected()
    line.board.send(REPORT, REPORT_TEXT, line.now)
    line.settle()
    for number in range(5):
        line.at_gateway.clear()
        line.board = BoardEnd("default/b1", 7)  # a reset; even its random number is the same
        line.connect()
        assert line.names("gateway") == [HELLO, REPORT] * (number + 1) + [HELLO]
        line.board.send(REPORT, REPORT_TEXT, line.now)
        line.settle()
        assert line.at_gateway == [(REPORT, REPORT_TEXT)]


def test_a_gateway_that_starts_anew_makes_the_board_begin_a_session() -> None:
    line = connected()
    line.gateway.send(DELTA, b"{}", line.now)
    line.settle()
    line.gateway = GatewayEnd(99)
    line.gateway.ask(line.now)
    line.settle()
    assert line.names("board") == [WELCOME, DELTA, LOST]
    line.connect()
    line.gateway.send(DELTA, b"{}", line.now)
    line.settle()
    assert line.at_board == [(DELTA, b"{}")] * 2


def test_a_gateway_that_forgot_the_session_says_so_when_the_board_speaks() -> None:
    line = connected()
    line.gateway = GatewayEnd(3)
    line.board.send(REPORT, REPORT_TEXT, line.now)
    line.settle()
    assert not line.board.connected


def test_a_repeated_hello_is_welcomed_into_the_same_session() -> None:
    line = Line()
    line.board.connect(line.now)
    first = line.board.output()
    line.gateway.receive(first, line.now)
    line.gateway.output()  # lost
    line.gateway.receive(first, line.now)
    line.board.receive(line.gateway.output(), line.now)
    assert line.board.connected
    line.board.send(REPORT, REPORT_TEXT, line.now)
    line.settle()
    assert line.at_gateway == [(REPORT, REPORT_TEXT)]


def test_a_board_asks_again_until_it_is_welcomed() -> None:
    line = Line()
    line.spoil = lambda data: b""
    line.connect()
    line.wait(1000)
    assert not line.board.connected
    line.spoil = lambda data: data
    line.wait(1000)
    assert line.board.connected


def test_both_ends_live_on_signs_of_life_and_notice_when_they_cease() -> None:
    line = connected(keepalive_s=2)
    line.wait(60000)
    assert line.board.connected
    assert line.gateway.connected
    line.spoil = lambda data: b""
    line.wait(7000)
    assert line.names("board") == [WELCOME, LOST]
    assert line.names("gateway") == [HELLO, LOST]


def test_a_message_that_nobody_acknowledges_ends_the_session_in_time() -> None:
    line = connected(timeout_ms=1000)
    line.spoil = lambda data: b""
    line.board.send(REPORT, REPORT_TEXT, line.now)
    line.wait(950)
    assert line.board.connected
    line.wait(100)
    assert not line.board.connected
    assert line.board.idle


def test_what_a_board_prints_comes_as_lines() -> None:
    line = connected()
    frame = encode(TIME, 1, 0, b"")
    for data, lines in (
        (b"event=started heap=5\r\n", [b"event=started heap=5"]),
        (b"half a line" + frame, [b"half a line"]),
        (b"one\ntwo\n" + frame + b"three\n", [b"one", b"two", b"three"]),
        ("21 °C\n".encode(), ["21 °C".encode()]),
        (b">>> ", []),
        (b"1\r\n", [b">>> 1"]),
    ):
        found = [content for kind, content in line.gateway.receive(data, line.now) if kind == TEXT]
        assert found == lines, data
    assert line.gateway.garbled == 0


def test_text_that_never_ends_is_cut_and_nothing_after_it_is_lost() -> None:
    line = connected()
    found = line.gateway.receive(b"x" * 10000, line.now)
    line.board.send(REPORT, REPORT_TEXT, line.now)
    line.settle()
    assert sum(len(content) for kind, content in found if kind == TEXT) == 10000
    assert line.at_gateway == [(REPORT, REPORT_TEXT)]


def test_no_frame_looks_like_text() -> None:
    for kind in CODES.values():
        assert not is_text(encode(kind, 0x3131, 0x31, b"abc").strip(b"\0"))
        assert not is_text(encode(kind | 16, 0x3131, 0x31, b"abc").strip(b"\0"))


def test_noise_is_counted_and_harms_no_frame_after_it() -> None:
    line = connected()
    line.gateway.receive(b"\xff\x01\xfe" * 900, line.now)
    line.board.send(REPORT, REPORT_TEXT, line.now)
    line.settle()
    assert line.at_gateway == [(REPORT, REPORT_TEXT)]
    assert line.gateway.garbled > 0


def test_a_gateway_of_another_version_is_told_from_one_that_is_silent() -> None:
    board = BoardEnd("default/b1", 7)
    board.connect(0)
    board.receive(encode(WELCOME, 0, 0, b"\x02\x00\x08"), 0)
    assert not board.connected
    assert board.refused_version == 2


def test_every_kind_that_a_board_needs_has_a_code() -> None:
    for kind in (topics.STATE, topics.UPDATE, topics.DELTA, topics.RESULT, topics.OTA_GET, topics.OTA_CHUNK):
        assert kind in CODES
