"""Objects and their life, in the core."""

from typing import Any

import msgspec
import pytest

from cloud.apiserver import patches
from cloud.apiserver.deletion import DeleteOptions, Preconditions
from cloud.apiserver.drafts import OBJECT_LIMIT
from cloud.apiserver.status import ApiError
from cloud.apiserver.tests.core import Core, device, widgets
from cloud.apiserver.writes import WriteOptions


@pytest.fixture
def core() -> Core:
    return Core()


@pytest.fixture
def devices(core: Core) -> Core:
    core.define_devices()
    return core


def config_map(name: str = "a", **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **more}, "data": {"k": "v"}}


def refused(code: int, reason: str, action: Any, *arguments: Any, **options: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        action(*arguments, **options)
    assert (caught.value.code, caught.value.reason) == (code, reason), caught.value
    return caught.value


def test_a_created_object_has_the_systems_metadata(core: Core) -> None:
    before = core.objects.state.revision
    created = core.create("configmaps", config_map(uid="mine", creationTimestamp="2000-01-01T00:00:00Z", generation=7))
    assert created["apiVersion"] == "v1"
    assert created["kind"] == "ConfigMap"
    managed = created["metadata"].pop("managedFields")
    assert created["metadata"] == {
        "name": "a",
        "namespace": "default",
        "uid": "uid-2",
        "resourceVersion": str(before + 1),
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    created["metadata"]["managedFields"] = managed
    assert core.get("configmaps", "a") == created


def test_a_name_can_be_taken_once(core: Core) -> None:
    core.create("configmaps", config_map())
    refused(409, "AlreadyExists", core.create, "configmaps", config_map())


def test_a_generated_name_begins_with_its_prefix_and_is_free(core: Core) -> None:
    names = {core.create("configmaps", {"metadata": {"generateName": "a-"}})["metadata"]["name"] for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("a-") and len(name) == 7 for name in names)


@pytest.mark.parametrize("name", ["A", "a_b", "-a", "a-", "a..b", "ä", "a" * 254])
def test_a_bad_name_is_invalid(core: Core, name: str) -> None:
    error = refused(422, "Invalid", core.create, "configmaps", config_map(name))
    assert error.details is not None
    assert error.details["causes"][0]["field"] == "metadata.name"


def test_an_object_without_a_name_is_invalid(core: Core) -> None:
    error = refused(422, "Invalid", core.create, "configmaps", {"metadata": {}})
    assert error.message == 'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required'


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"labels": {"a": "not good"}}, "metadata.labels"),
        ({"labels": {"a/b/c": "x"}}, "metadata.labels"),
        ({"labels": {"a": "x" * 64}}, "metadata.labels"),
        ({"annotations": {"": "x"}}, "metadata.annotations"),
        ({"annotations": {"a": "x" * 300_000}}, "metadata.annotations"),
        ({"finalizers": ["a b"]}, "metadata.finalizers"),
        ({"ownerReferences": [{"kind": "Pod", "name": "p", "uid": "u"}]}, "metadata.ownerReferences[0].apiVersion"),
    ],
)
def test_bad_metadata_is_invalid_and_named(core: Core, metadata: dict[str, Any], field: str) -> None:
    error = refused(422, "Invalid", core.create, "configmaps", config_map(**metadata))
    assert error.details is not None
    assert error.details["causes"][0]["field"] == field


@pytest.mark.parametrize(
    "obj",
    [
        [],
        {"metadata": "x"},
        {"metadata": {"name": "a", "labels": {"a": 1}}},
        {"metadata": {"name": "a", "namespace": "other"}},
        {"metadata": {"name": "a"}, "kind": "Secret"},
        {"metadata": {"name": "a"}, "apiVersion": "v2"},
        {"metadata": {"name": "a", "resourceVersion": "5"}},
    ],
)
def test_an_object_of_the_wrong_shape_or_place_is_a_bad_request(core: Core, obj: Any) -> None:
    refused(400, "BadRequest", core.create, "configmaps", obj)


