"""What a device reported and is desired to be, and who is told."""

import itertools
import json
import logging
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec import UNSET

from edge_gateway.device_twin import REPEAT_DELTA_MS, DeviceTwin
from edge_gateway.tests.site import (
    ID,
    NOW,
    POWER,
    SPEED,
    STATE_KEY,
    TEMPERATURE,
    TWIN_KEY,
    Heard,
    Site,
    a_device,
    a_model,
    topic,
    updated,
)
from edgewire import board, message, topics
from edgewire.device import DeviceModel, ModelProperty
from edgewire.tests.golden import SAMPLES, sample
from edgewire.twin import DeviceState, StateContent

# Reports


def test_the_first_report_counts_and_everyone_is_told_in_order() -> None:
    site = Site(a_device({"power": "ON"}))
    site.state("online")
    heard = site.report({"temperature": "21.5", "power": "OFF"}, at=NOW - 5)
    assert heard.kinds == [topics.RESULT, topics.DOCUMENT, topics.DELTA]
    temperature = {
        "actual": {"value": "21.5", "metadata": {"timestamp": NOW - 5}},
        "optional": True,
        "metadata": {"type": "float"},
    }
    result = heard.on(topics.RESULT)
    assert (result["event_id"], result["timestamp"]) == ("e1", site.now)
    assert result["twin"]["temperature"] == temperature
    assert heard.on(topics.DOCUMENT)["twin"]["temperature"] == {"last": None, "current": temperature}
    assert heard.dirty == [TWIN_KEY]
    assert heard.keys == [f"twin {ID}/temperature", f"twin {ID}/power"]


def test_an_identical_sample_changes_nothing() -> None:
    site = Site()
    site.report({"temperature": "21.5"}, at=NOW)
    heard = site.report({"temperature": "21.5"}, at=NOW)
    assert (heard.effects.changes, heard.dirty) == ([], [])
    assert heard.kinds == [topics.RESULT]
    assert heard.on(topics.RESULT) == {"event_id": "e1", "timestamp": site.now, "twin": {}}


def test_a_sample_made_before_the_newest_changes_nothing() -> None:
    site = Site()
    site.report({"temperature": "21.5"})
    heard = site.report({"temperature": "20"}, at=NOW - 1000)
    assert (heard.effects.changes, heard.dirty, heard.on(topics.RESULT)["twin"]) == ([], [], {})
    assert site.values()["temperature"] == ("21.5", None)


def test_what_nobody_listens_to_is_not_published_and_all_else_is_the_same() -> None:
    deaf = Site(a_device({"power": "ON"}), wanted=lambda topic: False)
    told = Site(a_device({"power": "ON"}))
    for heard in (deaf.report({"power": "OFF"}), deaf.send(b"not json"), deaf.state("online"), deaf.send(b"{}", "a/b")):
        assert heard.effects.publishes == []
    for heard in (told.report({"power": "OFF"}), told.send(b"not json"), told.state("online"), told.send(b"{}", "a/b")):
        assert heard.effects.publishes
    assert deaf.rows == told.rows
    assert deaf.twins.unseen.dirty_keys() == told.twins.unseen.dirty_keys() == [TWIN_KEY, STATE_KEY]


def test_golden_reports_are_taken() -> None:
    site = Site()
    label = a_model(ModelProperty("temperature"), ModelProperty("power"))
    site.edit(a_device(), label)
    site.now = NOW + 3_600_000_000
    site.send(sample("report"))
    assert site.values() == {"temperature": ("21.5 °C", None), "power": ("OFF", None)}
    assert site.send(sample("report-with-desired")).delta == {"power": "ON"}
    site.send(sample("delete"))
    assert site.values() == {"temperature": (None, None), "power": ("OFF", "ON")}


# Bad reports


@pytest.mark.parametrize(
    ("twin", "code", "reason"),
    [
        (
            {"pressure": {"actual": {"value": "1"}}},
            404,
            "property 'pressure' is not declared by the device's model; it declares temperature, speed, power",
        ),
        ({"a b": {"actual": {"value": "1"}}}, 404, "property name 'a b' is not 1 to 128 of"),
        ({"speed": {"actual": {"value": "fast"}}}, 400, "property 'speed': 'fast' is not an integer"),
        (
            {"power": {"actual": {"value": "x" * 4097}}},
            413,
            "property 'power': value of 4097 bytes is longer than 4096",
        ),
        ({"speed": {"actual": {"value": 5}}}, 400, "property 'speed': Expected `str`, got `int` - at `$.actual.value`"),
        (
            {"temperature": {"expected": {"value": "5"}}},
            400,
            "property 'temperature': desired value: the property is R",
        ),
        ({"speed": {"expected": {"value": "101"}}}, 400, "property 'speed': desired value: '101' is above the maximum"),
    ],
)
def test_a_bad_property_is_refused_by_name_and_the_good_ones_are_taken(
    twin: dict[str, Any], code: int, reason: str
) -> None:
    site = Site()
    site.state("online")
    good = {"temperature" if "speed" in twin else "speed": {"actual": {"value": "7"}}}
    for order in ({**twin, **good}, {**good, **twin}):
        site.now += 1
        order[next(iter(good))]["actual"]["value"] = str(site.now % 100)
        heard = site.send(json.dumps({"event_id": "e9", "timestamp": 0, "twin": order}))
        result = heard.on(topics.RESULT)
        assert (result["event_id"], result["code"]) == ("e9", code)
        assert result["reason"].startswith(reason)
        assert [*result["twin"]] == [*good]
        assert heard.dirty == [TWIN_KEY]
        ((sender, error),) = heard.effects.refusals
        assert (sender, error.code, error.event_id, error.reason) == (ID, code, "e9", result["reason"])
        assert site.values()[next(iter(good))][0] == str(site.now % 100)


