"""What the firmware's other pure parts promise, in plain asserts: runs on CPython and on MicroPython."""

from device_fw.firmware import mqtt_packets as mqtt
from device_fw.firmware.config import check
from device_fw.firmware.mqtt_login import connect_body
from device_fw.firmware.properties import Property
from device_fw.firmware.retry import Backoff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def refused(call: "Callable[..., object]", *arguments: object) -> str:
    """The text of the ValueError that the call must raise."""
    try:
        call(*arguments)
    except ValueError as error:
        return str(error)
    raise AssertionError("no ValueError")


def test_readings_are_written_without_needless_zeros() -> None:
    number = Property("float", digits=2)
    assert [number.text(v) for v in (21.5, 7, 0, -0.25, 1.005, 1e6)] == ["21.5", "7", "0", "-0.25", "1", "1000000"]
    assert Property("int").text(100) == "100"
    assert Property("float", digits=0).text(100.4) == "100"
    assert [Property("boolean").text(v) for v in (True, False)] == ["true", "false"]
    assert Property().text("21 °C") == "21 °C"


def test_desired_values_get_the_type_of_their_property() -> None:
    assert Property("int").parse("-7") == -7
    assert Property("float").parse("2.5") == 2.5
    assert Property("boolean").parse("True") is True
    assert Property("string").parse("any") == "any"
    assert Property("string", values=["a", "b"]).parse("b") == "b"


def test_desired_values_of_another_type_or_beyond_the_limits_are_refused() -> None:
    refused(Property("int").parse, "2.5")
    refused(Property("int").parse, "")
    refused(Property("float").parse, "warm")
    refused(Property("float").parse, "nan")
    refused(Property("float").parse, "inf")
    refused(Property("boolean").parse, "1")
    assert refused(Property("int", minimum=0).parse, "-1") == "below 0"
    assert refused(Property("int", maximum=5).parse, "6") == "above 5"
    assert refused(Property(values=["OFF", "ON"]).parse, "BLUE") == "none of OFF, ON"


def test_an_unknown_type_is_refused_with_the_known_ones() -> None:
    assert refused(Property, "colour") == "type colour is none of string, int, float, boolean"


def test_delays_are_drawn_below_a_ceiling_that_doubles_up_to_thirty_seconds() -> None:
    backoff = Backoff(lambda: 0.5)
    assert [backoff.next_ms() for _ in range(7)] == [500, 1000, 2000, 4000, 8000, 15000, 15000]
    backoff.reset()
    assert backoff.next_ms() == 500
    assert Backoff(lambda: 0.999999).next_ms() < 1000


def test_a_configuration_is_completed_with_defaults() -> None:
    config = check({"name": "default/b1", "host": "gateway", "keepalive_s": 0, "seed": 0})
    assert (config["port"], config["heartbeat_ms"], config["properties"]) == (1883, 60000, {})


def test_a_wrong_configuration_is_refused_with_the_key() -> None:
    good: dict[str, object] = {"name": "default/b1", "host": "gateway"}
    for change, key in (
        ({"heartbeat": 1}, "heartbeat"),
        ({"port": "1883"}, "port"),
        ({"port": True}, "port"),
        ({"port": 65536}, "port"),
        ({"timeout_ms": 0}, "timeout_ms"),
        ({"name": "b1"}, "name"),
        ({"name": "a/b/c"}, "name"),
        ({"host": None}, "host"),
        ({"host": ""}, "host"),
        ({"transport": "pigeon"}, "transport: 'pigeon' is none of mqtt, serial"),
        ({"properties": []}, "properties"),
        ({"ntp": "clock:noon"}, "ntp"),
    ):
        wrong = dict(good)
        wrong.update(change)
        assert key in refused(check, wrong)
    assert "name" in refused(check, {"host": "gateway"})
    refused(check, ["no", "object"])


