"""What the agent promises, in plain asserts and calls: runs on CPython and on MicroPython."""

import json

from device_fw.firmware.agent import Agent
from device_fw.firmware.properties import Property

D = "$hw/events/device/default/b1/"
UNIX_MS = 1700000000000

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Bench:
    """An agent, what it logged, and the shell's part in plain calls."""

    def __init__(self, heartbeat_ms: int = 60000) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []
        properties = {
            "temp": Property("float", digits=1),
            "level": Property("float", dead_band=0.5),
            "led": Property("string", writable=True, values=["OFF", "ON"]),
            "speed": Property("int", writable=True, minimum=0, maximum=100),
        }
        self.agent = Agent("default/b1", properties, self._log, heartbeat_ms)

    def _log(self, event: str, **fields: object) -> None:
        self.lines.append((event, fields))

    def logged(self, event: str) -> "list[dict[str, Any]]":
        return [fields for name, fields in self.lines if name == event]

    def connect(self, now: int = 0) -> None:
        """Connect and send all that goes out at once."""
        self.agent.connected(now)
        self.flush(now)

    def flush(self, now: int) -> "list[tuple[str, Any]]":
        """What goes out now: (what follows the device in the topic, the payload)."""
        out = []
        message = self.agent.tick(now)
        while message is not None:
            topic, payload, qos = message
            assert topic.startswith(D)
            assert qos == 1
            out.append((topic[len(D) :], json.loads(payload)))
            message = self.agent.tick(now)
        return out

    def reported(self, now: int) -> "dict[str, str]":
        """The values of the one report that goes out now; empty when none does."""
        out = [payload for kind, payload in self.flush(now) if kind == "twin/update"]
        assert len(out) < 2, out
        return values(out[0]) if out else {}

    def refused(self, now: int) -> "list[dict[str, str]]":
        """Which desired values are not followed, and why, as each state that goes out now says."""
        return [payload.get("refused", {}) for kind, payload in self.flush(now) if kind == "state/update"]

    def delta(self, desired: "dict[str, str]", now: int = 0) -> "list[tuple[str, Any]]":
        payload = json.dumps({"event_id": "", "timestamp": 0, "twin": {}, "delta": desired}).encode()
        return self.agent.on_message((D + "twin/update/delta").encode(), payload, now)

    def refuse(self, now: int) -> None:
        payload = b'{"event_id":"1","timestamp":0,"code":404,"reason":"device default/b1 is not known to this node"}'
        assert self.agent.on_message((D + "twin/update/result").encode(), payload, now) == []


def values(report: "dict[str, Any]") -> "dict[str, str]":
    return {name: entry["actual"]["value"] for name, entry in report["twin"].items()}


def times(report: "dict[str, Any]") -> "dict[str, int]":
    return {name: entry["actual"].get("metadata", {}).get("timestamp", 0) for name, entry in report["twin"].items()}


def test_on_connecting_the_state_goes_out_and_then_all_values() -> None:
    bench = Bench()
    bench.agent.sample("temp", 21.34, 0)
    bench.agent.sample("led", "OFF", 0)
    bench.agent.connected(5)
    out = bench.flush(5)
    assert [kind for kind, _ in out] == ["state/update", "twin/update"]
    assert out[0][1]["state"] == "online"
    assert values(out[1][1]) == {"temp": "21.3", "led": "OFF"}


def test_nothing_goes_out_while_the_link_is_down() -> None:
    bench = Bench()
    bench.agent.sample("temp", 20, 0)
    assert bench.flush(0) == []
    bench.connect()
    bench.agent.disconnected()
    bench.agent.sample("temp", 21, 1)
    assert bench.flush(100000) == []


def test_after_a_loss_only_the_newest_values_go_out_but_all_of_them() -> None:
    bench = Bench()
    bench.agent.sample("led", "OFF", 0)
    bench.connect()
    bench.agent.disconnected()
    for step in range(1000):
        bench.agent.sample("temp", 20 + step / 10, step)
    bench.agent.connected(2000)
    out = bench.flush(2000)
    assert [kind for kind, _ in out] == ["state/update", "twin/update"]
    assert values(out[1][1]) == {"temp": "119.9", "led": "OFF"}


def test_what_changed_meanwhile_goes_out_in_one_report() -> None:
    bench = Bench()
    bench.connect()
    bench.agent.sample("temp", 20, 1)
    bench.agent.sample("led", "ON", 1)
    bench.agent.sample("temp", 20.5, 2)
    assert bench.reported(3) == {"temp": "20.5", "led": "ON"}
    assert bench.reported(3) == {}


def test_an_unchanged_value_is_not_reported_again() -> None:
    bench = Bench()
    bench.agent.sample("temp", 20, 0)
    bench.connect()
    bench.agent.sample("temp", 20.04, 1)
    assert bench.reported(1) == {}


