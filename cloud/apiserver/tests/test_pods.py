"""Pods as kube-apiserver completes and refuses them, on the embedded server or on any cluster; see `test_contract`.

All of them ask for a scheduler that does not exist, so that nothing happens to them.
"""

from typing import Any

import pytest

from cloud.apiserver import pod_defaults
from cloud.apiserver.tests.conftest import eventually
from cloud.apiserver.tests.http import JSON_PATCH, Api


def pod(container: Any = None, **spec: Any) -> dict[str, Any]:
    one = {"name": "c", "image": "example.test/i:1", **(container or {})}
    return {"metadata": {"name": "p"}, "spec": {"schedulerName": "nobody", "containers": [one], **spec}}


def test_a_pod_is_completed_with_what_it_does_not_say(api: Api, pods: str) -> None:
    spec = api.post(pods, pod()).ok()["spec"]
    expected = {
        "restartPolicy": "Always",
        "dnsPolicy": "ClusterFirst",
        "terminationGracePeriodSeconds": 30,
        "enableServiceLinks": True,
        "securityContext": {},
        "serviceAccountName": "default",
        "serviceAccount": "default",
        "priority": 0,
        "preemptionPolicy": "PreemptLowerPriority",
    }
    assert {name: spec.get(name) for name in expected} == expected
    (container,) = spec["containers"]
    expected = {
        "imagePullPolicy": "IfNotPresent",
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }
    assert {name: container.get(name) for name in expected} == expected
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        borne = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
        assert borne in spec["tolerations"]


def test_what_a_pod_says_stays(api: Api, pods: str) -> None:
    own = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}
    said = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "tolerations": [own]}
    spec = api.post(pods, pod({"imagePullPolicy": "Never"}, **said)).ok()["spec"]
    assert (spec["restartPolicy"], spec["terminationGracePeriodSeconds"]) == ("Never", 0)
    assert spec["containers"][0]["imagePullPolicy"] == "Never"
    assert [t for t in spec["tolerations"] if t["key"] == own["key"]] == [own]


def test_ports_probes_hooks_and_volumes_are_completed(api: Api, pods: str) -> None:
    container = {
        "ports": [{"containerPort": 80}],
        "livenessProbe": {"httpGet": {"port": 80}},
        "lifecycle": {"preStop": {"httpGet": {"port": 80}}},
        "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "resources": {"limits": {"cpu": "1"}},
    }
    volumes = [{"name": "e"}, {"name": "m", "configMap": {"name": "m"}}, {"name": "h", "hostPath": {"path": "/x"}}]
    spec = api.post(pods, pod(container, volumes=volumes)).ok()["spec"]
    (made,) = spec["containers"]
    assert made["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    get = {"path": "/", "port": 80, "scheme": "HTTP"}
    times = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
    assert made["livenessProbe"] == {"httpGet": get, **times}
    assert made["lifecycle"]["preStop"]["httpGet"] == get
    assert made["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert made["resources"]["requests"] == {"cpu": "1"}
    found = {volume["name"]: volume for volume in spec["volumes"]}
    assert found["e"]["emptyDir"] == {}
    assert found["m"]["configMap"]["defaultMode"] == 0o644
    assert found["h"]["hostPath"]["type"] == ""


@pytest.mark.parametrize(
    ("resources", "quality"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        (
            {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}},
            "Guaranteed",
        ),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
    ],
)
def test_a_pod_has_a_quality_of_service(api: Api, pods: str, resources: Any, quality: str) -> None:
    status = api.post(pods, pod({"resources": resources})).ok()["status"]
    assert (status["phase"], status["qosClass"]) == ("Pending", quality)


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("i", "Always"),
        ("i:latest", "Always"),
        ("i:1", "IfNotPresent"),
        ("localhost:5000/i", "Always"),
        ("localhost:5000/i:1", "IfNotPresent"),
        ("i@sha256:0", "IfNotPresent"),
        ("i:latest@sha256:0", "Always"),
    ],
)
def test_an_image_whose_tag_may_move_is_always_pulled(image: str, policy: str) -> None:
    assert pod_defaults.pull_policy(image) == policy