def test_a_ca_asks_for_tls_and_its_port() -> None:
    good: dict[str, object] = {"name": "default/b1", "host": "gateway", "ca": "ca.der"}
    assert check(good)["port"] == 8883
    good["port"] = 1884
    assert check(good)["port"] == 1884
    for key, needed in (("certificate", "key"), ("key", "certificate")):
        half = dict(good)
        half[key] = "own.der"
        assert refused(check, half) == f"key {needed} is missing: {key} needs it"
    plain: dict[str, object] = {"name": "default/b1", "host": "gateway", "server_name": "gateway"}
    assert refused(check, plain) == "key ca is missing: server_name needs it"


def test_a_board_without_a_network_needs_no_host() -> None:
    assert check({"name": "default/b1", "transport": "serial"})["host"] == ""


def test_a_connect_packet_is_that_of_the_specification() -> None:
    body = connect_body("id", 30, True, "u", "p", ("t", "off", 1, False))
    assert body == b"\x00\x04MQTT\x04\xce\x00\x1e\x00\x02id\x00\x01t\x00\x03off\x00\x01u\x00\x01p"
    assert connect_body("id", 0, True, None, None, None) == b"\x00\x04MQTT\x04\x02\x00\x00\x00\x02id"


def test_lengths_take_as_many_bytes_as_they_need() -> None:
    for length, head in (
        (0, b"\x00"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (16383, b"\xff\x7f"),
        (16384, b"\x80\x80\x01"),
    ):
        packet = mqtt.packet(0x30, b"x" * length)
        assert packet[: 1 + len(head)] == b"\x30" + head
        assert len(packet) == 1 + len(head) + length


def test_text_longer_than_a_packet_allows_is_refused() -> None:
    try:
        mqtt.string("x" * 65536)
    except mqtt.PacketError:
        return
    raise AssertionError


def feed(reader: mqtt.Reader, stream: bytes, at_once: int) -> "list[tuple[int, bytes, bool]]":
    """Feed a stream in pieces of `at_once` bytes at most; the packets that came out."""
    packets = []
    while stream:
        wants = min(reader.wants, at_once)
        part, stream = stream[:wants], stream[wants:]
        reader.feed(part)
        if not reader.wants:
            packets.append(reader.take())
    return packets


def test_packets_are_assembled_from_any_pieces() -> None:
    long = b"y" * 3000
    stream = mqtt.packet(0xD0, b"") + mqtt.packet(0x30, long) + mqtt.packet(0x40, b"\x00\x01")
    for at_once in (1, 2, 700, 5000):
        assert feed(mqtt.Reader(4000), stream, at_once) == [
            (0xD0, b"", True),
            (0x30, long, True),
            (0x40, b"\x00\x01", True),
        ]


def test_a_packet_beyond_the_limit_is_cut_and_the_next_one_is_whole() -> None:
    stream = mqtt.packet(0x30, b"y" * 3000) + mqtt.packet(0x40, b"\x00\x01")
    assert feed(mqtt.Reader(100), stream, 5000) == [(0x30, b"y" * 100, False), (0x40, b"\x00\x01", True)]


def test_a_length_of_five_bytes_is_malformed() -> None:
    reader = mqtt.Reader(100)
    try:
        feed(reader, b"\x30\xff\xff\xff\xff\x01", 1)
    except mqtt.PacketError:
        return
    raise AssertionError


def test_a_publish_comes_apart() -> None:
    assert mqtt.parse_publish(0x30, b"\x00\x01tpayload") == (b"t", b"", b"payload")
    assert mqtt.parse_publish(0x32, b"\x00\x01t\x12\x34payload") == (b"t", b"\x12\x34", b"payload")
    for first, body in (
        (0x30, b""),
        (0x30, b"\x00"),
        (0x30, b"\x00\x05t"),
        (0x32, b"\x00\x01t\x12"),
        (0x34, b"\x00\x01t\x00\x01"),
    ):
        try:
            mqtt.parse_publish(first, body)
        except mqtt.PacketError:
            continue
        raise AssertionError(body)
