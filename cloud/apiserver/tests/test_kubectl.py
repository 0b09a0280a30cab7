"""The real kubectl, on the embedded server or on any cluster."""

import re
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cloud.apiserver.tests.conftest import eventually
from cloud.apiserver.tests.http import Api
from cloud.apiserver.tests.kubectl import KUBECTL, Kubectl, needs_kubectl

needs_kubectl()

DEVICE = """
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata:
  name: plc
  labels: {site: north}
spec:
  nodeName: gw
  deviceModelRef: {name: plc-model}
  protocol: {protocolName: modbus, configData: {ip: 127.0.0.1, port: 502}}
  properties:
  - name: speed
    desired: {value: "1"}
    visitors: {protocolName: modbus, configData: {register: HoldingRegister, offset: 2}}
"""
CONFIG_MAP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: "1", b: "1"}
"""


@pytest.fixture
def device(kubectl: Kubectl, device_definitions: None) -> Iterator[None]:
    """The device, applied."""
    kubectl("apply", "-f", "-", stdin=DEVICE)
    yield
    kubectl("delete", "device", "plc", "--ignore-not-found")


@pytest.fixture
def node(kubectl: Kubectl) -> Iterator[str]:
    """A node of its own."""
    name = f"node-{secrets.token_hex(4)}"
    kubectl("create", "-f", "-", stdin=f"apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n")
    yield name
    kubectl("delete", "node", name)


ROLLOUT = f"""
apiVersion: devices.hedgerow.dev/v1alpha1
kind: DeviceFirmware
metadata: {{name: spring}}
spec:
  devices: {{model: pico}}
  waves: {{canary: {{count: 1}}, percent: [10, 50]}}
  image:
    {{name: firmware-1, id: {"ab" * 32}, version: 1.4.0, counter: 7, board: pico, size: 9, manifestSize: 9,
     signature: {"5e" * 64}, parts: 1}}
