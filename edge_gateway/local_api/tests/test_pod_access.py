"""Who among the pods may use the local API: the core with a gateway's state, and no socket."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from edge_gateway.edged.access import ANNOTATION, NoAccess
from edge_gateway.edged.pods import Pod, parse
from edge_gateway.local_api.access import Rights
from edge_gateway.local_api.pod_access import PLACE, MqttPlace, PodAccess
from edge_gateway.local_api.pod_tokens import PodTokens
from edge_gateway.local_api.refusals import Refusal
from edge_gateway.local_api.requests import Request
from edge_gateway.local_api.tests.gateway import DEVICE, Gateway

WISH = b'{"spec":{"properties":[{"name":"speed","desired":{"value":"7"}}]}}'


class Site:
    """A gateway that runs a pod."""

    def __init__(
        self, most: str = "operator", place: str = PLACE, apart: bool = False, broker: MqttPlace | None = None
    ) -> None:
        self.gateway = Gateway()
        self.running: list[Pod] = []
        self.now_s = 1_800_000_000.0
        tokens = PodTokens(bytes(32), "edge1")
        self.access = PodAccess(
            tokens,
            b"PEM",
            port=10550,
            most=most,
            place=place,
            apart=apart,
            now_s=lambda: self.now_s,
            broker=broker,
        )
        self.access.pods = lambda: self.running

    def pod(self, role: str | None = "viewer", uid: str = "u9", **spec: Any) -> Pod:
        metadata = {"name": "app", "namespace": "default", "uid": uid, "resourceVersion": "1"}
        annotations = {ANNOTATION: role} if role is not None else {}
        spec = {"containers": [{"name": "c", "image": "none"}], **spec}
        content = {"metadata": {**metadata, "annotations": annotations}, "spec": spec}
        pod = parse(msgspec.json.encode(content))
        self.running = [pod]
        return pod

    def token(self, pod: Pod) -> str:
        return f"Bearer {self.access.files(pod)['token'].decode()}"

    def rights(self, pod: Pod) -> Rights | None:
        return self.access.rights(self.token(pod))


@pytest.fixture
def site() -> Site:
    return Site()


def test_a_pod_that_does_not_ask_gets_nothing(site: Site) -> None:
    pod = site.pod(None)
    assert (site.access.asked(pod), site.access.refusals(pod), site.rights(pod)) == (False, [], None)


@pytest.mark.parametrize(("role", "desires"), [("viewer", False), ("operator", True)])
def test_a_pod_has_the_role_that_it_asks_for_in_its_namespace(site: Site, role: str, desires: bool) -> None:
    pod = site.pod(role)
    assert site.access.asked(pod)
    assert site.rights(pod) == Rights("pod default/app", desires, False, "default")


def test_the_annotation_counts_as_it_is_now(site: Site) -> None:
    token = site.token(site.pod("operator"))
    site.pod("viewer")
    rights = site.access.rights(token)
    assert rights is not None
    assert not rights.desire
    site.pod(None)
    assert site.access.rights(token) is None


def test_a_token_ends_with_its_pod(site: Site) -> None:
    pod = site.pod()
    token = site.token(pod)
    site.pod(uid="another one of that name")
    assert site.access.rights(token) is None
    site.pod()
    assert site.access.rights(token) is not None
    site.running.clear()
    assert site.access.rights(token) is None


def test_tokens_grow_too_old_and_files_have_young_ones(site: Site) -> None:
    pod = site.pod()
    old = site.token(pod)
    site.now_s += 2 * 3600
    assert site.access.rights(old) is None
    assert site.rights(pod) is not None


@pytest.mark.parametrize(
    ("most", "role", "said"),
    [
        ("operator", "write", "'write' is none of viewer, operator"),
        ("viewer", "operator", "pods are viewer at most"),
        ("none", "viewer", "pods are none at most"),
    ],
)
def test_what_a_pod_cannot_have_is_refused_in_words(most: str, role: str, said: str) -> None:
    site = Site(most)
    pod = site.pod(role)
    [why] = site.access.refusals(pod)
    assert said in why
    assert not site.access.asked(pod)
    assert site.rights(pod) is None


def test_a_gateway_out_of_reach_of_the_pods_network_says_so() -> None:
    site = Site(apart=True)
    assert "hostNetwork" in site.access.refusals(site.pod())[0]
    assert site.access.refusals(site.pod(hostNetwork=True)) == []


def test_a_gateway_without_the_api_says_so(site: Site) -> None:
    assert "no `local_api`" in NoAccess().refusals(site.pod())[0]
    assert NoAccess().refusals(site.pod(None)) == []


def test_a_pod_finds_what_clients_of_kubernetes_look_for(site: Site) -> None:
    pod = site.pod()
    files = site.access.files(pod)
    assert (files["namespace"], files["ca.crt"]) == (b"default", b"PEM")
    here = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "10550"}
    there = {**here, "KUBERNETES_SERVICE_HOST": "host.containers.internal"}
    assert site.access.environment(pod, "", PLACE) == here
    assert site.access.environment(pod, "10.88.0.7", PLACE) == there


def test_where_nothing_can_be_mounted_a_kubeconfig_names_the_files_beside_it() -> None:
    site = Site(place="")
    pod = site.pod()
    assert site.access.environment(pod, "", "/dev/shm/x")["KUBECONFIG"] == "/dev/shm/x/kubeconfig"
    written = json.loads(site.access.files(pod)["kubeconfig"])
    assert written["clusters"][0]["cluster"] == {
        "server": "https://127.0.0.1:10550",
        "certificate-authority": "ca.crt",
    }
    assert written["users"][0]["user"] == {"tokenFile": "token"}


# What such rights let do

OWN = Rights("pod default/app", True, False, "default")


@pytest.mark.parametrize("path", [DEVICE, DEVICE.rpartition("/")[0], "/apis", "/api/v1"])
def test_a_pod_sees_the_devices_of_its_namespace(site: Site, path: str) -> None:
    assert site.gateway.ask(path, rights=OWN)


@pytest.mark.parametrize(
    "path",
    [
        "/apis/devices.kubeedge.io/v1beta1/devices",
        "/apis/devices.kubeedge.io/v1beta1/namespaces/other/devices",
        "/api/v1/namespaces/default/pods",
        "/api/v1/namespaces/default/configmaps/settings",
        "/api/v1/namespaces/default/secrets",
        "/api/v1/nodes",
    ],
)
@pytest.mark.parametrize("query", [{}, {"watch": "true"}])
def test_a_pod_sees_nothing_else(site: Site, path: str, query: Mapping[str, str]) -> None:
    with pytest.raises(Refusal, match="may see devices and devicemodels of 'default', not") as refused:
        site.gateway.api.handle(Request("GET", path, dict(query), OWN), 0)
    assert refused.value.code == 403


def test_a_pod_sets_desired_values_in_its_namespace_only(site: Site) -> None:
    assert site.gateway.ask(DEVICE, method="PATCH", body=WISH, rights=OWN)
    with pytest.raises(Refusal, match="may see") as refused:
        site.gateway.ask(DEVICE.replace("default", "other"), method="PATCH", body=WISH, rights=OWN)
    assert refused.value.code == 403
