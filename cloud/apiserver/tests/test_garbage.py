"""Garbage collection in the core: what the collector decides, carried out and committed at once."""

from typing import Any

import msgspec
import pytest

from cloud.apiserver.collector import Collector
from cloud.apiserver.patches import MERGE
from cloud.apiserver.tests.controlled import Controlled
from cloud.apiserver.tests.core import Core, device, widgets
from cloud.apiserver.writes import WriteOptions


@pytest.fixture
def core() -> Controlled:
    return Controlled(Collector)


def owner_of(*owners: dict[str, Any], block: bool = False) -> list[dict[str, Any]]:
    more = {"blockOwnerDeletion": True} if block else {}
    return [
        {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            **more,
        }
        for owner in owners
    ]


def config_map(core: Core, name: str, *owners: dict[str, Any], block: bool = False, **meta: Any) -> dict[str, Any]:
    meta |= {"name": name, "ownerReferences": owner_of(*owners, block=block)}
    return core.create("configmaps", {"metadata": meta})


def owners(core: Core, name: str) -> list[str]:
    return [owner["name"] for owner in core.get("configmaps", name)["metadata"].get("ownerReferences", [])]


def test_a_dependent_follows_its_owner_in_the_background(core: Controlled) -> None:
    top = config_map(core, "top")
    middle = config_map(core, "middle", top)
    config_map(core, "bottom", middle)
    config_map(core, "other")
    core.settle()
    assert core.names("configmaps") == ["bottom", "middle", "other", "top"]
    assert core.delete("configmaps", "top").removed
    core.settle()
    assert core.names("configmaps") == ["other"]


def test_a_dependent_stays_while_one_owner_does_and_forgets_the_others(core: Controlled) -> None:
    one, two = config_map(core, "one"), config_map(core, "two")
    config_map(core, "child", one, two)
    core.delete("configmaps", "one")
    core.settle()
    assert owners(core, "child") == ["two"]
    core.delete("configmaps", "two")
    core.settle()
    assert core.names("configmaps") == []


@pytest.mark.parametrize("change", [{"uid": "another"}, {"name": "nobody"}])
def test_a_dependent_of_an_owner_that_never_was_is_collected(core: Controlled, change: dict[str, str]) -> None:
    top = config_map(core, "top")
    wrong = owner_of(top)[0] | change
    core.create("configmaps", {"metadata": {"name": "child", "ownerReferences": [wrong]}})
    core.settle()
    assert core.names("configmaps") == ["top"]


def test_an_owner_in_another_namespace_counts_as_absent(core: Controlled) -> None:
    core.create("namespaces", {"metadata": {"name": "n"}})
    top = config_map(core, "top")
    core.create("configmaps", {"metadata": {"name": "child", "ownerReferences": owner_of(top)}}, "n")
    core.settle()
    assert core.names("configmaps") == ["top"]


def test_an_owner_outside_any_namespace_may_own_anything(core: Controlled) -> None:
    node = core.create("nodes", {"metadata": {"name": "n"}})
    lease = {"metadata": {"name": "n", "ownerReferences": owner_of(node)}, "spec": {}}
    core.create("leases", lease)
    core.create("nodes", {"metadata": {"name": "shadow", "ownerReferences": owner_of(node)}})
    core.settle()
    assert core.names("leases") == ["n"]
    core.delete("nodes", "n")
    core.settle()
    assert core.names("leases") == core.names("nodes") == []


def test_an_object_outside_any_namespace_is_left_alone_when_its_owner_is_in_one(core: Controlled) -> None:
    top = config_map(core, "top")
    core.create("nodes", {"metadata": {"name": "n", "ownerReferences": owner_of(top)}})
    core.delete("configmaps", "top")
    core.settle()
    assert core.names("nodes") == ["n"]


def test_an_owner_of_a_kind_that_is_not_served_may_be_there(core: Controlled) -> None:
    unknown = {"apiVersion": "test.example/v1", "kind": "Widget", "name": "w", "uid": "u"}
    core.create("configmaps", {"metadata": {"name": "child", "ownerReferences": [unknown]}})
    core.settle()
    assert core.names("configmaps") == ["child"]
    core.create("customresourcedefinitions", widgets())
    core.settle()
    assert core.names("configmaps") == []