"""


def test_get_prints_how_far_a_rollout_is(kubectl: Kubectl, device_definitions: None) -> None:
    kubectl("apply", "-f", "-", stdin=ROLLOUT)
    try:
        status = '{"phase":"Running","waveProgress":"2/4","progress":"3/12","counts":{"failed":1}}'
        patch = f'{{"status":{status}}}'
        kubectl("patch", "dfw", "spring", "--subresource=status", "--type=merge", "-p", patch)
        header, line = kubectl("get", "dfw").splitlines()
        assert header.split() == ["NAME", "VERSION", "BOARD", "STATE", "WAVE", "UPDATED", "FAILED", "AGE"]
        assert line.split()[:-1] == ["spring", "1.4.0", "pico", "Running", "2/4", "3/12", "1"]
        assert kubectl("patch", "dfw", "spring", "--type=merge", "-p", '{"spec":{"paused":true}}')
    finally:
        kubectl("delete", "dfw", "spring")


def test_get_prints_the_columns_of_a_device(kubectl: Kubectl, device: None) -> None:
    header, line = kubectl("get", "devices").splitlines()
    assert header.split() == ["NAME", "NODE", "MODEL", "STATE", "ACCEPTED", "AGE"]
    assert line.split()[:3] == ["plc", "gw", "plc-model"]
    header, line = kubectl("get", "device", "plc", "-o", "wide").splitlines()
    assert header.split() == ["NAME", "NODE", "MODEL", "PROTOCOL", "STATE", "ACCEPTED", "AGE"]
    assert line.split()[3] == "modbus"


def test_get_prints_every_form(kubectl: Kubectl, device: None) -> None:
    assert kubectl("get", "devices", "-o", "name").split() == ["device.devices.kubeedge.io/plc"]
    assert kubectl("get", "device", "plc", "-o", "jsonpath={.spec.properties[0].desired.value}") == "1"
    assert yaml.safe_load(kubectl("get", "device", "plc", "-o", "yaml"))["spec"]["nodeName"] == "gw"
    assert '"nodeName": "gw"' in kubectl("get", "devices", "-o", "json")
    assert kubectl("get", "devices", "-l", "site=north", "--no-headers").split()[0] == "plc"
    assert kubectl("get", "devices", "-l", "site=south", "-o", "name") == ""
    columns = kubectl("get", "devices", "-o", "custom-columns=N:.metadata.name,P:.spec.protocol.protocolName")
    assert columns.splitlines()[1].split() == ["plc", "modbus"]
    assert "not found" in kubectl("get", "device", "nothing", expect=1)


def test_get_all_namespaces_and_sorted(kubectl: Kubectl, device: None, namespace: str) -> None:
    found = kubectl("get", "devices", "-A", "--sort-by=.metadata.name", "--no-headers")
    assert [namespace, "plc"] in [line.split()[:2] for line in found.splitlines()]


def test_watching_prints_each_change(
    kubectl: Kubectl, device: None, environment: dict[str, str], api: Api, namespace: str
) -> None:
    assert KUBECTL is not None
    command = [KUBECTL, "--namespace", namespace, "get", "device", "plc", "-w", "--no-headers"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as watching:
        try:
            assert watching.stdout is not None
            assert watching.stdout.readline().split()[:2] == ["plc", "gw"]
            path = f"/apis/devices.kubeedge.io/v1beta1/namespaces/{namespace}/devices/plc"
            for state in ("online", "offline"):
                api.patch(f"{path}/status", {"status": {"state": state}}).ok()
                assert state in watching.stdout.readline()
        finally:
            watching.terminate()


def test_apply_creates_leaves_alone_and_changes(kubectl: Kubectl, device_definitions: None) -> None:
    for manifest, old, new in ((DEVICE, 'value: "1"', 'value: "2"'), (CONFIG_MAP, 'b: "1"', 'c: "2"')):
        assert "created" in kubectl("apply", "-f", "-", stdin=manifest)
        assert "unchanged" in kubectl("apply", "-f", "-", stdin=manifest)
        assert "configured" in kubectl("apply", "-f", "-", stdin=manifest.replace(old, new))
    assert kubectl("get", "device", "plc", "-o", "jsonpath={.spec.properties[0].desired.value}") == "2"
    assert kubectl("get", "device", "plc", "-o", "jsonpath={.metadata.generation}") == "2"
    assert yaml.safe_load(kubectl("get", "configmap", "settings", "-o", "yaml"))["data"] == {"a": "1", "c": "2"}
    assert 'device.devices.kubeedge.io "plc" deleted' in kubectl("delete", "-f", "-", stdin=DEVICE)
    kubectl("delete", "configmap", "settings")


def test_apply_says_what_is_wrong_with_a_device(kubectl: Kubectl, device_definitions: None) -> None:
    misspelt = kubectl("apply", "-f", "-", stdin=DEVICE.replace("nodeName", "nodename"), expect=1)
    assert 'unknown field "spec.nodename"' in misspelt
    wrong = kubectl("apply", "-f", "-", stdin=DEVICE.replace('value: "1"', "value: 1"), expect=1)
    assert "spec.properties[0].desired.value: Invalid value" in wrong
    assert "must be of type string" in wrong


def test_edit_changes_devices_and_config_maps(kubectl: Kubectl, device: None, tmp_path: Path) -> None:
    kubectl("edit", "device", "plc", KUBE_EDITOR="sed -i s/'value: \"1\"'/'value: \"7\"'/")
    assert kubectl("get", "device", "plc", "-o", "jsonpath={.spec.properties[0].desired.value}") == "7"
    kubectl("create", "configmap", "edited", "--from-literal=a=1")
    kubectl("edit", "configmap", "edited", KUBE_EDITOR="sed -i s/'a: \"1\"'/'b: \"2\"'/")
    assert yaml.safe_load(kubectl("get", "configmap", "edited", "-o", "yaml"))["data"] == {"b": "2"}
    kubectl("delete", "configmap", "edited")


def test_patch_label_and_annotate(kubectl: Kubectl, device: None, node: str) -> None:
    kubectl("patch", "device", "plc", "--type=merge", "-p", '{"spec":{"nodeName":"other"}}')
    operations = '[{"op":"replace","path":"/spec/properties/0/desired/value","value":"3"}]'
    kubectl("patch", "device", "plc", "--type=json", "-p", operations)
    kubectl("patch", "device", "plc", "--subresource=status", "--type=merge", "-p", '{"status":{"state":"ok"}}')
    found = yaml.safe_load(kubectl("get", "device", "plc", "-o", "yaml"))
    assert (found["spec"]["nodeName"], found["spec"]["properties"][0]["desired"]["value"]) == ("other", "3")
    assert found["status"] == {"state": "ok"}
    for kind, name in (("device", "plc"), ("node", node)):
        kubectl("label", kind, name, "a=1")
        assert "already has a value" in kubectl("label", kind, name, "a=2", expect=1)
        kubectl("label", kind, name, "a=2", "--overwrite")
        kubectl("annotate", kind, name, "note=x")
        meta = yaml.safe_load(kubectl("get", kind, name, "-o", "yaml"))["metadata"]
        assert (meta["labels"]["a"], meta["annotations"]["note"]) == ("2", "x")
        kubectl("label", kind, name, "a-")
        assert "a" not in (yaml.safe_load(kubectl("get", kind, name, "-o", "yaml"))["metadata"].get("labels") or {})


def test_describe_shows_devices_nodes_and_their_events(
    kubectl: Kubectl, device: None, node: str, namespace: str
) -> None:
    uid = kubectl("get", "device", "plc", "-o", "jsonpath={.metadata.uid}")
    event = f"""