def test_all_that_is_wrong_with_a_report_is_said_at_once() -> None:
    site = Site()
    heard = site.send(
        json.dumps(
            {
                "event_id": "e9",
                "twin": {"speed": {"actual": {"value": 5}}, "x": {}, "temperature": {"actual": {"value": "hot"}}},
            }
        )
    )
    result = heard.on(topics.RESULT)
    assert "twin" not in result
    assert result["code"] == 400
    assert [part.split(" ")[1] for part in result["reason"].split("; ") if part.startswith("prop")] == [
        "'speed':",
        "'x'",
        "'temperature':",
    ]
    assert len(heard.effects.refusals) == 1
    many = {f"unknown-{n}": {"actual": {"value": "1"}} for n in range(1000)}
    assert len(site.send(json.dumps({"twin": many})).on(topics.RESULT)["reason"]) == 500


@pytest.mark.parametrize(
    ("payload", "event_id", "reason"),
    [
        (b'{"event_id":"e9","twin":', "e9", "Input data was truncated"),
        (b"\xff\xfe", "", "JSON is malformed"),
        (b'{"event_id":"e9","twin":[]}', "e9", "Expected `object`, got `array` - at `$.twin`"),
        (b'{"event_id":"e9","twin":{"x":' + b"[" * 100_000, "e9", "maximum recursion depth"),
    ],
)
def test_what_is_no_report_is_refused_on_the_senders_own_topic(payload: bytes, event_id: str, reason: str) -> None:
    heard = Site().send(payload)
    result = heard.on(topics.RESULT)
    assert (result["event_id"], result["code"]) == (event_id, 400)
    assert reason in result["reason"]
    assert (heard.effects.changes, heard.dirty, len(heard.effects.refusals)) == ([], [], 1)


def test_an_unknown_device_is_told_so_on_each_of_its_topics() -> None:
    twins = DeviceTwin()
    for heard, kind in (
        (Heard(twins.report("a/b", sample("report"), NOW)), topics.RESULT),
        (Heard(twins.state("a/b", sample("state"), NOW)), topics.STATE_RESULT),
        (Heard(twins.get("a/b", sample("get"), NOW)), topics.GET_RESULT),
    ):
        answer = heard.on(kind)
        assert (answer["code"], answer["reason"]) == (404, "device a/b is not a device of this node")
        assert answer["event_id"] == heard.effects.refusals[0][1].event_id != ""
        assert heard.effects.changes == []
    assert heard.effects.publishes[0].topic == topic(topics.GET_RESULT, "a/b")


def test_a_bad_state_or_request_is_refused() -> None:
    site = Site()
    heard = site.perform(site.twins.state(ID, b'{"event_id":"e9","state":"asleep"}', NOW))
    assert heard.on(topics.STATE_RESULT)["code"] == 400
    assert "'asleep' is none of ok, online" in heard.on(topics.STATE_RESULT)["reason"]
    heard = site.perform(site.twins.get(ID, b"x", NOW))
    assert heard.on(topics.GET_RESULT)["code"] == 400


# Deleting


def test_null_deletes_a_value_here_and_in_the_cloud() -> None:
    site = Site()
    site.report({"power": "ON", "speed": "5"})
    site.tell_cloud()
    heard = site.send('{"event_id":"e5","twin":{"power":null}}')
    assert heard.on(topics.RESULT)["twin"] == {"power": None}
    assert heard.on(topics.DOCUMENT)["twin"]["power"]["current"] is None
    assert heard.on(topics.DOCUMENT)["twin"]["power"]["last"]["actual"]["value"] == "ON"
    assert heard.dirty == [TWIN_KEY]
    assert site.tell_cloud() == {"power": None}
    again = site.send('{"event_id":"e5","twin":{"power":null}}')
    assert (again.on(topics.RESULT)["twin"], again.dirty) == ({}, [])


def test_a_deleted_value_of_a_property_with_a_desired_one_is_told_the_cloud_as_gone() -> None:
    site = Site(a_device({"speed": "5"}))
    site.report({"speed": "3"})
    site.tell_cloud()
    site.send('{"twin":{"speed":null}}')
    assert site.tell_cloud() == {"speed": (UNSET, "5")}


