"""SPDY without a network: two ends that talk, and one that is told nonsense."""

import struct
import zlib
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.spdy import (
    CONTROL_BYTES,
    STREAMS,
    Came,
    Connection,
    Event,
    Opened,
    Ponged,
    Replied,
    Reset,
    SpdyError,
    Type,
    WasReset,
    WentAway,
)
from cloud.spdy_headers import DICTIONARY, HEADERS_BYTES, PAIRS, Packer


def control(type: int, payload: bytes, *, flags: int = 0, version: int = 3) -> bytes:
    return struct.pack("!HHI", 0x8000 | version, type, flags << 24 | len(payload)) + payload


def data(id: int, content: bytes, *, fin: bool = False) -> bytes:
    return struct.pack("!II", id, fin << 24 | len(content)) + content


def opened(id: int = 1) -> tuple[Connection, Connection]:
    """A client and a server with a stream open."""
    client, server = Connection(client=True), Connection()
    assert client.open({"streamType": "data"}) == 1
    server.receive(client.take())
    server.reply(1)
    client.receive(server.take())
    return client, server


def test_a_stream_is_opened_taken_and_ended_one_way_after_the_other() -> None:
    client, server = Connection(client=True), Connection()
    id = client.open({"streamType": "data", "port": "80"})
    assert server.receive(client.take()) == [Opened(id, {"streamtype": "data", "port": "80"})]
    server.reply(id, {"a": "b"})
    assert client.receive(server.take()) == [Replied(id, {"a": "b"})]
    client.send(id, b"asked", fin=True)
    assert server.receive(client.take()) == [Came(id, b"asked", True)]
    assert server.takes(id)
    assert not client.takes(id)
    server.send(id, b"answered")
    server.send(id, b"", fin=True)
    assert client.receive(server.take()) == [Came(id, b"answered"), Came(id, b"", True)]
    assert client.is_over(id)
    assert server.is_over(id)


def test_the_dictionary_is_that_of_version_3() -> None:
    # What a packed block names it by, known from every capture of SPDY/3.
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)
    assert Packer().pack({})[2:6] == bytes.fromhex("e3c6a7c2")


header = st.tuples(
    st.text("abcdefghijklmnopqrstuvwxyz-0123456789:", min_size=1, max_size=20),
    st.text(st.characters(max_codepoint=255)),
)
said = st.lists(st.tuples(st.lists(header, max_size=5).map(dict), st.binary(max_size=300)), max_size=8)


@given(said, st.lists(st.integers(0, 5000), max_size=8), st.booleans())
def test_what_is_said_comes_however_the_bytes_are_cut(
    said: list[tuple[dict[str, str], bytes]], cuts: list[int], from_client: bool
) -> None:
    here, there = Connection(client=from_client), Connection(client=not from_client)
    ids = []
    for headers, content in said:
        id = here.open(headers)
        ids.append(id)
        here.send(id, content, fin=True)
        here.ping()
    line = here.take()
    events: list[Event] = []
    edges = sorted({0, len(line), *(cut for cut in cuts if cut < len(line))})
    for begin, end in pairwise(edges):
        events += there.receive(line[begin:end])
    assert [(e.id, e.headers) for e in events if isinstance(e, Opened)] == [
        (id, headers) for id, (headers, _) in zip(ids, said, strict=True)
    ]
    for id, (_, content) in zip(ids, said, strict=True):
        pieces = [e for e in events if isinstance(e, Came) and e.id == id]
        assert b"".join(piece.data for piece in pieces) == content
        assert [piece.fin for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert sum(isinstance(e, Ponged) for e in here.receive(there.take())) == len(said)


@given(st.binary(max_size=200), st.booleans())
def test_random_bytes_raise_nothing_but_the_protocols_error(line: bytes, behind_a_head: bool) -> None:
    _, server = opened()
    if behind_a_head:
        line = control(line[0] % 12 if line else 1, line[1:])
    try:
        server.receive(line)
    except SpdyError:
        last = server.take()[-16:]
        assert last[:4] == bytes.fromhex("80030007")  # it goes away
        assert server.receive(data(1, b"more")) == []


PACKED = Packer().pack({"a": "b"})
BOMB = zlib.compressobj(zdict=DICTIONARY)
TOO_LARGE = BOMB.compress(struct.pack("!I", 1) + bytes(HEADERS_BYTES)) + BOMB.flush(zlib.Z_SYNC_FLUSH)


def block(plain: bytes) -> bytes:
    compressor = zlib.compressobj(zdict=DICTIONARY)
    return compressor.compress(plain) + compressor.flush(zlib.Z_SYNC_FLUSH)


def syn_stream(id: int, packed: bytes = PACKED) -> bytes:
    return control(Type.SYN_STREAM, struct.pack("!IIBB", id, 0, 0, 0) + packed)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (control(Type.PING, bytes(4), version=2), "a frame of version 2, and not of 3"),
        (control(Type.PING, bytes(5)), "a frame PING of 5 bytes, and not of 4"),
        (control(Type.RST_STREAM, bytes(4)), "a frame RST_STREAM of 4 bytes, and not of 8"),
        (control(Type.GOAWAY, bytes(12)), "a frame GOAWAY of 12 bytes, and not of 8"),
        (control(Type.WINDOW_UPDATE, b""), "a frame WINDOW_UPDATE of 0 bytes, and not of 8"),
        (control(Type.SYN_STREAM, bytes(9)), "a frame SYN_STREAM of 9 bytes, which are too few"),
        (control(Type.HEADERS, bytes(3)), "a frame HEADERS of 3 bytes, which are too few"),
        (struct.pack("!HHI", 0x8003, 1, CONTROL_BYTES + 1), "a control frame of 65537 bytes"),
        (syn_stream(2), "stream 2 is opened after 0"),
        (syn_stream(0), "stream 0 is opened after 0"),
        (syn_stream(3) + syn_stream(1), "cannot be unpacked"),  # each packed as if it were the first
        (syn_stream(1, b"no zlib"), "headers that cannot be unpacked"),
        (syn_stream(1, TOO_LARGE), f"headers of more than {HEADERS_BYTES} bytes"),
        (syn_stream(1, block(struct.pack("!I", PAIRS + 1))), f"{PAIRS + 1} headers, where {PAIRS} are allowed"),
        (syn_stream(1, block(b"\0\0")), "headers that end too early"),
        (syn_stream(1, block(struct.pack("!II", 1, 9) + b"short")), "headers that end too early"),
        (syn_stream(1, block(struct.pack("!I", 0) + b"more")), "4 bytes behind the headers"),
        (syn_stream(1, block(struct.pack("!IIBI", 1, 1, ord("A"), 0))), "not in lower case"),
        (syn_stream(1, block(struct.pack("!III", 1, 0, 0))), "is empty"),
        (syn_stream(1, block(struct.pack("!I", 2) + 2 * struct.pack("!IBI", 1, ord("a"), 0))), "there twice"),
        (control(Type.SYN_REPLY, struct.pack("!I", 2) + PACKED), "a reply to stream 2, which was not opened here"),
        (control(Type.SYN_REPLY, struct.pack("!I", 1) + PACKED), "a reply to stream 1, which was not opened here"),
        (data(1, b"x"), "data of stream 1, which nobody opened"),
        (data(0, b"x"), "data of stream 0, which nobody opened"),
    ],
)
def test_what_is_not_spdy_is_refused_with_a_reason_and_the_end(line: bytes, reason: str) -> None:
    server = Connection()
    with pytest.raises(SpdyError, match=reason):
        server.receive(line)
    assert server.take().endswith(struct.pack("!I", 1)), "it goes away for an error of the protocol"
    assert server.receive(control(Type.PING, struct.pack("!I", 1))) == []
    assert server.take() == b""