apiVersion: v1
kind: Event
metadata: {{name: plc.1}}
involvedObject:
  {{apiVersion: devices.kubeedge.io/v1beta1, kind: Device, name: plc, namespace: {namespace}, uid: {uid}}}
reason: Rejected
message: the model is missing
type: Warning
"""
    kubectl("create", "-f", "-", stdin=event)
    described = kubectl("describe", "device", "plc")
    assert re.search(r"Node Name:\s+gw", described)
    assert "the model is missing" in described
    assert "the model is missing" in kubectl("get", "events")
    assert re.search(rf"Name:\s+{node}", kubectl("describe", "node", node))
    kubectl("delete", "event", "plc.1")


def test_nodes_are_listed_cordoned_and_tainted(kubectl: Kubectl, node: str) -> None:
    assert kubectl("get", "node", node, "--no-headers").split()[:2] == [node, "Unknown"]
    kubectl("cordon", node)
    assert "SchedulingDisabled" in kubectl("get", "node", node)
    kubectl("uncordon", node)
    kubectl("taint", "node", node, "edge=true:NoSchedule")
    taints = yaml.safe_load(kubectl("get", "node", node, "-o", "yaml"))["spec"]["taints"]
    assert {"key": "edge", "value": "true", "effect": "NoSchedule"} in taints


@pytest.mark.parametrize("kind", ["SelfSubjectAccessReview", "SubjectAccessReview"])
def test_a_review_is_created_as_objects_are(kubectl: Kubectl, kind: str) -> None:
    asked = {"resourceAttributes": {"verb": "get", "resource": "pods"}}
    spec = asked | ({"user": "nobody-known"} if kind == "SubjectAccessReview" else {})
    review = yaml.safe_dump({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec})
    answer = yaml.safe_load(kubectl("create", "-f", "-", "-o", "yaml", stdin=review))
    assert answer["status"]["allowed"] is (kind == "SelfSubjectAccessReview")
    assert kind.lower() + "s" in kubectl("api-resources", "--api-group=authorization.k8s.io", "--verbs=create")


def test_api_resources_and_explain_know_the_devices(kubectl: Kubectl, device_definitions: None) -> None:
    listed = kubectl("api-resources", "--api-group=devices.kubeedge.io", "-o", "name").split()
    assert sorted(listed) == ["devicemodels.devices.kubeedge.io", "devices.devices.kubeedge.io"]
    assert "configmaps" in kubectl("api-resources", "--namespaced", "-o", "name").split()
    assert "devices.kubeedge.io/v1beta1" in kubectl("api-versions").split()

    def explained() -> bool:
        return "Milliseconds between two reads" in kubectl("explain", "device.spec.properties.collectCycle")

    eventually(explained, "the published schema")


def test_wait_sees_a_condition_and_a_deletion(kubectl: Kubectl, device: None, api: Api, namespace: str) -> None:
    condition = {
        "type": "Accepted",
        "status": "True",
        "reason": "Accepted",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    path = f"/apis/devices.kubeedge.io/v1beta1/namespaces/{namespace}/devices/plc"
    api.patch(f"{path}/status", {"status": {"conditions": [condition]}}).ok()
    kubectl("wait", "--for=condition=Accepted", "device/plc", "--timeout=10s")
    assert kubectl("get", "device", "plc", "--no-headers").split()[3] == "True"
    begun = time.monotonic()
    kubectl("delete", "device", "plc", "--wait")
    kubectl("wait", "--for=delete", "device/plc", "--timeout=10s")
    assert time.monotonic() - begun < 10


def test_small_objects_are_created_by_their_own_commands(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "one", "--from-literal=a=b")
    kubectl("create", "secret", "generic", "two", "--from-literal=c=d")
    assert kubectl("get", "secret", "two", "-o", "jsonpath={.data.c}") == "ZA=="
    assert kubectl("get", "configmap", "one", "--no-headers").split()[:2] == ["one", "1"]
    kubectl("delete", "configmap/one", "secret/two")
    name = f"contract-{secrets.token_hex(4)}"
    kubectl("create", "namespace", name)
    assert kubectl("get", "namespace", name, "--no-headers").split()[:2] == [name, "Active"]
    kubectl("delete", "namespace", name)


def test_the_user_is_known_and_may_do_everything(kubectl: Kubectl, embedded: None) -> None:
    assert "admin" in kubectl("auth", "whoami")
    assert kubectl("auth", "can-i", "create", "pods").strip() == "yes"


def test_diff_shows_what_apply_would_change(kubectl: Kubectl, device: None, embedded: None) -> None:
    assert kubectl("diff", "-f", "-", stdin=DEVICE) == ""
    changed = kubectl("diff", "-f", "-", stdin=DEVICE.replace('value: "1"', 'value: "5"'), expect=1)
    assert '+      value: "5"' in changed
