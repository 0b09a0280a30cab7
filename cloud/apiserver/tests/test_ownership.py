"""Managed fields and server-side apply with everything around: what the contract tests cannot see or cannot send in numbers."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.apiserver import managed_fields
from cloud.apiserver.ownership import LAST_APPLIED, MANAGERS_LIMIT
from cloud.apiserver.patches import APPLY
from cloud.apiserver.state import Stored
from cloud.apiserver.status import ApiError
from cloud.apiserver.tests.core import Core, device
from cloud.apiserver.writes import WriteOptions


@pytest.fixture(scope="module")
def core() -> Core:
    made = Core()
    made.define_devices()
    return made


def apply(core: Core, config: Any, manager: str = "kubectl", name: str = "s1", force: bool = True) -> dict[str, Any]:
    body = APPLY, msgspec.json.encode(config)
    options = WriteOptions(field_manager=manager, force=force)
    return core.done(core.objects.patch(core.resource("devices"), "default", name, body, options))


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "value", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
_specs = st.dictionaries(st.sampled_from(["nodeName", "properties", "protocol", "methods", "deviceModelRef"]), _json)
_metas = st.fixed_dictionaries(
    {"name": st.just("s1")},
    optional={
        "labels": _json,
        "finalizers": _json,
        "ownerReferences": _json,
        "annotations": st.dictionaries(st.just(LAST_APPLIED), st.text(max_size=3) | _json.map(str)) | _json,
    },
)


def _tried(core: Core, config: Any, manager: str) -> dict[str, Any] | int:
    """What was applied, or the code of a no."""
    try:
        return apply(core, config, manager)
    except ApiError as error:
        return error.code


@given(_metas | _json, _specs | _json)
def test_whatever_is_applied_is_kept_or_refused(core: Core, meta: Any, spec: Any) -> None:
    config = device() | {"metadata": meta, "spec": spec}
    for manager in ("kubectl", "other"):
        once = _tried(core, config, manager)
        if isinstance(once, int):
            assert once in (400, 422)
        elif manager == "other":  # kubectl's own annotation is the one thing that an apply changes behind its back
            assert apply(core, config, manager) == once


def test_equal_devices_keep_their_fields_once(core: Core) -> None:
    for name in ("e1", "e2"):
        apply(core, device(name, properties=[{"name": "p"}]), name=name)
    one, other = (core.objects.get(core.resource("devices"), "default", name) for name in ("e1", "e2"))
    assert one.managed[0].fields is other.managed[0].fields


def test_a_report_of_the_same_manager_keeps_the_fields_it_has(core: Core) -> None:
    core.create("devices", device("r1"))

    def report(value: str) -> Stored:
        twin = {"propertyName": "p", "reported": {"value": value, "metadata": {"type": "INT"}}}
        core.patch("devices", "r1", {"status": {"twins": [twin]}}, "status")
        return core.objects.get(core.resource("devices"), "default", "r1")

    first, second = report("1"), report("2")
    assert [entry.fields for entry in first.managed] == [entry.fields for entry in second.managed]
    assert b'"f:reported":{}' in second.data
    assert b"managedFields" not in second.body


def test_the_annotation_of_client_side_apply_follows_what_kubectl_applies(core: Core) -> None:
    config = device("l1")
    first = config | {"metadata": {"name": "l1", "annotations": {LAST_APPLIED: msgspec.json.encode(config).decode()}}}
    core.create("devices", first, field_manager="kubectl-client-side-apply")
    config = device("l1", nodeName="other")
    found = apply(core, config, name="l1", force=False)
    assert msgspec.json.decode(found["metadata"]["annotations"][LAST_APPLIED])["spec"]["nodeName"] == "other"
    with pytest.raises(ApiError):
        apply(core, device("l1", nodeName="third"), "somebody", name="l1", force=False)


def test_entries_survive_a_restart(core: Core) -> None:
    apply(core, device("d1"), name="d1")
    stored = core.objects.get(core.resource("devices"), "default", "d1")
    again = Core()
    rows = [
        (s.storage, s.namespace, s.name, s.revision, s.data)
        for storage in core.objects.registry.storages()
        for s in core.objects.state.current_all(storage)
    ]
    again.objects.load(rows, core.objects.state.revision)
    found = again.objects.get(again.resource("devices"), "default", "d1")
    assert managed_fields.same(found.managed, stored.managed)
    assert (found.body, found.data) == (stored.body, stored.data)


def test_an_object_has_a_bounded_number_of_managers(core: Core) -> None:
    config = device("many")
    for number in range(MANAGERS_LIMIT):
        apply(core, config, f"m{number}", "many")
    with pytest.raises(ApiError) as caught:
        apply(core, config, "one-more", "many")
    assert caught.value.code == 413
    apply(core, config, "m0", "many")
