"""What `edgewire.board` promises, in plain asserts: runs on CPython and on MicroPython."""

import json

from edgewire import board


def test_a_report_carries_value_and_source_time_of_each_property() -> None:
    message = json.loads(
        board.report({"temp": ("24", 1700000000000), "led": ("ON", 1700000000001)}, "e1", 1700000000002)
    )
    assert message == {
        "event_id": "e1",
        "timestamp": 1700000000002,
        "twin": {
            "temp": {"actual": {"value": "24", "metadata": {"timestamp": 1700000000000}}},
            "led": {"actual": {"value": "ON", "metadata": {"timestamp": 1700000000001}}},
        },
    }


def test_a_report_without_a_clock_has_no_source_time() -> None:
    message = json.loads(board.report({"temp": ("24", 0)}))
    assert message == {"event_id": "", "timestamp": 0, "twin": {"temp": {"actual": {"value": "24"}}}}


def test_values_of_any_utf8_survive() -> None:
    message = json.loads(board.report({"label": ('21 °C "warm"\n', 0)}))
    assert message["twin"]["label"]["actual"]["value"] == '21 °C "warm"\n'


def test_a_state_message_names_the_state() -> None:
    assert json.loads(board.state("offline")) == {"event_id": "", "timestamp": 0, "state": "offline"}
    assert json.loads(board.state("online", "e2", 7)) == {"event_id": "e2", "timestamp": 7, "state": "online"}


def test_a_request_carries_its_event_id() -> None:
    assert json.loads(board.get("e3")) == {"event_id": "e3"}


def test_a_delta_gives_desired_values_by_property() -> None:
    payload = (
        b'{"event_id":"e","timestamp":1,"twin":{"power":{"expected":{"value":"ON"},"actual":{"value":"OFF"},'
        b'"optional":true,"metadata":{"type":"string"}}},"delta":{"power":"ON"}}'
    )
    assert board.delta(payload) == {"power": "ON"}
    assert board.delta(payload.decode()) == {"power": "ON"}


def test_what_is_no_delta_is_refused() -> None:
    for payload in (
        b"",
        b"[]",
        b"7",
        b"null",
        b"{",
        b"{}",
        b'{"delta":null}',
        b'{"delta":["ON"]}',
        b'{"delta":{"led":1}}',
        b"\xff",
    ):
        try:
            board.delta(payload)
        except ValueError:
            continue
        raise AssertionError(payload)


def test_a_twin_document_gives_the_desired_values_it_has() -> None:
    payload = (
        b'{"event_id":"e","timestamp":1,"twin":{"led":{"expected":{"value":"ON"},"actual":{"value":"OFF"}},'
        b'"temp":{"actual":{"value":"21"}},"gone":null}}'
    )
    assert board.desired(payload) == {"led": "ON"}


def test_what_is_no_twin_document_is_refused() -> None:
    for payload in (b"{}", b'{"twin":[]}', b'{"twin":{"led":{"expected":{"value":1}}}}', b"nonsense"):
        try:
            board.desired(payload)
        except ValueError:
            continue
        raise AssertionError(payload)


def test_a_refusal_is_told_from_a_success() -> None:
    assert board.refusal(b'{"event_id":"e1","timestamp":1,"code":400,"reason":"bad"}') == ("e1", 400, "bad")
    assert board.refusal(b'{"event_id":"e1","timestamp":1,"twin":{"led":{"actual":{"value":"ON"}}}}') is None
    assert board.refusal(b'{"event_id":"e1","code":0}') is None


def test_an_answer_says_to_what_and_when() -> None:
    refused = b'{"event_id":"e1","timestamp":1795411715588,"code":400,"reason":"bad"}'
    assert board.answer(refused) == ("e1", 1795411715588, 400, "bad")
    assert board.answer(b'{"event_id":"e2","timestamp":7,"twin":{}}') == ("e2", 7, 0, "")
    assert board.answer(b'{"timestamp":"noon"}') == ("", 0, 0, "")
