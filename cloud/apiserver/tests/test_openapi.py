"""The documents around the schemas of built-in kinds."""

import json

from cloud.apiserver import openapi
from cloud.apiserver.resources import Registry, Resource

GROUP, VERSION = "events.k8s.io", "v1"


def test_custom_resources_stand_beside_the_built_in_kinds_of_their_group() -> None:
    registry = Registry()
    around = openapi.around(registry, GROUP, VERSION)
    assert around is not None
    assert json.loads(around[0] + b'"Event":{}}' + around[1])["components"]["schemas"] == {"Event": {}}
    schema = {"type": "object", "properties": {"spec": {"type": "object"}}}
    own = Resource(GROUP, VERSION, "parties", "Party", custom=True, openapi=schema)
    registry.replace_custom(GROUP, "parties", (own,))
    around = openapi.around(registry, GROUP, VERSION)
    assert around is not None
    document = json.loads(around[0] + b'"Event":{}}' + around[1])
    assert set(document["components"]["schemas"]) == {"Event", "io.k8s.events.v1.Party"}
    assert f"/apis/{GROUP}/{VERSION}/namespaces/{{namespace}}/parties" in document["paths"]


def test_groups_of_custom_resources_only_need_no_files() -> None:
    assert openapi.around(Registry(), "devices.kubeedge.io", "v1beta1") is None