def test_nothing_is_created_in_a_namespace_that_is_not_there(core: Core) -> None:
    error = refused(404, "NotFound", core.create, "configmaps", config_map(), "nowhere")
    assert error.message == 'namespaces "nowhere" not found'


def test_an_update_of_an_older_version_conflicts(core: Core) -> None:
    first = core.create("configmaps", config_map())
    core.update("configmaps", first | {"data": {"k": "2"}})
    error = refused(409, "Conflict", core.update, "configmaps", first | {"data": {"k": "3"}})
    assert "the object has been modified" in error.message
    assert core.get("configmaps", "a")["data"] == {"k": "2"}


def test_an_update_of_another_uid_conflicts(core: Core) -> None:
    first = core.create("configmaps", config_map())
    core.delete("configmaps", "a")
    core.create("configmaps", config_map())
    first["metadata"].pop("resourceVersion")
    refused(409, "Conflict", core.update, "configmaps", first)


def test_an_update_without_a_version_wins_for_built_in_kinds_and_is_invalid_for_custom_ones(devices: Core) -> None:
    devices.create("configmaps", config_map())
    assert devices.update("configmaps", config_map(namespace="default") | {"data": {"k": "2"}})["data"] == {"k": "2"}
    created = devices.create("devices", device())
    created["metadata"].pop("resourceVersion")
    refused(422, "Invalid", devices.update, "devices", created)


def test_an_update_that_changes_nothing_has_no_new_version(core: Core) -> None:
    first = core.create("configmaps", config_map())
    assert core.update("configmaps", first) == first
    assert core.patch("configmaps", "a", {"data": {"k": "v"}}) == first


def test_what_the_server_sets_cannot_be_changed(devices: Core) -> None:
    first = devices.create("devices", device())
    changed = first | {"metadata": first["metadata"] | {"creationTimestamp": None, "generation": 9}}
    changed["spec"] = first["spec"] | {"nodeName": "other"}
    second = devices.update("devices", changed)
    assert second["metadata"]["creationTimestamp"] == first["metadata"]["creationTimestamp"]
    assert second["metadata"]["generation"] == 2


def test_generation_rises_with_the_spec_and_not_with_metadata_or_status(devices: Core) -> None:
    assert devices.create("devices", device())["metadata"]["generation"] == 1
    assert devices.patch("devices", "s1", {"metadata": {"labels": {"a": "b"}}})["metadata"]["generation"] == 1
    assert devices.patch("devices", "s1", {"status": {"state": "online"}}, "status")["metadata"]["generation"] == 1
    assert devices.patch("devices", "s1", {"spec": {"nodeName": "x"}})["metadata"]["generation"] == 2


def test_the_status_changes_by_its_subresource_only(devices: Core) -> None:
    created = devices.create("devices", device() | {"status": {"state": "online"}})
    assert "status" not in created
    assert "status" not in devices.patch("devices", "s1", {"status": {"state": "online"}})
    patch = {"status": {"state": "online"}, "spec": {"nodeName": "x"}, "metadata": {"labels": {"a": "b"}}}
    patched = devices.patch("devices", "s1", patch, "status")
    assert patched["status"] == {"state": "online"}
    assert patched["spec"] == created["spec"]
    assert "labels" not in patched["metadata"]
    patched["status"] = {"state": "offline"}
    patched["spec"] = {"nodeName": "x", "deviceModelRef": {"name": "m"}}
    assert devices.update("devices", patched, "status")["spec"] == created["spec"]
    assert devices.get("devices", "s1")["status"] == {"state": "offline"}


def test_a_nodes_status_keeps_its_spec_and_lets_metadata_through(core: Core) -> None:
    core.create("nodes", {"metadata": {"name": "n"}, "spec": {"unschedulable": True}})
    patch = {"status": {"phase": "x"}, "spec": {"unschedulable": False}, "metadata": {"annotations": {"a": "b"}}}
    patched = core.patch("nodes", "n", patch, "status")
    assert patched["spec"]["unschedulable"] is True
    assert patched["metadata"]["annotations"] == {"a": "b"}
    assert "status" in core.patch("nodes", "n", {"metadata": {"annotations": {"c": "d"}}})


