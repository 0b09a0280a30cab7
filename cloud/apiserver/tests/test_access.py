"""The three roles: what each may do, and in which words it is refused."""

import itertools
from typing import Any

import pytest

from cloud.apiserver.access import Access
from cloud.apiserver.attributes import Attributes, of_request
from cloud.apiserver.requests import parse_path
from cloud.apiserver.roles import User, user_of
from cloud.apiserver.status import ApiError
from cloud.apiserver.tests.core import Core, device

ADMIN, NODE, VIEWER = user_of("admin", "root"), user_of("node", "gw"), user_of("viewer", "eva")
NOBODY = User("nobody", ("strangers",))
PODS = "/api/v1/namespaces/default/pods"
DEVICES = "/apis/devices.kubeedge.io/v1beta1/namespaces/default/devices"
MODELS = "/apis/devices.kubeedge.io/v1beta1/namespaces/default/devicemodels"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


@pytest.fixture(scope="module")
def core() -> Core:
    """Two nodes; `gw` has a pod, a device and what these need."""
    core = Core()
    core.define_devices()
    core.create("namespaces", {"metadata": {"name": "kube-node-lease"}})
    for node in ("gw", "other"):
        core.create("nodes", {"metadata": {"name": node}})
        core.create("pods", pod(node))
    core.create("devices", device("s1"))
    core.create("devices", device("s2", nodeName="other", deviceModelRef={"name": "m2"}))
    return core


def pod(node: str) -> dict[str, Any]:
    """A pod on a node that needs objects by every way there is, named after the node."""
    by_key = [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": f"{node}-key", "key": "k"}}},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": f"{node}-key", "key": "k"}}},
    ]
    container = {"name": "c", "image": "i", "env": by_key, "envFrom": [{"secretRef": {"name": f"{node}-all"}}]}
    projected = {"sources": [{"secret": {"name": f"{node}-part"}}, {"configMap": {"name": f"{node}-part"}}]}
    volumes = [
        {"name": "v", "secret": {"secretName": f"{node}-volume"}},
        {"name": "w", "configMap": {"name": f"{node}-volume"}},
        {"name": "x", "projected": projected},
    ]
    spec = {
        "nodeName": node,
        "containers": [container],
        "initContainers": [container | {"name": "i", "envFrom": [{"configMapRef": {"name": f"{node}-init"}}]}],
        "volumes": volumes,
        "imagePullSecrets": [{"name": f"{node}-pull"}],
    }
    return {"metadata": {"name": f"on-{node}"}, "spec": spec}


def may(core: Core, user: User, method: str, url: str) -> bool:
    path, _, query = url.partition("?")
    pairs = dict(part.split("=", 1) for part in query.split("&") if part)
    asked = of_request(method, path, parse_path(path), pairs)
    return Access(core.objects.registry, core.objects.state).decide(user, asked).allowed


def why_not(core: Core, user: User, method: str, url: str) -> str:
    path, _, query = url.partition("?")
    pairs = dict(part.split("=", 1) for part in query.split("&") if part)
    with pytest.raises(ApiError) as caught:
        Access(core.objects.registry, core.objects.state).check(user, of_request(method, path, parse_path(path), pairs))
    assert (caught.value.code, caught.value.reason) == (403, "Forbidden")
    return caught.value.message


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("GET", "/api/v1/secrets"),
        ("DELETE", f"{PODS}/on-gw"),
        ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews"),
        ("GET", "/debug"),
    ],
)
def test_an_admin_may_do_everything(core: Core, method: str, url: str) -> None:
    assert may(core, ADMIN, method, url)
    assert not may(core, NOBODY, method, url)


def test_a_viewer_reads_everything_but_secrets(core: Core) -> None:
    for url in (PODS, f"{PODS}/on-gw", f"{PODS}/on-gw/status", f"{PODS}?watch=true", "/api/v1/nodes", f"{DEVICES}/s1"):
        assert may(core, VIEWER, "GET", url), url
        assert not may(core, NOBODY, "GET", url), url
    for url in ("/api/v1/secrets", "/api/v1/namespaces/default/secrets/s", f"{PODS}/on-gw/exec"):
        assert not may(core, VIEWER, "GET", url), url
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert not may(core, VIEWER, method, f"{PODS}/on-gw"), method
    for method, subresource in itertools.product(("GET", "POST"), ("exec", "attach", "portforward")):
        assert not may(core, VIEWER, method, f"{PODS}/on-gw/{subresource}"), (method, subresource)
    assert not may(core, VIEWER, "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews")


