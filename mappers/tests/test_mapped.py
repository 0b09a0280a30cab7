"""One device: when it is read, what is reported, how desired values are written, refused, kept waiting."""

import logging
from decimal import Decimal
from typing import Any

import pytest
from msgspec import Struct

from mappers.driver import BadAnswer, BusDown, DriverError, NoAnswer, Refused, Value
from mappers.health import State
from mappers.mapped import MappedDevice, Output, Report
from mappers.plan import Settings, make_plan
from mappers.tests.fakes import Toy, definition, device_json, model_json
from mappers.wishes import RETRY_REFUSED_S

MODEL = model_json(
    temp={"type": "FLOAT", "accessMode": "ReadOnly"},
    level={"type": "FLOAT", "minimum": "0", "maximum": "100"},
    count="INT",
    pump="BOOLEAN",
)
MS = 1_700_000_000_000


def mapped(now: float = 0.0, settings: Settings | None = None, **properties: dict[str, Any]) -> MappedDevice:
    settings = settings or Settings()
    properties = properties or {"temp": {"cell": 0}, "level": {"cell": 1}}
    plan = make_plan(definition(device_json("a", **properties), MODEL), Toy(), settings)
    return MappedDevice("default/a", plan, settings, now, draw=lambda: 0.5)


def turn(device: MappedDevice, now: float, now_ms: int = MS, **values: Value | DriverError) -> list[Output]:
    """Read what is due; `values` are what the device answers, by property."""
    points = device.reads(now)
    return device.answered(points, [values[p.name] for p in points], now, now_ms)


def values_of(outputs: list[Output]) -> dict[str, str]:
    """The values of the one report among outputs; empty when there is none."""
    reports = [o for o in outputs if isinstance(o, Report)]
    assert len(reports) <= 1
    return {n: v for report in reports for n, (v, _) in report.values.items()}


def states_of(outputs: list[Output]) -> list[str]:
    return [o.state for o in outputs if isinstance(o, State)]


def names(device: MappedDevice, now: float) -> list[str]:
    return [p.name for p in device.reads(now)]


def test_the_first_read_says_online_and_reports_everything_in_one_message() -> None:
    device = mapped()
    assert turn(device, 0, temp=21.5, level=3) == [
        State("default/a", "online"),
        Report("default/a", {"temp": ("21.5", MS), "level": ("3", MS)}),
    ]


def test_only_what_changed_is_reported() -> None:
    device = mapped()
    turn(device, 0, temp=21.5, level=3)
    assert turn(device, 1, MS + 1000, temp=21.6, level=3) == [Report("default/a", {"temp": ("21.6", MS + 1000)})]
    assert turn(device, 2, temp=21.6, level=3) == []


def test_an_unchanged_value_is_reported_again_when_its_report_cycle_is_over() -> None:
    device = mapped(temp={"cell": 0, "report": 5000})
    turn(device, 0, temp=1)
    assert [values_of(turn(device, now, temp=1)) for now in (1, 4.9, 5, 6, 9.9, 10)] == [
        {}, {}, {"temp": "1"}, {}, {}, {"temp": "1"}
    ]  # fmt: skip


def test_source_times_rise_even_when_the_clock_is_set_back() -> None:
    device = mapped(temp={"cell": 0})
    stamps = []
    for now, clock in enumerate([MS, MS, MS - 5000, MS + 10]):
        (*_, report) = turn(device, now, clock, temp=now)
        assert isinstance(report, Report)
        stamps.append(report.values["temp"][1])
    assert stamps == [MS, MS + 1, MS + 2, MS + 10]


def test_each_property_is_read_at_its_own_cycle() -> None:
    device = mapped(temp={"cell": 0, "collect": 1000}, level={"cell": 1, "collect": 3000})
    turn(device, 0, temp=1, level=1)
    assert device.due_at() == 1
    assert names(device, 1) == ["temp"]
    turn(device, 1, temp=1)
    turn(device, 2, temp=1)
    assert names(device, 3) == ["temp", "level"]