def test_a_patch_with_an_older_version_conflicts(core: Core) -> None:
    first = core.create("configmaps", config_map())
    core.patch("configmaps", "a", {"data": {"k": "2"}})
    stale = {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}, "data": {"k": "3"}}
    refused(409, "Conflict", core.patch, "configmaps", "a", stale)


def test_an_object_cannot_be_renamed(core: Core) -> None:
    core.create("configmaps", config_map())
    refused(400, "BadRequest", core.patch, "configmaps", "a", {"metadata": {"name": "b"}})
    refused(400, "BadRequest", core.patch, "configmaps", "a", {"metadata": {"namespace": "b"}})
    refused(400, "BadRequest", core.patch, "configmaps", "a", {"metadata": None})


def test_a_patch_of_what_is_not_there_is_not_found(core: Core) -> None:
    refused(404, "NotFound", core.patch, "configmaps", "a", {})


def test_a_dry_run_leaves_no_trace(core: Core) -> None:
    assert core.create("configmaps", config_map("dry"), dry_run=True)["data"] == {"k": "v"}
    core.create("configmaps", config_map())
    revision = core.objects.state.assigned
    assert core.patch("configmaps", "a", {"data": {"k": "2"}}, dry_run=True)["data"] == {"k": "2"}
    written = core.delete("configmaps", "a", dry_run=["All"])
    assert written.transaction is None
    assert core.names("configmaps") == ["a"]
    assert core.get("configmaps", "a")["data"] == {"k": "v"}
    assert core.objects.state.assigned == revision


def test_unknown_fields_are_pruned_warned_of_or_refused(devices: Core) -> None:
    resource = devices.resource("devices")
    written = devices.objects.create(resource, "default", device(bogus=1), WriteOptions())
    assert written.warnings == ['unknown field "spec.bogus"']
    assert "bogus" not in devices.done(written)["spec"]
    written = devices.objects.create(
        resource, "default", device("s2", bogus=1), WriteOptions(field_validation="Ignore")
    )
    assert written.warnings == []
    error = refused(400, "BadRequest", devices.create, "devices", device("s3", bogus=1), field_validation="Strict")
    assert error.message.endswith('strict decoding error: unknown field "spec.bogus"')


def test_an_object_that_breaks_its_schema_is_invalid_with_its_causes(devices: Core) -> None:
    bad = device(properties=[{"name": "p", "collectCycle": -1}, {"name": "p"}], deviceModelRef={})
    error = refused(422, "Invalid", devices.create, "devices", bad)
    assert error.details is not None
    assert error.details["kind"] == "Device"
    found = [(cause["reason"], cause["field"]) for cause in error.details["causes"]]
    assert sorted(found) == [
        ("FieldValueDuplicate", "spec.properties[1]"),
        ("FieldValueInvalid", "<nil>"),  # the rules were not looked at
        ("FieldValueInvalid", "spec.properties[0].collectCycle"),
        ("FieldValueRequired", "spec.deviceModelRef.name"),
    ]
    assert error.message.startswith('Device.devices.kubeedge.io "s1" is invalid: [')


def test_defaults_are_stored(core: Core) -> None:
    core.create("customresourcedefinitions", widgets())
    assert core.create("widgets", {"metadata": {"name": "w"}, "spec": {}})["spec"] == {"size": 1}


def test_deletion_answers_with_the_last_state_and_a_new_revision(core: Core) -> None:
    created = core.create("configmaps", config_map())
    written = core.delete("configmaps", "a")
    assert written.removed
    assert written.stored.revision > int(created["metadata"]["resourceVersion"])
    refused(404, "NotFound", core.delete, "configmaps", "a")


