"""The keys of protocol `serial`: what they mean together, and how a mistake is told."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewire.device import ModelProperty
from mappers.driver import BadAnswer, DefinitionError, DriverError, Value, read_config
from mappers.plan import Settings as PlanSettings
from mappers.plan import make_plan
from mappers.serial_dialogue import Dialogue, Question
from mappers.serial_framing import make_framer
from mappers.serial_line import SerialLines
from mappers.serial_parsing import Frame
from mappers.serial_visitors import Address, Settings, Visitor, VisitorConfig, make_visitor
from mappers.tests.fakes import definition, device_json


def address(**keys: Any) -> Address:
    """As from a Device."""
    return read_config({"port": "/dev/ttyUSB0", **keys}, Address, "configData")


def visitor(at: dict[str, Any] | None = None, type: str = "FLOAT", **keys: Any) -> Visitor:
    """As from a Device."""
    config = read_config(keys, VisitorConfig, "visitors.configData")
    return make_visitor(address(**(at or {})), config, ModelProperty("p", type=type))


def test_numbers_may_be_strings_and_kubeedges_names_are_understood() -> None:
    at = read_config(
        {"serialPort": "/dev/ttyS1", "baudRate": "19200", "parity": "even", "stopBits": "2", "dataBits": "7"},
        Address,
        "x",
    )
    assert (at.line.port, at.line.settings) == ("/dev/ttyS1", Settings(19200, 7, "E", 2))


def test_devices_share_a_line_when_all_they_say_of_it_is_the_same() -> None:
    assert address().line == address(timeout=100, retries=0, silenceS=3).line
    for keys in ({"baudRate": 19200}, {"framing": "slip"}, {"checksum": "crc8"}, {"pause": 5}, {"parity": "E"}):
        assert address().line != address(**keys).line
    assert address(parity="E").line == address(parity="even").line
    assert len({address().line, address().line}) == 1


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"port": ""}, "`port` is missing: a device file such as /dev/ttyUSB0, or a URL such as socket://host:port"),
        ({"serialPort": "/dev/ttyS0"}, "`serialPort` is another name for `port`: leave one out"),
        ({"port": "rfc2271://x:1"}, "`port` rfc2271:// is not known: did you mean rfc2217?"),
        ({"parity": "uneven"}, "`parity` 'uneven' is not known: one of none, even, odd, mark, space"),
        ({"flowControl": "rts"}, "`flowControl` 'rts' is not known"),
        ({"stopBits": 3}, "`stopBits` must be 1, 1.5 or 2"),
        ({"baudRate": 0}, "`baudRate` must lie between 50 and 12000000"),
        ({"bautRate": 9600}, "unknown key `bautRate` in configData: did you mean `baudRate`?"),
        ({"framing": "cosb"}, "`framing` 'cosb' is not known: did you mean cobs?"),
        ({"framing": "delimiter", "frameEnd": r"\q"}, r"\q is not known; a backslash is written \\"),
        ({"commands": {"t": {"send": "{x}"}}}, "`commands[...]` in configData: `send` '{x}': {x} is not known"),
        ({"commands": {"t": {"send": "T", "answer": "("}}}, "`answer` '(' is no regular expression"),
        ({"commands": {"t": {"send": "T", "error": "E"}}}, "`error` has a meaning only with `answer`"),
        ({"silenceS": -1}, "`silenceS` must lie between 0 and"),
    ],
)
def test_a_mistake_in_an_address_is_named(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        address(**keys)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"json": "/a", "pattern": "b"}, "`json` and `pattern`: a value is parsed in one way"),
        ({"json": "/a", "field": "b"}, "`field` has a meaning only with `pattern` or `struct` or `sentence`"),
        ({"header": "a"}, "`header` has a meaning only with `column`"),
        ({"answer": "OK"}, "`answer` has a meaning only with `write`"),
        ({"write": "x", "error": "ERR"}, "`error` has a meaning only with `ask` or `answer`"),
        ({"match": "("}, "`match` '(' is no regular expression"),
        ({"ask": "P\r\nT\r\n"}, "cannot be framed: not one line"),
        ({"decimalMark": "::"}, "`decimalMark` must be one character"),
        ({"patern": "x"}, "unknown key `patern` in visitors.configData: did you mean `pattern`?"),
        ({"pattern": "x", "scale": 0}, "`scale` must not be 0"),
    ],
)
def test_a_mistake_in_a_visitor_is_named(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        visitor(**keys)
    assert words in str(caught.value)


def test_a_device_that_is_only_written_need_not_speak() -> None:
    model = {"metadata": {"name": "m"}, "spec": {"properties": [{"name": "relay"}, {"name": "level"}]}}
    relay, level = {"write": "R{value}"}, {"pattern": "L(.*)"}

    def silence_s(**properties: dict[str, Any]) -> float:
        device = device_json("a", {"port": "/dev/ttyS0", "silenceS": 7}, **properties)
        return make_plan(definition(device, model), SerialLines(), PlanSettings()).silence_s

    assert (silence_s(relay=relay), silence_s(relay=relay, level=level)) == (0, 7)


def test_what_is_asked_for_is_read_and_what_is_not_is_heard() -> None:
    assert not visitor(ask="P", pattern="x").pushed
    assert visitor(pattern="x").pushed
    assert visitor(write="T").pushed
    assert visitor(write="T").parser is None
    assert visitor(write="T", match=".").parser is not None


def test_a_word_that_has_a_name_may_stand_for_a_truth() -> None:
    stable = visitor(type="BOOLEAN", pattern="^(ST|US)", enum={"ST": "true", "US": "false"})
    assert stable.take(Frame(b"ST,GS")) == "ST"


def test_commands_are_framed_and_bear_their_checksum() -> None:
    at = {"framing": "delimiter", "frameStart": r"\x02", "frameEnd": r"\x03", "checksum": "xor", "checksumForm": "hex"}
    assert visitor(at, ask="P").ask == b"\x02P50\x03"
    assert visitor(at, write="S{value:d}").command(True) == b"\x02S162\x03"


VISITORS = [
    visitor(type="STRING"),
    visitor(json="/v"),
    visitor(type="INT", struct="<I"),
    visitor(column=2),
    visitor(sentence="RMC", field="speed"),
    visitor(pattern="(.*)"),
]
ASKED = [visitor(ask="P", pattern="(.*)", error="^E(.*)"), visitor(ask="P", json="/v")]
ADDRESSES = [
    address(**keys)
    for keys in (
        {}, {"checksum": "nmea"}, {"framing": "length", "checksum": "crc16-modbus"}, {"framing": "slip", "checksum": "crc8"},
        {"framing": "cobs", "checksum": "crc32"}, {"framing": "idle", "idleMs": 20},
        {"framing": "delimiter", "frameEnd": ";"},
    )
]  # fmt: skip


@given(
    st.sampled_from(ADDRESSES),
    st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([b"\r\n", b"\0", b"{", b"$GPRMC,"]))),
)
def test_a_line_of_any_bytes_gives_values_or_driver_errors_and_nothing_worse(at: Address, chunks: list[bytes]) -> None:
    framer, dialogue = make_framer(at.line.framing), Dialogue()
    heard: list[Value | DriverError] = []
    dialogue.listen(VISITORS, lambda visitor, value: heard.append(value))
    dialogue.question = question = Question(b"P", ASKED)
    for number, chunk in enumerate(chunks):
        for frame in framer.feed(chunk) + (framer.idle() if number % 3 == 2 else []):
            dialogue.received(frame, float(number))
    for value in [*heard, *question.results.values()]:
        assert isinstance(value, Value | DriverError)
        assert not isinstance(value, DriverError) or len(str(value)) < 400
        assert not isinstance(value, BadAnswer) or str(value)