def test_cycles_keep_their_phase_when_a_read_is_late() -> None:
    device = mapped(temp={"cell": 0})
    turn(device, 0, temp=1)
    turn(device, 1.3, temp=1)
    assert device.due_at() == 2


def test_cycles_that_cannot_be_kept_are_left_out_and_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    device = mapped(temp={"cell": 0, "collect": 1})
    for n in range(100):
        turn(device, n * 0.1, temp=n)
        assert n * 0.1 < device.due_at() <= n * 0.1 + 0.0021
    (said,) = (m for m in caplog.messages if "left out" in m)
    assert said.startswith("= bus too slow, cycles left out device=default/a bus=line1 cycles=")


def test_a_device_that_does_not_answer_is_tried_again_and_then_offline() -> None:
    device = mapped()
    turn(device, 0, temp=1, level=1)
    assert device.missed(NoAnswer("silent"), 1) == []
    assert device.due_at() == 1
    assert device.missed(NoAnswer("silent"), 2) == [State("default/a", "offline", "NoAnswer", "silent")]
    assert device.missed(NoAnswer("silent"), 4) == []


def test_an_offline_device_is_probed_ever_more_rarely() -> None:
    device = mapped(settings=Settings(probe_limit_s=30))
    waits, now = [], 0.0
    device.missed(NoAnswer("silent"), now)
    for _ in range(9):
        device.missed(NoAnswer("silent"), now)
        waits.append(device.due_at() - now)
        now = device.due_at()
    assert waits == [1, 1, 2, 4, 8, 15, 15, 15, 15]  # half of 1, 2, 4 ..., never below the collect cycle


def test_a_device_that_is_back_is_online_and_read_as_before() -> None:
    device = mapped()
    turn(device, 0, temp=1, level=1)
    device.missed(NoAnswer("silent"), 1)
    device.missed(NoAnswer("silent"), 1)
    assert device.due_at() == 2
    assert turn(device, 20, MS + 20_000, temp=1, level=2) == [
        State("default/a", "online"),
        Report("default/a", {"level": ("2", MS + 20_000)}),
    ]
    assert device.due_at() == 21


def test_a_bus_that_is_down_takes_its_devices_offline_at_once() -> None:
    device = mapped()
    turn(device, 0, temp=1, level=1)
    assert device.missed(BusDown("refused"), 1, bus_down=True) == [State("default/a", "offline", "BusDown", "refused")]
    assert device.due_at() == 1


def test_one_unreadable_property_costs_one_log_line_and_not_the_others(caplog: pytest.LogCaptureFixture) -> None:
    device = mapped()
    bad = Refused("exception 2")
    assert turn(device, 0, temp=bad, level=1)[0] == State("default/a", "online", "Unreadable", "temp: exception 2")
    assert values_of(turn(device, 1, temp=bad, level=2)) == {"level": "2"}
    assert values_of(turn(device, 2, temp=7, level=2)) == {"temp": "7"}
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == [
        "= property unreadable device=default/a property=temp error=exception 2"
    ]


def test_a_device_that_refuses_every_read_is_unhealthy() -> None:
    device = mapped()
    bad = Refused("exception 4")
    why = "temp: exception 4; level: exception 4"
    assert turn(device, 0, temp=bad, level=bad) == [State("default/a", "unhealthy", "Unreadable", why)]
    assert states_of(turn(device, 1, temp=bad, level=1)) == ["online"]


def test_a_device_is_online_while_properties_of_longer_cycles_have_values() -> None:
    device = mapped(temp={"cell": 0, "collect": 1000}, level={"cell": 1, "collect": 3000})
    turn(device, 0, temp=1, level=1)
    bad = Refused("exception 2")
    assert states_of(turn(device, 1, temp=bad)) == ["online"]
    assert states_of(turn(device, 3, temp=bad, level=bad)) == ["unhealthy"]


