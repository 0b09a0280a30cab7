"""What a board says and hears, as JSON; and how its Device is written."""

import contextlib
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewire import board
from edgewire.device import ModelProperty
from mappers.driver import BadAnswer, DefinitionError, VisitorKeys, read_config
from mappers.plan import Settings, make_plan
from mappers.serial_board import (
    BoardVisitor,
    Refusal,
    Said,
    board_visitor,
    delta,
    read_refused,
    read_report,
    read_result,
    text_of,
)
from mappers.serial_line import SerialLines
from mappers.serial_visitors import Address, VisitorConfig
from mappers.tests.fakes import definition, device_json, model_json

AT = Address(port="/dev/ttyACM0", framing="board")


def visitor(type: str) -> BoardVisitor:
    return board_visitor(AT, VisitorConfig(), ModelProperty("p", type=type))


def test_a_report_gives_the_properties_with_their_times() -> None:
    said = board.report({"temperature": ("21.5", 1_700_000_000_000), "led": ("ON", 0)})
    assert read_report(said.encode()) == {"temperature": Said("21.5", 1_700_000_000_000), "led": Said("ON", 0)}


def test_what_is_no_value_in_a_report_costs_that_property_only() -> None:
    assert read_report(b'{"twin": {"a": 7, "b": {"actual": {"value": 7}}, "c": {"actual": {"value": "7"}}}}') == {
        "c": Said("7", 0)
    }
    assert read_report(b'{"twin": {"c": {"actual": {"value": "7", "metadata": {"timestamp": "late"}}}}}') == {
        "c": Said("7", 0)
    }


@given(st.one_of(st.binary(max_size=80), st.sampled_from([b"[]", b"{}", b'{"twin": []}', b'{"twin": null}'])))
def test_what_is_no_report_is_a_bad_answer(content: bytes) -> None:
    with pytest.raises(BadAnswer):
        read_report(content)
    for read in (read_refused, read_result):
        with contextlib.suppress(BadAnswer):
            assert not read(content)


def test_a_state_says_which_desired_values_are_not_followed_and_a_result_why() -> None:
    assert read_refused(board.state("online", refused={"led": "no such value"}).encode()) == {"led": "no such value"}
    assert read_refused(b'{"state": "online"}') == {}
    assert read_result(b'{"event_id": "7", "code": 400, "reason": "too hot"}') == Refusal("7", "too hot")
    assert read_result(b'{"event_id": "7", "timestamp": 1}') is None


def test_values_have_the_model_s_type() -> None:
    assert visitor("FLOAT").take("21.50") == Decimal("21.50")
    assert visitor("INT").take("7") == 7
    assert visitor("BOOLEAN").take("true") is True
    assert visitor("STRING").take("7") == "7"
    assert visitor("BYTES").take("00ff") == b"\x00\xff"
    for type, text in (("FLOAT", "hot"), ("BOOLEAN", "maybe"), ("BYTES", "xyz")):
        with pytest.raises(BadAnswer):
            visitor(type).take(text)


def test_a_desired_value_is_written_as_a_twin_carries_it() -> None:
    assert board.delta(delta("1", "led", "ON")) == {"led": "ON"}
    assert [text_of(value) for value in (True, Decimal("1E+3"), Decimal("21.50"), "ON", b"\x00\xff")] == [
        "true",
        "1000",
        "21.5",
        "ON",
        "00ff",
    ]


def test_a_board_s_properties_need_no_keys() -> None:
    device = device_json("b", {"port": "/dev/ttyACM0", "framing": "board"}, temp={}, led={})
    plan = make_plan(definition(device, model_json(temp="FLOAT", led="STRING")), SerialLines(), Settings())
    assert [(point.name, point.pushed) for point in plan.points] == [("temp", True), ("led", True)]
    assert plan.address.line.settings.baud_rate == 115_200
    assert Address(port="/dev/ttyS0").line.settings.baud_rate == 9600


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"checksum": "crc32"}, "no other key says how frames look"),
        ({"commands": {"t": {"send": "T"}}}, "`commands` and `pause` have no meaning"),
        ({"baudRate": 10}, "`baudRate` must lie between"),
    ],
)
def test_a_key_that_means_nothing_to_a_board_is_named(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        read_config({"port": "/dev/ttyACM0", "framing": "board", **keys}, Address, "configData")


def test_a_property_s_key_that_means_nothing_to_a_board_is_named_and_common_ones_are_kept() -> None:
    with pytest.raises(DefinitionError, match="`ask` has no meaning with `framing: board`"):
        board_visitor(AT, VisitorConfig(ask="X"), ModelProperty("p"))
    keys: VisitorKeys = read_config({"scale": "0.1", "deadband": "0.5"}, VisitorConfig, "configData")
    assert board_visitor(AT, keys, ModelProperty("p", type="FLOAT")).name == "p"  # type: ignore[arg-type]
