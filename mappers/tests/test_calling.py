"""Methods called of devices: carried out once and answered, refused with a reason, given up when the device goes away."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from edgewire import topics
from edgewire.methods import Call
from mappers.calls import MOST_WAITING, REMEMBERED, Calls
from mappers.driver import BadAnswer, Value, ValueRefused
from mappers.tests.fakes import Address
from mappers.tests.test_poller import Bench, Cells, running

SLOW = {"cell": 4, "collect": 3_600_000}


async def ready(bench: Bench, methods: dict[str, list[str]], **properties: dict[str, Any]) -> Cells:
    """One device, online."""
    bench.index("a")
    bench.define("a", None, methods, **(properties or {"temp": SLOW, "level": {**SLOW, "cell": 5}}))
    await bench.until(lambda: bench.state("a") == "online")
    return bench.lines["line1"]


async def test_a_method_sets_its_properties_and_answers_what_they_hold() -> None:
    async with running() as bench:
        line = await ready(bench, {"adjust": ["temp", "level"]})
        bench.call("a", "c1", "adjust", temp="7", level="8")
        found = await bench.answer("c1")
        assert {**found, "timestamp": 0} == {
            "event_id": "c1", "timestamp": 0, "method": "adjust", "result": {"temp": "7", "level": "8"},
        }  # fmt: skip
        assert (line.cells[4], line.cells[5]) == (7, 8)
        assert bench.value("a", "temp") == "7"


@pytest.mark.parametrize(
    ("method", "arguments", "code", "reason"),
    [
        ("adjst", {"temp": "1"}, 404, "the device has no method 'adjst': did you mean 'adjust'?"),
        ("zzz", {}, 404, "the device has no method 'zzz': it has adjust, reset"),
        ("adjust", {}, 400, "method 'adjust' needs an argument: one of temp"),
        ("adjust", {"tmp": "1"}, 400, "method 'adjust' takes no 'tmp': did you mean 'temp'?"),
        ("adjust", {"level": "1"}, 400, "method 'adjust' takes no 'level'"),
        ("adjust", {"temp": "hot"}, 400, "temp: 'hot' is not a number"),
        ("adjust", {"temp": "99"}, 400, "temp: too much"),
        ("adjust", {"temp": "13"}, 502, "not 13"),
        ("reset", {}, 501, "method 'reset' has no propertyNames, and the protocol's driver no methods of its own"),
    ],
)
async def test_what_cannot_be_called_is_refused(method: str, arguments: dict[str, str], code: int, reason: str) -> None:
    async with running() as bench:
        line = await ready(bench, {"adjust": ["temp"], "reset": []})
        bench.call("a", "c1", method, 5000, **arguments)
        found = await bench.answer("c1")
        assert found["code"] == code
        assert found["reason"].startswith(reason)
        assert line.cells[4] == 4


async def test_of_several_arguments_none_is_written_when_one_is_wrong() -> None:
    async with running() as bench:
        line = await ready(bench, {"adjust": ["temp", "level"]})
        bench.call("a", "c1", "adjust", temp="7", level="high")
        assert (await bench.answer("c1"))["code"] == 400
        assert line.cells[4] == 4


async def test_a_call_that_comes_twice_is_carried_out_once_and_answered_alike() -> None:
    async with running() as bench:
        line = await ready(bench, {"adjust": ["temp"]})
        bench.call("a", "c1", "adjust", temp="7")
        bench.call("a", "c1", "adjust", temp="7")
        first = await bench.answer("c1")
        line.cells[4] = 1
        bench.call("a", "c1", "adjust", temp="7")
        assert bench.answers("c1") == [first, first]
        assert line.cells[4] == 1


async def test_a_device_that_is_not_online_is_called_in_vain() -> None:
    async with running() as bench:
        bench.lines["line1"].silent.add(4)
        bench.index("a")
        bench.define("a", None, {"adjust": ["temp"]}, temp=SLOW)
        await bench.until(lambda: bench.state("a") == "offline")
        bench.call("a", "c1", "adjust", temp="7")
        assert [(c["code"], c["reason"]) for c in bench.answers("c1")] == [(503, "the device is offline")]


async def test_a_device_that_falls_silent_over_a_call_says_so_and_the_others_wait_no_more() -> None:
    async with running() as bench:
        line = await ready(bench, {"adjust": ["temp"]})
        line.silent.add(4)
        bench.call("a", "c1", "adjust", temp="7")
        bench.call("a", "c2", "adjust", temp="8")
        assert ((await bench.answer("c1"))["code"], (await bench.answer("c2"))["code"]) == (504, 503)


async def test_a_bus_that_breaks_over_a_call_answers_it() -> None:
    async with running() as bench:
        line = await ready(bench, {"adjust": ["temp"]})
        line.broken = True
        bench.call("a", "c1", "adjust", temp="7")
        found = await bench.answer("c1")
        assert (found["code"], "the driver failed" in found["reason"]) == (503, True)
        line.broken = False


async def test_a_device_that_is_removed_answers_the_calls_that_wait() -> None:
    async with running() as bench:
        line = await ready(bench, {"adjust": ["temp"]}, temp={"cell": 4})
        line.hold = asyncio.Event()
        seen = len(line.reads)
        await bench.until(lambda: len(line.reads) > seen)
        bench.call("a", "c1", "adjust", temp="7")
        bench.define("a", {"unit": 2}, {"adjust": ["temp"]}, temp=SLOW)
        assert (await bench.answer("c1"))["reason"] == "the device was removed or changed"
        line.hold.set()


async def test_a_driver_may_have_methods_of_its_own() -> None:
    class Calling(Cells):
        called: list[tuple[Any, str, Mapping[str, str]]] = []

        async def call(self, address: Any, method: str, arguments: Mapping[str, str]) -> Mapping[str, Value]:
            self.called.append((address, method, arguments))
            if method == "fail":
                raise BadAnswer("nonsense")
            if arguments.get("n") == "0":
                raise ValueRefused("n must not be 0")
            return {"sum": 7, "ok": True}

    async with running() as bench:
        line = bench.lines["line1"] = Calling()
        await ready(bench, {"tare": [], "fail": []})
        bench.call("a", "c1", "tare", n="1")
        assert (await bench.answer("c1"))["result"] == {"sum": "7", "ok": "true"}
        assert line.called == [(Address(), "tare", {"n": "1"})]
        bench.call("a", "c2", "tare", n="0")
        bench.call("a", "c3", "fail")
        assert [((await bench.answer(c))["code"], (await bench.answer(c))["reason"]) for c in ("c2", "c3")] == [
            (400, "n must not be 0"), (502, "nonsense"),
        ]  # fmt: skip


async def test_a_call_goes_by_no_device_of_its_bus_that_is_due() -> None:
    async with running() as bench:
        line = bench.lines["line1"]
        bench.index("a", "b")
        bench.define("b", temp={"cell": 1})
        bench.define("a", None, {"adjust": ["temp"]}, temp=SLOW)
        await bench.until(lambda: bench.state("a") == "online" and bench.state("b") == "online")
        for n in range(MOST_WAITING):
            bench.call("a", f"c{n}", "adjust", temp=str(20 + n))
        line.cells[1] = 77
        await bench.until(lambda: bench.value("b", "temp") == "77" and bool(bench.answers(f"c{MOST_WAITING - 1}")))
        assert all("result" in bench.answers(f"c{n}")[0] for n in range(MOST_WAITING))


async def test_a_mistaken_call_is_answered_to_its_sender() -> None:
    async with running() as bench:
        await ready(bench, {})
        topic = topics.of_device("default/a", topics.METHOD)
        for payload, reason in (
            (b'{"event_id": "e", "method": 7}', "Expected `str`"),
            (b'{"event_id": "", "method": "m"}', "event_id must have 1 to 128 characters"),
            (b'{"event_id": "e", "method": "m", "timeout": 0}', "timeout must lie between 1 and 60000 ms"),
            (b"nonsense", "malformed"),
        ):
            (answer,) = bench.mapper.received(topic, payload, 0)
            content = json.loads(answer.payload)  # type: ignore[union-attr]
            assert (content["code"], reason in content["reason"]) == (400, True)


def call(event: str, timeout: int = 1000) -> Call:
    return Call(event, "m", timeout=timeout)


def codes(answers: list[Any]) -> list[tuple[str, int]]:
    return [(c["event_id"], c.get("code", 0)) for c in (json.loads(a.payload) for a in answers)]


def test_a_call_that_waited_too_long_is_not_begun() -> None:
    calls = Calls("default/a")
    calls.put(call("late", 100), 0, 0)
    calls.put(call("right", 5000), 0, 0)
    begun, answers = calls.begin(1, 0)
    assert begun is not None
    assert (begun.event_id, codes(answers)) == ("right", [("late", 504)])


def test_more_calls_than_can_wait_are_refused_and_may_come_again() -> None:
    calls = Calls("default/a")
    for n in range(MOST_WAITING):
        assert calls.put(call(str(n)), 0, 0) == []
    assert codes(calls.put(call("more"), 0, 0)) == [("more", 429)]
    calls.begin(0, 0)
    assert calls.put(call("more"), 0, 0) == []


def test_so_many_answers_are_remembered() -> None:
    calls = Calls("default/a")
    for n in range(REMEMBERED + 1):
        calls.put(call(str(n)), 0, 0)
        calls.begin(0, 0)
        calls.carried_out({}, 0)
    assert codes(calls.put(call("1"), 0, 0)) == [("1", 0)]
    assert calls.put(call("0"), 0, 0) == []
    assert calls.due_at == 0
