"""Pods as they come from the API server, and what of them is refused."""

from typing import Any

import msgspec
import pytest

from edge_gateway.edged import pods
from edge_gateway.edged.pod_refusals import refusals
from edge_gateway.edged.pods import PodError
from edge_gateway.edged.tests.bench import a_container, a_pod


def test_what_a_pod_does_not_say_has_kubernetes_defaults() -> None:
    pod = a_pod(a_container(livenessProbe={"tcpSocket": {"port": 80}}))
    probe = pod.spec.containers[0].liveness_probe
    assert probe is not None
    assert (probe.period_seconds, probe.timeout_seconds, probe.failure_threshold) == (10, 1, 3)
    assert (pod.spec.restart_policy, pod.spec.termination_grace_period_seconds) == ("Always", 30)


def test_null_is_as_good_as_nothing() -> None:
    pod = a_pod(a_container(env=None, livenessProbe=None, resources={"limits": None}), volumes=None)
    assert pod.spec.containers[0].env == ()
    assert pod.spec.volumes == ()


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"no json", "malformed"),
        (b'{"metadata":{"name":"a","uid":"u"}}', "spec"),
        (b'{"metadata":{"name":"a","uid":"u"},"spec":{"containers":[{"name":7}]}}', "containers"),
    ],
)
def test_what_is_no_pod_is_refused_with_the_field(content: bytes, names: str) -> None:
    with pytest.raises(PodError, match=names):
        pods.parse(content)


@pytest.mark.parametrize(
    ("container", "spec", "why"),
    [
        ({}, {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "x"}}]}, "persistentVolumeClaim"),
        ({}, {"volumes": [{"name": "v", "nfs": {"server": "x", "path": "/"}}]}, "'v': this node has no such kind"),
        ({"volumeMounts": [{"name": "w", "mountPath": "/w"}]}, {}, "there is no volume 'w'"),
        ({"tty": True}, {}, "no terminal"),
        ({"volumeDevices": [{"name": "d", "devicePath": "/dev/x"}]}, {}, "no block volumes"),
        ({"livenessProbe": {"grpc": {"port": 1}}}, {}, "livenessProbe: gRPC is not known here"),
        ({"readinessProbe": {"httpGet": {"port": "web"}}}, {}, "there is no port named 'web'"),
        ({"lifecycle": {"preStop": {"tcpSocket": {"port": "x"}}}}, {}, "lifecycle.preStop: there is no port named 'x'"),
        (
            {},
            {"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]},
            "no service account tokens",
        ),
    ],
)
def test_what_this_node_cannot_give_is_named(container: dict[str, Any], spec: dict[str, Any], why: str) -> None:
    [said] = refusals(a_pod(a_container(**container), **spec))
    assert why in said


def test_the_token_that_a_cluster_gives_every_pod_does_not_keep_it_from_running() -> None:
    token = {"name": "kube-api-access-x7k2p", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
    assert refusals(a_pod(volumes=[token])) == []


def test_an_ordinary_pod_is_not_refused() -> None:
    container = a_container(
        ports=[{"containerPort": 8080, "name": "web"}],
        readinessProbe={"httpGet": {"port": "web", "path": "/"}},
        volumeMounts=[{"name": "v", "mountPath": "/v"}],
        resources={"limits": {"memory": "64Mi", "cpu": 1}},
        imagePullPolicy="IfNotPresent",
        terminationMessagePath="/dev/termination-log",
    )
    spec = {"volumes": [{"name": "v", "emptyDir": {}}], "dnsPolicy": "ClusterFirst", "schedulerName": "x"}
    assert refusals(a_pod(container, **spec)) == []


def test_all_that_is_wrong_is_said_at_once() -> None:
    assert len(refusals(a_pod(a_container(tty=True), a_container("d", tty=True)))) == 2


def test_a_pod_survives_the_store() -> None:
    pod = a_pod()
    assert pods.parse(msgspec.json.encode(pod)) == pod
