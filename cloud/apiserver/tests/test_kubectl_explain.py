"""`kubectl explain` of built-in kinds, and what kubectl says of misspelt fields; on the embedded server or on any cluster."""

import re
from collections.abc import Iterator

import pytest

from cloud.apiserver.tests import http
from cloud.apiserver.tests.http import Api
from cloud.apiserver.tests.kubectl import Kubectl, needs_kubectl

needs_kubectl()

POD = """
apiVersion: v1
kind: Pod
metadata:
  name: full
  labels: {app: full}
spec:
  restartPolicy: OnFailure
  terminationGracePeriodSeconds: 5
  automountServiceAccountToken: false
  dnsConfig: {nameservers: [10.0.0.53], options: [{name: ndots, value: "2"}]}
  hostAliases: [{ip: 10.0.0.1, hostnames: [plc]}]
  securityContext: {runAsUser: 1000, fsGroup: 1000, seccompProfile: {type: RuntimeDefault}}
  nodeSelector: {site: nowhere}
  tolerations: [{key: edge, operator: Exists, effect: NoSchedule}]
  topologySpreadConstraints:
  - {maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: full}}}
  affinity:
    nodeAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
      - {weight: 1, preference: {matchExpressions: [{key: site, operator: In, values: [a]}]}}
    podAntiAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 1
        podAffinityTerm: {topologyKey: zone, labelSelector: {matchExpressions: [{key: app, operator: Exists}]}}
  initContainers:
  - {name: init, image: busybox, command: ["true"]}
  containers:
  - name: main
    image: busybox:1
    imagePullPolicy: IfNotPresent
    command: [sh]
    args: [-c, sleep 1]
    workingDir: /tmp
    ports: [{name: http, containerPort: 80, protocol: TCP}]
    env:
    - {name: A, value: b}
    - {name: B, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: C, valueFrom: {secretKeyRef: {name: s, key: k, optional: true}}}
    envFrom: [{prefix: P_, configMapRef: {name: c, optional: true}}]
    resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 32Mi}}
    livenessProbe: {httpGet: {path: /, port: http, httpHeaders: [{name: X, value: z}]}, periodSeconds: 5}
    readinessProbe: {tcpSocket: {port: 80}, failureThreshold: 2}
    startupProbe: {exec: {command: ["true"]}}
    lifecycle: {preStop: {exec: {command: ["true"]}}}
    securityContext: {capabilities: {drop: [ALL]}, readOnlyRootFilesystem: true}
    volumeMounts: [{name: data, mountPath: /data, subPath: x}, {name: all, mountPath: /all, readOnly: true}]
    terminationMessagePolicy: FallbackToLogsOnError
  volumes:
  - {name: data, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
  - {name: host, hostPath: {path: /dev, type: Directory}}
  - {name: sec, secret: {secretName: s, optional: true, items: [{key: k, path: p, mode: 256}]}}
  - name: all
    projected:
      defaultMode: 288
      sources:
      - {configMap: {name: c, items: [{key: a, path: b}]}}
      - {downwardAPI: {items: [{path: p, fieldRef: {fieldPath: metadata.labels}}]}}
"""
SMALL = """
{apiVersion: v1, kind: ConfigMap, metadata: {name: typed}, data: {k: v}, binaryData: {b: AAA=}, immutable: false}
---
{apiVersion: v1, kind: Secret, metadata: {name: typed}, stringData: {k: v}, type: Opaque}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: typed}, imagePullSecrets: [{name: typed}]}
---
{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: typed}, spec: {holderIdentity: me, leaseDurationSeconds: 9}}
"""
MISSPELT = POD.replace("imagePullPolicy", "imagePulPolicy").replace("sizeLimit", "sizelimit")
WRONG = ("spec.containers[0].imagePulPolicy", "spec.volumes[0].emptyDir.sizelimit")


@pytest.fixture
def absent(kubectl: Kubectl) -> Iterator[None]:
    """No pod afterwards."""
    yield
    kubectl("delete", "pod", "full", "--ignore-not-found", "--force", "--grace-period=0")