def test_a_number_is_not_used_twice() -> None:
    client, server = opened()
    packer = Connection(client=True)
    packer.open({})
    with pytest.raises(SpdyError, match="cannot be unpacked"):
        server.receive(packer.take())
    assert not client.is_over(1)


def test_pings_are_answered_and_recognised() -> None:
    client, server = opened()
    client.ping()
    server.ping()
    assert server.receive(client.take()) == []
    assert client.receive(server.take()) == [Ponged(1)]
    assert server.receive(client.take()) == [Ponged(2)]


def test_what_means_nothing_here_is_passed_over() -> None:
    _, server = opened()
    settings = control(Type.SETTINGS, struct.pack("!III", 1, 4, 65536))
    window = control(Type.WINDOW_UPDATE, struct.pack("!II", 1, 65536))
    unknown = control(42, b"anything")
    assert server.receive(settings + window + unknown + data(1, b"x")) == [Came(1, b"x")]


def test_a_stream_that_is_reset_is_over_and_what_was_on_its_way_is_dropped() -> None:
    client, server = opened()
    client.send(1, b"on its way")
    server.reset(1)
    assert server.is_over(1)
    assert client.receive(server.take()) == [WasReset(1, Reset.CANCEL)]
    assert server.receive(client.take()) == []
    server.reset(1)
    assert server.take() == b""
    with pytest.raises(ValueError, match="stream 1 is not open"):
        server.send(1, b"late")


def test_data_behind_the_end_cuts_the_stream_off() -> None:
    client, server = opened()
    assert server.receive(data(1, b"x", fin=True) + data(1, b"y")) == [
        Came(1, b"x", True),
        WasReset(1, Reset.STREAM_ALREADY_CLOSED),
    ]
    assert client.receive(server.take()) == [WasReset(1, Reset.STREAM_ALREADY_CLOSED)]


def test_more_streams_than_are_allowed_are_refused_and_the_others_live() -> None:
    client, server = Connection(client=True), Connection()
    ids = [client.open({}) for _ in range(STREAMS + 1)]
    assert len(server.receive(client.take())) == STREAMS
    assert client.receive(server.take()) == [WasReset(ids[-1], Reset.REFUSED_STREAM)]
    client.reset(ids[0])
    client.open({"n": "1"})
    assert [type(event) for event in server.receive(client.take())] == [WasReset, Opened]


def test_a_long_frame_is_passed_on_as_it_comes() -> None:
    _, server = opened()
    head = struct.pack("!II", 1, 0x01FFFFFF)
    assert server.receive(head) == []
    assert server.receive(b"begin") == [Came(1, b"begin")]
    assert server.receive(bytes(1000)) == [Came(1, bytes(1000))]


def test_an_end_that_goes_away_says_so() -> None:
    client, server = opened()
    server.go_away()
    assert client.receive(server.take()) == [WentAway(0)]


def test_what_cannot_be_said_is_refused() -> None:
    client, server = opened()
    client.send(1, b"", fin=True)
    wrong: list[Callable[[], None]] = [
        lambda: client.send(1, b"x"),
        lambda: server.reply(3),
        lambda: server.send(2, b""),
    ]
    for late in wrong:
        with pytest.raises(ValueError, match="stream"):
            late()