def test_what_an_int_cannot_express_is_an_unreadable_property() -> None:
    device = mapped(count={"cell": 0})
    why = "count: NaN is not an integer that can be told"
    assert turn(device, 0, count=float("nan")) == [State("default/a", "unhealthy", "Unreadable", why)]


def test_a_value_that_is_no_number_is_not_reported_over_and_over() -> None:
    device = mapped(temp={"cell": 0})
    assert values_of(turn(device, 0, temp=float("nan"))) == {"temp": "nan"}
    assert turn(device, 1, temp=float("nan")) == []


def written(device: MappedDevice, now: float) -> list[tuple[str, object]]:
    """Write what is to be written, as a device that accepts everything."""
    writes = device.writes(now)
    for write in writes:
        device.wishes.wrote(write, now)
    return [(w.point.name, w.value) for w in writes]


def online() -> MappedDevice:
    device = mapped(temp={"cell": 0}, level={"cell": 1}, pump={"cell": 2})
    turn(device, 0, temp=21, level=3, pump=False)
    return device


def test_a_desired_value_is_written_read_back_and_reported() -> None:
    device = online()
    device.wishes.want({"level": "50"})
    assert device.due_at() == float("-inf")
    assert written(device, 0.5) == [("level", 50)]
    assert names(device, 0.5) == ["level"]
    assert values_of(turn(device, 0.5, level=50)) == {"level": "50"}
    assert device.writes(0.6) == []


def test_only_the_newest_desired_value_is_written_once_the_device_is_back() -> None:
    device = mapped(level={"cell": 1}, pump={"cell": 2})
    device.wishes.want({"level": "10", "pump": "true"})
    device.missed(NoAnswer("silent"), 0, bus_down=True)
    device.wishes.want({"level": "20"})
    assert device.writes(1) == []
    turn(device, 2, level=3, pump=False)
    assert written(device, 2) == [("level", 20), ("pump", True)]


def test_what_the_device_holds_already_is_not_written() -> None:
    device = online()
    device.wishes.want({"level": "3.0", "pump": "0"})
    assert device.writes(0.5) == []


def test_a_write_cut_off_waits_again_unless_something_newer_does() -> None:
    device = online()
    device.wishes.want({"level": "50", "pump": "true"})
    writes = device.writes(0.5)
    device.wishes.want({"level": "60"})
    device.wishes.unwritten(writes)
    assert [(w.point.name, w.desired) for w in device.writes(0.6)] == [("level", "60"), ("pump", "true")]


