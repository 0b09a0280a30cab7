"""The codec: what comes out of the decoder is what was put into the encoders, however the stream is cut."""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_gateway.broker.decoder import Decoder
from edge_gateway.broker.errors import (
    MalformedPacket,
    PacketError,
    PacketTooLarge,
    UnexpectedPacket,
    UnsupportedProtocol,
)
from edge_gateway.broker.packets import (
    CONNECT,
    DISCONNECT,
    PINGREQ,
    PINGRESP,
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    UNSUBACK,
    Ack,
    Bare,
    Connack,
    Connect,
    Packet,
    Publish,
    Suback,
    Subscribe,
    Unsubscribe,
    Will,
    encode_ack,
    encode_bare,
    encode_connack,
    encode_connect,
    encode_publish,
    encode_suback,
    encode_subscribe,
    encode_unsubscribe,
)

REPORT = "$hw/events/device/default/s1/twin/update"
CONNECT_HEAD = b"\x00\x04MQTT\x04"


def encoded(packet: Packet) -> bytes:
    match packet:
        case Connect():
            return encode_connect(packet)
        case Connack():
            return encode_connack(packet.code, packet.session_present)
        case Publish():
            assert packet.payload is not None
            return encode_publish(packet.topic, packet.payload, packet.qos, packet.retain, packet.dup, packet.packet_id)
        case Ack():
            return encode_ack(packet.kind, packet.packet_id)
        case Subscribe():
            return encode_subscribe(packet.packet_id, packet.filters)
        case Suback():
            return encode_suback(packet.packet_id, packet.codes)
        case Unsubscribe():
            return encode_unsubscribe(packet.packet_id, packet.filters)
        case Bare():
            return encode_bare(packet.kind)


def decoded(pieces: list[bytes], max_payload: int = 1000) -> tuple[list[Packet], type[PacketError] | None]:
    """The packets of a stream that comes in pieces, and the error that ended it."""
    decoder = Decoder(max_payload)
    packets: list[Packet] = []
    try:
        for piece in pieces:
            packets.extend(decoder.feed(piece))
    except PacketError as error:
        return packets, type(error)
    return packets, None


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    marks = sorted({0, len(stream), *(c % (len(stream) + 1) for c in cuts)})
    return [stream[a:b] for a, b in itertools.pairwise(marks)]


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
topics = st.text(st.characters(codec="utf-8", exclude_characters="\0+#"), min_size=1, max_size=200)
filters = st.sampled_from(["a", "a/b", "+/b", "a/#", "#", "$hw/+/x/#", "ä/+"])
ids = st.integers(1, 65_535)
wills = st.builds(Will, topics, st.binary(max_size=50), st.integers(0, 2), st.booleans())


@st.composite
def connects(draw: st.DrawFn) -> Connect:
    user = draw(st.none() | texts)
    password = draw(st.none() | st.binary(max_size=20)) if user is not None else None
    return Connect(
        draw(texts), draw(st.booleans()), draw(st.integers(0, 65_535)), user, password, draw(st.none() | wills)
    )


@st.composite
def publishes(draw: st.DrawFn) -> Publish:
    payload = draw(st.binary(max_size=300))
    qos = draw(st.integers(0, 2))
    dup = draw(st.booleans()) if qos else False
    return Publish(draw(topics), payload, qos, draw(st.booleans()), dup, draw(ids) if qos else 0, len(payload))


packets = st.one_of(
    connects(),
    publishes(),
    st.builds(Connack, st.booleans(), st.integers(0, 5)),
    st.builds(Ack, st.sampled_from([PUBACK, PUBREC, PUBREL, PUBCOMP, UNSUBACK]), ids),
    st.builds(Subscribe, ids, st.lists(st.tuples(filters, st.integers(0, 2)), min_size=1, max_size=5)),
    st.builds(Suback, ids, st.lists(st.sampled_from([0, 1, 2, 128]), min_size=1, max_size=5).map(bytes)),
    st.builds(Unsubscribe, ids, st.lists(filters, min_size=1, max_size=5)),
    st.builds(Bare, st.sampled_from([PINGREQ, PINGRESP, DISCONNECT])),
)


