"""Unknown fields of built-in kinds: found wherever they are, and only where they are new."""

from typing import Any

import pytest

from cloud.apiserver.known_fields import KnownFields
from cloud.apiserver.tests.core import Core
from cloud.apiserver.writes import WriteOptions

FIELDS = KnownFields(
    kinds={"ConfigMap": "Map", "Pod": "Pod"},
    types={
        "Map": {"apiVersion": "", "kind": "", "metadata": "Meta", "data": "", "immutable": ""},
        "Meta": {"name": ""},
        "Pod": {"apiVersion": "", "kind": "", "metadata": "Meta", "spec": "Spec"},
        "Spec": {"containers": "[]Container", "claims": "{}Claim", "labels": "", "template": "Pod"},
        "Container": {"name": ""},
        "Claim": {"size": "", "claims": "{}Claim"},
    },
)


@pytest.mark.parametrize(
    ("obj", "found"),
    [
        ({"spec": {"containers": [{"name": "a"}], "labels": {"any": {"thing": 1}}}}, []),
        ({"spec": {"containers": [{"name": "a"}, {"nam": "b"}]}}, ["spec.containers[1].nam"]),
        ({"spec": {"claims": {"a": {"claims": {"b": {"sise": 1}}}}}}, ["spec.claims.a.claims.b.sise"]),
        ({"spec": {"template": {"metadata": {"nam": 1}}}}, ["spec.template.metadata.nam"]),
        ({"sepc": {}, "spec": {"fuu": None}}, ["sepc", "spec.fuu"]),
        ({"metadata": {"nam": "left to others"}}, []),
        ({"spec": None}, []),
        ({"spec": {"containers": "not a list", "claims": [{"x": 1}], "template": 3}}, []),
    ],
)
def test_an_unknown_field_is_found_by_its_path(obj: dict[str, Any], found: list[str]) -> None:
    assert FIELDS.unknown("Pod", obj, None) == found


def test_what_was_there_before_is_not_complained_of() -> None:
    assert FIELDS.unknown("Pod", {"spec": {"old": 1, "new": 1}}, {"spec": {"old": 0}}) == ["spec.new"]


def test_of_other_kinds_nothing_is_known() -> None:
    assert FIELDS.unknown("Device", {"spek": 1}, None) == []


def test_built_in_kinds_are_checked_when_the_client_asks() -> None:
    core = Core()
    resource = core.resource("configmaps")

    def warnings(validation: str, asks: bool) -> list[str]:
        odd = {"metadata": {"name": "a", "lables": {}}, "daat": {}}
        options = WriteOptions(field_validation=validation, asks_validation=asks, dry_run=True)
        return core.objects.create(resource, "default", odd, options).warnings

    assert warnings("Warn", True) == []
    core.objects.admission.known_fields = FIELDS
    assert warnings("Warn", True) == ['unknown field "metadata.lables"', 'unknown field "daat"']
    assert warnings("Warn", False) == []