def test_deletion_obeys_its_preconditions(core: Core) -> None:
    created = core.create("configmaps", config_map())
    refused(409, "Conflict", core.delete, "configmaps", "a", preconditions=Preconditions(uid="other"))
    refused(409, "Conflict", core.delete, "configmaps", "a", preconditions=Preconditions(resource_version="1"))
    meta = created["metadata"]
    right = Preconditions(uid=meta["uid"], resource_version=meta["resourceVersion"])
    assert core.delete("configmaps", "a", preconditions=right).removed


def test_a_finalizer_holds_an_object_until_it_is_taken_off(core: Core) -> None:
    core.create("configmaps", config_map(finalizers=["test.example/hold"]))
    core.later(60)
    assert not core.delete("configmaps", "a").removed
    held = core.get("configmaps", "a")
    assert held["metadata"]["deletionTimestamp"] == "2026-01-01T00:01:00Z"
    core.later(60)
    assert not core.delete("configmaps", "a").removed
    assert core.get("configmaps", "a")["metadata"]["deletionTimestamp"] == "2026-01-01T00:01:00Z"
    refused(
        422,
        "Invalid",
        core.patch,
        "configmaps",
        "a",
        {"metadata": {"finalizers": ["test.example/hold", "test.example/b"]}},
    )
    core.patch("configmaps", "a", {"metadata": {"finalizers": None}})
    assert core.names("configmaps") == []


def test_deletion_of_a_custom_object_with_a_finalizer_counts_a_generation(devices: Core) -> None:
    devices.create("devices", device() | {"metadata": {"name": "s1", "finalizers": ["test.example/hold"]}})
    devices.delete("devices", "s1")
    assert devices.get("devices", "s1")["metadata"]["generation"] == 2


def test_a_pod_on_a_node_waits_for_the_node(core: Core) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    created = core.create("pods", pod)
    assert created["status"]["phase"] == "Pending"
    assert created["spec"]["restartPolicy"] == "Always"
    core.patch("pods", "p", {"spec": {"nodeName": "n"}}, "binding")
    assert not core.delete("pods", "p").removed
    assert core.get("pods", "p")["metadata"]["deletionGracePeriodSeconds"] == 30
    assert core.delete("pods", "p", grace_period_seconds=0).removed
    core.create("pods", pod)
    assert core.delete("pods", "p").removed


def test_a_namespace_takes_its_content_along(core: Core) -> None:
    core.create("namespaces", {"metadata": {"name": "n"}})
    core.create("configmaps", config_map(), "n")
    core.create("configmaps", config_map("stays"))
    core.delete("namespaces", "n")
    assert core.names("namespaces") == ["default"]
    assert core.names("configmaps") == ["stays"]


def test_a_namespace_waits_for_what_finalizers_hold_and_takes_nothing_new(core: Core) -> None:
    core.create("namespaces", {"metadata": {"name": "n"}})
    core.create("configmaps", config_map(finalizers=["test.example/hold"]), "n")
    core.delete("namespaces", "n")
    assert core.get("namespaces", "n")["status"]["phase"] == "Terminating"
    error = refused(403, "Forbidden", core.create, "configmaps", config_map("new"), "n")
    assert error.details is not None
    assert error.details["causes"][0]["reason"] == "NamespaceTerminating"
    core.patch("namespaces", "n", {"metadata": {"labels": {"a": "b"}}})
    assert "n" in core.names("namespaces")
    held = core.get("configmaps", "a", "n")
    held["metadata"].pop("finalizers")
    core.update("configmaps", held)
    assert core.names("namespaces") == ["default"]


def test_a_namespace_tells_when_its_conditions_changed(core: Core) -> None:
    def conditions() -> dict[str, Any]:
        return {c["type"]: c for c in core.get("namespaces", "n")["status"]["conditions"]}

    core.create("namespaces", {"metadata": {"name": "n"}})
    for name in ("a", "b"):
        core.create("configmaps", config_map(name, finalizers=["test.example/hold"]), "n")
    core.delete("namespaces", "n")
    before = conditions()["NamespaceContentRemaining"]
    assert before["message"] == "Some resources are remaining: configmaps. has 2 resource instances"
    core.later(60)
    held = core.get("configmaps", "a", "n")
    held["metadata"].pop("finalizers")
    core.update("configmaps", held)
    after = conditions()["NamespaceContentRemaining"]
    assert after["message"] == "Some resources are remaining: configmaps. has 1 resource instances"
    assert after["lastTransitionTime"] == before["lastTransitionTime"]