def test_a_gated_pod_says_so(api: Api, pods: str) -> None:
    api.post(pods, pod(schedulingGates=[{"name": "test.example/wait"}])).ok()

    def gated() -> bool:
        conditions = api.get(f"{pods}/p").ok()["status"].get("conditions") or ()
        return [(c["type"], c["status"], c["reason"]) for c in conditions] == [
            ("PodScheduled", "False", "SchedulingGated")
        ]

    eventually(gated, "the condition")
    failed = api.patch(f"{pods}/p", {"spec": {"schedulingGates": [{"name": "test.example/other"}]}})
    failed.failed(422, "Invalid")
    api.patch(f"{pods}/p", {"spec": {"schedulingGates": None}}).ok()


MISTAKES: list[tuple[Any, Any, str]] = [
    (None, {"containers": []}, "spec.containers: Required value"),
    ({"name": ""}, {}, "spec.containers[0].name: Required value"),
    ({"name": "Big"}, {}, 'spec.containers[0].name: Invalid value: "Big"'),
    ({"image": ""}, {}, "spec.containers[0].image: Required value"),
    ({"image": " i"}, {}, "must not have leading or trailing whitespace"),
    ({"imagePullPolicy": "Sometimes"}, {}, 'imagePullPolicy: Unsupported value: "Sometimes"'),
    (None, {"initContainers": [{"name": "c", "image": "i:1"}]}, "Duplicate value: "),
    ({"ports": [{"containerPort": 70000}]}, {}, "70000: must be between 1 and 65535, inclusive"),
    ({"ports": [{"containerPort": 0}]}, {}, "spec.containers[0].ports[0].containerPort: Required value"),
    ({"ports": [{"containerPort": 1, "protocol": "ICMP"}]}, {}, 'protocol: Unsupported value: "ICMP"'),
    (
        {"volumeMounts": [{"name": "v", "mountPath": "/v"}]},
        {},
        'spec.containers[0].volumeMounts[0].name: Not found: "v"',
    ),
    (
        {"volumeMounts": [{"name": "v", "mountPath": "/v"}] * 2},
        {"volumes": [{"name": "v"}]},
        'volumeMounts[1].mountPath: Invalid value: "/v": must be unique',
    ),
    (None, {"volumes": [{"name": "v"}, {"name": "v"}]}, 'spec.volumes[1].name: Duplicate value: "v"'),
    ({"resources": {"requests": {"cpu": "-1"}}}, {}, "must be greater than or equal to 0"),
    (
        {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}},
        {},
        'requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
    ),
    ({"resources": {"limits": {"radios": "1"}}}, {}, "must be a standard resource"),
    (None, {"restartPolicy": "Sometimes"}, 'spec.restartPolicy: Unsupported value: "Sometimes"'),
    (None, {"dnsPolicy": "Sometimes"}, 'spec.dnsPolicy: Unsupported value: "Sometimes"'),
    (None, {"activeDeadlineSeconds": 0}, "must be between 1 and 2147483647, inclusive"),
    (None, {"tolerations": [{"operator": "Sometimes", "key": "a"}]}, 'operator: Unsupported value: "Sometimes"'),
    (None, {"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}, "value must be empty when"),
    (None, {"tolerations": [{"value": "b"}]}, "operator must be Exists when `key` is empty"),
    (
        None,
        {"tolerations": [{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 5}]},
        "effect must be 'NoExecute' when `tolerationSeconds` is set",
    ),
]


@pytest.mark.parametrize(("container", "spec", "message"), MISTAKES)
def test_a_mistake_in_a_pod_is_named(api: Api, pods: str, container: Any, spec: Any, message: str) -> None:
    failed = api.post(pods, pod(container, **spec)).failed(422, "Invalid")
    assert failed["message"].startswith('Pod "p" is invalid: ')
    assert message in failed["message"]


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ({"matchExpressions": [{"key": "a", "operator": "Near"}]}, "not a valid selector operator"),
        (
            {"matchExpressions": [{"key": "a", "operator": "In"}]},
            "must be specified when `operator` is 'In' or 'NotIn'",
        ),
        ({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}, "may not be specified when"),
        ({"matchExpressions": [{"key": "a", "operator": "Gt"}]}, "must be specified single value when"),
        ({"matchFields": [{"key": "spec.x", "operator": "In", "values": ["b"]}]}, "not a valid field selector key"),
        (None, "must have at least one node selector term"),
    ],
)
def test_a_mistake_in_an_affinity_is_named(api: Api, pods: str, term: Any, message: str) -> None:
    required = {"nodeSelectorTerms": [] if term is None else [term]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    assert message in api.post(pods, pod(affinity=affinity)).failed(422, "Invalid")["message"]


@pytest.mark.parametrize("quantity", ["lots", "1 Gi", ""])
def test_a_resource_that_is_no_quantity_cannot_be_read(api: Api, pods: str, quantity: str) -> None:
    failed = api.post(pods, pod({"resources": {"requests": {"cpu": quantity}}})).failed(400, "BadRequest")
    assert "quantities must match the regular expression" in failed["message"]


@pytest.mark.parametrize(
    "change",
    [
        {"nodeName": "n"},
        {"nodeSelector": {"a": "b"}},
        {"restartPolicy": "Never"},
        {"terminationGracePeriodSeconds": 5},
        {"hostname": "h"},
        {"volumes": [{"name": "v", "emptyDir": {}}]},
    ],
)
def test_a_pods_spec_stays_as_it_is(api: Api, pods: str, change: dict[str, Any]) -> None:
    before = api.post(pods, pod()).ok()
    failed = api.patch(f"{pods}/p", {"spec": change}).failed(422, "Invalid")
    assert "pod updates may not change fields other than `spec.containers[*].image`" in failed["message"]
    assert api.get(f"{pods}/p").ok()["spec"] == before["spec"]


def test_containers_cannot_be_added(api: Api, pods: str) -> None:
    api.post(pods, pod()).ok()
    more = [{"op": "add", "path": "/spec/containers/-", "value": {"name": "d", "image": "i:1"}}]
    failed = api.patch(f"{pods}/p", more, JSON_PATCH).failed(422, "Invalid")
    assert "spec.containers: Forbidden: pod updates may not add or remove containers" in failed["message"]


def test_images_deadlines_and_tolerations_may_change(api: Api, pods: str) -> None:
    made = api.post(pods, pod(activeDeadlineSeconds=100)).ok()
    made["spec"]["containers"][0]["image"] = "example.test/i:2"
    made["spec"]["activeDeadlineSeconds"] = 50
    made["spec"]["tolerations"].append({"key": "mine", "operator": "Exists"})
    changed = api.put(f"{pods}/p", made).ok()
    assert changed["spec"]["containers"][0]["image"] == "example.test/i:2"
    assert changed["spec"]["activeDeadlineSeconds"] == 50
    assert {"key": "mine", "operator": "Exists"} in changed["spec"]["tolerations"]
    assert (
        "must be less than or equal to previous value"
        in (api.patch(f"{pods}/p", {"spec": {"activeDeadlineSeconds": 60}}).failed(422, "Invalid")["message"])
    )
    assert (
        "existing toleration can not be modified except its tolerationSeconds"
        in (api.patch(f"{pods}/p", {"spec": {"tolerations": []}}).failed(422, "Invalid")["message"])
    )


def test_a_status_is_written_beside_a_spec_that_stays(api: Api, pods: str) -> None:
    made = api.post(pods, pod()).ok()
    made["spec"]["containers"][0]["image"] = "example.test/other:1"
    made["status"] |= {"phase": "Running", "podIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.9"}]}
    found = api.put(f"{pods}/p/status", made).ok()
    assert (found["status"]["phase"], found["status"]["podIP"]) == ("Running", "10.0.0.9")
    assert found["spec"]["containers"][0]["image"] == "example.test/i:1"
    assert "status" in api.patch(f"{pods}/p", {"status": {"phase": "Failed"}}).ok()
    assert api.get(f"{pods}/p").ok()["status"]["phase"] == "Running"


def test_a_new_node_takes_nothing_before_it_is_ready(api: Api) -> None:
    dry = api.post("/api/v1/nodes", {"metadata": {"name": "contract-dry"}}, query={"dryRun": "All"}).ok()
    assert {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"} in dry["spec"]["taints"]
