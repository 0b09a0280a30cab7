from typing import Any

import msgspec
import pytest

from cloud.firmware_objects import DeviceFirmware, Devices, Seat
from cloud.firmware_planning import Placed, place, plans
from edgewire.tests.firmware_image import firmware

BOARDS = [f"b{n:02d}" for n in range(10)]


def rollout(
    name: str = "new", *, counter: int = 7, created: str = "2026-11-01T00:00:00Z", **spec: Any
) -> DeviceFirmware:
    image = msgspec.to_builtins(firmware(counter=counter).image)
    content = {
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "creationTimestamp": created},
        "spec": {"image": image, "devices": {"model": "unix"}, **spec},
    }
    return msgspec.convert(content, DeviceFirmware)


def seats(*names: str, node: str = "edge1", **labels: str) -> dict[str, Seat]:
    return {f"default/{name}": Seat(node, "unix", labels) for name in names or BOARDS}


def placed(firmware: DeviceFirmware, where: dict[str, Seat] | None = None) -> Placed:
    return place([firmware], seats() if where is None else where)["default/new"]


@pytest.mark.parametrize(
    ("waves", "sizes"),
    [
        ({}, [10]),
        ({"percent": [100]}, [10]),
        ({"percent": [50]}, [5, 5]),
        ({"percent": [50, 5]}, [1, 4, 5]),
        ({"canary": {"count": 2}}, [2, 8]),
        ({"canary": {"count": 2}, "percent": [10, 55]}, [2, 0, 4, 4]),
        ({"canary": {"names": ["b03", "b07", "elsewhere"]}, "percent": [50]}, [2, 3, 5]),
        ({"canary": {"count": 99}}, [10, 0]),
    ],
)
def test_waves_are_exact_shares_of_all_devices(waves: dict[str, Any], sizes: list[int]) -> None:
    found = placed(rollout(waves=waves))
    assert [len(wave) for wave in found.waves] == sizes
    assert sorted(name for wave in found.waves for name in wave) == BOARDS


def test_named_canaries_come_first() -> None:
    found = placed(rollout(waves={"canary": {"names": ["b07", "b03"]}}))
    assert sorted(found.waves[0]) == ["b03", "b07"]


def test_the_row_of_devices_is_the_same_each_time_and_another_for_each_rollout() -> None:
    waves = {"percent": [10, 20, 30, 40, 50, 60, 70, 80, 90]}
    reversed_seats = dict(reversed(seats().items()))
    assert placed(rollout(waves=waves)).waves == placed(rollout(waves=waves), reversed_seats).waves
    assert placed(rollout(waves=waves)).waves != place([rollout("other", waves=waves)], seats())["default/other"].waves


def test_a_new_device_leaves_the_row_of_the_others() -> None:
    def row(names: list[str]) -> list[str]:
        return placed(rollout(), seats(*names)).waves[0]

    assert [name for name in row([*BOARDS, "new"]) if name != "new"] == row(BOARDS)


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ({"names": ["a"]}, "a"),
        ({"model": "unix"}, "ab"),
        ({"selector": {"matchLabels": {"site": "north"}}}, "bc"),
        ({"model": "unix", "selector": {"matchLabels": {"site": "north"}}}, "b"),
        ({"names": ["a"], "selector": {"matchLabels": {"site": "north"}}}, "abc"),
        ({"selector": {"matchExpressions": [{"key": "site", "operator": "In", "values": ["south", "west"]}]}}, "a"),
        ({"selector": {"matchExpressions": [{"key": "site", "operator": "NotIn", "values": ["south"]}]}}, "bcd"),
        ({"selector": {"matchExpressions": [{"key": "site", "operator": "Exists"}]}}, "abc"),
        ({"selector": {"matchExpressions": [{"key": "site", "operator": "DoesNotExist"}]}}, "d"),
        ({"selector": {}}, "abcd"),
        ({}, ""),
    ],
)
def test_devices_are_selected_by_name_model_and_labels(devices: dict[str, Any], expected: str) -> None:
    where = {
        "default/a": Seat("edge1", "unix", {"site": "south"}),
        "default/b": Seat("edge1", "unix", {"site": "north"}),
        "default/c": Seat("edge1", "rp2", {"site": "north"}),
        "default/d": Seat("edge1", "rp2", {}),
        "plant/e": Seat("edge1", "unix", {"site": "north"}),
    }
    found = placed(rollout(devices=devices), {id: s for id, s in where.items() if not id.startswith("plant")})
    assert sorted(name for wave in found.waves for name in wave) == sorted(expected)
    assert "e" not in placed(rollout(devices=devices), where).nodes
    assert msgspec.convert(devices, Devices) is not None


def test_the_higher_counter_gets_a_device_of_two_rollouts_then_the_later() -> None:
    older = rollout("older", counter=8)
    newer = rollout("newer", counter=8, created="2026-11-02T00:00:00Z", devices={"names": ["b01"]})
    lower = rollout("lower", counter=6, created="2026-11-03T00:00:00Z")
    found = place([lower, older, newer], seats("b01", "b02"))
    assert found["default/newer"].waves == [["b01"]]
    assert found["default/older"].waves == [["b02"]]
    assert found["default/older"].skipped == {"b01": "superseded by default/newer"}
    assert sorted(found["default/lower"].skipped) == ["b01", "b02"]
    assert found["default/lower"].total == 2


def test_a_device_without_a_node_is_skipped() -> None:
    found = placed(rollout(), seats("a") | seats("b", node=""))
    assert (found.waves, found.skipped, found.total) == ([["a"]], {"b": "without a node"}, 2)


def test_each_gateway_learns_of_its_own_devices_and_how_many_are_elsewhere() -> None:
    firmware = rollout(waves={"percent": [50]}, timeoutSeconds=60)
    found = placed(firmware, seats("a", "b", "c") | seats("d", node="edge2"))
    made = plans(firmware, found, 1, aborted=False)
    assert sorted(made) == ["edge1", "edge2"]
    for number, wave in enumerate(found.waves):
        for node, plan in made.items():
            mine = [name for name in wave if found.nodes[name] == node]
            assert plan.waves[number].devices == mine
            assert plan.waves[number].elsewhere == len(wave) - len(mine)
    assert made["edge1"].timeout_s == 60