def test_dependents_follow_a_custom_object_whose_definition_goes_too(core: Controlled) -> None:
    core.create("customresourcedefinitions", widgets())
    owner = core.create("widgets", {"metadata": {"name": "w"}, "spec": {}})
    config_map(core, "child", owner)
    core.settle()
    core.delete("customresourcedefinitions", "widgets.test.example")
    core.settle()
    assert core.names("configmaps") == []


def test_an_owner_deleted_in_the_foreground_waits_for_what_blocks_it(core: Controlled) -> None:
    top = config_map(core, "top")
    config_map(core, "held", top, block=True, finalizers=["test.example/hold"])
    config_map(core, "free", top)
    assert not core.delete("configmaps", "top", propagation_policy="Foreground").removed
    assert core.get("configmaps", "top")["metadata"]["finalizers"] == ["foregroundDeletion"]
    core.settle()
    assert core.names("configmaps") == ["held", "top"]
    assert core.get("configmaps", "held")["metadata"]["deletionTimestamp"]
    core.patch("configmaps", "held", {"metadata": {"finalizers": None}})
    core.settle()
    assert core.names("configmaps") == []


def test_dependents_that_do_not_block_outlive_an_owner_deleted_in_the_foreground(core: Controlled) -> None:
    top = config_map(core, "top")
    config_map(core, "held", top, finalizers=["test.example/hold"])
    core.delete("configmaps", "top", propagation_policy="Foreground")
    core.settle()
    assert core.names("configmaps") == ["held"]


def test_foreground_goes_down_to_the_last_dependent(core: Controlled) -> None:
    top = config_map(core, "top")
    middle = config_map(core, "middle", top, block=True)
    config_map(core, "bottom", middle, block=True, finalizers=["test.example/hold"])
    core.delete("configmaps", "top", propagation_policy="Foreground")
    core.settle()
    assert core.names("configmaps") == ["bottom", "middle", "top"]
    core.patch("configmaps", "bottom", {"metadata": {"finalizers": None}})
    core.settle()
    assert core.names("configmaps") == []


def test_orphans_live_on_without_the_owner(core: Controlled) -> None:
    top, other = config_map(core, "top"), config_map(core, "other")
    config_map(core, "child", top)
    config_map(core, "shared", top, other)
    assert not core.delete("configmaps", "top", propagation_policy="Orphan").removed
    assert core.get("configmaps", "top")["metadata"]["finalizers"] == ["orphan"]
    core.settle()
    assert core.names("configmaps") == ["child", "other", "shared"]
    assert owners(core, "child") == []
    assert owners(core, "shared") == ["other"]


def test_the_older_way_to_orphan_is_understood(core: Controlled) -> None:
    config_map(core, "child", config_map(core, "top"))
    core.delete("configmaps", "top", orphan_dependents=True)
    core.settle()
    assert core.names("configmaps") == ["child"]


def test_a_later_policy_replaces_an_earlier_one(core: Controlled) -> None:
    top = config_map(core, "top", finalizers=["test.example/hold"])
    config_map(core, "child", top, block=True, finalizers=["test.example/hold"])
    core.delete("configmaps", "top", propagation_policy="Foreground")
    core.delete("configmaps", "top", propagation_policy="Background")
    assert core.get("configmaps", "top")["metadata"]["finalizers"] == ["test.example/hold"]
    core.settle()
    assert "deletionTimestamp" not in core.get("configmaps", "child")["metadata"]


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
def test_a_circle_of_owners_is_collected_when_one_of_it_is_deleted(core: Controlled, policy: str) -> None:
    one = config_map(core, "one")
    two = config_map(core, "two", one, block=True)
    three = config_map(core, "three", two, block=True)
    core.patch("configmaps", "one", {"metadata": {"ownerReferences": owner_of(three, block=True)}})
    core.settle()
    assert core.names("configmaps") == ["one", "three", "two"]
    core.delete("configmaps", "one", propagation_policy=policy)
    core.settle()
    assert core.names("configmaps") == []