def test_a_namespace_is_written_once_for_all_its_content(core: Core) -> None:
    core.create("namespaces", {"metadata": {"name": "n"}})
    for number in range(20):
        core.create("configmaps", config_map(f"m{number}"), "n")
    written = core.delete("namespaces", "n")
    assert written.transaction is not None
    about_it = [change for change in written.transaction.changes if change.after.storage == "namespaces"]
    assert len(about_it) == 2
    assert len(written.transaction.changes) == 22


def test_a_pod_from_before_the_defaults_can_be_changed(core: Core) -> None:
    core.create("pods", {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}})
    old = core.get("pods", "p")
    old["spec"] = {"containers": [{"name": "c", "image": "i:1"}]}
    again = Core()
    revision = int(old["metadata"]["resourceVersion"])
    again.objects.load([("pods", "default", "p", revision, msgspec.json.encode(old))], revision)
    assert again.patch("pods", "p", {"status": {"phase": "Running"}}, "status")["status"]["phase"] == "Running"
    changed = again.patch("pods", "p", {"metadata": {"labels": {"a": "b"}}})
    assert changed["spec"]["restartPolicy"] == "Always"


def test_the_default_namespace_stays(core: Core) -> None:
    refused(403, "Forbidden", core.delete, "namespaces", "default")


def test_several_objects_are_deleted_together_or_not_at_all(core: Core) -> None:
    for name in ("a", "b", "c"):
        core.create("configmaps", config_map(name))
    resource = core.resource("configmaps")
    chosen = core.objects.state.current_all("configmaps")
    written = core.objects.delete_all(resource, chosen[:2], DeleteOptions())
    assert written is not None
    core.done(written)
    assert core.names("configmaps") == ["c"]
    stale = DeleteOptions(preconditions=Preconditions(uid="other"))
    refused(409, "Conflict", core.objects.delete_all, resource, chosen[2:], stale)
    assert core.names("configmaps") == ["c"]
    assert core.objects.delete_all(resource, [], DeleteOptions()) is None


def test_events_go_after_an_hour(core: Core) -> None:
    core.create("events", {"metadata": {"name": "old"}, "involvedObject": {}})
    core.later(1800)
    core.create("events", {"metadata": {"name": "new"}, "involvedObject": {}})
    core.later(1801)
    transaction = core.objects.expire()
    assert transaction is not None
    core.objects.committed(transaction)
    assert core.names("events") == ["new"]
    assert core.objects.expire() is None


def test_events_read_the_same_in_both_groups(core: Core) -> None:
    core.create("events", {"metadata": {"name": "e"}, "message": "m", "involvedObject": {"name": "p"}})
    newer = core.objects.registry.find("events.k8s.io", "v1", "events")
    assert newer is not None
    written = core.objects.create(
        newer, "default", {"metadata": {"name": "f"}, "note": "n", "regarding": {"name": "q"}}, WriteOptions()
    )
    obj = core.done(written)
    assert (obj["apiVersion"], obj["message"], obj["involvedObject"]) == ("v1", "n", {"name": "q"})
    patch = patches.MERGE, msgspec.json.encode({"note": "changed"})
    core.done(core.objects.patch(newer, "default", "e", patch, WriteOptions()))
    assert core.get("events", "e")["message"] == "changed"


def test_a_lease_is_created_by_an_update(core: Core) -> None:
    lease = {"metadata": {"name": "l", "namespace": "default"}, "spec": {"holderIdentity": "me"}}
    assert core.update("leases", lease)["spec"] == {"holderIdentity": "me"}
    refused(404, "NotFound", core.update, "configmaps", config_map(namespace="default"))


