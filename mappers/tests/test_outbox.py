"""What waits for the broker: bounded by the properties there are, newest first, nothing lost and nothing reordered."""

import json

from hypothesis import given
from hypothesis import strategies as st

from edgewire import board
from mappers.health import State
from mappers.mapped import Report
from mappers.outbox import LARGEST_REPORT, Outbox, Publication


def values_of(publication: Publication) -> dict[str, str]:
    twin = json.loads(publication.payload)["twin"]
    return {name: entry["actual"]["value"] for name, entry in twin.items()}


def report(device: str, at: int, **values: str) -> Report:
    return Report(device, {n: (v, at) for n, v in values.items()})


def test_a_report_goes_out_with_its_source_times() -> None:
    outbox = Outbox()
    outbox.put(report("d/a", 7, temp="1", level="2"))
    (sent,) = outbox.take()
    assert sent.topic == "$hw/events/device/d/a/twin/update"
    assert json.loads(sent.payload)["twin"]["temp"] == {"actual": {"value": "1", "metadata": {"timestamp": 7}}}


@given(st.dictionaries(st.text(min_size=1), st.tuples(st.text(), st.integers(0, 2**45)), min_size=1, max_size=9))
def test_a_report_says_what_a_boards_report_says(values: dict[str, tuple[str, int]]) -> None:
    outbox = Outbox()
    outbox.put(Report("d/a", dict(values)))
    (sent,) = outbox.take()
    assert json.loads(sent.payload) == json.loads(board.report(values))


def test_a_value_that_is_no_unicode_is_sent_all_the_same() -> None:
    outbox = Outbox()
    outbox.put(Report("d/a", {"p": ("\ud800", 7)}))
    (sent,) = outbox.take()
    assert values_of(sent) == {"p": "\ud800"}


def test_one_message_a_device_is_on_its_way_and_the_rest_becomes_one_report() -> None:
    outbox = Outbox()
    outbox.put(report("d/a", 1, temp="1"))
    outbox.put(report("d/b", 1, temp="9"))
    assert [p.device for p in outbox.take()] == ["d/a", "d/b"]
    outbox.put(report("d/a", 2, temp="2"))
    outbox.put(report("d/a", 3, temp="3", level="5"))
    assert list(outbox.take()) == []
    outbox.acknowledged("d/a")
    (sent,) = outbox.take()
    assert values_of(sent) == {"temp": "3", "level": "5"}


def test_the_state_goes_before_the_values() -> None:
    outbox = Outbox()
    outbox.put(report("d/a", 1, temp="1"))
    outbox.put(State("d/a", "offline"))
    outbox.put(State("d/a", "online"))
    (first,) = outbox.take()
    assert first.topic.endswith("/state/update")
    assert json.loads(first.payload)["state"] == "online"
    outbox.acknowledged("d/a")
    (second,) = outbox.take()
    assert values_of(second) == {"temp": "1"}


def test_what_was_on_its_way_when_the_connection_broke_goes_again_unless_newer_waits() -> None:
    outbox = Outbox()
    outbox.put(report("d/a", 1, temp="1", level="1"))
    list(outbox.take())
    outbox.put(report("d/a", 2, temp="2"))
    outbox.lost()
    (sent,) = outbox.take()
    assert values_of(sent) == {"temp": "2", "level": "1"}


def test_a_state_on_its_way_does_not_come_back_over_a_newer_one() -> None:
    outbox = Outbox()
    outbox.put(State("d/a", "online"))
    list(outbox.take())
    outbox.put(State("d/a", "offline"))
    outbox.lost()
    (sent,) = outbox.take()
    assert json.loads(sent.payload)["state"] == "offline"


def test_nothing_of_a_forgotten_device_is_sent_any_longer() -> None:
    outbox = Outbox()
    outbox.put(report("d/a", 1, temp="1"))
    list(outbox.take())
    outbox.put(report("d/a", 2, temp="2"))
    outbox.forget("d/a")
    outbox.lost()
    assert list(outbox.take()) == []


def test_a_large_device_is_reported_in_several_messages() -> None:
    outbox = Outbox()
    outbox.put(Report("d/a", {f"p{n}": ("1", n) for n in range(LARGEST_REPORT + 1)}))
    (first,) = outbox.take()
    outbox.acknowledged("d/a")
    (second,) = outbox.take()
    assert (len(values_of(first)), len(values_of(second))) == (LARGEST_REPORT, 1)


actions = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("ab"), st.sampled_from("xy")),
        st.tuples(st.sampled_from(["take", "lost"]), st.just(""), st.just("")),
        st.tuples(st.just("acknowledge"), st.sampled_from("ab"), st.just("")),
    ),
    max_size=60,
)


@given(actions)
def test_in_the_end_the_newest_value_of_each_property_has_arrived(steps: list[tuple[str, str, str]]) -> None:
    outbox = Outbox()
    newest: dict[tuple[str, str], str] = {}
    arrived: dict[tuple[str, str], str] = {}
    on_the_way: dict[str, Publication] = {}

    def acknowledge(device: str) -> None:
        if device in on_the_way:
            for name, value in values_of(on_the_way.pop(device)).items():
                arrived[device, name] = value
        outbox.acknowledged(device)

    for at, (action, device, name) in enumerate(steps, 1):
        if action == "put":
            newest[device, name] = str(at)
            outbox.put(report(device, at, **{name: str(at)}))
        elif action == "take":
            on_the_way.update((p.device, p) for p in outbox.take())
        elif action == "lost":
            on_the_way.clear()
            outbox.lost()
        else:
            acknowledge(device)
        assert len(outbox) <= 2
    while len(outbox):
        on_the_way.update((p.device, p) for p in outbox.take())
        for device in list(on_the_way):
            acknowledge(device)
    assert arrived == newest