def fields(shown: str) -> dict[str, str]:
    """Field -> type, of what `kubectl explain` shows."""
    return dict(re.findall(r"^ +(\S+)\t<(.+?)>", shown, re.MULTILINE))


def test_explain_describes_the_fields_of_built_in_kinds(kubectl: Kubectl) -> None:
    shown = kubectl("explain", "pod")
    assert "Pod is a collection of containers" in shown
    assert fields(shown)["spec"] == "PodSpec"
    assert fields(kubectl("explain", "pod.spec"))["containers"] == "[]Container"
    shown = kubectl("explain", "pod.spec.containers.resources")
    assert "maximum amount of compute resources" in shown
    assert {"claims", "limits", "requests"} <= set(fields(shown))
    shown = kubectl("explain", "node.spec.taints")
    assert re.search(r"effect\t<string> -required-", shown)
    assert "IntOrString" in kubectl("explain", "pod.spec.containers.livenessProbe.httpGet.port")


def test_explain_goes_all_the_way_down(kubectl: Kubectl) -> None:
    shown = kubectl("explain", "pod", "--recursive")
    assert {"sizeLimit", "terminationMessagePolicy", "uid", "hostIPs"} <= set(fields(shown))
    assert fields(kubectl("explain", "crd.spec.versions.schema.openAPIV3Schema"))["not"] == "JSONSchemaProps"


@pytest.mark.parametrize(
    ("what", "field"),
    [("namespace", "status"), ("configmap", "binaryData"), ("secret", "stringData"), ("serviceaccount", "imagePullSecrets"),
     ("event", "involvedObject"), ("event --api-version=events.k8s.io/v1", "regarding"), ("lease.spec", "holderIdentity"),
     ("node.status", "nodeInfo")],
)  # fmt: skip
def test_every_kind_is_explained(kubectl: Kubectl, what: str, field: str) -> None:
    assert field in fields(kubectl("explain", *what.split()))


def test_good_manifests_are_applied_with_validation(kubectl: Kubectl, absent: None) -> None:
    assert "pod/full created" in kubectl("apply", "--validate=strict", "-f", "-", stdin=POD)
    kubectl("apply", "--validate=strict", "-f", "-", stdin=POD)
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=POD)
    kubectl("apply", "--validate=strict", "-f", "-", stdin=SMALL)
    kubectl("apply", "--validate=strict", "-f", "-", stdin=SMALL.replace("k: v", "k: w"))
    kubectl("delete", "-f", "-", stdin=SMALL)


def test_a_misspelt_field_of_a_pod_is_refused(kubectl: Kubectl, absent: None) -> None:
    refused = kubectl("apply", "-f", "-", stdin=MISSPELT, expect=1)
    unknown = ", ".join(f'unknown field "{path}"' for path in WRONG)
    assert f'Pod in version "v1" cannot be handled as a Pod: strict decoding error: {unknown}' in refused
    assert "NotFound" in kubectl("get", "pod", "full", expect=1)
    kubectl("apply", "-f", "-", stdin=POD)
    refused = kubectl("apply", "-f", "-", stdin=MISSPELT, expect=1)
    assert all(f'unknown field "{path}"' in refused for path in WRONG)


def test_a_misspelt_field_is_warned_of_when_asked(api: Api, maps: str) -> None:
    odd = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "odd", "lables": {}}, "daat": {"a": "b"}}
    answer = api.post(maps, odd, query={"fieldValidation": "Warn"})
    answer.ok()
    told = " ".join(answer.warnings)
    assert 'unknown field \\"daat\\"' in told
    assert 'unknown field \\"metadata.lables\\"' in told
    assert not api.patch(f"{maps}/odd", {"data": {"c": "d"}}, http.MERGE, query={"fieldValidation": "Strict"}).warnings


def test_the_document_of_a_group_lists_its_paths_too(api: Api) -> None:
    found = api.get("/openapi/v3/api/v1").ok()
    assert found["openapi"].startswith("3.")
    parameters = found["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"]["parameters"]
    assert "fieldValidation" in [parameter.get("name") for parameter in parameters]
    assert "io.k8s.api.core.v1.Pod" in found["components"]["schemas"]
