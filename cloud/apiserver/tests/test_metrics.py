"""What nodes and pods use: a rate from two looks, and what is left out."""

import json
from datetime import UTC, datetime
from typing import Any

from cloud.apiserver import metrics
from cloud.apiserver.metrics import Summary
from cloud.apiserver.state import Stored

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def at(second: float) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()


def stats(second: float, cpu_s: float, started: float = 0.0, **more: Any) -> dict[str, Any]:
    return {
        "startTime": at(started),
        "cpu": {"time": at(second), "usageCoreNanoSeconds": round(cpu_s * 1e9)},
        "memory": {"workingSetBytes": 2048 * 1024},
        **more,
    }


def look(second: float, cpu_s: float, *containers: dict[str, Any]) -> Summary:
    pod = {"podRef": {"name": "web", "namespace": "default", "uid": "u1"}, "containers": list(containers)}
    found = metrics.read(json.dumps({"node": stats(second, cpu_s), "pods": [pod]}).encode())
    assert found is not None
    return found


NODE = Stored("nodes", "", "edge1", 1, b"{}", {"zone": "a"})


def test_two_looks_make_the_rate_of_a_node() -> None:
    found = metrics.of_node(NODE, look(100, 50), look(104, 52), NOW)
    assert found is not None
    assert (found["kind"], found["metadata"]["name"], found["metadata"]["labels"]) == (
        "NodeMetrics",
        "edge1",
        {"zone": "a"},
    )
    assert (found["usage"], found["window"]) == ({"cpu": "500000000n", "memory": "2048Ki"}, "4.000s")
    assert found["timestamp"] == "1970-01-01T00:01:44Z"


def test_a_machine_that_was_started_in_between_is_reckoned_from_its_start() -> None:
    after = metrics.read(json.dumps({"node": stats(110, 5, started=105)}).encode())
    assert after is not None
    found = metrics.of_node(NODE, look(100, 50), after, NOW)
    assert found is not None
    assert found["usage"]["cpu"] == "1000000000n"


def containers(before: Summary, after: Summary) -> list[tuple[str, str]]:
    told = dict(metrics.of_pods(before, after))
    return [(c["name"], c["usage"]["cpu"]) for c in told.get(("default", "web"), {}).get("containers", ())]


def test_a_pod_has_all_its_containers() -> None:
    before = look(100, 0, stats(100, 1, name="a"), stats(100, 2, name="b"))
    after = look(101, 0, stats(101, 1.25, name="a"), stats(101, 2, name="b"))
    assert containers(before, after) == [("a", "250000000n"), ("b", "0n")]


def test_a_new_container_and_one_that_was_started_again_are_reckoned_from_their_start() -> None:
    before = look(100, 0, stats(100, 1, name="a"))
    after = look(110, 0, stats(110, 4, started=102, name="a"), stats(110, 1, started=108, name="b"))
    assert containers(before, after) == [("a", "500000000n"), ("b", "500000000n")]


def test_one_that_was_started_just_now_is_left_out() -> None:
    assert containers(look(100, 0), look(110, 0, stats(110, 0.1, started=109.9, name="a"))) == []


def test_a_single_look_is_none_twice() -> None:
    once = look(100, 50)
    assert metrics.of_node(NODE, once, once, NOW) is None


def test_nonsense_is_none() -> None:
    assert metrics.read(b"{}") is None
    assert metrics.read(b"\xff") is None
    nowhere = json.dumps({"node": stats(100, 1)}).replace("+00:00", "")
    assert metrics.read(nowhere.encode()) is None
