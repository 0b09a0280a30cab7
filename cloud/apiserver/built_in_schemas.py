"""The schemas of the built-in kinds, made from the models of the `kubernetes` package.

`python -m cloud.apiserver.built_in_schemas FOLDER SOURCE` is a process of its own, for the models would stay in the server:
45 MB. It writes, for each group and version of built-in kinds, the schemas of a document of OpenAPI v3 (kinds and whatever they
consist of), and `fields.json`, which says briefly what fields there are. What is in the folder is noted last
(`schema_files.note`), so that a folder half written counts for nothing.

Models carry `openapi_types` and `attribute_map`, alike in all versions of the package; descriptions are in the fields of
pydantic's models (37 and later) or in the docstrings of properties (36). Whether text may also be a number is in neither:
`_NUMBER_OR_NAME`.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from kubernetes.client import models

from cloud.apiserver import openapi, schema_files
from cloud.apiserver.resources import Registry, Resource

_NUMBER_OR_NAME = frozenset({"port", "targetPort", "maxSurge", "maxUnavailable", "minAvailable"})
"""Fields of the type `object` that are IntOrString in Kubernetes."""
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_INT_OR_STRING_SCHEMA = {
    "description": "IntOrString is a type that can hold an int32 or a string.",
    "format": "int-or-string",
    "oneOf": [{"type": "integer"}, {"type": "string"}],
}
_META = frozenset(
    {"Condition", "LabelSelector", "LabelSelectorRequirement", "ManagedFieldsEntry", "ObjectMeta", "OwnerReference"}
)
"""Types of meta/v1."""
_META_PREFIX = "io.k8s.apimachinery.pkg.apis.meta.v1."
_PARTS = {
    "metadata": "Standard object's metadata.",
    "spec": "The desired state.",
    "status": "The state last observed.",
}
"""What the parts of a kind are for; the package describes no field that has a type of its own."""
_REFERENCE = "#/components/schemas/"
_TYPES: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "bool": {"type": "boolean"},
    "int": {"type": "integer"},
    "float": {"type": "number", "format": "double"},
    "datetime": {"type": "string", "format": "date-time"},
    "bytes": {"type": "string", "format": "byte"},
    "bytearray": {"type": "string", "format": "byte"},
}
_LIST = re.compile(r"[Ll]ist\[(.*)\]")
_MAP = re.compile(r"(?:Dict\[|dict\()str, (.*)[\])]")
_MODEL_PREFIX = re.compile(r"^(?:[A-Z][a-z]+)?V1(?=[A-Z])")
_GETTER = re.compile(r"^Gets the .*?# noqa: E501\s*(.*?)(?:# noqa: E501)?\s*:return:", re.DOTALL)

Name = dict[str, str]
"""Model -> the name of its schema."""


def make(folder: Path, source: str) -> None:
    """Write all files, and note what they are made from: the version of the package."""
    folder.mkdir(parents=True, exist_ok=True)
    names: Name = {}
    fields: dict[str, dict[str, str]] = {}
    kinds: dict[str, str] = {}
    by_version: dict[tuple[str, str], list[Resource]] = {}
    for resource in Registry():
        by_version.setdefault((resource.group, resource.version), []).append(resource)
    files = []
    for (group, version), resources in by_version.items():
        schemas: dict[str, Any] = {}
        for resource in resources:
            root = root_model(resource)
            names[root] = openapi.schema_name(resource)
            kinds.setdefault(resource.kind, names[root])
            name_all(root, names)
            for model in reached(root):
                schemas[names[model]] = schema(model, names)
                fields[names[model]] = known_fields(model, names)
            _introduce(schemas[names[root]], resource)
        schemas[_INT_OR_STRING] = _INT_OR_STRING_SCHEMA
        files.append(schema_files.file_name(group, version))
        schema_files.put(folder, files[-1], msgspec.json.encode(schemas))
    schema_files.put(folder, schema_files.FIELDS, msgspec.json.encode({"kinds": kinds, "types": fields}))
    schema_files.note(folder, source, [*files, schema_files.FIELDS])


def root_model(resource: Resource) -> str:
    """The model of a kind: `V1Pod`, or `CoreV1Event` where several groups have a kind of the name."""
    own = f"{(resource.group or 'core').partition('.')[0].capitalize()}V1{resource.kind}"
    return own if hasattr(models, own) else f"V1{resource.kind}"


def reached(root: str) -> Iterator[str]:
    """A model and all that its fields consist of, each once."""
    seen, todo = {root}, [root]
    while todo:
        model = todo.pop()
        yield model
        for written in getattr(models, model).openapi_types.values():
            part = _innermost(written)
            if part not in seen and hasattr(models, part):
                seen.add(part)
                todo.append(part)


def name_all(root: str, names: Name) -> None:
    """Name what a kind consists of: as its neighbours in the package of the kind, or of meta/v1; a name once given stays."""
    for part in reached(root):
        short = _MODEL_PREFIX.sub("", part)
        prefix = _META_PREFIX if short in _META else names[root].rpartition(".")[0] + "."
        names.setdefault(part, prefix + short)


def schema(model: str, names: Name) -> dict[str, Any]:
    """The schema of one model; the others are referred to by their names."""
    cls = getattr(models, model)
    described = _descriptions(cls)
    properties: dict[str, Any] = {}
    for attribute, written in cls.openapi_types.items():
        field = cls.attribute_map[attribute]
        made = _type(field, written, names)
        if description := described.get(field):
            made = ({"allOf": [made]} if "$ref" in made else made) | {"description": description}
        properties[field] = made
    about = (cls.__doc__ or "").partition("Attributes:")[0].strip()
    found: dict[str, Any] = {"type": "object", "properties": properties}
    if about and not about.startswith("NOTE:"):
        found["description"] = about
    if required := _required(cls):
        found["required"] = required
    return found


def _introduce(made: dict[str, Any], resource: Resource) -> None:
    """Say of a schema that it is a kind's."""
    made.update(openapi.about(resource))
    for name, description in _PARTS.items():
        if "$ref" in made["properties"].get(name, {}):
            made["properties"][name] = {"allOf": [made["properties"][name]], "description": description}