@pytest.mark.parametrize(
    ("desired", "reason"),
    [
        ({"temp": "5"}, "the property is ReadOnly"),
        ({"level": "101"}, "above the maximum 100"),
        ({"level": "-1"}, "below the minimum 0"),
        ({"level": "high"}, "'high' is not a number"),
        ({"pump": "maybe"}, "'maybe' is not true or false"),
    ],
)
def test_a_value_that_cannot_be_written_is_logged_and_the_actual_value_reported(
    desired: dict[str, str], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    device = online()
    ((name, value),) = desired.items()
    for now in (0.5, 100):  # the gateway repeats it with every report that differs; that changes nothing
        device.wishes.want(desired)
        assert device.writes(now) == []
    assert caplog.messages == [
        f"< desired value refused device=default/a property={name} value={value!r} reason={reason}"
    ]
    assert names(device, 0.5) == [name]
    assert set(values_of(turn(device, 0.5, temp=21, level=3, pump=False))) == {name}


def test_a_value_the_device_refuses_is_tried_again_only_after_a_while() -> None:
    device = online()
    device.wishes.want({"level": "50"})
    (write,) = device.writes(0.5)
    device.wishes.refused(write.point, write.desired, "exception 4", 0.5 + RETRY_REFUSED_S)
    assert values_of(turn(device, 0.5, level=3)) == {"level": "3"}
    device.wishes.want({"level": "50"})
    assert device.writes(10) == []
    device.wishes.want({"level": "51"})
    assert written(device, 11) == [("level", 51)]
    turn(device, 11, level=51, temp=1, pump=False)
    device.wishes.want({"level": "50"})
    assert written(device, 12) == [("level", 50)]


def test_a_device_that_holds_another_value_is_not_written_in_a_loop(caplog: pytest.LogCaptureFixture) -> None:
    device = online()
    for now in (0.5, 1.5, 2.5):
        device.wishes.want({"level": "50.4"})
        written(device, now)
        turn(device, now, level=40, temp=21, pump=False)
    assert [m for m in caplog.messages if "holds another" in m] == [
        "< device holds another value than desired device=default/a property=level desired='50.4' held='40'"
    ]
    device.wishes.want({"level": "50.4"})
    assert written(device, 0.5 + RETRY_REFUSED_S) == [("level", Decimal("50.4"))]


@pytest.mark.parametrize(
    ("keys", "desired", "raw", "near"),
    [
        ({"scale": "0.1"}, "21.46", 215, True),
        ({"scale": "0.1"}, "21.46", 214, False),
        ({}, "50.5", 50, True),
        ({}, "0.123456789", 0.12345679, True),
        ({}, "0.123456789", 0.1234567, False),
        ({}, "50.4", True, False),
        ({"bits": "0-7"}, "7", 6, False),
    ],
)
def test_a_register_that_is_too_coarse_follows_as_near_as_it_can(
    keys: dict[str, Any], desired: str, raw: Value, near: bool
) -> None:
    device = mapped(level={"cell": 1, **keys})
    turn(device, 0, level=3)
    device.wishes.want({"level": desired})
    assert len(written(device, 0.5)) == 1
    states = [o for o in turn(device, 0.5, level=raw) if isinstance(o, State)]
    assert (states == []) == near
    device.wishes.want({"level": desired})
    assert (device.writes(1e6) == []) == near


def test_a_value_changed_at_the_device_is_written_again_at_once() -> None:
    device = online()
    device.wishes.want({"level": "50"})
    written(device, 0.5)
    turn(device, 0.5, level=50)
    turn(device, 1, temp=21, level=10, pump=False)
    device.wishes.want({"level": "50"})
    assert written(device, 1.1) == [("level", 50)]


def test_a_desired_value_of_an_unknown_property_costs_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    device = online()
    device.wishes.want({"pressure": "1"})
    assert device.writes(1) == []
    assert caplog.messages == ["< desired value of an unknown property device=default/a property=pressure"]


def test_a_changed_property_starts_anew_and_the_others_go_on() -> None:
    settings = Settings()
    old = definition(device_json("a", temp={"cell": 0}, level={"cell": 1}), MODEL)
    plan = make_plan(old, Toy(), settings)
    device = MappedDevice("default/a", plan, settings, 0)
    turn(device, 0, temp=1, level=2)
    new = definition(device_json("a", temp={"cell": 0}, level={"cell": 9}, count={"cell": 3}), MODEL)
    device.follow(make_plan(new, Toy(), settings, (old, plan)), 0.5)
    assert [(p.name, p.visitor) for p in device.reads(0.5)] == [("level", 9), ("count", 3)]
    assert values_of(turn(device, 0.5, level=2, count=4)) == {"level": "2", "count": "4"}
    assert values_of(turn(device, 1, temp=1, level=2, count=4)) == {}


def test_source_times_rise_across_a_changed_definition() -> None:
    settings = Settings()
    old = definition(device_json("a", temp={"cell": 0}), MODEL)
    plan = make_plan(old, Toy(), settings)
    device = MappedDevice("default/a", plan, settings, 0)
    turn(device, 0, MS, temp=1)
    new = definition(device_json("a", temp={"cell": 5}), MODEL)
    device.follow(make_plan(new, Toy(), settings, (old, plan)), 0.5)
    assert turn(device, 0.5, MS, temp=1) == [Report("default/a", {"temp": ("1", MS + 1)})]


def test_a_desired_value_withdrawn_while_the_device_is_away_is_not_written() -> None:
    settings = Settings()
    old = definition(device_json("a", level={"cell": 1, "desired": "50"}), MODEL)
    plan = make_plan(old, Toy(), settings)
    device = MappedDevice("default/a", plan, settings, 0)
    device.wishes.want({"level": "50"})
    new = definition(device_json("a", level={"cell": 1}), MODEL)
    device.follow(make_plan(new, Toy(), settings, (old, plan)), 0.5)
    turn(device, 1, level=3)
    assert device.writes(1) == []


def test_a_write_that_failed_for_lack_of_an_answer_leads_to_a_probe_of_every_property() -> None:
    device = online()
    device.wishes.want({"level": "50"})
    writes = device.writes(0.5)
    device.wishes.unwritten(writes)
    device.missed(NoAnswer("silent"), 0.5)
    device.missed(NoAnswer("silent"), 0.5)
    assert device.state == "offline"
    assert names(device, device.due_at()) == ["temp", "level", "pump"]
    turn(device, 2, temp=1, level=3, pump=False)
    assert written(device, 2) == [("level", 50)]


def test_a_new_session_with_the_broker_is_told_the_state() -> None:
    device = mapped()
    assert device.reconnected() == []
    turn(device, 0, temp=1, level=1)
    assert device.reconnected() == [State("default/a", "online")]


def test_a_value_within_the_dead_band_is_reported_with_the_heartbeat_only() -> None:
    device = mapped(temp={"cell": 0, "deadband": "0.5", "report": 10_000})
    told = [values_of(turn(device, now, temp=value)) for now, value in enumerate((20, 20.4, 20.5, 20.6, 21.1, 21.0))]
    assert told == [{"temp": "20"}, {}, {}, {"temp": "20.6"}, {}, {}]
    assert values_of(turn(device, 13, temp=21.0)) == {"temp": "21.0"}


def test_a_slow_drift_leaves_the_dead_band() -> None:
    device = mapped(temp={"cell": 0, "deadband": "1"})
    told = [values_of(turn(device, now, temp=now * 0.25)).get("temp") for now in range(12)]
    assert [t for t in told if t] == ["0.0", "1.25", "2.5"]


def test_a_value_written_is_reported_even_within_the_dead_band() -> None:
    device = mapped(level={"cell": 0, "deadband": "5"})
    turn(device, 0, level=10)
    device.wishes.want({"level": "12"})
    assert written(device, 0.5) == [("level", 12)]
    assert values_of(turn(device, 0.5, level=12)) == {"level": "12"}


def test_some_bits_are_written_with_their_mask() -> None:
    device = mapped(pump={"cell": 0, "bits": 3}, count={"cell": 1, "bits": "4-7"})
    assert values_of(turn(device, 0, pump=0b0101, count=0x35)) == {"pump": "false", "count": "3"}
    device.wishes.want({"pump": "true", "count": "9"})
    assert [(w.value, w.mask) for w in device.writes(0.5)] == [(8, 8), (0x90, 0xF0)]


def test_more_than_the_bits_hold_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    device = mapped(count={"cell": 1, "bits": "4-7"})
    turn(device, 0, count=0)
    device.wishes.want({"count": "16"})
    assert device.writes(0.5) == []
    assert "reason=does not fit 4 bits (0 to 15)" in caplog.text


def test_a_value_is_read_and_written_by_its_name() -> None:
    model = model_json(mode="STRING")
    plan = make_plan(definition(device_json("a", mode={"enum": {"0": "off", "1": "on"}}), model), Toy(), Settings())
    device = MappedDevice("default/a", plan, Settings(), 0)
    assert values_of(turn(device, 0, mode=0)) == {"mode": "off"}
    device.wishes.want({"mode": "on"})
    assert written(device, 0.5) == [("mode", 1)]
    assert values_of(turn(device, 0.5, mode=1)) == {"mode": "on"}
    assert states_of(turn(device, 1, mode=7)) == ["unhealthy"]


def test_a_refused_value_is_told_with_its_reason_until_it_is_followed_or_withdrawn() -> None:
    device = online()
    device.wishes.want({"level": "101"})
    device.writes(0.5)
    (state, _) = turn(device, 0.5, level=3)
    assert state == State("default/a", "online", refused={"level": "'101': above the maximum 100"})
    device.wishes.want({"level": "50"})
    written(device, 0.6)
    (state, _) = turn(device, 0.6, level=50)
    assert state == State("default/a", "online")


def test_a_value_held_otherwise_than_desired_is_told() -> None:
    device = online()
    device.wishes.want({"level": "50.4"})
    written(device, 0.5)
    (state, report) = turn(device, 0.5, level=40)
    assert state == State("default/a", "online", refused={"level": "'50.4': the device holds '40'"})
    assert values_of([report]) == {"level": "40"}
    device.wishes.want({"level": "40"})
    assert device.writes(0.6) == []
    assert turn(device, 1, temp=21, level=40, pump=False) == [State("default/a", "online")]


def test_a_bus_that_is_back_asks_a_device_without_properties_for_nothing() -> None:
    device = MappedDevice("default/a", make_plan(definition(device_json("a"), MODEL), Toy(), Settings()), Settings(), 0)
    assert device.due_at() == float("inf")
    device.missed(BusDown("gone"), 1, bus_down=True)
    assert device.reads(device.due_at()) == []
    assert device.idle(1) == []
    assert device.due_at() == float("inf")


class Spoken(Struct):
    """A visitor of what is heard."""

    cell: int
    pushed: bool = True
    silence_s: float = 10


class Speaking(Toy):
    """Toy, in which cells from 100 on are heard and not read."""

    def __init__(self, silence_s: float = 10) -> None:
        super().__init__()
        self._silence_s = silence_s

    def visitor(self, address: Any, keys: Any, model: Any) -> Any:
        return keys.cell if keys.cell < 100 else Spoken(keys.cell, silence_s=self._silence_s)


def speaking(silence_s: float = 10, **properties: dict[str, Any]) -> MappedDevice:
    properties = properties or {"temp": {"cell": 100}, "level": {"cell": 101}}
    plan = make_plan(definition(device_json("a", **properties), MODEL), Speaking(silence_s), Settings())
    return MappedDevice("default/a", plan, Settings(), 0, draw=lambda: 0.5)


def hear(device: MappedDevice, now: float, now_ms: int = MS, **values: Value | DriverError) -> list[Output]:
    points = {p.name: p for p in device.plan.points}
    return device.heard([points[n] for n in values], list(values.values()), now, now_ms)


def test_what_is_heard_is_reported_like_what_is_read() -> None:
    device = speaking(temp={"cell": 100, "scale": 0.1, "deadband": 1, "report": 60_000})
    assert hear(device, 1, temp=215) == [State("default/a", "online"), Report("default/a", {"temp": ("21.5", MS)})]
    assert hear(device, 2, temp=215) == []
    assert hear(device, 3, temp=220) == []
    assert values_of(hear(device, 4, MS + 1, temp=230)) == {"temp": "23.0"}
    assert values_of(hear(device, 64, MS + 1, temp=230)) == {"temp": "23.0"}


def test_what_is_heard_is_never_read() -> None:
    device = speaking(temp={"cell": 100}, level={"cell": 1})
    assert names(device, 0) == ["level"]
    only = speaking()
    assert only.reads(0) == []


def test_a_device_that_is_only_heard_goes_offline_by_silence_and_comes_back_by_a_word() -> None:
    device = speaking()
    assert device.due_at() == 10
    hear(device, 5, temp=1)
    assert device.due_at() == 15
    assert device.idle(14.9) == []
    assert device.idle(15) == [State("default/a", "offline", "Silent", "nothing was heard for 10 s")]
    assert device.due_at() == float("inf")
    assert states_of(hear(device, 99, temp=1)) == ["online"]


def test_a_device_never_heard_is_offline_after_its_silence() -> None:
    assert states_of(speaking().idle(10)) == ["offline"]


def test_a_device_that_may_be_silent_is_online_while_its_bus_is_open() -> None:
    device = speaking(0, level={"cell": 100})
    assert device.due_at() == float("-inf")
    assert device.idle(0) == [State("default/a", "online")]
    assert device.due_at() == float("inf")
    device.wishes.want({"level": "5"})
    assert device.due_at() == float("-inf")
    assert written(device, 1) == [("level", 5)]
    assert device.due_at() == float("inf")
    device.missed(BusDown("gone"), 2, bus_down=True)
    assert device.state == "offline"
    assert device.idle(3) == [State("default/a", "online")]


def test_a_bus_that_is_back_gives_a_heard_device_its_time_to_speak() -> None:
    device = speaking()
    device.missed(BusDown("gone"), 2, bus_down=True)
    assert device.idle(50) == []
    assert (device.state, device.due_at()) == ("offline", float("inf"))
    assert states_of(hear(device, 51, temp=1)) == ["online"]
    assert device.due_at() == 61


def test_a_device_that_is_heard_but_does_not_answer_is_unhealthy() -> None:
    device = speaking(temp={"cell": 100}, level={"cell": 1})
    turn(device, 0, level=1)
    hear(device, 1, temp=1)
    for now in (2, 2):
        out = device.missed(NoAnswer("silent"), now)
    assert out == [State("default/a", "unhealthy", "NoAnswer", "silent")]
    device.missed(NoAnswer("silent"), 3)
    device.missed(NoAnswer("silent"), 70)
    assert device.state == "offline"
    assert states_of(hear(device, 71, temp=2)) == ["unhealthy"]
    assert states_of(turn(device, 72, level=1)) == ["online"]


@pytest.mark.parametrize("silence_s", [0, 10])
def test_a_device_that_its_driver_knows_to_be_gone_is_offline_at_once_until_it_speaks(silence_s: float) -> None:
    device = speaking(silence_s)
    hear(device, 1, temp=1)
    gone = [State("default/a", "offline", "NoAnswer", "not seen")]
    assert hear(device, 2, level=NoAnswer("not seen"), temp=NoAnswer("not seen")) == gone
    assert device.due_at() == float("inf")
    assert device.idle(3) == []
    assert device.state == "offline"
    assert states_of(hear(device, 4, temp=2)) == ["online"]


def test_a_device_that_is_also_polled_and_known_to_be_gone_is_offline_when_its_poll_fails() -> None:
    device = speaking(temp={"cell": 100}, level={"cell": 1})
    turn(device, 0, level=1)
    hear(device, 1, temp=1)
    assert hear(device, 2, temp=NoAnswer("not seen")) == []
    for now in (3, 3):
        device.missed(NoAnswer("silent"), now)
    assert device.state == "offline"


def test_a_bad_word_is_an_unreadable_property_and_no_silence() -> None:
    device = speaking()
    bad = BadAnswer("garbage")
    assert hear(device, 1, temp=bad) == [State("default/a", "unhealthy", "Unreadable", "temp: garbage")]
    assert states_of(hear(device, 9, level=1)) == ["online"]
    assert device.due_at() == 19


def test_of_two_words_in_one_round_the_newest_is_reported() -> None:
    device = speaking()
    temp = device.plan.points[0]
    assert values_of(device.heard([temp, temp], [1, 2], 0, MS)) == {"temp": "2"}