def test_secrets_take_plain_strings_and_keep_them_encoded(core: Core) -> None:
    created = core.create("secrets", {"metadata": {"name": "s"}, "stringData": {"a": "b"}})
    assert created["data"] == {"a": "Yg=="}
    assert created["type"] == "Opaque"
    assert "stringData" not in created
    core.patch("secrets", "s", {"stringData": {"c": "d"}})
    assert core.get("secrets", "s")["data"] == {"a": "Yg==", "c": "ZA=="}


def test_an_immutable_config_map_stays_as_it_is(core: Core) -> None:
    core.create("configmaps", config_map() | {"immutable": True})
    refused(422, "Invalid", core.patch, "configmaps", "a", {"data": {"k": "2"}})
    refused(422, "Invalid", core.patch, "configmaps", "a", {"immutable": None})
    core.patch("configmaps", "a", {"metadata": {"labels": {"a": "b"}}})


@pytest.mark.parametrize(
    ("plural", "obj"),
    [
        ("pods", {"spec": {}}),
        ("pods", {"spec": None}),
        ("pods", {"spec": {"containers": [{"name": "c"}]}}),
        ("leases", {"spec": {"leaseDurationSeconds": 0}}),
    ],
)
def test_built_in_kinds_refuse_what_makes_no_sense(core: Core, plural: str, obj: dict[str, Any]) -> None:
    refused(422, "Invalid", core.create, plural, obj | {"metadata": {"name": "x"}})


def test_null_is_taken_for_nothing(core: Core) -> None:
    assert core.create("secrets", {"metadata": {"name": "s"}, "data": None, "stringData": None})["type"] == "Opaque"
    assert core.create("namespaces", {"metadata": {"name": "n"}, "spec": None})["spec"] == {
        "finalizers": ["kubernetes"]
    }


@pytest.mark.parametrize(
    ("plural", "obj"),
    [
        ("configmaps", {"data": {"a": 1}}),
        ("configmaps", {"data": ["a"]}),
        ("pods", {"spec": "x"}),
        ("pods", {"spec": {"containers": "x"}}),
        ("pods", {"spec": {"containers": ["x"]}}),
        ("namespaces", {"spec": "x"}),
        ("namespaces", {"metadata": {"name": "x", "labels": []}}),
        ("nodes", {"spec": 5, "status": []}),
        ("secrets", {"data": 5, "stringData": {"a": "b"}}),
        ("leases", {"spec": "x"}),
        ("events", {"involvedObject": "x"}),
        ("customresourcedefinitions", {"spec": {"names": {}, "versions": 5}}),
        ("customresourcedefinitions", {"spec": {"names": {}, "versions": [5]}}),
        ("customresourcedefinitions", {"spec": "x"}),
    ],
)
def test_a_built_in_object_of_a_wild_shape_is_a_bad_request(core: Core, plural: str, obj: dict[str, Any]) -> None:
    refused(400, "BadRequest", core.create, plural, {"metadata": {"name": "x"}, **obj})


def test_readers_see_a_write_only_when_it_is_committed(core: Core) -> None:
    resource = core.resource("configmaps")
    written = core.objects.create(resource, "default", config_map(), WriteOptions())
    assert core.names("configmaps") == []
    refused(409, "AlreadyExists", core.objects.create, resource, "default", config_map(), WriteOptions())
    revision = core.objects.state.revision
    patch = patches.MERGE, b'{"data": {"k": "2"}}'
    second = core.objects.patch(resource, "default", "a", patch, WriteOptions())
    core.done(written)
    assert core.objects.state.revision == revision + 1
    assert core.get("configmaps", "a")["data"] == {"k": "v"}
    core.done(second)
    assert core.get("configmaps", "a")["data"] == {"k": "2"}


def test_a_change_that_was_made_already_waits_for_the_one_that_made_it(core: Core) -> None:
    resource = core.resource("configmaps")
    core.objects.create(resource, "default", config_map(), WriteOptions())
    again = core.objects.patch(resource, "default", "a", (patches.MERGE, b"{}"), WriteOptions())
    assert again.transaction is not None
    assert again.transaction.changes == []


