"""Bytes that nobody would send on purpose: the decoder knows but one kind of error, and the core goes on."""

from hypothesis import given
from hypothesis import strategies as st

from edge_gateway.broker.decoder import Decoder
from edge_gateway.broker.errors import PacketError
from edge_gateway.broker.limits import Limits
from edge_gateway.broker.packets import (
    PINGREQ,
    PINGRESP,
    PUBACK,
    PUBREL,
    Bare,
    Connect,
    Will,
    encode_ack,
    encode_bare,
    encode_connect,
    encode_publish,
    encode_subscribe,
    encode_unsubscribe,
)
from edge_gateway.broker.tests.desk import Desk

MAX_PAYLOAD = 300
LONGEST = 65_536 + 5  # a SUBSCRIBE
GOOD = [
    encode_connect(Connect("c", False, 10, "u", b"p", Will("t", b"w", 2, True))),
    encode_publish("a/b", b"payload"),
    encode_publish("a/ü", b"payload", 2, True, True, 7),
    encode_publish("long", bytes(200), 1, packet_id=9),
    encode_subscribe(1, [("a/+", 1), ("#", 2), ("$hw/#", 0)]),
    encode_unsubscribe(2, ["a/+", "x"]),
    encode_ack(PUBACK, 9),
    encode_ack(PUBREL, 7),
    encode_bare(PINGREQ),
]
# What changes in a stream: where, how many bytes go, and what comes instead.
changes = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), st.binary(max_size=3)), max_size=4)
lengths = st.sampled_from([b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff\x7f", b"\x80\x80\x80\x00", b"\x00", b"\x7f"])
headers = st.builds(lambda first, length: bytes([first]) + length, st.integers(0, 255), lengths)
packets = st.lists(st.sampled_from(GOOD) | headers | st.binary(max_size=20), min_size=1, max_size=8)


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """Packets, good and bad, with some bytes changed, in pieces."""
    stream = bytearray(b"".join(draw(packets)))
    for at, gone, instead in draw(changes):
        stream[at : at + gone] = instead
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    return [bytes(stream[start:end]) for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@given(streams())
def test_the_decoder_raises_packet_errors_only_and_keeps_a_bounded_beginning(pieces: list[bytes]) -> None:
    decoder = Decoder(MAX_PAYLOAD)
    try:
        for piece in pieces:
            for packet in decoder.feed(piece):
                assert packet is not None
            assert decoder.buffered <= max(LONGEST, MAX_PAYLOAD)
    except PacketError:
        pass


@given(st.integers(0, 255), lengths, st.integers(1, 400))
def test_what_a_header_promises_is_not_kept_in_advance(first: int, length: bytes, size: int) -> None:
    decoder = Decoder(MAX_PAYLOAD)
    sent = 0
    try:
        for piece in (bytes([first]) + length, bytes(size), bytes(size)):
            sent += len(piece)
            list(decoder.feed(piece))
            assert decoder.buffered <= sent
    except PacketError:
        pass


@given(st.lists(streams(), min_size=1, max_size=3))
def test_the_core_goes_on_whatever_its_clients_send(clients: list[list[bytes]]) -> None:
    desk = Desk(limits=Limits(payload=MAX_PAYLOAD, window=3, received=2, subscriptions=2, retained=2))
    bystander = desk.connected("bystander")
    bystander.subscribe("bystander")
    for number, pieces in enumerate(clients):
        client = desk.connected(f"c{number}") if number % 2 == 0 else desk.client()
        for piece in pieces:
            client.send(piece)
        desk.wait(1)
        if number % 3 == 0:
            client.lose()
    bystander.take()
    bystander.publish("bystander", b"still here")
    assert bystander.published() == [("bystander", b"still here")]
    bystander.send(encode_bare(PINGREQ))
    assert bystander.take() == [Bare(PINGRESP)]
