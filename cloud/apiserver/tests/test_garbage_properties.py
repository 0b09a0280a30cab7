"""Garbage collection over any owners, circles among them: whatever is deleted and however, nothing is left hanging."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.apiserver.collector import Collector
from cloud.apiserver.propagation import BACKGROUND, FOREGROUND, ORPHAN
from cloud.apiserver.tests.controlled import Controlled

SIZE = 6
numbers = st.integers(0, SIZE - 1)
edges = st.lists(st.tuples(numbers, numbers, st.booleans()), max_size=12)
deletions = st.lists(
    st.tuples(numbers, st.sampled_from([BACKGROUND, FOREGROUND, ORPHAN]), st.integers(0, 3), st.booleans()),
    min_size=1,
    max_size=4,
)


def family(owners: list[tuple[int, int, bool]]) -> Controlled:
    """Config maps m0, m1, ...: (dependent, owner, whether it blocks)."""
    core = Controlled(Collector)
    uids = [core.create("configmaps", {"metadata": {"name": f"m{n}"}})["metadata"]["uid"] for n in range(SIZE)]
    references: dict[int, dict[int, dict[str, Any]]] = {}
    for dependent, owner, blocks in owners:
        references.setdefault(dependent, {})[owner] = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": f"m{owner}",
            "uid": uids[owner],
            "blockOwnerDeletion": blocks,
        }
    for dependent, found in references.items():
        core.patch("configmaps", f"m{dependent}", {"metadata": {"ownerReferences": list(found.values())}})
    core.settle()
    assert len(core.names("configmaps")) == SIZE
    return core


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(edges, deletions)
def test_in_the_end_nothing_is_going_and_every_owner_is_there(
    owners: list[tuple[int, int, bool]], deleted: list[tuple[int, str, int, bool]]
) -> None:
    core = family(owners)
    for number, policy, steps, restarts in deleted:
        if f"m{number}" in core.names("configmaps"):
            core.delete("configmaps", f"m{number}", propagation_policy=policy)
        for _ in range(steps):
            core.step()
        if restarts:
            core.restart()
    core.settle()
    left = {name: core.get("configmaps", name)["metadata"] for name in core.names("configmaps")}
    uids = {meta["uid"] for meta in left.values()}
    for name, meta in left.items():
        assert "deletionTimestamp" not in meta, (name, meta)
        for reference in meta.get("ownerReferences", ()):
            assert reference["uid"] in uids, (name, meta)
    gone = {f"m{number}" for number, *_ in deleted}
    assert not gone & left.keys()
    heirs = {dependent for dependent, owner, _ in owners if dependent != owner}
    assert {f"m{number}" for number in range(SIZE) if number not in heirs} - gone <= left.keys()