@given(st.lists(packets, max_size=8), st.lists(st.integers(0), max_size=8))
def test_packets_come_out_as_they_went_in_however_the_stream_is_cut(sent: list[Packet], cuts: list[int]) -> None:
    stream = b"".join(encoded(packet) for packet in sent)
    assert decoded(cut(stream, cuts)) == (sent, None)


@given(st.lists(st.binary(max_size=60) | packets.map(encoded), max_size=6), st.lists(st.integers(0), max_size=8))
def test_bytes_of_any_kind_give_the_same_packets_and_the_same_error_however_they_are_cut(
    parts: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(parts)
    assert decoded(cut(stream, cuts), max_payload=30) == decoded([stream], max_payload=30)


@given(st.binary(max_size=400))
def test_random_bytes_raise_nothing_but_the_codecs_errors(stream: bytes) -> None:
    decoded([stream])


@given(packets, st.integers(0), st.integers(0, 255))
def test_a_changed_byte_raises_nothing_but_the_codecs_errors(packet: Packet, at: int, value: int) -> None:
    stream = bytearray(encoded(packet))
    stream[at % len(stream)] = value
    decoded([bytes(stream)])


@pytest.mark.parametrize("length", [127, 128, 16_383, 16_384, 200_000])
def test_the_remaining_length_takes_as_many_bytes_as_it_needs(length: int) -> None:
    payload = b"x" * (length - 2 - 1)
    stream = encode_publish("t", payload)
    assert len(stream) - length == {127: 2, 128: 3, 16_383: 3, 16_384: 4, 200_000: 4}[length]
    assert decoded([stream], 300_000) == ([Publish("t", payload, 0, False, False, 0, len(payload))], None)


def test_bytes_of_a_recorded_publish_are_those_of_the_specification() -> None:
    assert encode_publish("a/b", b"hi", 1, True, False, 10) == bytes.fromhex("33 09 00 03 612f62 000a 6869")
    assert encode_ack(PUBREL, 0x1234) == bytes.fromhex("62 02 1234")
    assert encode_subscribe(1, [("a", 1)]) == bytes.fromhex("82 06 0001 0001 61 01")


MALFORMED = {
    "reserved type 0": "00 00",
    "reserved type 15": "f0 00",
    "remaining length of five bytes": "30 8080808001",
    "PUBLISH of QoS 3": "36 06 0001 61 0001 78",
    "PUBLISH with DUP and QoS 0": "38 04 0001 61 78",
    "PUBLISH without a packet id": "32 03 0001 61",
    "PUBLISH with packet id 0": "32 05 0001 61 0000",
    "PUBLISH that ends in its topic": "30 03 0005 61",
    "PUBLISH without a topic": "30 00",
    "PUBLISH to an empty topic": "30 02 0000",
    "PUBLISH to a wildcard": "30 03 0001 2b",
    "PUBLISH to a topic that is not UTF-8": "30 03 0001 ff",
    "PUBLISH to a topic with a surrogate": "30 05 0003 eda080",
    "PUBLISH to a topic with U+0000": "30 03 0001 00",
    "PUBACK of three bytes": "40 03 0001 00",
    "PUBACK with packet id 0": "40 02 0000",
    "PUBACK with flags": "41 02 0001",
    "PUBREL without its flags": "60 02 0001",
    "SUBSCRIBE without its flags": "80 06 0001 0001 61 00",
    "SUBSCRIBE without a filter": "82 02 0001",
    "SUBSCRIBE with packet id 0": "82 06 0000 0001 61 00",
    "SUBSCRIBE to QoS 3": "82 06 0001 0001 61 03",
    "SUBSCRIBE that ends before the QoS": "82 05 0001 0001 61",
    "SUBSCRIBE to an empty filter": "82 05 0001 0000 00",
    "SUBSCRIBE to a # that is not last": "82 08 0001 0003 232f61 00",
    "SUBSCRIBE to a + in part of a level": "82 07 0001 0002 612b 00",
    "UNSUBSCRIBE without a filter": "a2 02 0001",
    "PINGREQ with a body": "c0 01 00",
}


@pytest.mark.parametrize("stream", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_packets_are_refused(stream: str) -> None:
    packets, error = decoded([bytes.fromhex(stream)])
    assert packets == []
    assert error in (MalformedPacket, PacketTooLarge)


BAD_CONNECTS = {
    "reserved flag": CONNECT_HEAD + b"\x03\x00\x00\x00\x00",
    "flags of a will and no will": CONNECT_HEAD + b"\x0a\x00\x00\x00\x00",
    "a will of QoS 3": CONNECT_HEAD + b"\x1e\x00\x00\x00\x00\x00\x01w\x00\x00",
    "a will to a wildcard": CONNECT_HEAD + b"\x06\x00\x00\x00\x00\x00\x01#\x00\x00",
    "a password and no user name": CONNECT_HEAD + b"\x42\x00\x00\x00\x00\x00\x01p",
    "more than its fields": CONNECT_HEAD + b"\x02\x00\x00\x00\x00!",
    "less than its fields": CONNECT_HEAD + b"\x02\x00",
    "another protocol": b"\x00\x04HTTP\x04\x02\x00\x00\x00\x00",
}


@pytest.mark.parametrize("body", BAD_CONNECTS.values(), ids=BAD_CONNECTS.keys())
def test_a_malformed_connect_is_refused(body: bytes) -> None:
    assert decoded([bytes((CONNECT << 4, len(body))) + body]) == ([], MalformedPacket)


@pytest.mark.parametrize(
    "body", [b"\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00", b"\x00\x06MQIsdp\x03\x02\x00\x00\x00\x00"]
)
def test_another_version_of_mqtt_is_told_from_a_malformed_connect(body: bytes) -> None:
    assert decoded([bytes((CONNECT << 4, len(body))) + body]) == ([], UnsupportedProtocol)


def test_packets_before_a_bad_one_come_out_before_the_error_and_the_error_stays() -> None:
    decoder = Decoder()
    feeding = decoder.feed(encode_bare(PINGREQ) + b"\x00\x00" + encode_bare(PINGREQ))
    assert next(feeding) == Bare(PINGREQ)
    with pytest.raises(MalformedPacket):
        next(feeding)
    with pytest.raises(MalformedPacket):
        list(decoder.feed(encode_bare(PINGREQ)))


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_a_payload_above_the_limit_is_skipped_and_told_by_its_size(qos: int, piece: int) -> None:
    stream = encode_publish(REPORT, b"x" * 3001, qos, packet_id=9) + encode_bare(PINGREQ)
    packets, error = decoded([stream[at : at + piece] for at in range(0, len(stream), piece)], max_payload=3000)
    assert packets == [Publish(REPORT, None, qos, False, False, 9 if qos else 0, 3001), Bare(PINGREQ)]
    assert error is None


def test_a_payload_of_exactly_the_limit_is_kept() -> None:
    stream = encode_publish(REPORT, b"x" * 3000, 1, packet_id=9)
    assert decoded([stream[:100], stream[100:]], max_payload=3000)[0] == [
        Publish(REPORT, b"x" * 3000, 1, False, False, 9, 3000)
    ]


def test_skipping_a_long_payload_needs_no_memory_for_it() -> None:
    decoder = Decoder(1000)
    stream = encode_publish(REPORT, b"x" * 10_000_000)
    most = 0
    for at in range(0, len(stream), 65_536):
        list(decoder.feed(stream[at : at + 65_536]))
        most = max(most, decoder.buffered)
    assert most < 1000


def test_packets_other_than_publish_have_small_limits() -> None:
    assert decoded([b"\x10\xff\xff\x7f"])[1] is PacketTooLarge
    assert decoded([b"\x82\xff\xff\x7f"])[1] is PacketTooLarge
    assert decoded([b"\x40\x03"])[1] is PacketTooLarge


def test_a_decoder_that_waits_for_connect_refuses_other_packets_at_their_first_byte() -> None:
    decoder = Decoder(only=CONNECT)
    with pytest.raises(UnexpectedPacket):
        list(decoder.feed(b"\x30"))


def test_a_packet_that_comes_byte_by_byte_takes_time_in_proportion_to_its_length() -> None:
    def seconds(length: int) -> float:
        stream = encode_publish("t", b"x" * length)
        decoder = Decoder(length)
        begun = time.process_time()
        for at in range(len(stream)):
            list(decoder.feed(stream[at : at + 1]))
        return time.process_time() - begun

    short, long = seconds(20_000), seconds(160_000)
    assert long < 32 * max(short, 0.002)  # 8 times is linear, 64 times would be quadratic