def test_a_circle_whose_members_all_wait_for_each_other_goes_when_nothing_else_holds_it(core: Controlled) -> None:
    one = config_map(core, "one")
    two = config_map(core, "two", one, block=True)
    core.patch("configmaps", "one", {"metadata": {"ownerReferences": owner_of(two, block=True)}})
    config_map(core, "held", two, block=True, finalizers=["test.example/hold"])
    core.settle()
    core.delete("configmaps", "one", propagation_policy="Foreground")
    core.delete("configmaps", "two", propagation_policy="Foreground")
    core.settle()
    assert core.names("configmaps") == ["held", "one", "two"]
    core.patch("configmaps", "held", {"metadata": {"finalizers": None}})
    core.settle()
    assert core.names("configmaps") == []


@pytest.mark.parametrize("policy", ["Background", "Foreground", "Orphan"])
def test_an_object_that_owns_itself_can_be_deleted(core: Controlled, policy: str) -> None:
    own = config_map(core, "own")
    core.patch("configmaps", "own", {"metadata": {"ownerReferences": owner_of(own, block=True)}})
    core.settle()
    assert core.names("configmaps") == ["own"]
    core.delete("configmaps", "own", propagation_policy=policy)
    core.settle()
    assert core.names("configmaps") == []


@pytest.mark.parametrize("policy", ["Background", "Foreground", "Orphan"])
@pytest.mark.parametrize("steps", range(6))
def test_a_restart_goes_on_where_it_stopped(core: Controlled, policy: str, steps: int) -> None:
    top = config_map(core, "top")
    for name in ("a", "b", "c"):
        config_map(core, f"{name}-child", config_map(core, name, top, block=True), block=True)
    core.delete("configmaps", "top", propagation_policy=policy)
    for _ in range(steps):
        core.step()
    core.restart()
    core.settle()
    left = ["a", "a-child", "b", "b-child", "c", "c-child"] if policy == "Orphan" else []
    assert core.names("configmaps") == left


def test_a_restart_collects_what_lost_its_owner_while_nothing_ran(core: Controlled) -> None:
    config_map(core, "child", config_map(core, "top"))
    core.objects.observers.clear()
    core.delete("configmaps", "top")
    core.restart()
    core.settle()
    assert core.names("configmaps") == []


def test_an_object_changed_meanwhile_is_judged_again(core: Controlled) -> None:
    top, other = config_map(core, "top"), config_map(core, "other")
    config_map(core, "child", top)
    core.delete("configmaps", "top")
    resource = core.resource("configmaps")
    body = msgspec.json.encode({"metadata": {"ownerReferences": owner_of(other)}})
    adopted = core.objects.patch(resource, "default", "child", (MERGE, body), WriteOptions())
    assert core.controllers[0].work() is None
    core.done(adopted)
    core.later(1)
    core.settle()
    assert core.names("configmaps") == ["child", "other"]


def test_a_change_the_store_lost_is_made_again(core: Controlled) -> None:
    config_map(core, "child", config_map(core, "top"))
    core.delete("configmaps", "top")
    lost = core.controllers[0].work()
    assert lost is not None
    core.objects.rollback()
    core.controllers[0].failed(lost)
    core.later(1)
    core.settle()
    assert core.names("configmaps") == []


def test_status_reports_of_an_owned_device_are_no_work(core: Controlled) -> None:
    core.define_devices()
    top = config_map(core, "top")
    owned = device()
    owned["metadata"]["ownerReferences"] = owner_of(top)
    core.create("devices", owned)
    core.settle()
    core.patch("devices", "s1", {"status": {"state": "online"}}, "status")
    assert core.controllers[0].due() is None


def test_many_dependents_are_collected_in_several_transactions(core: Controlled) -> None:
    top = config_map(core, "top")
    for number in range(150):
        config_map(core, f"c{number}", top)
    core.settle()
    core.delete("configmaps", "top")
    sizes = []
    while (transaction := core.controllers[0].work()) is not None:
        core.objects.committed(transaction)
        sizes.append(len(transaction.changes))
    assert sum(sizes) == 150
    assert max(sizes) <= 64