@pytest.mark.parametrize("user", [NODE, VIEWER, NOBODY])
def test_everybody_known_may_ask_what_is_served_and_about_himself(core: Core, user: User) -> None:
    for url in ("/", "/api", "/api/", "/apis/devices.kubeedge.io", "/openapi/v3"):
        assert may(core, user, "GET", url), url
    assert may(core, user, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews")
    assert may(core, user, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
    assert not may(core, user, "GET", "/debug")
    assert not may(core, user, "POST", "/api")


@pytest.mark.parametrize(
    ("method", "url", "allowed", "refused"),
    [
        ("GET", "/api/v1/nodes/{}", "gw", "other"),
        ("PATCH", "/api/v1/nodes/{}/status", "gw", "other"),
        ("GET", "/api/v1/nodes?fieldSelector=metadata.name={}", "gw", "other"),
        ("GET", "/api/v1/nodes?watch=true&fieldSelector=metadata.name={}", "gw", "other"),
        ("PUT", LEASES + "/{}", "gw", "other"),
        ("GET", PODS + "/{}", "on-gw", "on-other"),
        ("DELETE", PODS + "/{}", "on-gw", "on-other"),
        ("PATCH", PODS + "/{}/status", "on-gw", "on-other"),
        ("GET", "/api/v1/pods?fieldSelector=spec.nodeName={}", "gw", "other"),
        ("GET", "/api/v1/pods?watch=1&fieldSelector=spec.nodeName={}", "gw", "other"),
        ("GET", "/api/v1/pods?fieldSelector=spec.nodeName{}", "=gw", "!=other"),
        ("GET", DEVICES + "/{}", "s1", "s2"),
        ("PATCH", DEVICES + "/{}/status", "s1", "s2"),
        ("GET", DEVICES + "?fieldSelector=spec.nodeName={}", "gw", "other"),
        ("GET", MODELS + "/{}", "m", "m2"),
    ],
)
def test_a_node_has_its_own_objects_and_no_other_nodes(
    core: Core, method: str, url: str, allowed: str, refused: str
) -> None:
    assert may(core, NODE, method, url.format(allowed))
    assert not may(core, NODE, method, url.format(refused))
    assert not may(core, NOBODY, method, url.format(allowed))


@pytest.mark.parametrize(
    "needed",
    [f"secrets/{{}}-{way}" for way in ("volume", "key", "all", "part", "pull")]
    + [f"configmaps/{{}}-{way}" for way in ("volume", "key", "init", "part")],
)
def test_a_node_reads_what_its_pods_need(core: Core, needed: str) -> None:
    place = "/api/v1/namespaces/default/"
    assert may(core, NODE, "GET", place + needed.format("gw"))
    assert not may(core, NODE, "GET", place + needed.format("other"))
    assert not may(core, NODE, "GET", "/api/v1/namespaces/kube-system/" + needed.format("gw"))
    plural, name = needed.format("gw").split("/")
    assert may(core, NODE, "GET", f"{place}{plural}?watch=true&fieldSelector=metadata.name={name}")
    # By name in one namespace only: a list over all of them would show others' objects of that name.
    assert not may(core, NODE, "GET", f"/api/v1/{plural}?fieldSelector=metadata.name={name}")
    assert not may(core, NODE, "GET", place + plural)
    assert not may(core, NODE, "PATCH", place + needed.format("gw"))


def test_a_node_creates_its_own_kinds_only(core: Core) -> None:
    for url in ("/api/v1/nodes", LEASES, "/api/v1/namespaces/default/events"):
        assert may(core, NODE, "POST", url), url
    for url in (PODS, DEVICES, LEASES.replace("kube-node-lease", "default"), "/api/v1/namespaces"):
        assert not may(core, NODE, "POST", url), url
    assert not may(core, NODE, "DELETE", PODS)
    assert not may(core, NODE, "DELETE", "/api/v1/nodes/gw")
    assert not may(core, NODE, "PATCH", f"{PODS}/on-gw")


def test_refusals_are_worded_as_the_apis(core: Core) -> None:
    eva, gw = 'User "eva" cannot', 'User "system:node:gw" cannot'
    assert why_not(core, VIEWER, "DELETE", "/api/v1/nodes/gw") == (
        f'nodes "gw" is forbidden: {eva} delete resource "nodes" in API group "" at the cluster scope'
    )
    assert why_not(core, VIEWER, "GET", "/api/v1/namespaces/default/secrets") == (
        f'secrets is forbidden: {eva} list resource "secrets" in API group "" in the namespace "default"'
    )
    assert why_not(core, VIEWER, "PATCH", f"{DEVICES}/s1/status") == (
        f'devices.devices.kubeedge.io "s1" is forbidden: {eva} patch resource "devices/status" in API group '
        '"devices.kubeedge.io" in the namespace "default"'
    )
    assert why_not(core, VIEWER, "DELETE", "/api/v1/namespaces/default") == (
        f'namespaces "default" is forbidden: {eva} delete resource "namespaces" in API group "" in the namespace "default"'
    )
    assert why_not(core, VIEWER, "GET", "/debug") == f'forbidden: {eva} get path "/debug"'
    assert why_not(core, NODE, "GET", "/api/v1/namespaces/default/secrets/x") == (
        f'secrets "x" is forbidden: {gw} get resource "secrets" in API group "" in the namespace "default": '
        "no relationship found between node 'gw' and this object"
    )
    assert why_not(core, NODE, "GET", "/api/v1/nodes/other").endswith(
        "node 'gw' cannot read 'other', only its own Node object"
    )
    assert why_not(core, NODE, "GET", "/api/v1/pods").endswith(
        "can only list/watch pods with spec.nodeName field selector"
    )


def restricted(core: Core, plural: str, name: str, patch: Any, subresource: str = "") -> str:
    """Why a node's patch is refused; "" when it is not."""
    access = Access(core.objects.registry, core.objects.state)
    try:
        core.patch(plural, name, patch, subresource, restriction=access.restriction(NODE), dry_run=True)
    except ApiError as error:
        return error.message if error.code == 403 else repr(error)
    return ""


def test_a_nodes_writes_are_restricted_in_content(core: Core) -> None:
    said = 'nodes "gw" is forbidden: node "gw" is not allowed to modify '
    role = {"metadata": {"labels": {"node-role.kubernetes.io/edge": ""}}}
    assert restricted(core, "nodes", "gw", role) == said + "labels: node-role.kubernetes.io/edge"
    assert restricted(core, "nodes", "gw", role, "status") == said + "labels: node-role.kubernetes.io/edge"
    taint = {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}
    assert restricted(core, "nodes", "gw", taint) == said + "taints"
    own = {"kubernetes.io/arch": "arm64", "site": "north", "acme.example/x": "1", "x.node.kubernetes.io/y": "1"}
    assert restricted(core, "nodes", "gw", {"metadata": {"labels": own}}) == ""
    assert restricted(core, "nodes", "gw", {"status": {"phase": "Running"}}, "status") == ""
    assert restricted(core, "pods", "on-gw", {"status": {"phase": "Running"}}, "status") == ""
    for part in ({"labels": {"a": "b"}}, {"finalizers": ["a.example/b"]}):
        assert "through pod status" in restricted(core, "pods", "on-gw", {"metadata": part}, "status")


@pytest.mark.parametrize(
    ("plural", "obj", "namespace"),
    [
        ("nodes", {"metadata": {"name": "third"}}, None),
        ("nodes", {"metadata": {"name": "gw", "labels": {"node-restriction.kubernetes.io/x": "y"}}}, None),
        ("leases", {"metadata": {"name": "other"}}, "kube-node-lease"),
    ],
)
def test_a_node_creates_nothing_in_anothers_name(
    core: Core, plural: str, obj: dict[str, Any], namespace: str | None
) -> None:
    restriction = Access(core.objects.registry, core.objects.state).restriction(NODE)
    with pytest.raises(ApiError) as caught:
        core.create(plural, obj, namespace, restriction=restriction, dry_run=True)
    assert caught.value.code == 403


def test_the_rules_of_each_role_are_listed(core: Core) -> None:
    access = Access(core.objects.registry, core.objects.state)
    assert access.rules(ADMIN)["resourceRules"][0] == {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
    viewed = access.rules(VIEWER)["resourceRules"]
    of_devices = next(rule for rule in viewed if rule["apiGroups"] == ["devices.kubeedge.io"])
    assert of_devices["verbs"] == ["get", "list", "watch"]
    assert {"devices", "devices/status", "devicemodels"} <= set(of_devices["resources"])
    assert not any("secrets" in rule["resources"] for rule in viewed)
    assert access.rules(NODE)["incomplete"]
    assert not access.rules(NOBODY)["incomplete"]


def test_attributes_follow_the_request() -> None:
    def of(method: str, path: str, **query: str) -> Attributes:
        return of_request(method, path, parse_path(path), query)

    assert of("HEAD", "/version") == Attributes("get", path="/version")
    assert of("GET", PODS, watch="true").verb == "watch"
    assert of("GET", f"{PODS}/a", watch="true").verb == "watch"
    assert of("DELETE", PODS).verb == "deletecollection"
    assert of("POST", f"{PODS}/a/eviction") == Attributes("create", "", "pods", "eviction", "default", "a")
    # A term that is no equality selects nothing, and neither does one that names two values.
    for term in ("spec.nodeName!=gw", "spec.nodeName=gw=x", "spec.nodeName=gw==", "spec.nodeName"):
        assert of("GET", PODS, fieldSelector=term).selected.get("spec.nodeName") != "gw", term