def test_a_value_is_reported_once_it_left_the_dead_band() -> None:
    bench = Bench()
    bench.agent.sample("level", 10, 0)
    bench.connect()
    bench.agent.sample("level", 10.4, 1)
    assert bench.reported(1) == {}
    bench.agent.sample("level", 10.5, 2)
    assert bench.reported(2) == {"level": "10.5"}
    bench.agent.sample("level", 10.1, 3)  # half a unit from what was reported, not from the sample before
    assert bench.reported(3) == {}
    bench.agent.sample("level", 10, 4)
    assert bench.reported(4) == {"level": "10"}


def test_the_heartbeat_reports_everything_and_restarts_with_every_full_report() -> None:
    bench = Bench(heartbeat_ms=1000)
    bench.agent.sample("temp", 20, 0)
    bench.agent.sample("level", 1, 0)
    bench.connect(500)
    bench.agent.sample("level", 1.2, 600)
    assert bench.reported(1499) == {}
    assert bench.reported(1500) == {"temp": "20", "level": "1.2"}
    assert bench.reported(2499) == {}
    assert bench.reported(2500) == {"temp": "20", "level": "1.2"}


def test_without_a_clock_reports_carry_no_time() -> None:
    bench = Bench()
    bench.agent.time.own_clock(0, 0)
    bench.agent.sample("temp", 20, 7)
    bench.agent.connected(8)
    state, report = bench.flush(8)
    assert state[1]["timestamp"] == report[1]["timestamp"] == 0
    assert times(report[1]) == {"temp": 0}


def test_source_times_are_those_of_the_readings() -> None:
    bench = Bench()
    bench.agent.time.own_clock(UNIX_MS, 1000)
    bench.agent.sample("temp", 20, 1500)
    bench.agent.sample("led", "ON", 1600)
    bench.agent.connected(1700)
    report = bench.flush(1700)[1][1]
    assert times(report) == {"temp": UNIX_MS + 500, "led": UNIX_MS + 600}
    assert report["timestamp"] == UNIX_MS + 700


def test_readings_before_the_clock_was_set_get_their_time_when_it_is() -> None:
    bench = Bench()
    bench.agent.sample("temp", 20, 100)
    bench.agent.time.own_clock(UNIX_MS, 1000)
    bench.agent.connected(1000)
    assert times(bench.flush(1000)[1][1]) == {"temp": UNIX_MS - 900}


def test_source_times_increase_even_when_the_clock_is_set_back() -> None:
    bench = Bench()
    bench.connect()
    seen = []
    for step in range(5):
        bench.agent.time.own_clock(UNIX_MS - step * 3600000, step)
        bench.agent.sample("temp", step, step)
        seen.append(times(bench.flush(step)[0][1])["temp"])
    assert seen == [UNIX_MS + step for step in range(5)]


def test_the_same_reading_reported_again_has_a_later_time() -> None:
    bench = Bench()
    bench.agent.time.own_clock(UNIX_MS, 0)
    bench.agent.sample("temp", 20, 0)
    bench.connect()
    bench.agent.disconnected()
    bench.agent.connected(10)
    assert times(bench.flush(10)[1][1]) == {"temp": UNIX_MS + 1}


def test_a_desired_value_becomes_an_action_and_is_reported_when_the_output_follows() -> None:
    bench = Bench()
    bench.agent.sample("led", "OFF", 0)
    bench.connect()
    assert sorted(bench.delta({"led": "ON", "speed": "40"})) == [("led", "ON"), ("speed", 40)]
    assert bench.reported(1) == {}
    bench.agent.sample("led", "ON", 2)
    assert bench.reported(2) == {"led": "ON"}


def test_a_desired_value_that_cannot_be_followed_is_logged_and_answered_once() -> None:
    bench = Bench()
    for name, value in (("temp", 20), ("led", "OFF"), ("speed", 0)):
        bench.agent.sample(name, value, 0)
    bench.connect()
    bad = {"led": "BLUE", "speed": "fast", "temp": "5"}
    assert bench.delta(bad) == []
    assert bench.reported(1) == {"led": "OFF", "speed": "0", "temp": "20"}
    assert sorted(line["property"] for line in bench.logged("desired_not_followed")) == ["led", "speed", "temp"]
    assert bench.delta(bad) == []  # the gateway says again what still differs
    assert bench.reported(2) == {}
    assert len(bench.logged("desired_not_followed")) == 3
    assert bench.agent.desired_refused == 6


def test_another_bad_value_is_answered_again_and_a_good_one_beside_it_is_followed() -> None:
    bench = Bench()
    bench.agent.sample("speed", 0, 0)
    bench.connect()
    assert bench.delta({"speed": "101"}) == []
    assert bench.reported(1) == {"speed": "0"}
    assert bench.delta({"speed": "-1", "led": "ON"}) == [("led", "ON")]
    assert bench.reported(2) == {"speed": "0"}


