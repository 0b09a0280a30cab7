"""The Bluetooth part of a Device, and what is wrong with it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewire.device import ModelProperty
from mappers.ble_config import Address, BleSettings, Peer, Visitor, VisitorConfig, make_visitor
from mappers.ble_kubeedge import Converter, Words
from mappers.ble_values import Format, Packed
from mappers.driver import BadAnswer, DefinitionError, read_config

UNIT = Address(mac_address="A4:C1:38:00:11:22")


def visitor(content: dict[str, Any], model: str = "FLOAT") -> Visitor:
    """The visitor of a property from its `configData`."""
    return make_visitor(UNIT, read_config(content, VisitorConfig, "configData"), ModelProperty("p", type=model))


def address(content: dict[str, Any]) -> Address:
    """The address from a Device's `configData`."""
    return read_config(content, Address, "configData")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "one of `macAddress`, `name` and `serviceUUID` is needed"),
        ({"mac": "A4:C1:38:00:11:22"}, "unknown key `mac`"),
        ({"macAdress": "A4:C1:38:00:11:22"}, "did you mean `macAddress`"),
        ({"macAddress": "A4:C1:38"}, "must look like A4:C1:38:00:11:22"),
        ({"serviceUUID": "xyz"}, "`serviceUUID` 'xyz' is not a UUID"),
        ({"name": "x", "timeout": 1}, "`timeout` must lie between 100 and 120000"),
        ({"name": "x", "dwell": 1}, "`dwell`"),
        ({"name": "x", "silenceS": -1}, "`silenceS`"),
        ({"name": "x", "pair": "perhaps"}, "`pair`"),
    ],
)
def test_a_wrong_address_says_what_is_wrong(content: dict[str, Any], reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        address(content)


def test_an_address_may_be_written_in_the_ways_people_do() -> None:
    peer = Peer("", "A4:C1:38:00:11:22", "", "")
    assert address({"macAddress": "a4-c1-38-00-11-22"}).peer == peer
    assert address({"macAddress": "A4:C1:38:00:11:22", "timeout": "500", "pair": "true"}).pair
    assert str(address({"name": "cellar", "adapter": "hci1"}).peer) == "hci1/cellar"
    assert address({"macAddress": "6E1A5F00-0000-4000-8000-00805F9B34FB"}).peer.mac, "as macOS has it"


def test_a_peripheral_is_known_by_all_that_is_asked_for() -> None:
    peer = address({"name": "cellar", "serviceUUID": "181a"}).peer
    service = "0000181A-0000-1000-8000-00805f9b34fb"
    assert peer.matches("00:00:00:00:00:01", "cellar", [service])
    assert not peer.matches("00:00:00:00:00:01", "cellar", [])
    assert not peer.matches("00:00:00:00:00:01", "attic", [service])
    assert not peer.matches("00:00:00:00:00:01", None, [service])
    assert UNIT.peer.matches("a4:c1:38:00:11:22", None, [])


@pytest.mark.parametrize(
    ("content", "model", "reason"),
    [
        ({}, "FLOAT", "one of `characteristicUUID`, `manufacturerId`, `serviceData` and `bthome` is needed"),
        ({"characteristicUuid": "2A6E"}, "FLOAT", "did you mean `characteristicUUID`"),
        ({"characteristicUUID": "2A6E", "bthome": "humidity"}, "FLOAT", "`characteristicUUID` and `bthome` exclude"),
        ({"characteristicUUID": "zz"}, "FLOAT", "`characteristicUUID` 'zz' is not a UUID"),
        ({"characteristicUUID": "2A6E", "mode": "notfy"}, "FLOAT", "did you mean notify"),
        ({"characteristicUUID": "2A6E", "mode": "advertisement"}, "FLOAT", "does not go with `characteristicUUID`"),
        ({"bthome": "humidity", "mode": "read"}, "FLOAT", "`mode` read does not go with `bthome`"),
        ({"bthome": "humidty"}, "FLOAT", "did you mean humidity"),
        ({"bthome": "button"}, "INT", "does not fit a property of type INT"),
        ({"bthome": "humidity", "type": "uint8"}, "FLOAT", "`type` and `bthome` exclude"),
        ({"bthome": "humidity", "index": 0}, "FLOAT", "`index`"),
        ({"characteristicUUID": "2A6E", "type": "unit16"}, "FLOAT", "did you mean uint16"),
        ({"characteristicUUID": "2A6E", "type": "utf8"}, "INT", "`type` utf8 does not fit a property of type INT"),
        ({"characteristicUUID": "2A6E", "type": "uint8", "format": "<B"}, "INT", "`type` and `format` exclude"),
        ({"characteristicUUID": "2A6E", "format": "<Y"}, "INT", "`format`"),
        ({"characteristicUUID": "2A6E", "start": 2}, "INT", "`type` is missing"),
        ({"characteristicUUID": "2A6E", "byteOrder": "middle"}, "INT", "`byteOrder` must be little or big"),
        ({"characteristicUUID": "2A6E", "dataWrite": {"ON": [256]}}, "STRING", "`dataWrite` 'ON'"),
        ({"characteristicUUID": "2A6E", "dataConverter": {"startindex": 1}}, "INT", "did you mean `dataConverter.startIndex`"),
        (
            {"characteristicUUID": "2A6E", "dataConverter": {"orderOfOperations": [{"operationType": "Ad"}]}},
            "INT", "did you mean Add",
        ),
        ({"characteristicUUID": "2A6E", "type": "float32", "exponent": 2}, "FLOAT", "`exponent` is for integers"),
        ({"manufacturerId": 0x499}, "INT", "`type` is missing: what the advertisement's bytes are"),
        ({"manufacturerId": "Ruuvi", "type": "uint8"}, "INT", "`manufacturerId` 'Ruuvi' is not a number"),
        ({"manufacturerId": 70000, "type": "uint8"}, "INT", "`manufacturerId` 70000 is not a number"),
        ({"manufacturerId": 1, "type": "uint8", "dataWrite": {"a": [1]}}, "INT", "no meaning for an advertisement"),
        ({"serviceData": "?", "type": "uint8"}, "INT", "`serviceData`"),
        ({"characteristicUUID": "2A6E", "scale": 0}, "INT", "`scale` must not be 0"),
    ],
)  # fmt: skip
def test_a_wrong_visitor_says_what_is_wrong(content: dict[str, Any], model: str, reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        visitor(content, model)


def test_what_comes_unasked_needs_no_polling() -> None:
    assert not visitor({"characteristicUUID": "2A6E"}).pushed
    assert visitor({"characteristicUUID": "2A6E", "mode": "notify"}).pushed
    assert visitor({"bthome": "Temperature"}).pushed
    assert visitor({"manufacturerId": "0x0499", "type": "uint8", "start": 1}).manufacturer == 0x499
    assert visitor({"bthome": "button"}, "STRING").event


def test_keys_become_a_codec() -> None:
    uuid = {"characteristicUUID": "2A6E"}
    assert visitor(uuid).codec is None, "the device says"
    assert visitor({**uuid, "type": "int16", "exponent": -2}).codec == Format("sint16", exponent=-2)
    assert visitor({**uuid, "start": 1, "length": 4}, "STRING").codec == Format("utf8", start=1, length=4)
    assert visitor({**uuid, "format": "hB", "field": "1"}).codec == Packed("<hB", 1)
    words = {**uuid, "type": "uint8", "dataWrite": {"ON": [1]}}
    assert visitor(words, "STRING").codec == Words({"ON": b"\1"}, Format("uint8"))


def test_kubeedges_keys_are_understood() -> None:
    found = visitor(
        {
            "characteristicUUID": "f000aa0104514000b000000000000000",
            "dataConverter": {
                "startIndex": 1, "endIndex": "0", "shiftRight": 2,
                "orderOfOperations": [{"operationType": "Multiply", "operationValue": 0.03125}],
            },
        }
    )  # fmt: skip
    assert found.characteristic == "f000aa01-0451-4000-b000-000000000000"
    assert isinstance(found.codec, Converter)
    assert found.decode(bytes.fromhex("800c")) == 25.0


def test_text_in_a_number_is_no_value() -> None:
    found = visitor({"characteristicUUID": "2A6E", "type": "uint8", "dataWrite": {"ON": [1]}}, "INT")
    assert found.decode(b"\x02") == 2
    with pytest.raises(BadAnswer, match="not a number"):
        found.decode(b"\x01")


def test_an_adapter_has_some_connections() -> None:
    with pytest.raises(ValueError, match="`connections`"):
        BleSettings(connections=0)


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
_KNOWN = st.sampled_from(
    [
        "2A6E", "0x0499", "uint8", "utf8", "bytes", "notify", "read", "<hB", "4s", "temperature", "button", 1, 0, True,
        [1, 2], {"ON": [1]}, {"startIndex": 1, "orderOfOperations": [{"operationType": "Add", "operationValue": 1}]},
    ]
)  # fmt: skip


def _keys(type: Any) -> st.SearchStrategy[dict[str, Any]]:
    names = [f.encode_name for f in msgspec.structs.fields(type)]
    return st.dictionaries(st.sampled_from(names), _KNOWN | _ANYTHING, max_size=5)


@given(_keys(VisitorConfig), st.sampled_from(["INT", "FLOAT", "DOUBLE", "STRING", "BOOLEAN", "BYTES"]))
def test_whatever_stands_in_a_visitor_it_is_one_or_is_refused_by_name(content: dict[str, Any], model: str) -> None:
    try:
        found = visitor(content, model)
    except DefinitionError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert found.characteristic or found.service_data or found.manufacturer is not None
    assert not refusal or "`" in refusal


@given(_keys(Address))
def test_whatever_stands_in_an_address_it_is_one_or_is_refused_by_name(content: dict[str, Any]) -> None:
    try:
        found = address(content)
    except DefinitionError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert str(found.peer)
    assert not refusal or "`" in refusal