def test_what_could_not_be_stored_is_forgotten_and_its_revisions_are_not_used_again(core: Core) -> None:
    resource = core.resource("configmaps")
    lost = core.objects.create(resource, "default", config_map(), WriteOptions())
    core.objects.rollback()
    created = core.create("configmaps", config_map())
    assert int(created["metadata"]["resourceVersion"]) > lost.stored.revision


def test_an_event_from_the_future_goes_an_hour_after_it_was_created(core: Core) -> None:
    about = {"namespace": "default", "name": "x"}
    event = {"metadata": {"name": "e"}, "involvedObject": about, "lastTimestamp": "9999-01-01T00:00:00Z"}
    core.create("events", event)
    core.later(3599)
    assert core.objects.expire() is None
    core.later(2)
    assert core.objects.expire() is not None


def test_what_could_not_be_stored_was_never_a_version_that_readers_see(core: Core) -> None:
    # After a restart that revision is another change's, and a watch from it would miss what comes in between.
    before = core.objects.state.revision
    core.objects.create(core.resource("configmaps"), "default", config_map(), WriteOptions())
    core.objects.rollback()
    assert core.objects.state.revision == before


def test_what_ends_in_an_error_half_way_leaves_nothing_behind(core: Core) -> None:
    resource = core.resource("configmaps")
    core.create("configmaps", config_map())
    waits = core.objects.patch(resource, "default", "a", (patches.MERGE, b'{"data": {"k": "2"}}'), WriteOptions())

    def fail() -> None:
        with core.objects.state.attempt():
            for patch in (b'{"data": {"k": "3"}}', b'{"data": {"k": "4"}}'):
                core.objects.patch(resource, "default", "a", (patches.MERGE, patch), WriteOptions())
            core.objects.create(resource, "default", config_map() | {"metadata": {"name": "b"}}, WriteOptions())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    newest = core.objects.state.newest("configmaps", "default", "a")
    assert newest is waits.stored  # not what is committed: that would lose the write which waits for the disk
    assert core.objects.state.newest("configmaps", "default", "b") is None
    seen = core.done(waits)
    core.update("configmaps", seen)


def test_an_object_cannot_grow_beyond_what_a_client_can_send(core: Core) -> None:
    half = "x" * (OBJECT_LIMIT // 2)
    core.create("configmaps", config_map() | {"data": {"k": half}})
    with pytest.raises(ApiError) as caught:
        core.patch("configmaps", "a", {"data": {"l": half}})
    assert caught.value.code == 413
    core.patch("configmaps", "a", {"data": {"k": "short"}})


@pytest.mark.parametrize("options", [{"grace_period_seconds": 10**18}, {}])
def test_a_grace_period_beyond_all_dates_is_a_long_one(core: Core, options: dict[str, Any]) -> None:
    spec = {"nodeName": "n", "containers": [{"name": "c", "image": "i"}], "terminationGracePeriodSeconds": 10**18}
    core.create("pods", {"metadata": {"name": "p"}, "spec": spec})
    assert not core.delete("pods", "p", **options).removed
    assert core.get("pods", "p")["metadata"]["deletionTimestamp"].startswith("203")
    assert core.delete("pods", "p", grace_period_seconds=0).removed


def test_a_restart_brings_everything_back(devices: Core) -> None:
    devices.create("devices", device() | {"metadata": {"name": "s1", "labels": {"a": "b"}}})
    rows = [
        (s.storage, s.namespace, s.name, s.revision, s.data)
        for storage in devices.objects.registry.storages()
        for s in devices.objects.state.current_all(storage)
    ]
    again = Core()
    again.objects.load(rows, devices.objects.state.revision)
    assert again.get("devices", "s1") == devices.get("devices", "s1")
    assert again.objects.state.current("devices.devices.kubeedge.io", "default", "s1").labels == {"a": "b"}  # type: ignore[union-attr]
    patched = again.patch("devices", "s1", {"status": {"state": "ok"}}, "status")
    assert int(patched["metadata"]["resourceVersion"]) == devices.objects.state.revision + 1