def test_the_gateway_is_told_what_is_not_followed_and_why_until_it_is() -> None:
    bench = Bench()
    bench.agent.sample("led", "OFF", 0)
    bench.agent.sample("speed", 0, 0)
    bench.connect()
    bench.delta({"led": "BLUE", "speed": "101"})
    both = {"led": "'BLUE': none of OFF, ON", "speed": "'101': above 100"}
    assert bench.refused(1) == [both]
    bench.delta({"led": "BLUE", "speed": "101"})
    assert bench.refused(2) == []
    bench.agent.disconnected()
    bench.agent.connected(3)
    assert bench.refused(3) == [both]
    bench.delta({"led": "OFF"})  # as it is: no reading will change
    assert bench.refused(4) == [{"speed": both["speed"]}]
    bench.delta({"speed": "5"})
    assert bench.refused(5) == [{}]


def test_an_unknown_property_is_logged_once() -> None:
    bench = Bench()
    bench.connect()
    for _ in range(3):
        assert bench.delta({"colour": "red"}) == []
        assert bench.reported(1) == {}
    assert [line["property"] for line in bench.logged("desired_not_followed")] == ["colour"]


def test_what_is_remembered_of_unknown_properties_is_bounded() -> None:
    bench = Bench()
    for number in range(1000):
        bench.delta({f"p{number}": "1"})
    assert len(bench.agent._not_followed) <= 32


def test_an_output_that_fails_is_answered_once_and_tried_again_with_every_delta() -> None:
    bench = Bench()
    bench.agent.sample("led", "OFF", 0)
    bench.connect()
    for turn in range(3):
        assert bench.delta({"led": "ON"}) == [("led", "ON")]
        bench.agent.failed("led", "ON", "no current")
        bench.agent.sample("led", "OFF", turn)
        assert bench.reported(turn) == ({"led": "OFF"} if turn == 0 else {})
    assert [line["reason"] for line in bench.logged("desired_not_followed")] == ["no current"]


def test_an_output_that_failed_worked_and_fails_again_is_answered_again() -> None:
    bench = Bench()
    bench.agent.sample("led", "OFF", 0)
    bench.connect()
    for state in ("OFF", "ON", "OFF"):
        bench.agent.sample("led", state, 1)
        bench.flush(1)
        if state == "OFF":
            bench.delta({"led": "ON"})
            bench.agent.failed("led", "ON", "no current")
            assert bench.reported(1) == {"led": "OFF"}


def test_bad_messages_are_logged_and_harm_nobody() -> None:
    bench = Bench()
    bench.agent.sample("led", "OFF", 0)
    bench.connect()
    for payload in (b"", b"{", b"[]", b"\xff\xfe", b'{"delta":{"led":7}}', b'{"delta":{"led":null}}', b"[" * 500):
        assert bench.agent.on_message((D + "twin/update/delta").encode(), payload, 1) == []
    assert bench.agent.on_message((D + "twin/update/result").encode(), b"?", 1) == []
    assert len(bench.logged("message_unreadable")) == 8
    for topic in (b"other", b"$hw/events/device/default/b2/twin/update/delta", (D + "twin/get/result").encode()):
        assert bench.agent.on_message(topic, b'{"delta":{"led":"ON"}}', 1) == []
    assert len(bench.logged("message_ignored")) == 3
    assert bench.agent.on_message(b"\xff", b"{}", 1) == []
    assert bench.delta({"led": "ON"}) == [("led", "ON")]


def test_a_refused_report_is_counted_and_everything_said_again_ever_later() -> None:
    bench = Bench(heartbeat_ms=60000)
    bench.agent.sample("temp", 20, 0)
    bench.connect()
    now = 0
    for pause in (2000, 4000, 8000, 16000, 32000, 60000, 60000):
        bench.refuse(now)
        bench.refuse(now)  # another report of the same burst: one answer for both
        assert bench.flush(now + pause - 1) == []
        now += pause
        assert [kind for kind, _ in bench.flush(now)] == ["state/update", "twin/update"]
    assert bench.agent.reports_refused == 14
    assert bench.logged("report_refused")[0]["code"] == 404


def test_an_accepted_report_changes_nothing() -> None:
    bench = Bench()
    bench.agent.sample("temp", 20, 0)
    bench.connect()
    payload = b'{"event_id":"1","timestamp":0,"twin":{"temp":{"actual":{"value":"20"}}}}'
    bench.agent.on_message((D + "twin/update/result").encode(), payload, 1)
    assert bench.flush(30000) == []
    assert bench.agent.reports_refused == 0


