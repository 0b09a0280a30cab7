"""`kubectl apply --server-side` and what belongs to it, by the real kubectl; on the embedded server or on any cluster."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from cloud.apiserver.tests.kubectl import Kubectl, needs_kubectl

needs_kubectl()

DEVICE = """
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata:
  name: ssa
  labels: {site: north}
spec:
  nodeName: gw
  deviceModelRef: {name: plc-model}
  properties:
  - name: speed
    desired: {value: "1"}
"""
SERVER_SIDE = ("apply", "--server-side", "-f", "-")
VALUE = "jsonpath={.spec.properties[0].desired.value}"


@pytest.fixture
def absent(kubectl: Kubectl, device_definitions: None) -> Iterator[None]:
    """No device before and after."""
    yield
    kubectl("delete", "device", "ssa", "--ignore-not-found")


def managers(kubectl: Kubectl) -> dict[str, Any]:
    shown = yaml.safe_load(kubectl("get", "device", "ssa", "-o", "yaml", "--show-managed-fields"))
    return {entry["manager"]: entry for entry in shown["metadata"].get("managedFields", [])}


def test_server_side_apply_creates_leaves_alone_and_changes(kubectl: Kubectl, absent: None) -> None:
    for _ in range(2):
        assert "serverside-applied" in kubectl(*SERVER_SIDE, stdin=DEVICE)
    assert kubectl("get", "device", "ssa", "-o", "jsonpath={.metadata.generation}") == "1"
    kubectl(*SERVER_SIDE, stdin=DEVICE.replace('value: "1"', 'value: "2"').replace("{site: north}", "{line: a}"))
    assert kubectl("get", "device", "ssa", "-o", VALUE) == "2"
    assert kubectl("get", "device", "ssa", "-o", "jsonpath={.metadata.labels}") == '{"line":"a"}'
    (entry,) = managers(kubectl).values()
    assert (entry["manager"], entry["operation"]) == ("kubectl", "Apply")
    assert 'k:{"name":"speed"}' in entry["fieldsV1"]["f:spec"]["f:properties"]


def test_a_conflict_is_shown_and_can_be_forced(kubectl: Kubectl, absent: None) -> None:
    kubectl(*SERVER_SIDE, stdin=DEVICE)
    changed = '[{"op":"replace","path":"/spec/properties/0/desired/value","value":"7"}]'
    kubectl("patch", "device", "ssa", "--type=json", "-p", changed)
    shown = kubectl(*SERVER_SIDE, stdin=DEVICE, expect=1)
    assert 'conflict with "kubectl-patch" using devices.kubeedge.io/v1beta1' in shown
    assert '.spec.properties[name="speed"].desired.value' in shown
    assert "--force-conflicts" in shown
    kubectl(*SERVER_SIDE, "--force-conflicts", stdin=DEVICE)
    assert kubectl("get", "device", "ssa", "-o", VALUE) == "1"
    assert set(managers(kubectl)) == {"kubectl"}


def test_two_managers_apply_side_by_side(kubectl: Kubectl, absent: None) -> None:
    kubectl(*SERVER_SIDE, stdin=DEVICE)
    other = "apiVersion: devices.kubeedge.io/v1beta1\nkind: Device\nmetadata: {name: ssa, labels: {rack: b}}\n"
    kubectl(*SERVER_SIDE, "--field-manager=racks", stdin=other)
    assert set(managers(kubectl)) == {"kubectl", "racks"}
    kubectl(*SERVER_SIDE, "--field-manager=racks", stdin=other.replace(", labels: {rack: b}", ""))
    assert kubectl("get", "device", "ssa", "-o", "jsonpath={.metadata.labels}") == '{"site":"north"}'


def test_client_side_apply_passes_over_to_the_server(kubectl: Kubectl, absent: None) -> None:
    kubectl("apply", "-f", "-", stdin=DEVICE)
    assert managers(kubectl)["kubectl-client-side-apply"]["operation"] == "Update"
    kubectl(*SERVER_SIDE, stdin=DEVICE.replace('value: "1"', 'value: "2"'))
    found = managers(kubectl)
    assert (found["kubectl"]["operation"], "kubectl-client-side-apply" in found) == ("Apply", False)
    kubectl(*SERVER_SIDE, stdin=DEVICE.replace("  labels: {site: north}\n", ""))
    assert kubectl("get", "device", "ssa", "-o", "jsonpath={.metadata.labels}") == ""
    kubectl("apply", "-f", "-", stdin=DEVICE)
    assert kubectl("get", "device", "ssa", "-o", VALUE) == "1"


def test_diff_on_the_server_shows_what_apply_would_change(kubectl: Kubectl, absent: None, embedded: None) -> None:
    kubectl(*SERVER_SIDE, stdin=DEVICE)
    assert kubectl("diff", "--server-side", "-f", "-", stdin=DEVICE) == ""
    changed = kubectl("diff", "--server-side", "-f", "-", stdin=DEVICE.replace('value: "1"', 'value: "5"'), expect=1)
    assert '+      value: "5"' in changed
    assert kubectl("get", "device", "ssa", "-o", VALUE) == "1"


def test_managed_fields_are_shown_only_when_asked_for(kubectl: Kubectl, absent: None) -> None:
    kubectl(*SERVER_SIDE, stdin=DEVICE)
    assert "managedFields" not in kubectl("get", "device", "ssa", "-o", "yaml")
    assert "managedFields" in kubectl("get", "device", "ssa", "-o", "yaml", "--show-managed-fields")


def test_a_misspelt_field_is_refused(kubectl: Kubectl, absent: None) -> None:
    shown = kubectl(*SERVER_SIDE, stdin=DEVICE.replace("nodeName", "nodename"), expect=1)
    assert ".spec.nodename: field not declared in schema" in shown