# Deltas


def test_desired_values_that_change_in_one_edit_come_in_one_delta() -> None:
    site = Site()
    site.report({"speed": "1", "power": "OFF"})
    heard = site.edit(a_device({"speed": "5", "power": "ON"}))
    assert heard.kinds == [topics.DELTA]
    delta = heard.on(topics.DELTA)
    assert delta["delta"] == {"speed": "5", "power": "ON"}
    assert delta["twin"]["speed"]["expected"]["value"] == "5"
    assert delta["twin"]["speed"]["actual"]["value"] == "1"
    assert heard.dirty == [TWIN_KEY]


def test_an_edit_of_something_else_sends_no_delta() -> None:
    site = Site(a_device({"speed": "5"}))
    site.report({"speed": "1"})
    assert site.edit(a_device({"speed": "5"}, generation=2)).effects.publishes == []


def test_of_what_was_desired_while_a_device_was_away_it_gets_one_delta_with_the_newest_when_it_is_back() -> None:
    listening = {topic(topics.DELTA)}
    site = Site(wanted=lambda topic: topic in listening)
    site.report({"speed": "1", "power": "OFF"})
    site.state("offline")
    listening.clear()
    for speed in ("5", "6", "7"):
        assert site.edit(a_device({"speed": speed, "power": "ON"})).effects.publishes == []
    listening.add(topic(topics.DELTA))
    heard = site.state("online")
    assert heard.kinds == [topics.DELTA]
    assert heard.delta == {"speed": "7", "power": "ON"}
    assert site.report({"speed": "7", "power": "ON"}).delta is None
    assert site.state("online").delta is None


def test_a_value_that_says_the_same_in_other_words_is_no_difference() -> None:
    setpoint = a_model(ModelProperty("setpoint", type="DOUBLE"), ModelProperty("relay", type="BOOLEAN"))
    site = Site()
    site.edit(a_device({"setpoint": "25", "relay": "true"}), setpoint)
    assert site.report({"setpoint": "25.0", "relay": "1"}).delta is None
    assert site.report({"setpoint": "25.1", "relay": "1"}).delta == {"setpoint": "25"}