def result(bench: Bench, event: str, unix_ms: int, now: int) -> None:
    payload = json.dumps({"event_id": event, "timestamp": unix_ms, "twin": {}}).encode()
    assert bench.agent.on_message((D + "twin/update/result").encode(), payload, now) == []


def test_the_gateways_answer_tells_the_time_to_a_board_that_has_none() -> None:
    bench = Bench()
    bench.agent.sample("temp", 20, 0)
    bench.connect(0)
    result(bench, "2", UNIX_MS, 40)  # half of the 40 ms it took is the way back
    bench.agent.sample("temp", 21, 50)
    assert times(bench.flush(50)[0][1]) == {"temp": UNIX_MS + 30}


def test_an_answer_that_took_long_or_is_to_something_else_tells_no_time() -> None:
    bench = Bench()
    bench.agent.sample("temp", 20, 0)
    bench.connect(0)
    result(bench, "2", UNIX_MS, 2001)
    result(bench, "1", UNIX_MS, 10)
    result(bench, "2", 0, 10)
    assert bench.agent.time.unix_ms(0) == 0


def test_a_board_that_woke_up_in_the_past_says_everything_again_once_it_knows_the_time() -> None:
    bench = Bench()
    bench.agent.time.own_clock(UNIX_MS - 3600000, 0)
    bench.agent.sample("temp", 20, 0)
    bench.agent.sample("led", "ON", 0)
    bench.connect(0)
    result(bench, "2", UNIX_MS, 10)
    (kind, report), *_ = bench.flush(20)
    assert kind == "twin/update"
    assert times(report) == {"temp": UNIX_MS - 5, "led": UNIX_MS - 5}
    result(bench, "3", UNIX_MS + 20, 30)
    assert bench.flush(40) == []


def test_a_board_ahead_of_the_gateway_goes_back_and_its_times_increase_all_the_same() -> None:
    bench = Bench()
    bench.agent.time.own_clock(UNIX_MS + 3600000, 0)
    bench.agent.sample("temp", 20, 0)
    bench.connect(0)
    result(bench, "2", UNIX_MS, 0)
    bench.agent.sample("temp", 21, 10)
    bench.agent.sample("led", "ON", 10)
    assert times(bench.flush(10)[0][1]) == {"temp": UNIX_MS + 3600001, "led": UNIX_MS + 10}


def test_a_reading_of_an_unknown_property_or_without_a_value_is_an_error() -> None:
    bench = Bench()
    for name, value in (("colour", "red"), ("temp", float("nan")), ("temp", float("inf"))):
        try:
            bench.agent.sample(name, value, 0)
        except ValueError:
            continue
        raise AssertionError(name)
    bench.agent.connected(0)
    assert [kind for kind, _ in bench.flush(0)] == ["state/update"]


def test_the_last_will_says_offline() -> None:
    topic, payload, qos = Bench().agent.last_will()
    assert (topic, json.loads(payload)["state"], qos) == (D + "state/update", "offline", 1)


def test_it_listens_to_its_deltas_and_results_only() -> None:
    assert Bench().agent.subscriptions == (D + "twin/update/delta", D + "twin/update/result")


# --- sensors that fail


def ailments(bench: Bench, now: int) -> "list[tuple[str | None, str | None]]":
    """Reason and message of each state that goes out now."""
    said = [payload for kind, payload in bench.flush(now) if kind == "state/update"]
    return [(payload.get("reason"), payload.get("message")) for payload in said]


def test_a_sensor_that_fails_is_told_with_the_state_and_that_it_is_back() -> None:
    bench = Bench()
    bench.connect(0)
    bench.agent.unwell({"temp": "no answer", "level": "CRC error"})
    assert ailments(bench, 10000) == [("SensorFailed", "level: CRC error; temp: no answer")]
    bench.agent.unwell({"temp": "no answer", "level": "CRC error"})
    assert ailments(bench, 20000) == []
    bench.agent.unwell({})
    assert ailments(bench, 20000) == [(None, None)]


def test_a_sensor_that_comes_and_goes_is_told_every_ten_seconds_at_most() -> None:
    bench = Bench()
    bench.connect(0)
    told = []
    for now in range(0, 60000, 500):
        bench.agent.unwell({"temp": "no answer"} if now // 500 % 2 else {})
        told += [now for _ in ailments(bench, now)]
    assert len(told) <= 6, told
    bench.agent.unwell({"temp": "no answer now"})
    assert ailments(bench, 70000) == [("SensorFailed", "temp: no answer now")]


def test_what_failed_before_the_link_was_there_is_told_on_connecting_and_long_errors_are_cut() -> None:
    bench = Bench()
    bench.agent.unwell({"temp": "x" * 1000})
    bench.agent.connected(0)
    ((reason, message),) = ailments(bench, 0)
    assert (reason, len(message or "")) == ("SensorFailed", 200)
    assert ailments(bench, 100000) == []
