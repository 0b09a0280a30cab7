"""Whatever happens in whatever order, a rollout keeps its promises."""

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_gateway.tests.firmware_site import GOOD, Site, a_plan
from edgewire import ota
from edgewire.rollout import PHASES, Plan

DEVICES = ("a", "b", "c", "d", "e")
WAVES = (["a"], ["b", "c"], ["d", "e"])
CONCURRENCY = 2

devices = st.sampled_from(DEVICES)
steps = st.one_of(
    st.tuples(st.just("says"), devices, st.sampled_from(ota.STATES)),
    st.tuples(st.just("goes"), devices, st.booleans()),
    st.tuples(st.just("wait"), st.integers(1, 70)),
    st.tuples(st.just("paused"), st.booleans()),
    st.tuples(st.just("aborted"), st.booleans()),
    st.tuples(
        st.just("retry"),
    ),
    st.tuples(st.just("get"), devices),
    st.tuples(
        st.just("restart"),
    ),
)


def plan(said: dict[str, int]) -> Plan:
    return a_plan(
        *WAVES,
        concurrency=CONCURRENCY,
        timeout_s=60,
        pause_s=5,
        max_failure_percent=50,
        paused=bool(said["paused"]),
        aborted=bool(said["aborted"]),
        retry=said["retry"],
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=40))
def test_a_rollout_keeps_its_promises_whatever_happens(story: list[tuple[object, ...]]) -> None:
    site = Site(*DEVICES)
    said = {"paused": 0, "aborted": 0, "retry": 0}
    site.image()
    site.plan(plan(said))
    open = site.report().open
    for what, *about in story:
        before = site.report()
        site.offered()
        match what, about:
            case "says", [str(name), str(state)]:
                site.says(name, state)
            case "goes", [str(name), bool(online)]:
                site.goes(name, online=online)
            case "wait", [int(seconds)]:
                site.wait(seconds)
            case "paused" | "aborted", [bool(value)]:
                said[str(what)] = value
                site.plan(plan(said))
            case "retry", []:
                said["retry"] += 1
                site.plan(plan(said))
            case "get", [str(name)]:
                piece = site.get(name, 0, 10)
                assert piece == (b"" if said["aborted"] or before.stopped else GOOD.stream[:10])
            case "restart", []:
                site.restart()
                # What a device said that the gateway had decided otherwise about is still not news.
                assert site.report().open == before.open
                assert site.report().stopped == before.stopped
        report = site.report()
        offered = [name for name in site.offered() if not name.startswith("-")]
        assert sum(report.counts.values()) == len(DEVICES)
        assert set(report.counts) <= set(PHASES)
        assert open <= report.open <= len(WAVES)
        assert report.done <= report.open
        open = report.open
        reachable = {name for wave in WAVES[: report.open] for name in wave}
        assert set(offered) <= reachable
        assert all(f"default/{name}" in site.devices.online for name in offered)
        if said["aborted"] or report.stopped:
            assert not any(report.counts.get(phase) for phase in ("offered",))
        if said["aborted"] or (before.stopped and report.stopped) or (said["paused"] and what != "goes"):
            assert offered == []
        assert report.counts.get("offered", 0) <= CONCURRENCY