def test_a_device_that_goes_on_reporting_is_told_again_every_five_seconds() -> None:
    site = Site(a_device({"speed": "5"}))
    site.state("online")
    deltas = []
    for _ in range(40):
        site.now += 499
        heard = site.report({"speed": "1", "temperature": str(site.now % 1000)})
        deltas.append(heard.delta)
    assert deltas[0] == {"speed": "5"}  # it reported something else than is desired
    repeats = [n for n, delta in enumerate(deltas[1:], 1) if delta is not None]
    assert len(repeats) in (3, 4)
    assert all(later - earlier == REPEAT_DELTA_MS // 500 for earlier, later in itertools.pairwise(repeats))


def test_a_device_is_told_again_though_the_clock_went_back() -> None:
    site = Site(a_device({"speed": "5"}))
    site.report({"speed": "1"})
    site.now -= 86_400_000
    assert site.report({"temperature": "20"}).delta == {"speed": "5"}


def test_a_property_that_keeps_moving_does_not_keep_another_from_being_told_again() -> None:
    site = Site(a_device({"speed": "5", "power": "ON"}))
    site.report({"power": "OFF"})
    told = [site.report({"speed": str(n % 4)}).delta or {} for n in range(3)]
    assert told == [{"speed": "5"}] * 3
    site.now += REPEAT_DELTA_MS
    assert site.report({"speed": "0"}).delta == {"speed": "5", "power": "ON"}


def test_what_cannot_be_written_is_never_in_a_delta() -> None:
    site = Site(a_device({"temperature": "20", "speed": "fast", "power": "ON"}))
    assert site.state("online").delta == {"power": "ON"}
    assert site.values() == {"temperature": (None, None), "speed": (None, None), "power": (None, "ON")}


def test_deltas_are_neither_retained_nor_queued() -> None:
    site = Site(a_device({"power": "ON"}))
    (publish,) = [p for p in site.state("online").effects.publishes if p.topic == topic(topics.DELTA)]
    assert (publish.qos, publish.retain) == (0, False)


# Desired values from both sides


def test_a_local_wish_is_told_device_and_cloud_and_is_not_undone_by_an_unrelated_edit() -> None:
    site = Site(a_device({"speed": "5"}))
    heard = site.desire(speed="9")
    assert heard.delta == {"speed": "9"}
    assert site.tell_cloud()["speed"] == (None, "9")
    assert site.edit(a_device({"speed": "5", "power": "ON"}, generation=2)).delta == {"power": "ON"}
    assert site.values()["speed"] == (None, "9")


def test_a_new_wish_in_the_device_replaces_a_local_one() -> None:
    site = Site(a_device({"speed": "5"}))
    site.desire(speed="9")
    assert site.edit(a_device({"speed": "6"}, generation=2)).delta == {"speed": "6"}
    site.desire(speed="8")
    assert site.values()["speed"] == (None, "8")


def test_a_wish_of_the_device_wins_over_a_local_one_made_by_a_clock_that_is_ahead() -> None:
    site = Site()
    local = json.dumps({"timestamp": NOW + 200_000, "twin": {"speed": {"expected": {"value": "9"}}}})
    site.send(local)
    assert site.edit(a_device({"speed": "6"})).delta == {"speed": "6"}
    site.send(local)  # a replay
    assert site.values()["speed"] == (None, "6")


@pytest.mark.parametrize("without", [{"speed": ""}, {}, {"speed": "too fast"}])
def test_a_wish_that_is_taken_back_is_gone_here_and_in_the_cloud(without: dict[str, str]) -> None:
    site = Site(a_device({"speed": "5"}))
    assert site.tell_cloud() == {"speed": (None, "5")}
    heard = site.edit(a_device(without, generation=2))
    assert (heard.delta, heard.dirty) == (None, [TWIN_KEY])
    assert site.tell_cloud() == {"speed": (None, UNSET)}
    assert site.values()["speed"] == (None, None)
    assert site.report({"speed": "1"}).delta is None


def test_a_wish_taken_back_of_a_property_that_reports_is_told_the_cloud_as_gone() -> None:
    site = Site(a_device({"speed": "5"}))
    site.report({"speed": "3"})
    site.tell_cloud()
    site.edit(a_device(generation=2))
    assert site.tell_cloud() == {"speed": ("3", UNSET)}


# State


def test_a_state_is_told_device_and_cloud_once() -> None:
    site = Site()
    heard = site.state("online")
    answer = heard.on(topics.STATE_RESULT)
    assert answer["device"] == {"name": "s1", "state": "online", "lastOnlineTime": "2026-11-18T11:06:40Z"}
    assert (heard.dirty, heard.keys) == ([STATE_KEY], [f"device {ID}"])
    said = site.twins.unseen.message_for(STATE_KEY, site.now)
    assert said is not None
    assert said.read(StateContent).device.state == "online"
    site.perform(site.twins.unseen.delivered(STATE_KEY))
    assert site.twins.unseen.message_for(STATE_KEY, site.now) is None
    again = site.state("online")
    assert (again.dirty, again.keys) == ([], [])
    assert again.on(topics.STATE_RESULT)["device"]["state"] == "online"


@pytest.mark.parametrize(
    ("before", "after"),
    [("", "online"), ("offline", "online"), ("unknown", "online"), ("ok", "ok"), ("unhealthy", "unhealthy")],
)
def test_a_device_that_reports_is_alive(before: str, after: str) -> None:
    site = Site()
    if before:
        site.state(before)
    heard = site.report({"temperature": "21"})
    assert site.twins.members()[0].state == after
    assert (STATE_KEY in heard.dirty) == (before != after)


@pytest.mark.parametrize(
    "payload", ['{"twin":{"speed":{"expected":{"value":"9"}}}}', '{"twin":{}}', '{"twin":{"x":null}}']
)
def test_an_application_that_only_desires_says_nothing_of_the_device(payload: str) -> None:
    site = Site()
    site.state("offline")
    site.send(payload)
    assert site.twins.members()[0].state == "offline"


REFUSED = {"speed": "'99': above the maximum 90"}


def unwell(site: Site, state: str = "offline", message: str = "silent", refused: dict[str, str] = REFUSED) -> Heard:
    payload = board.state(state, "e1", 0, "NoAnswer", message, refused).encode()
    return site.perform(site.twins.state(ID, payload, site.now))


def told_state(site: Site) -> DeviceState:
    said = site.twins.unseen.message_for(STATE_KEY, site.now)
    assert said is not None
    return said.read(StateContent).device


def test_why_a_device_is_not_well_is_told_the_cloud_and_kept() -> None:
    site = Site()
    assert unwell(site).dirty == [STATE_KEY]
    found = told_state(site)
    assert (found.state, found.reason, found.message, found.refused) == ("offline", "NoAnswer", "silent", REFUSED)
    site.restart(a_device(), a_model())
    assert told_state(site) == found
    assert unwell(site).dirty == []
    assert unwell(site, message="refused").dirty == [STATE_KEY]


def test_a_device_that_reports_is_well_but_follows_no_more_than_before() -> None:
    site = Site()
    unwell(site)
    site.report({"temperature": "21"})
    found = told_state(site)
    assert (found.state, found.reason, found.message, found.refused) == ("online", "", "", REFUSED)
    site.state("online")
    assert told_state(site).refused == {}


def test_a_state_that_changes_while_its_message_is_in_flight_stays_dirty() -> None:
    site = Site()
    site.state("online")
    site.twins.unseen.message_for(STATE_KEY, site.now)
    site.state("offline")
    assert site.perform(site.twins.unseen.delivered(STATE_KEY)).dirty == [STATE_KEY]
    assert site.twins.unseen.dirty_keys() == [STATE_KEY]


def test_members_are_told_with_state_and_time() -> None:
    site = Site()
    assert [(m.id, m.name, m.state, m.last_online) for m in site.twins.members()] == [(ID, "s1", "", "")]
    site.state("online")
    site.now += 60_000
    site.report({"temperature": "21"})
    assert site.twins.members()[0].last_online == "2026-11-18T11:07:40Z"


def test_all_properties_are_answered_also_those_without_a_value() -> None:
    site = Site(a_device({"speed": "5"}))
    site.report({"temperature": "21.5"})
    assert [*site.get()] == ["temperature", "speed", "power"]
    assert site.get()["power"] == {"optional": True, "metadata": {"type": "string"}}
    assert site.get()["speed"]["expected"]["value"] == "5"


# What the cloud does not know yet


def test_a_message_carries_what_changed_since_the_last_and_no_more() -> None:
    site = Site()
    site.report({"temperature": "21", "speed": "1"})
    assert site.tell_cloud() == {"temperature": ("21", None), "speed": ("1", None)}
    assert site.twins.unseen.message_for(TWIN_KEY, site.now) is None
    site.report({"temperature": "21", "speed": "2"})
    assert site.tell_cloud() == {"speed": ("2", None)}


def test_what_changes_while_a_message_is_in_flight_stays_dirty_and_is_named_again() -> None:
    site = Site()
    site.report({"temperature": "21", "speed": "1"})
    assert updated(site.twins.unseen.message_for(TWIN_KEY, site.now)) == {
        "temperature": ("21", None),
        "speed": ("1", None),
    }
    site.report({"speed": "2"})
    heard = site.perform(site.twins.unseen.delivered(TWIN_KEY))
    assert heard.dirty == [TWIN_KEY]
    assert site.tell_cloud() == {"speed": ("2", None)}
    assert site.twins.unseen.dirty_keys() == [STATE_KEY]


def test_a_message_built_again_before_it_is_delivered_carries_all() -> None:
    site = Site()
    site.report({"temperature": "21"})
    site.twins.unseen.message_for(TWIN_KEY, site.now)
    site.report({"speed": "1"})
    assert updated(site.twins.unseen.message_for(TWIN_KEY, site.now)) == {
        "temperature": ("21", None),
        "speed": ("1", None),
    }
    assert site.perform(site.twins.unseen.delivered(TWIN_KEY)).dirty == []


def test_a_delivery_nobody_waits_for_changes_nothing() -> None:
    site = Site()
    for key in (TWIN_KEY, STATE_KEY, "device/a/b/twin/edge_updated", "inventory"):
        heard = site.perform(site.twins.unseen.delivered(key))
        assert (heard.effects.changes, heard.dirty) == ([], [])
        assert site.twins.unseen.message_for(key, NOW) is None


@pytest.mark.parametrize("filling", ["x", "\x01", "€"])
def test_no_message_is_longer_than_a_frame_and_the_rest_follows(filling: str) -> None:
    names = [f"p{n}" for n in range(600)]
    site = Site()
    site.edit(a_device(), a_model(*(ModelProperty(name) for name in names)))
    value = filling * (4096 // len(filling.encode()))
    for start in range(0, 600, 50):
        site.report(dict.fromkeys(names[start : start + 50], value))
    told: list[str] = []
    while (sent := site.twins.unseen.message_for(TWIN_KEY, site.now)) is not None:
        assert len(message.encode(sent)) < message.MAX_FRAME
        told += updated(sent)
        heard = site.perform(site.twins.unseen.delivered(TWIN_KEY))
        assert heard.dirty == ([TWIN_KEY] if len(told) < 600 else [])
    assert told == names


def test_numbers_count_up_over_all_properties_of_a_device() -> None:
    site = Site()
    site.report({"temperature": "21"})
    site.report({"speed": "1"})
    sent = site.twins.unseen.message_for(TWIN_KEY, site.now)
    assert sent is not None
    twins = sent.read(dict[str, Any])["twin"]
    numbers = [twins[name]["actual_version"]["edge"] for name in ("temperature", "speed")]
    assert numbers == sorted(set(numbers))


def test_a_property_that_is_not_reported_to_the_cloud_stays_on_the_site() -> None:
    site = Site(a_device({"speed": "5"}, not_to_cloud=("speed",)))
    heard = site.report({"speed": "1"})
    assert TWIN_KEY not in heard.dirty
    assert heard.keys == [f"twin {ID}/speed", f"device {ID}"]
    assert heard.delta == {"speed": "5"}  # it is desired all the same
    assert site.twins.unseen.message_for(TWIN_KEY, site.now) is None
    site.report({"temperature": "21"})
    assert site.tell_cloud() == {"temperature": ("21", None)}


def test_a_property_that_is_reported_to_the_cloud_from_now_on_is_told_with_what_it_has() -> None:
    private = a_device(not_to_cloud=("speed",))
    site = Site(private)
    site.report({"speed": "1"})
    site.report({"temperature": "21"})
    site.tell_cloud()
    site.restart(private, a_model())
    assert site.edit(a_device(generation=2)).dirty == [TWIN_KEY]
    assert site.tell_cloud() == {"speed": ("1", None)}
    site.edit(private)
    assert site.edit(a_device(generation=4)).dirty == []  # the cloud has it still
    site.edit(private)
    site.report({"speed": "2"})
    assert site.edit(a_device(generation=6)).dirty == [TWIN_KEY]
    assert site.tell_cloud() == {"speed": ("2", None)}


def test_what_waits_for_the_cloud_is_kept_back_once_it_shall_not_be_reported_any_more() -> None:
    site = Site()
    site.report({"speed": "1"})
    site.edit(a_device(not_to_cloud=("speed",), generation=2))
    assert site.twins.unseen.message_for(TWIN_KEY, site.now) is None


# Models and devices that come, change and go


def test_without_its_model_a_device_waits_and_says_so() -> None:
    site = Site()
    site.edit(a_device(), None)
    heard = site.report({"temperature": "21"})
    assert heard.on(topics.RESULT)["code"] == 404
    assert heard.on(topics.RESULT)["reason"] == f"device {ID} waits for its model default/meter"


def test_values_survive_a_time_without_the_model() -> None:
    site = Site(a_device({"power": "ON"}))
    site.report({"temperature": "21", "speed": "1"})
    rows = dict(site.rows)
    assert site.edit(a_device({"power": "ON"}), None).effects.changes == []
    assert site.twins.unseen.dirty_keys() == [STATE_KEY]
    heard = site.edit(a_device({"power": "ON"}))
    assert heard.dirty == [TWIN_KEY]
    assert site.rows == rows
    assert site.values() == {"temperature": ("21", None), "speed": ("1", None), "power": (None, "ON")}


def test_values_survive_a_restart_without_the_model() -> None:
    site = Site()
    site.report({"temperature": "21"})
    site.restart(a_device(), None)
    site.edit(a_device())
    assert site.values()["temperature"] == ("21", None)
    assert site.tell_cloud() == {"temperature": ("21", None)}


def test_a_property_the_model_no_longer_has_is_forgotten() -> None:
    site = Site(a_device({"speed": "5"}))
    site.report({"temperature": "21", "speed": "1"})
    heard = site.edit(a_device({"speed": "5"}), a_model(TEMPERATURE, POWER))
    assert heard.effects.changes == [("twin", f"{ID}/speed", None)]
    assert [*site.values()] == ["temperature", "power"]
    assert site.report({"speed": "2"}).on(topics.RESULT)["code"] == 404
    assert site.tell_cloud() == {"temperature": ("21", None)}
    site.edit(a_device(), a_model(TEMPERATURE, POWER, SPEED))
    assert site.values()["speed"] == (None, None)


def test_a_recreated_device_starts_anew() -> None:
    site = Site(a_device({"speed": "5"}))
    site.report({"temperature": "21", "speed": "1"})
    site.state("unhealthy")
    heard = site.edit(a_device({"speed": "6"}, uid="u2"))
    assert site.values() == {"temperature": (None, None), "speed": (None, "6"), "power": (None, None)}
    assert heard.delta == {"speed": "6"}
    assert site.twins.members()[0].state == ""
    assert sorted(key for table, key in site.rows if table == "twin") == [f"{ID}/speed"]


def test_a_device_recreated_during_a_restart_starts_anew() -> None:
    site = Site()
    site.report({"temperature": "21"})
    site.restart(a_device(uid="u2"), a_model())
    assert site.values()["temperature"] == (None, None)
    assert [key for table, key in site.rows if table == "twin"] == []


def test_what_the_cloud_acknowledges_of_a_predecessor_is_not_taken_for_the_new_device() -> None:
    site = Site()
    for n in range(10):
        site.report({"temperature": str(n)})
    site.twins.unseen.message_for(TWIN_KEY, site.now)
    site.edit(a_device(uid="u2"))
    site.report({"temperature": "21"})
    site.perform(site.twins.unseen.delivered(TWIN_KEY))
    assert site.tell_cloud() == {"temperature": ("21", None)}


def test_nothing_is_kept_of_a_removed_device() -> None:
    site = Site(a_device({"speed": "5"}))
    site.report({"temperature": "21"})
    site.twins.unseen.message_for(TWIN_KEY, site.now)
    site.perform(site.twins.device_removed(ID))
    assert site.rows == {}
    assert site.twins.unseen.dirty_keys() == []
    assert site.twins.members() == []
    assert site.perform(site.twins.unseen.delivered(TWIN_KEY)).effects.changes == []
    assert site.perform(site.twins.device_removed(ID)).effects.changes == []


# Restarts


def test_a_restart_gives_the_same_state() -> None:
    device = a_device({"speed": "5"})
    site = Site(device)
    site.state("online")
    site.report({"temperature": "21", "speed": "1"})
    site.tell_cloud()
    site.report({"temperature": "22"})
    site.desire(power="ON")
    before, rows, members = site.get(), dict(site.rows), site.twins.members()
    heard = site.restart(device, a_model())
    assert heard.effects.changes == []
    assert (site.get(), site.rows, site.twins.members()) == (before, rows, members)
    assert site.tell_cloud() == {"temperature": ("22", None), "power": (None, "ON")}
    assert site.edit(device).delta is None  # the local wish is not undone, nor is the one of the Device news


def test_a_value_confirmed_before_a_restart_does_not_yield_to_an_older_one_after_it() -> None:
    site = Site()
    site.report({"temperature": "21"}, at=NOW - 3)
    heard = site.report({"temperature": "21"}, at=NOW - 1)
    assert (heard.dirty, heard.on(topics.RESULT)["twin"]) == ([], {})
    site.restart(a_device(), a_model())
    site.report({"temperature": "20"}, at=NOW - 2)
    assert site.values()["temperature"] == ("21", None)


def test_numbers_go_on_after_a_restart_where_they_were() -> None:
    """Else what changes while old news is in flight would get an old number, and count as delivered with it."""
    site = Site()
    for value in ("1", "2", "3"):
        site.report({"temperature": value})
    site.restart(a_device(), a_model())
    site.report({"speed": "1"})
    site.twins.unseen.message_for(TWIN_KEY, site.now)
    site.report({"speed": "2"})
    site.perform(site.twins.unseen.delivered(TWIN_KEY))
    assert site.tell_cloud() == {"speed": ("2", None)}


def test_a_row_that_cannot_be_read_is_dropped_with_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    site = Site()
    site.state("unhealthy")
    site.report({"temperature": "21", "speed": "1"})
    site.rows["twin", f"{ID}/speed"] = b"\xff not json"
    site.rows["device", ID] = b"[]"
    with caplog.at_level(logging.ERROR):
        site.restart(a_device(), a_model())
    assert site.values() == {"temperature": ("21", None), "speed": (None, None), "power": (None, None)}
    assert ("twin", f"{ID}/speed") not in site.rows
    assert [r.getMessage().split(" error=")[0] for r in caplog.records] == [
        f"stored row is unreadable and dropped table=device key='{ID}'",
        f"stored row is unreadable and dropped table=twin key='{ID}/speed'",
    ]
    assert site.tell_cloud() == {"temperature": ("21", None)}


NAMES = ("temperature", "speed", "power")


class CloudFollows(RuleBasedStateMachine):
    """Whatever happens, and however often the process or the link dies, the cloud ends with what the edge has."""

    @initialize()
    def begin(self) -> None:
        self.device, self.model = a_device(), a_model()
        self.site = Site(self.device)
        self.cloud: dict[str, tuple[object, object]] = {}
        self.cloud_state = ""
        self.in_flight: dict[str, bool] = {}

    @rule(name=st.sampled_from(NAMES), value=st.sampled_from(["1", "2", "3"]), age=st.sampled_from([0, 0, 5]))
    def report(self, name: str, value: str, age: int) -> None:
        self.site.report({name: value}, at=self.site.now - age)

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        self.site.now += 1
        self.site.send(json.dumps({"timestamp": self.site.now, "twin": {name: None}}))

    @rule(state=st.sampled_from(["online", "offline", "unhealthy"]))
    def state(self, state: str) -> None:
        self.site.state(state)

    @rule(speed=st.sampled_from(["", "4", "5"]))
    def edit(self, speed: str) -> None:
        self.device = a_device({"speed": speed})
        self.site.now += 1
        self.site.edit(self.device, self.model)

    @rule(power=st.sampled_from(["ON", "OFF"]))
    def desire(self, power: str) -> None:
        self.site.desire(power=power)

    @rule(key=st.sampled_from([TWIN_KEY, STATE_KEY]), arrives=st.booleans())
    def send(self, key: str, arrives: bool) -> None:
        """A message is sent; whether it arrives is only known when it is acknowledged."""
        if key in self.in_flight:
            return
        sent = self.site.twins.unseen.message_for(key, self.site.now)
        if sent is None:
            return
        self.in_flight[key] = arrives
        if arrives and key == TWIN_KEY:
            for name, values in updated(sent).items():
                merged = tuple(
                    old if new is None else None if new is UNSET else new
                    for old, new in zip(self.cloud.get(name, (None, None)), values or (UNSET, None), strict=True)
                )
                self.cloud[name] = (merged[0], merged[1])
        elif arrives:
            self.cloud_state = sent.read(StateContent).device.state

    @rule(key=st.sampled_from([TWIN_KEY, STATE_KEY]))
    def acknowledge(self, key: str) -> None:
        if self.in_flight.get(key):
            del self.in_flight[key]
            heard = self.site.perform(self.site.twins.unseen.delivered(key))
            assert heard.dirty == [k for k in self.site.twins.unseen.dirty_keys() if k == key]

    @rule()
    def break_link(self) -> None:
        self.in_flight.clear()

    @rule()
    def restart(self) -> None:
        self.in_flight.clear()
        before = self.site.values()
        self.site.restart(self.device, self.model)
        assert self.site.values() == before

    @rule(missing=st.booleans())
    def lose_or_find_model(self, missing: bool) -> None:
        self.model = a_model()
        self.site.edit(self.device, None if missing else self.model)
        self.site.edit(self.device, self.model)

    @invariant()
    def what_the_cloud_does_not_have_is_dirty(self) -> None:
        if hasattr(self, "site") and not self.in_flight and self.cloud != self.edge():
            assert TWIN_KEY in self.site.twins.unseen.dirty_keys()

    def edge(self) -> dict[str, tuple[object, object]]:
        values = self.site.values()
        return {name: values[name] for name in values if name in self.cloud or values[name] != (None, None)}

    def teardown(self) -> None:
        if not hasattr(self, "site"):
            return
        self.in_flight.clear()
        for key in self.site.twins.unseen.dirty_keys():
            self.send(key, True)
            self.acknowledge(key)
        assert self.site.twins.unseen.dirty_keys() == []
        assert self.cloud == self.edge()
        assert self.cloud_state == self.site.twins.members()[0].state


CloudFollows.TestCase.settings = settings(deadline=None, max_examples=80, stateful_step_count=40)
test_the_cloud_ends_with_what_the_edge_has = CloudFollows.TestCase


# KubeEdge's conversation, recorded


def shape(value: Any) -> Any:
    """Keys in their order and types, without ids, times and words that differ."""
    if isinstance(value, dict):
        return [(key, shape(inner)) for key, inner in value.items()]
    if isinstance(value, list):
        return [shape(inner) for inner in value[:1]]
    return type(value)


def test_a_recorded_conversation_with_kubeedge_goes_the_same_way() -> None:
    """The same messages in give messages of the same topics, keys and order out.

    But for what Hedgerow does otherwise: what is no JSON is answered to its sender, and a desired value outlives the
    deletion of the reported one, so that the device is told of it again.
    """
    lines = [line.split(" ", 1) for line in (SAMPLES / "kubeedge-mqtt.txt").read_text().splitlines()]
    kinds = [(topics.device_topic(address) or ("", ""))[1] for address, _ in lines]
    twins, dev1 = DeviceTwin(), "default/dev1"
    model = a_model(ModelProperty("power"), ModelProperty("temperature", type="INT"))
    twins.device_changed(a_device(name="dev1"), model, NOW)
    twins.report(dev1, board.report({"temperature": ("25", 1_600_000_000_000)}).encode(), NOW)
    twins.state(dev1, board.state("online").encode(), NOW)
    takers = {topics.UPDATE: twins.report, topics.GET: twins.get, topics.STATE: twins.state}
    compared = []
    for at, (address, payload) in enumerate(lines):
        event_id = payload.partition('event_id":"')[2][:2]
        if kinds[at] not in takers or dev1 not in address or event_id not in ("e1", "e2", "e3", "e4", "e5", "s1"):
            continue
        effects = takers[kinds[at]](dev1, payload.encode(), NOW + at)
        ours = [((topics.device_topic(p.topic) or ("", ""))[1], json.loads(p.payload)) for p in effects.publishes]
        answers = itertools.takewhile(lambda n: kinds[n] and kinds[n] not in takers, range(at + 1, len(lines)))
        theirs = [(kinds[n], json.loads(lines[n][1])) for n in answers]
        if event_id == "e5":
            assert ours.pop()[0] == topics.DELTA
        assert [kind for kind, _ in ours] == [kind for kind, _ in theirs], payload
        for (kind, our), (_, their) in zip(ours, theirs, strict=True):
            compared.append(f"{event_id} {kind}")
            our.get("device", {}).pop("lastOnlineTime", None)  # theirs had never been online
            if event_id == "e5":
                our, their = {**our, "twin": [*our["twin"]]}, {**their, "twin": [*their["twin"]]}
            assert shape(our) == shape(their), payload
    assert compared == [
        "e1 twin/update/result",
        "e1 twin/update/document",
        "e2 twin/update/result",
        "e2 twin/update/document",
        "e2 twin/update/delta",
        "e3 twin/get/result",
        "e4 twin/update/result",
        "e5 twin/update/result",
        "e5 twin/update/document",
        "s1 state/update/result",
    ]


def test_every_device_of_a_model_is_on_its_own() -> None:
    twins = DeviceTwin()
    model: DeviceModel = a_model()
    for name in ("s1", "s2"):
        twins.device_changed(a_device(name=name), model, NOW)
    twins.report("default/s1", board.report({"speed": ("1", NOW)}).encode(), NOW)
    answer = Heard(twins.get("default/s2", b"{}", NOW)).on(topics.GET_RESULT)
    assert "actual" not in answer["twin"]["speed"]
    assert [key for key in twins.unseen.dirty_keys() if "s2" in key] == []
