"""Rules in definitions (`x-kubernetes-validations`) as any Kubernetes API must hold to them; on the embedded server, or
`--kubeconfig FILE`.
"""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from cloud.apiserver.tests.conftest import DEFINITIONS, DEVICES, define
from cloud.apiserver.tests.core import device
from cloud.apiserver.tests.http import Api

SPEC = {
    "type": "object",
    "properties": {
        "low": {"type": "integer"},
        "high": {"type": "integer"},
        "serial": {"type": "string", "maxLength": 20},
        "names": {"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 20}},
    },
    "x-kubernetes-validations": [
        {
            "rule": "!has(self.low) || !has(self.high) || self.low <= self.high",
            "message": "low must not be above high",
            "fieldPath": ".low",
        },
        {
            "rule": "!has(oldSelf.serial) || (has(self.serial) && self.serial == oldSelf.serial)",
            "message": "serial stays",
            "reason": "FieldValueForbidden",
        },
        {
            "rule": "!has(self.names) || self.names.all(n, n == n.lowerAscii())",
            "messageExpression": "'in lower case: ' + self.names.join(',').lowerAscii()",
        },
    ],
}


def definition(spec: dict[str, Any]) -> dict[str, Any]:
    group = f"rules{secrets.token_hex(4)}.example.com"
    openapi = {"type": "object", "properties": {"spec": spec}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": openapi}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"ranges.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "ranges", "singular": "range", "kind": "Range", "listKind": "RangeList"},
            "versions": [version],
        },
    }


@pytest.fixture
def ranges(api: Api, namespace: str) -> Iterator[str]:
    """The path of a kind with rules; it goes away afterwards."""
    made = definition(SPEC)
    define(api, made)
    yield f"/apis/{made['spec']['group']}/v1/namespaces/{namespace}/ranges"
    api.delete(f"{DEFINITIONS}/{made['metadata']['name']}")


def a_range(path: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": f"{path.split('/')[2]}/v1", "kind": "Range", "metadata": {"name": "r"}, "spec": spec}


def test_an_object_that_breaks_a_rule_is_invalid(api: Api, ranges: str) -> None:
    failed = api.post(ranges, a_range(ranges, low=2, high=1)).failed(422, "Invalid")
    (cause,) = failed["details"]["causes"]
    assert (cause["reason"], cause["field"]) == ("FieldValueInvalid", "spec.low")
    assert cause["message"].startswith("Invalid value: ")
    assert cause["message"].endswith(": low must not be above high")
    failed = api.post(ranges, a_range(ranges, names=["A", "b"])).failed(422, "Invalid")
    assert "in lower case: a,b" in failed["message"]
    api.post(ranges, a_range(ranges, low=1, high=2, names=["a"])).ok()
    api.patch(f"{ranges}/r", {"spec": {"high": 0}}).failed(422, "Invalid")


def test_a_rule_about_a_change_is_held_against_changes(api: Api, ranges: str) -> None:
    api.post(ranges, a_range(ranges, serial="1")).ok()
    failed = api.patch(f"{ranges}/r", {"spec": {"serial": "2"}}).failed(422, "Invalid")
    (cause,) = failed["details"]["causes"]
    found = (cause["reason"], cause["field"], cause["message"])
    assert found == ("FieldValueForbidden", "spec", "Forbidden: serial stays")
    api.patch(f"{ranges}/r", {"spec": {"low": 1}}).ok()


def test_a_rule_that_does_not_compile_is_refused(api: Api) -> None:
    for rule in ("self.low +", "nosuch(self.low)", "1 + 'a' == 2", "'text'"):
        bad = definition({**SPEC, "x-kubernetes-validations": [{"rule": rule}]})
        failed = api.post(DEFINITIONS, bad).failed(422, "Invalid")
        assert "x-kubernetes-validations[0].rule" in failed["details"]["causes"][0]["field"]


def test_a_visitor_of_another_protocol_is_refused(api: Api, namespace: str, device_definitions: None) -> None:
    wrong = device("wrong", protocol={"protocolName": "modbus"})
    wrong["spec"]["properties"] = [{"name": "p", "visitors": {"protocolName": "ble"}}]
    failed = api.post(f"{DEVICES}/namespaces/{namespace}/devices", wrong).failed(422, "Invalid")
    assert "the protocolName of a property's visitors must be that of the device" in failed["message"]
