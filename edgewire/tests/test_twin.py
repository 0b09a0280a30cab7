"""Twin documents: what a device may send, what it is told, and that no payload does harm."""

import json
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgewire import board, message, twin
from edgewire.twin import Twin, TwinError, Value

texts = st.text(st.characters(codec="utf-8"))
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(
                ["event_id", "timestamp", "twin", "temp", "actual", "expected", "value", "metadata", "state"]
            )
            | st.text(),
            inner,
        )
    ),
    max_leaves=15,
)
times = st.integers(1, 2**62)


def errors_of(payload: bytes) -> list[TwinError]:
    """What the parsers raise of a payload; anything but a TwinError passes through."""
    errors = []
    for parse in (twin.parse_report, twin.parse_state, twin.parse_request):
        try:
            parse(payload)
        except TwinError as error:
            errors.append(error)
    return errors


@settings(deadline=None)
@given(st.dictionaries(texts, st.tuples(texts, times), max_size=5), texts, st.integers(0, 2**62))
def test_what_a_board_reports_is_what_the_gateway_reads(
    values: dict[str, tuple[str, int]], event_id: str, timestamp: int
) -> None:
    report, errors = twin.parse_report(board.report(values, event_id, timestamp).encode())
    assert (report.event_id, report.timestamp, errors) == (event_id, timestamp, [])
    read = {name: (t.reported.value, t.reported.at) for name, t in report.twin.items() if t and t.reported}
    assert read == values


@settings(deadline=None, max_examples=300)
@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
@example(b'{"twin":{"a":' + b"[" * 100_000)
@example(b'{"x":' + b"[" * 100_000)
@example(b'{"event_id":"\xff"}')
@example(b'{"twin":{"\xff":null}}')
@example(b'{"twin":{"a":{"actual":{"value":"\xff"}}}}')
@example(b'{"twin":{},"timestamp":' + b"9" * 5000 + b"}")
def test_any_payload_is_read_or_a_twin_error(payload: bytes) -> None:
    for error in errors_of(payload):
        assert error.code == twin.BAD_REQUEST
        assert 0 < len(error.reason) <= twin.MAX_REASON


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_report_with_a_changed_byte_is_read_or_a_twin_error(data: st.DataObject) -> None:
    payload = bytearray(board.report({"temp": ("21", 1_700_000_000_000), "led": ("ON", 0)}, "e1", 7).encode())
    payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    assert all(error.code == twin.BAD_REQUEST for error in errors_of(bytes(payload)))


@pytest.mark.parametrize(
    ("payload", "event_id", "reason"),
    [
        (b"not json", "", "JSON is malformed: invalid character"),
        (b"", "", "Input data was truncated"),
        (b'{"event_id":"e1","twin":{"temp":', "e1", "Input data was truncated"),
        (b'{ "event_id" : "e1", "timestamp":"now","twin":{}}', "e1", "Expected `int`, got `str` - at `$.timestamp`"),
        (b'{"event_id":"e1","twin":null}', "e1", "Expected `object`, got `null` - at `$.twin`"),
        (b'{"event_id":"e1","twins":{}}', "e1", "Object missing required field `twin`"),
        (b'{"event_id":7,"twin":{}}', "", "Expected `str`, got `int` - at `$.event_id`"),
        (b'[{"event_id":"e1"}]', "e1", "Expected `object`, got `array`"),
    ],
)
def test_what_is_no_report_is_refused_with_field_and_event_id(payload: bytes, event_id: str, reason: str) -> None:
    with pytest.raises(TwinError) as caught:
        twin.parse_report(payload)
    assert (caught.value.code, caught.value.event_id) == (twin.BAD_REQUEST, event_id)
    assert reason in caught.value.reason


def test_a_bad_property_is_named_and_the_good_ones_are_read() -> None:
    report, errors = twin.parse_report(
        b'{"event_id":"e1","timestamp":7,"twin":{"temp":{"actual":{"value":21}},"led":{"actual":{"value":"ON"}},'
        b'"fan":{"actual":"ON"},"gone":null,"text":{"actual":{"value":"\xff"}}}}'
    )
    assert report.twin == {"led": Twin(reported=Value("ON")), "gone": None}
    assert (report.event_id, report.timestamp) == ("e1", 7)
    assert [(e.code, e.event_id) for e in errors] == [(400, "e1")] * 3
    assert [e.reason for e in errors][:2] == [
        "property 'temp': Expected `str`, got `int` - at `$.actual.value`",
        "property 'fan': Expected `object | null`, got `str` - at `$.actual`",
    ]
    assert errors[2].reason.startswith("property 'text': 'utf-8' codec can't decode byte 0xff")


