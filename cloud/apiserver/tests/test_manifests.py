"""The manifests for a real cluster: they parse, they fit each other, and the API takes the definitions."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.aio import client
from pydantic import ValidationError

from cloud.apiserver.tests.core import MANIFESTS, Core
from cloud.config import CloudCoreConfig
from edgewire.config import parse


def documents(name: str) -> list[dict[str, Any]]:
    return [d for d in yaml.safe_load_all((MANIFESTS / name).read_text()) if d]


def of_kind(name: str, kind: str) -> dict[str, Any]:
    (found,) = [d for d in documents(name) if d["kind"] == kind]
    return found


def walk(schema: Any) -> list[dict[str, Any]]:
    """Every level of a schema."""
    found = [schema]
    for sub in (schema.get("properties") or {}).values():
        found += walk(sub)
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            found += walk(schema[name])
    return found


@pytest.fixture(params=sorted(path.name for path in MANIFESTS.glob("devices.*.yaml")))
def schema(request: pytest.FixtureRequest) -> Any:
    (version,) = documents(request.param)[0]["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]


def test_every_field_of_a_definition_is_described(schema: Any) -> None:
    bare = {"apiVersion", "kind", "metadata"}
    for level in walk(schema):
        for name, sub in (level.get("properties") or {}).items():
            assert name in bare or sub.get("description", "").endswith("."), name


def test_every_text_and_list_is_bounded_so_that_rules_have_a_cost(schema: Any) -> None:
    for level in walk(schema["properties"]["spec"]):
        if level.get("type") == "array":
            assert "maxItems" in level
        if level.get("type") == "string":
            assert "maxLength" in level or "enum" in level


def test_the_keys_of_a_map_list_are_required(schema: Any) -> None:
    for level in walk(schema):
        if level.get("x-kubernetes-list-type") == "map":
            assert set(level["x-kubernetes-list-map-keys"]) <= set(level["items"]["required"])


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", True), ("-1.5", True), ("+2", True), (".5", True), ("1e3", True), ("", False), ("x", False), ("1,5", False)],
)
def test_the_rule_for_bounds_knows_a_number(text: str, number: bool) -> None:
    manifest = (MANIFESTS / "devices.kubeedge.io_devicemodels.yaml").read_text()
    patterns = set(re.findall(r"matches\('([^']+)'\)", manifest))
    (pattern,) = patterns
    assert bool(re.search(pattern, text)) is number


def test_cloudcore_runs_as_the_account_that_has_the_role() -> None:
    account = of_kind("rbac.yaml", "ServiceAccount")["metadata"]
    pod = of_kind("deployment.yaml", "Deployment")["spec"]["template"]["spec"]
    assert (pod["serviceAccountName"], account["namespace"]) == ("cloudcore", "hedgerow")
    for binding, role in (("ClusterRoleBinding", "ClusterRole"), ("RoleBinding", "Role")):
        bound = of_kind("rbac.yaml", binding)
        assert bound["roleRef"]["name"] == of_kind("rbac.yaml", role)["metadata"]["name"]
        assert bound["subjects"] == [
            {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
        ]


def read(document: dict[str, Any]) -> None:
    """Raise ValidationError when a document is not what Kubernetes' own API says of its kind, by its Python client."""
    getattr(client, f"V1{document['kind']}").model_validate(document)


@pytest.mark.parametrize("path", sorted(MANIFESTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_manifest_is_what_kubernetes_says_of_its_kind(path: Path) -> None:
    for document in documents(path.name):
        read(document)


def test_a_slip_in_a_manifest_would_be_noticed() -> None:
    deployment = of_kind("deployment.yaml", "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    container["readinessProbe"]["periodSecond"] = 5
    container["livenessProbe"]["periodSeconds"] = "20"
    del container["name"], deployment["spec"]["selector"]
    with pytest.raises(ValidationError) as refused:
        read(deployment)
    assert {error["loc"][-1] for error in refused.value.errors()} == {
        "periodSecond",
        "periodSeconds",
        "name",
        "selector",
    }


def test_the_embedded_api_takes_what_it_has_the_types_of() -> None:
    core = Core()
    plurals = {resource.kind: resource.plural for resource in core.objects.registry}
    taken = []
    for document in [*documents("rbac.yaml"), *documents("deployment.yaml")]:
        if plural := plurals.get(document["kind"]):
            core.create(plural, document, document["metadata"].get("namespace"))
            taken.append(document["kind"])
    assert taken == ["Namespace", "ServiceAccount", "ConfigMap", "Deployment"]


def test_cloudcore_is_given_no_rights_on_its_machine() -> None:
    pod = of_kind("deployment.yaml", "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_a_slow_cluster_is_waited_for_and_every_probe_asks_the_port_that_nodes_use() -> None:
    (container,) = of_kind("deployment.yaml", "Deployment")["spec"]["template"]["spec"]["containers"]
    probes = [container[name] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert {probe["tcpSocket"]["port"] for probe in probes} == {container["ports"][0]["name"]}
    assert probes[0]["periodSeconds"] * probes[0]["failureThreshold"] >= 120


def test_the_role_gives_no_more_than_what_is_named() -> None:
    granted = {
        resource: set(rule["verbs"])
        for rule in of_kind("rbac.yaml", "ClusterRole")["rules"]
        for resource in rule["resources"]
    }
    assert not any("*" in verbs for verbs in granted.values())
    assert [resource for resource, verbs in granted.items() if "delete" in verbs] == ["pods"]
    assert granted["pods"] == {"list", "watch", "create", "delete"}
    assert granted["secrets"] == {"get", "list", "watch"}
    assert granted["devices"] == {"list", "watch"}
    assert "leases" not in granted


def test_the_deployments_configuration_is_one_that_cloudcore_reads() -> None:
    config = of_kind("deployment.yaml", "ConfigMap")["data"]["cloudcore.yaml"]
    settings = parse(yaml.safe_load(config), CloudCoreConfig, "cloudcore.yaml")
    (container,) = of_kind("deployment.yaml", "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["ports"][0]["containerPort"] == settings.port
    assert container["args"] == ["/etc/hedgerow/cloudcore.yaml"]


def test_the_api_server_reaches_what_cloudcore_serves_for_it_and_the_world_does_not() -> None:
    config = of_kind("deployment.yaml", "ConfigMap")["data"]["cloudcore.yaml"]
    config = re.sub(r"^# (?=kubelet_\w+:)", "", config, flags=re.MULTILINE)
    settings = parse(yaml.safe_load(config), CloudCoreConfig, "cloudcore.yaml")
    assert settings.kubelet_address
    (container,) = of_kind("deployment.yaml", "Deployment")["spec"]["template"]["spec"]["containers"]
    assert {port["name"]: port["containerPort"] for port in container["ports"]}["kubelet"] == settings.kubelet_port
    services = [document["spec"] for document in documents("deployment.yaml") if document["kind"] == "Service"]
    [(kind, number)] = [
        (service["type"], port["port"])
        for service in services
        for port in service["ports"]
        if port["targetPort"] == "kubelet"
    ]
    assert (kind, number) == ("ClusterIP", settings.kubelet_port)


def test_the_embedded_api_takes_the_definitions() -> None:
    core = Core()
    core.define_devices()
    assert core.names("customresourcedefinitions") == [
        "devicefirmwares.devices.hedgerow.dev",
        "devicemodels.devices.kubeedge.io",
        "devices.devices.kubeedge.io",
    ]
