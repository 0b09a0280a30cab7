"""Merging reports: any order and any repetition of them ends in the newest value of every property."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from cloud.device_status import Condition, DeviceStatus, difference, parse
from edgewire.twin import DeviceState, Stamp, Twin, TypeOf, Value


def reported(value: str, at: int = 0, type: str = "") -> Twin:
    return Twin(reported=Value(value, Stamp(at)), metadata=TypeOf(type) if type else None)


# One value for each property and time: what a source says at a time, it says every time.
reports = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), min_size=1, max_size=20)


@given(reports, st.randoms(use_true_random=False))
def test_any_order_of_reports_and_replays_ends_in_the_newest(events: list[tuple[str, int]], random: object) -> None:
    shuffled = events + events[: len(events) // 2]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    status = DeviceStatus()
    for name, at in shuffled:
        status.merge_twins({name: reported(f"{name}{at}", at)}, 0)
    newest = {name: max(at for n, at in events if n == name) for name, _ in events}
    assert {n: t.reported.value for n, t in status.twins.items() if t.reported} == {
        n: f"{n}{at}" for n, at in newest.items()
    }


@given(reports)
def test_a_replay_of_everything_changes_nothing(events: list[tuple[str, int]]) -> None:
    status = DeviceStatus()
    for name, at in events:
        status.merge_twins({name: reported(f"{name}{at}", at)}, 0)
    before = status.copy()
    for name, at in events:
        status.merge_twins({name: reported(f"{name}{at}", at)}, 0)
    assert difference(before, status) is None


@given(reports)
def test_what_is_written_is_read_back_the_same(events: list[tuple[str, int]]) -> None:
    status = DeviceStatus()
    for name, at in events:
        status.merge_twins({name: reported(f"{name}{at}", at, "int")}, 0)
    status.merge_state(DeviceState("d", "online", "2026-01-01T00:00:00Z"))
    status.conditions["Accepted"] = Condition("Accepted", "True", "Delivered", "", 3, "2026-01-01T00:00:00Z")
    patch = difference(DeviceStatus(), status)
    assert patch is not None
    assert difference(parse(patch), status) is None


def test_the_first_report_of_a_property_counts() -> None:
    status = DeviceStatus()
    status.merge_twins({"temp": reported("", 5)}, 0)
    assert msgspec.json.decode(difference(DeviceStatus(), status) or b"") == {
        "status": {"twins": [{"propertyName": "temp", "reported": {"value": "", "metadata": {"timestamp": "5"}}}]}
    }


def test_of_equal_times_the_later_arrival_wins() -> None:
    status = DeviceStatus()
    for value in ("1", "2"):
        status.merge_twins({"temp": reported(value, 5)}, 0)
    assert status.twins["temp"].reported is not None
    assert status.twins["temp"].reported.value == "2"


def test_a_report_without_a_time_has_the_time_of_its_arrival() -> None:
    status = DeviceStatus()
    status.merge_twins({"temp": reported("1")}, 77)
    status.merge_twins({"temp": reported("0", 76)}, 99)
    assert status.twins["temp"].reported is not None
    assert (status.twins["temp"].reported.value, status.twins["temp"].reported.at) == ("1", 77)


def test_none_deletes_the_reported_value_and_leaves_the_desired_one() -> None:
    status = DeviceStatus()
    desired = Twin(desired=Value("9", Stamp(3)))
    status.merge_twins({"a": reported("1", 5), "b": reported("1", 5)}, 0)
    status.merge_twins({"a": desired}, 0)
    status.merge_twins({"a": None, "b": None, "c": None}, 0)
    assert list(status.twins) == ["a"]
    assert status.twins["a"].reported is None
    assert status.twins["a"].observed_desired is not None


def test_the_desired_value_a_device_knows_of_is_observed_desired() -> None:
    status = DeviceStatus()
    status.merge_twins({"a": Twin(reported=Value("1", Stamp(5)), desired=Value("2", Stamp(4)))}, 0)
    [twin] = msgspec.json.decode(difference(DeviceStatus(), status) or b"")["status"]["twins"]
    assert twin["observedDesired"] == {"value": "2", "metadata": {"timestamp": "4"}}


def test_a_type_once_told_stays() -> None:
    status = DeviceStatus()
    status.merge_twins({"a": reported("1", 5, "int")}, 0)
    status.merge_twins({"a": reported("2", 6)}, 0)
    assert status.twins["a"].reported is not None
    assert status.twins["a"].reported.metadata == {"timestamp": "6", "type": "int"}


def test_a_status_that_cannot_be_read_counts_as_empty() -> None:
    assert difference(parse(b'{"status":{"twins":7}}'), DeviceStatus()) is None
    assert difference(parse(b"{}"), DeviceStatus()) is None


def test_times_that_are_no_numbers_count_as_unknown() -> None:
    status = parse(
        b'{"status":{"twins":[{"propertyName":"a","reported":{"value":"1","metadata":{"timestamp":"soon"}}}]}}'
    )
    status.merge_twins({"a": reported("2", 1)}, 0)
    assert status.twins["a"].reported is not None
    assert status.twins["a"].reported.value == "2"


def merged(*states: DeviceState) -> DeviceStatus:
    """One state after the other, a minute apart, each written and read back."""
    status = DeviceStatus()
    for minute, state in enumerate(states):
        status.merge_state(state, minute * 60_000)
        status = parse(difference(DeviceStatus(), status) or b"")
    return status


def condition(status: DeviceStatus, type: str) -> tuple[str, str, str, str]:
    found = status.conditions[type]
    return found.status, found.reason, found.message, found.last_transition_time[11:]


def test_a_device_is_healthy_or_says_its_last_error() -> None:
    well, silent = DeviceState("d", "online"), DeviceState("d", "offline", "", "NoAnswer", "did not answer")
    partly = DeviceState("d", "online", "", "Unreadable", "temp: exception 2")
    assert condition(merged(well), "Healthy") == ("True", "Online", "", "00:00:00Z")
    assert condition(merged(well, silent), "Healthy") == ("False", "NoAnswer", "did not answer", "00:01:00Z")
    assert condition(merged(well, silent, partly), "Healthy") == (
        "False", "Unreadable", "temp: exception 2", "00:01:00Z",
    )  # fmt: skip
    assert condition(merged(well, silent, well), "Healthy") == ("True", "Online", "", "00:02:00Z")
    assert condition(merged(DeviceState("d", "offline")), "Healthy") == ("False", "Offline", "", "00:00:00Z")
    assert condition(merged(DeviceState("d", "unknown")), "Healthy") == ("Unknown", "Unknown", "", "00:00:00Z")


def test_desired_values_a_device_does_not_follow_are_said_until_it_does() -> None:
    well = DeviceState("d", "online")
    refusing = DeviceState("d", "online", refused={"a": "'9': too much", "b": "'x': not a number"})
    assert "Applied" not in merged(well).conditions
    assert condition(merged(well, refusing), "Applied") == (
        "False", "Refused", "a: '9': too much; b: 'x': not a number", "00:01:00Z",
    )  # fmt: skip
    assert condition(merged(refusing, well), "Applied") == (
        "True", "Applied", "every desired value is followed", "00:01:00Z",
    )  # fmt: skip
    assert condition(merged(refusing), "Healthy")[0] == "True"


def test_a_state_that_comes_again_changes_nothing() -> None:
    silent = DeviceState("d", "offline", "2026-01-01T00:00:00Z", "NoAnswer", "did not answer", {"a": "no"})
    status = merged(silent)
    again = status.copy()
    again.merge_state(silent, 99_000)
    assert difference(status, again) is None


def test_a_long_error_is_cut() -> None:
    refused = {f"property-{n}": "x" * 200 for n in range(16)}
    assert len(merged(DeviceState("d", "online", refused=refused)).conditions["Applied"].message) == 1024
