"""Names of what a message is about."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewire import resource
from edgewire.resource import ObjectMeta, Resource, ResourceError

parts = st.text(st.characters(exclude_characters="/"), min_size=1)


@given(parts, parts, parts, parts)
def test_a_name_is_parsed_as_it_was_built(namespace: str, type: str, name: str, node: str) -> None:
    built = Resource(namespace, type, name)
    assert resource.parse(str(built)) == built
    assert resource.parse(built.in_cloud(node)) == built
    assert resource.of_id(type, built.id) == built


def test_a_name_reads_as_on_the_wire() -> None:
    device = Resource("default", resource.DEVICE, "s1")
    assert str(device) == "default/device/s1"
    assert device.id == "default/s1"
    assert device.in_cloud("edge1") == "node/edge1/default/device/s1"


@pytest.mark.parametrize(
    "name",
    ["", "membership", "default/pod", "default/pod/", "/pod/p", "a/b/c/d", "nodes/e/default/pod/p", "a/b/c/d/e/f"],
)
def test_what_is_no_name_of_an_object_is_refused(name: str) -> None:
    with pytest.raises(ResourceError, match="is not <namespace>/<type>/<name>"):
        resource.parse(name)


@pytest.mark.parametrize("kind", [resource.TWIN_UPDATED, resource.STATE_UPDATED])
def test_a_devices_report_names_device_and_kind(kind: str) -> None:
    name = resource.device_report("default/s1", kind)
    assert name == f"device/default/s1/{kind}"
    assert resource.parse_device_report(name) == ("default/s1", kind)


@pytest.mark.parametrize(
    "name",
    [
        "default/device/s1",
        "device/device/s1",
        "device/default/s1",
        "device/default/s1/twin/cloud_updated",
        "device//s1/twin/edge_updated",
        "device/default//twin/edge_updated",
        "node/default/s1/twin/edge_updated",
        "membership",
        "",
    ],
)
def test_anything_else_is_no_devices_report(name: str) -> None:
    assert resource.parse_device_report(name) is None


def test_a_version_counts_edits_and_tells_a_recreated_object_from_its_predecessor() -> None:
    edited = ObjectMeta(uid="u1", resource_version="8079", generation=3)
    status_written = ObjectMeta(uid="u1", resource_version="9000", generation=3)
    recreated = ObjectMeta(uid="u2", resource_version="9001", generation=3)
    assert resource.version(edited) == resource.version(status_written) == "u1.3"
    assert resource.version(recreated) != resource.version(edited)


def test_an_object_without_generation_is_versioned_by_its_resource_version() -> None:
    assert resource.version(ObjectMeta(uid="u1", resource_version="8071")) == "8071"
