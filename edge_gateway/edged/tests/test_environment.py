"""A container's environment: variables from everywhere, in a kubelet's order."""

import base64
import json
from typing import Any

import pytest

from edge_gateway.edged.environment import Content, Missing, command_line, environment, expand
from edge_gateway.edged.tests.bench import FACTS, a_container, a_pod
from edgewire.resource import Resource


def content(**objects: dict[str, Any]) -> Content:
    """ConfigMaps by their name, Secrets by theirs with `secret_` before it."""

    def of(name: Resource) -> bytes | None:
        found = objects.get(f"secret_{name.name}" if name.type == "secret" else name.name)
        return None if found is None else json.dumps(found).encode()

    return of


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


SETTINGS = {"data": {"level": "info", "a.b": "dotted", "not a name": "x"}}
PASSWORD = {"data": {"word": b64("hunter2"), "raw": base64.b64encode(b"\xff\x00").decode()}}
KNOWN = content(settings=SETTINGS, secret_password=PASSWORD)


def env_of(container: dict[str, Any], known: Content = KNOWN, **spec: Any) -> dict[str, str]:
    pod = a_pod(a_container(**container), **spec)
    return environment(pod, pod.spec.containers[0], FACTS, known)


def test_values_refer_to_variables_before_them() -> None:
    env = [
        {"name": "HOST", "value": "pi"},
        {"name": "URL", "value": "http://$(HOST)/$(LATER)"},
        {"name": "LATER", "value": "$$(HOST)"},
    ]
    assert env_of({"env": env}) == {"HOST": "pi", "URL": "http://pi/$(LATER)", "LATER": "$(HOST)"}


def test_config_maps_and_secrets_give_keys() -> None:
    env = [
        {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "level"}}},
        {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "password", "key": "word"}}},
        {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "password", "key": "no", "optional": True}}},
    ]
    assert env_of({"env": env}) == {"LEVEL": "info", "WORD": "hunter2"}


def test_all_keys_of_a_config_map_are_variables_and_single_ones_win() -> None:
    container = {
        "envFrom": [
            {"prefix": "P_", "configMapRef": {"name": "settings"}},
            {"secretRef": {"name": "no", "optional": True}},
        ],
        "env": [{"name": "P_level", "value": "debug"}],
    }
    assert env_of(container) == {"P_level": "debug", "P_a.b": "dotted"}


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ({"configMapKeyRef": {"name": "no", "key": "k"}}, 'configmap "no" not found'),
        ({"secretKeyRef": {"name": "no", "key": "k"}}, 'secret "no" not found'),
        ({"configMapKeyRef": {"name": "settings", "key": "k"}}, "couldn't find key k in configmap default/settings"),
        ({"secretKeyRef": {"name": "password", "key": "raw"}}, "variable V: its value is not text"),
        ({"fieldRef": {"fieldPath": "spec.secrets"}}, "fieldRef 'spec.secrets' is not known here"),
        ({"resourceFieldRef": {"resource": "limits.cpu", "containerName": "x"}}, "of container 'x' is not known here"),
    ],
)
def test_what_is_missing_is_named(source: dict[str, Any], why: str) -> None:
    with pytest.raises(Missing, match=why.replace("(", r"\(")):
        env_of({"env": [{"name": "V", "valueFrom": source}]})


def test_a_missing_config_map_of_all_keys_is_named() -> None:
    with pytest.raises(Missing, match='configmap "no" not found'):
        env_of({"envFrom": [{"configMapRef": {"name": "no"}}]})


def test_a_secret_that_is_no_base64_is_an_error_and_no_crash() -> None:
    broken = content(secret_password={"data": {"word": "%%%"}})
    with pytest.raises(Missing, match="cannot be read"):
        env_of({"env": [{"name": "V", "valueFrom": {"secretKeyRef": {"name": "password", "key": "word"}}}]}, broken)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "web"),
        ("metadata.namespace", "default"),
        ("metadata.uid", "u1"),
        ("metadata.labels['app']", "web"),
        ("metadata.annotations['no']", ""),
        ("spec.nodeName", "edge1"),
        ("spec.serviceAccountName", "default"),
        ("status.podIP", "192.168.1.17"),
        ("status.hostIP", "192.168.1.17"),
    ],
)
def test_a_container_knows_its_pod(path: str, value: str) -> None:
    assert env_of({"env": [{"name": "V", "valueFrom": {"fieldRef": {"fieldPath": path}}}]}) == {"V": value}


@pytest.mark.parametrize(
    ("resource", "divisor", "value"),
    [
        ("limits.memory", "1Mi", "64"),
        ("limits.memory", "0", str(64 << 20)),
        ("requests.cpu", "1m", "250"),
        ("requests.cpu", "1", "1"),
        ("requests.memory", "1", str(64 << 20)),
        ("limits.cpu", "1", "4"),
        ("requests.ephemeral-storage", "1", "0"),
    ],
)
def test_a_container_knows_its_limits_and_those_of_its_node_where_it_has_none(
    resource: str, divisor: str, value: str
) -> None:
    limits = {"resources": {"limits": {"memory": "64Mi"}, "requests": {"cpu": "250m"}}}
    source = {"resourceFieldRef": {"resource": resource, "divisor": divisor}}
    assert env_of({**limits, "env": [{"name": "V", "valueFrom": source}]}) == {"V": value}


def test_the_command_line_is_expanded_too() -> None:
    pod = a_pod(a_container(command=["run", "$(A)"], args=["$$(A)", "$(B)"]))
    assert command_line(pod.spec.containers[0], {"A": "x"}) == ("run", "x", "$(A)", "$(B)")
    assert expand("$(A)$(A) $A $", {"A": "x"}) == "xx $A $"


def test_variables_that_name_each_other_do_not_grow_without_end() -> None:
    env = [{"name": "A0", "value": "x" * 100}]
    env += [{"name": f"A{n + 1}", "value": f"$(A{n})$(A{n})"} for n in range(60)]
    with pytest.raises(Missing, match="longer than 131072 bytes"):
        env_of({"env": env})


def test_all_variables_and_all_arguments_together_are_bounded() -> None:
    env = [{"name": "A", "value": "x" * 100_000}, *({"name": f"B{n}", "value": "$(A)"} for n in range(30))]
    with pytest.raises(Missing, match="together"):
        env_of({"env": env})
    container = a_pod(a_container(args=["$(A)"] * 30)).spec.containers[0]
    with pytest.raises(Missing, match="together"):
        command_line(container, {"A": "x" * 100_000})