def known_fields(model: str, names: Name) -> dict[str, str]:
    """The fields of a model, and what stands in each: "" for what is not looked into, or `NAME`, `[]NAME` or `{}NAME`."""
    cls = getattr(models, model)
    found = {}
    for attribute, written in cls.openapi_types.items():
        part = _innermost(written)
        prefix = "[]" if _LIST.fullmatch(written) else "{}" if _MAP.fullmatch(written) else ""
        found[cls.attribute_map[attribute]] = prefix + names[part] if hasattr(models, part) else ""
    return found


def _type(field: str, written: str, names: Name) -> dict[str, Any]:
    """The schema of a field from its type as the package writes it."""
    if listed := _LIST.fullmatch(written):
        return {"type": "array", "items": _type("", listed[1], names)}
    if mapped := _MAP.fullmatch(written):
        return {"type": "object", "additionalProperties": _type("", mapped[1], names)}
    if written in _TYPES:
        return dict(_TYPES[written])
    if hasattr(models, written):
        return {"$ref": _REFERENCE + names[written]}
    if field in _NUMBER_OR_NAME:
        return {"$ref": _REFERENCE + _INT_OR_STRING}
    return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def _innermost(written: str) -> str:
    """`V1Container` of `List[V1Container]`."""
    while inner := _LIST.fullmatch(written) or _MAP.fullmatch(written):
        written = inner[1]
    return written


def _descriptions(cls: Any) -> dict[str, str]:
    """Field -> what it is for; fields that refer to another model may have none of their own."""
    if hasattr(cls, "model_fields"):
        return {f.serialization_alias or name: f.description or "" for name, f in cls.model_fields.items()}
    found = {}
    for attribute, field in cls.attribute_map.items():
        getter = _GETTER.search(getattr(cls, attribute).__doc__ or "")
        found[field] = getter[1].replace("  # noqa: E501", "").strip() if getter else ""
    return found


def _required(cls: Any) -> list[str]:
    if hasattr(cls, "model_fields"):
        return [f.serialization_alias or name for name, f in cls.model_fields.items() if f.is_required()]
    return [field for attribute, field in cls.attribute_map.items() if _refuses_none(getattr(cls, attribute).fset)]


def _refuses_none(setter: Any) -> bool:
    return any(isinstance(text, str) and "must not be `None`" in text for text in setter.__code__.co_consts)


if __name__ == "__main__":
    try:
        make(Path(sys.argv[1]), sys.argv[2])
    except OSError as error:
        sys.exit(str(error))