def test_no_value_is_not_the_empty_value() -> None:
    report, _ = twin.parse_report(b'{"twin":{"a":{"actual":{"value":""}},"b":{"actual":{}},"c":{}}}')
    a, b, c = report.twin["a"], report.twin["b"], report.twin["c"]
    assert a is not None
    assert b is not None
    assert a.reported == Value("")
    assert b.reported == Value()
    assert a.reported != b.reported
    assert c == Twin()


def test_a_state_is_one_of_those_known() -> None:
    for state in board.STATES:
        assert twin.parse_state(board.state(state, "e1", 5).encode()) == twin.StateReport(state, "e1", 5)
    with pytest.raises(TwinError, match="state 'asleep' is none of ok, online, offline, unhealthy, unknown") as caught:
        twin.parse_state(board.state("asleep", "e1").encode())
    assert (caught.value.code, caught.value.event_id) == (400, "e1")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"reason": "no answer"}, "reason 'no answer' is not one word of up to 64 letters and digits"),
        ({"reason": "x" * 65}, "is not one word"),
        ({"message": "x" * 1025}, "message of 1025 characters is longer than 1024"),
        ({"refused": {"a b": "x"}}, "property name 'a b' is not"),
        ({"refused": {"a": "x" * 1025}}, "refused 'a': text of 1025 characters is longer than 1024"),
        ({"refused": {str(n): "" for n in range(65)}}, "more than 64 properties in refused"),
        ({"refused": ["a"]}, "Expected `object`"),
        ({"message": 7}, "Expected `str`"),
    ],
)
def test_why_a_device_is_not_well_is_bounded(more: dict[str, object], reason: str) -> None:
    payload = json.dumps({"state": "offline", "event_id": "e1", **more}).encode()
    with pytest.raises(TwinError, match=re.escape(reason)) as caught:
        twin.parse_state(payload)
    assert (caught.value.code, caught.value.event_id) == (400, "e1")


@pytest.mark.parametrize("payload", [b'{"state":1,"event_id":"e1"}', b'{"event_id":"e1"}'])
def test_what_is_no_state_is_refused(payload: bytes) -> None:
    with pytest.raises(TwinError) as caught:
        twin.parse_state(payload)
    assert (caught.value.code, caught.value.event_id) == (400, "e1")


def test_a_request_needs_no_event_id_but_must_be_json() -> None:
    assert twin.parse_request(b"{}") == ""
    with pytest.raises(TwinError) as caught:
        twin.parse_request(b'{"event_id":"e1",}')
    assert (caught.value.code, caught.value.event_id) == (400, "e1")


@pytest.mark.parametrize(
    ("payload", "event_id"),
    [
        (b'{"event_id" :\n "e1"', "e1"),
        (b"nothing", ""),
        (b'{"event_id":"' + b"x" * 129 + b'"}', ""),
        (b'{"event_id":"a\xff"', "a\ufffd"),
        (b" " * 5000 + b'"event_id":"late"', ""),
    ],
)
def test_the_event_id_is_found_in_what_cannot_be_read(payload: bytes, event_id: str) -> None:
    assert twin.event_id_of(payload) == event_id


def test_a_value_may_be_4096_bytes_of_any_utf8() -> None:
    assert twin.value_problem("x" * 4096) is None
    assert twin.value_problem("€" * 1365) is None
    assert twin.value_problem('21 °C, 50% {"json": true}\n\0') is None
    assert twin.value_problem("x" * 4097) == "value of 4097 bytes is longer than 4096"
    assert twin.value_problem("€" * 1366) == "value of 4098 bytes is longer than 4096"


@pytest.mark.parametrize("name", ["a", "temp-1_2.x,y:z/a@b#c", "x" * 128])
def test_property_names_are_kubeedges(name: str) -> None:
    assert twin.name_problem(name) is None


@pytest.mark.parametrize("name", ["", "x" * 129, "a b", "tempé", "a\n", "a+b", "a$"])
def test_other_names_are_refused_in_words(name: str) -> None:
    why = twin.name_problem(name)
    assert why is not None
    assert "is not 1 to 128 of" in why
    assert len(why) < 150


@settings(deadline=None)
@given(texts, texts, st.integers(0, 2**62), times)
def test_what_changed_on_the_edge_is_read_in_the_cloud(event_id: str, value: str, now: int, at: int) -> None:

    twins = {
        "a": Twin(reported=Value(value, twin.Stamp(at)), optional=True, reported_version=twin.Version(0, 3)),
        "b": Twin(desired=Value(metadata=twin.Stamp(at))),
        "c": None,
    }
    sent = message.build(message.UPDATE, "r", twin.updated_content(event_id, now, twins), source="twin")
    read = message.decode(message.encode(sent)).read(twin.UpdatedContent)
    assert (read.event_id, read.timestamp, read.twin) == (event_id, now, twins)
