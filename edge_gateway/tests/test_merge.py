"""Which value wins: the newest source time, whatever the order, however often."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_gateway import merge
from edge_gateway.merge import AHEAD_MS, EARLIEST_MS
from edge_gateway.twin_record import PropertyTwin, ValueRecord
from edgewire.device import ModelProperty
from edgewire.twin import MAX_VALUE, Stamp, Twin, TwinError, Value

NOW = 1_795_000_000_000

believed = st.integers(EARLIEST_MS, NOW + AHEAD_MS)
unbelievable = st.integers(max_value=EARLIEST_MS - 1) | st.integers(min_value=NOW + AHEAD_MS + 1)


def value(text: str, at: int = 0) -> Value:
    return Value(text, Stamp(at) if at else None)


def reported(text: str, at: int = 0) -> Twin:
    return Twin(reported=value(text, at))


def merged(*sent: Twin | None, at: int = NOW, now: int = NOW) -> ValueRecord:
    record = ValueRecord()
    for twin in sent:
        merge.merge(record, twin, at, now)
    return record


def perhaps(at: int, *texts: str) -> st.SearchStrategy[Value | None]:
    """A value of that time, or none."""
    return st.sampled_from([None, *(value(text, at) for text in texts)])


@st.composite
def shuffled_reports(draw: st.DrawFn) -> tuple[list[Twin], list[Twin]]:
    """Reports with distinct source times, and the same with repeats in any order, each at least once."""
    times = draw(st.lists(believed, min_size=1, max_size=8, unique=True))
    reports = [
        Twin(reported=draw(perhaps(at, "1", "2", "3", "")), desired=draw(perhaps(at, "a", "b", ""))) for at in times
    ]
    again = draw(st.lists(st.sampled_from(reports), max_size=8))
    return reports, draw(st.permutations(reports + again))


def newest(values: list[Value | None]) -> tuple[str | None, int]:
    known = [(v.at, v.value) for v in values if v is not None]
    at, text = max(known, default=(0, None))
    assert text is None or isinstance(text, str)
    return text, at


@settings(deadline=None, max_examples=200)
@given(shuffled_reports())
def test_any_order_and_replay_of_reports_ends_in_the_newest(case: tuple[list[Twin], list[Twin]]) -> None:
    reports, arrivals = case
    record = merged(*arrivals)
    assert (record.reported, record.reported_at) == newest([r.reported for r in reports])
    assert (record.desired, record.desired_at) == newest([r.desired for r in reports])


@settings(deadline=None, max_examples=200)
@given(shuffled_reports(), st.data())
def test_a_replay_changes_nothing(case: tuple[list[Twin], list[Twin]], data: st.DataObject) -> None:
    reports, arrivals = case
    record = merged(*arrivals)
    before = ValueRecord(record.reported, record.reported_at, record.desired, record.desired_at)
    assert merge.merge(record, data.draw(st.sampled_from(reports)), NOW, NOW + 60_000) is False
    assert record == before


@given(believed, st.booleans())
def test_at_equal_times_the_later_arrival_wins(at: int, own_time: bool) -> None:
    one, other = (reported("1", at), reported("2", at)) if own_time else (reported("1"), reported("2"))
    assert merged(one, other, at=at).reported == "2"
    assert merged(other, one, at=at).reported == "1"


def test_an_identical_sample_is_no_change_but_moves_the_time() -> None:
    record = merged(reported("1", NOW - 10))
    assert merge.merge(record, reported("1", NOW - 5), NOW, NOW) is False
    assert record.reported_at == NOW - 5
    assert merge.merge(record, reported("2", NOW - 7), NOW, NOW) is False  # it was made before the newest sample
    assert record.reported == "1"


def test_a_value_without_a_time_has_that_of_its_message() -> None:
    assert merged(reported("1"), at=NOW - 500).reported_at == NOW - 500
    assert merged(reported("1", NOW - 7), at=NOW - 500).reported_at == NOW - 7


@given(unbelievable, believed)
def test_a_time_that_cannot_be_believed_is_replaced_by_that_of_arrival(at: int, kept_at: int) -> None:
    record = merged(reported("1", kept_at))
    assert merge.merge(record, Twin(reported=Value("2", Stamp(at))), at, NOW) is True
    assert record.reported == "2"
    assert record.reported_at == max(NOW, kept_at + 1)


def test_the_edges_of_what_is_believed() -> None:
    assert merged(reported("1", EARLIEST_MS)).reported_at == EARLIEST_MS
    assert merged(reported("1", EARLIEST_MS - 1)).reported_at == NOW
    assert merged(reported("1", NOW + AHEAD_MS)).reported_at == NOW + AHEAD_MS
    assert merged(reported("1", NOW + AHEAD_MS + 1)).reported_at == NOW


def test_an_unstamped_report_counts_though_this_machines_clock_went_back() -> None:
    record = merged(reported("1", NOW))
    assert merge.merge(record, reported("2"), 0, NOW - 3_600_000) is True
    assert (record.reported, record.reported_at) == ("2", NOW + 1)
    booted_in_1970 = merged(reported("1"), reported("2"), at=0, now=5)
    assert (booted_in_1970.reported, booted_in_1970.reported_at) == ("2", 6)


def test_a_stamped_report_counts_though_the_last_came_from_a_future_that_the_clock_left() -> None:
    ahead = NOW + 86_400_000
    record = merged(reported("1", ahead), now=ahead)
    assert merge.merge(record, reported("2", NOW), NOW, NOW) is True
    assert (record.reported, record.reported_at) == ("2", ahead + 1)
    assert merge.merge(record, None, NOW, NOW) is True
    assert (record.reported, record.reported_at) == (None, ahead + 2)


def test_reported_and_desired_have_times_of_their_own() -> None:
    record = merged(Twin(reported=value("1", NOW - 1), desired=value("a", NOW - 9)))
    assert merge.merge(record, Twin(reported=value("0", NOW - 5), desired=value("b", NOW - 5)), NOW, NOW) is True
    assert (record.reported, record.desired) == ("1", "b")


@pytest.mark.parametrize("nothing", [Twin(), Twin(reported=Value()), Twin(desired=Value(metadata=Stamp(NOW)))])
def test_what_has_no_value_changes_nothing(nothing: Twin) -> None:
    record = merged(Twin(reported=value("1", NOW - 1), desired=value("a", NOW - 1)))
    before = ValueRecord(record.reported, record.reported_at, record.desired, record.desired_at)
    assert merge.merge(record, nothing, NOW, NOW) is False
    assert record == before


def test_the_first_value_counts_also_when_it_is_empty() -> None:
    record = ValueRecord()
    assert merge.merge(record, reported("", NOW), NOW, NOW) is True
    assert record.reported == ""


# Deleting


def test_null_deletes_the_reported_value_and_leaves_the_desired_one() -> None:
    record = merged(Twin(reported=value("1", NOW - 1), desired=value("a", NOW - 1)))
    assert merge.merge(record, None, NOW, NOW) is True
    assert (record.reported, record.desired) == (None, "a")
    assert merge.merge(record, None, NOW, NOW) is False


def test_a_replayed_deletion_does_not_delete_what_came_after_it() -> None:
    record = merged(reported("1", NOW - 10))
    assert merge.merge(record, None, NOW - 5, NOW) is True
    assert merge.merge(record, reported("2", NOW - 3), NOW, NOW) is True
    assert merge.merge(record, None, NOW - 5, NOW) is False
    assert record.reported == "2"


def test_a_replayed_report_does_not_bring_back_what_was_deleted() -> None:
    record = merged(reported("1", NOW - 10))
    merge.merge(record, None, NOW - 5, NOW)
    assert merge.merge(record, reported("1", NOW - 10), NOW, NOW) is False
    assert record.reported is None


# Checking


def checked(sent: Twin, type: str = "STRING", **options: str) -> TwinError | None:
    try:
        merge.check(PropertyTwin(ModelProperty("p", type=type, **options), ValueRecord(), True), sent)
    except TwinError as error:
        return error
    return None


def test_what_can_be_taken_passes() -> None:
    assert checked(Twin(reported=value("x" * MAX_VALUE), desired=value("21 °C"))) is None
    assert (
        checked(Twin(reported=value("500"), desired=value("5")), "INT", maximum="10") is None
    )  # a device may exceed it
    assert checked(reported("5"), "INT", access_mode="ReadOnly") is None
    assert checked(Twin(reported=Value(), desired=None), "INT") is None


@pytest.mark.parametrize(
    ("sent", "type", "options", "code", "reason"),
    [
        (reported("hot"), "INT", {}, 400, "property 'p': 'hot' is not an integer"),
        (reported("x" * 5000), "INT", {}, 413, "property 'p': value of 5000 bytes is longer than 4096"),
        (Twin(desired=value("hot")), "FLOAT", {}, 400, "property 'p': desired value: 'hot' is not a number"),
        (
            Twin(desired=value("1")),
            "INT",
            {"access_mode": "ReadOnly"},
            400,
            "property 'p': desired value: the property is ReadOnly",
        ),
        (
            Twin(reported=value("1"), desired=value("11")),
            "INT",
            {"maximum": "10"},
            400,
            "property 'p': desired value: '11' is above the maximum 10",
        ),
    ],
)
def test_what_cannot_be_taken_is_refused_by_name(
    sent: Twin, type: str, options: dict[str, str], code: int, reason: str
) -> None:
    error = checked(sent, type, **options)
    assert error is not None
    assert (error.code, error.reason) == (code, reason)
